"""Writes docs/licences.md from the locked packages as they are installed: `python -m tests.licences`."""

import importlib.metadata
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements" / "runtime.txt"
LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[a-z,]+\])?==(\S+)((?:.*\\\n)*.*)", re.MULTILINE)
HEAD = """# Licences of what the program is made of

Made from `requirements/runtime.txt` by `python -m tests.licences`; a test lets nothing in but these kinds:

- Permissive: MIT, BSD, ISC, Apache-2.0, PSF-2.0, Zlib, 0BSD, CC0-1.0.
- Of their own files alone (MPL-2.0), or as a library that is used unchanged and can be exchanged (LGPL).

| package | licence |
|---|---|
"""
ALLOWED = (
    "MIT", "MIT-0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "3-Clause BSD", "0BSD", "ISC", "ISCL", "Apache-2.0",
    "Apache 2.0", "Apache Software", "PSF-2.0", "Python Software Foundation", "Zlib", "CC0-1.0", "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "LGPL-3.0-only", "GNU Library or Lesser General Public",
)  # fmt: skip
_FILLING = re.compile(r"\b(?:AND|OR)\b|[()]|\bLicen[cs]e\b|\bLGPL\b(?!-)", re.IGNORECASE)


def packages() -> list[str]:
    """The names in the lock, in order."""
    return [found[1] for found in LOCKED.finditer(LOCK.read_text())]


def unlocked() -> list[str]:
    """Those that the lock names without a hash."""
    return [found[1] for found in LOCKED.finditer(LOCK.read_text()) if "--hash=sha256:" not in found[3]]


def licence(name: str) -> str:
    """As the package itself states it; "" where it does not."""
    about = importlib.metadata.metadata(name)
    classified = [one.split(" :: ")[-1] for one in about.get_all("Classifier") or [] if one.startswith("License ::")]
    stated = str(about.get("License-Expression") or "") or ", ".join(classified) or str(about.get("License") or "")
    return stated.split("\n")[0][:80].replace("OSI Approved", "").strip()


def disallowed(stated: str) -> str:
    """What of a stated licence is not in ALLOWED, "" when nothing is."""
    rest = stated
    for one in sorted(ALLOWED, key=len, reverse=True):
        rest = re.sub(rf"(?<![\w.-]){re.escape(one)}(?![\w.-])", "", rest)
    rest = _FILLING.sub("", rest)
    return (stated or "none is stated") if re.search(r"\w", rest) or not stated else ""


def page() -> str:
    return HEAD + "".join(f"| {name} | {licence(name)} |\n" for name in packages())


if __name__ == "__main__":
    PAGE.write_text(page())
