"""Makes docs/settings.md from the settings' one table: `python -m bot.settings_page > docs/settings.md`."""

import sys

from pydantic_core import PydanticUndefined

from bot.settings import Settings

HEAD = """# Settings

Made from `bot/settings.py` by `python -m bot.settings_page`; a test holds the two together.
Each can be set in the environment, in a `.env` file where CodeHealer is started,
as a file of that name in /run/secrets, or as a file that a variable of that name with `_FILE` appended names.
A secret may also be a reference to AWS Secrets Manager, `aws-sm://NAME#KEY`.

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The whole page as Markdown."""
    rows = []
    for field in Settings.model_fields.values():
        default = (
            ""
            if field.default is PydanticUndefined or field.default is None or field.default_factory
            else _shown(field.default)
        )
        rows.append(f"| {field.alias} | {default} | {field.description} |")
    return HEAD + "\n".join(rows) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    text = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return f"`{text}`" if text != "" else ""


if __name__ == "__main__":
    sys.stdout.write(page())
