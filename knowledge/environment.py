"""The variables that this process was given."""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from knowledge.errors import SettingsError


def environment() -> dict[str, str]:
    """Every variable that has a value: the environment's, and those of .env that the environment does not have."""
    return {name: value for name, value in {**dotenv_values(".env"), **os.environ}.items() if value}


def value_of(variable: str, variables: Mapping[str, str]) -> str:
    """The variable's value, else the text of the file that it names with _FILE appended, without the space around it;
    "" where there is neither. Blocks, and is for values that are looked up when they are used.

    Raises:
        SettingsError: that file cannot be read, or is empty.
    """
    value, path = variables.get(variable, "").strip(), variables.get(f"{variable}_FILE", "")
    return value or (file_text(f"{variable}_FILE names {path}", path).strip() if path else "")


def file_text(given: str, path: str) -> str:
    """The text of a file; `given` says which variable it is for. Raises SettingsError: it cannot be read,
    or is empty, as a key of a Secret that nobody has filled is; without it quite another thing might be started."""
    try:
        text = Path(path).read_text("utf-8-sig")  # some editors begin a file with a mark that no header can carry
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{given}, which cannot be read ({type(error).__name__}).") from None
    if not text.strip():
        raise SettingsError(f"{given}, which is empty. Put its value there, or take that file away.")
    return text
