"""The variables that this process was given."""

import os

from dotenv import dotenv_values


def environment() -> dict[str, str]:
    """Every variable that has a value: the environment's, and those of .env that the environment does not have."""
    return {name: value for name, value in {**dotenv_values(".env"), **os.environ}.items() if value}
