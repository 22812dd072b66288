"""How commands speak: data on standard output, words on standard error."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

# A group's verbs: how they are typed → what they do.
Verbs = dict[str, Callable[..., None]]
JsonOption = Annotated[bool, typer.Option("--json", help="Data on standard output, words on standard error.")]

# Without emoji, or the line number of `main.go:100:5` would become a picture.
words = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
plain = Console(highlight=False, soft_wrap=True, emoji=False)


def put(value: Any) -> None:
    """One JSON value on one line of standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
