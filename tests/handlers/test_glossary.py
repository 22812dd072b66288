"""The glossary names every stored value, state and verdict, so that code, cards and people say the same."""

import re
from pathlib import Path

import pytest

from knowledge import model
from knowledge.model import IncidentState

GLOSSARY = (Path(__file__).parents[2] / "docs/glossary.md").read_text(encoding="utf-8")
VALUES = [name for name in model.__all__ if name[0].isupper() and not name.isupper()]
ENTRIES = [line for line in GLOSSARY.splitlines() if line.startswith("- ")]


@pytest.mark.parametrize("name", VALUES)
def test_every_stored_value_is_in_the_glossary(name: str) -> None:
    assert f"`{name}`" in GLOSSARY


@pytest.mark.parametrize("state", list(IncidentState), ids=str)
def test_every_state_is_in_the_glossary(state: IncidentState) -> None:
    assert f"- **{state.value.replace('_', ' ')}**: " in GLOSSARY


def test_every_entry_is_one_sentence_and_named_once() -> None:
    assert all(re.fullmatch(r"- \*\*[^*]+\*\*( \(`\w+`\))?: .+\.", line) for line in ENTRIES)
    assert not [line for line in ENTRIES if re.search(r"[.!?] [A-Z]", line)]
    names = [line.split("**")[1].lower() for line in ENTRIES]
    assert len(set(names)) == len(names)
