"""The documents hold: links lead somewhere, samples are valid, pictures stay small, names are those of the code."""

import re
from pathlib import Path

import pytest

from bot.settings import Settings
from bot.web import Metrics
from remediation.policy_file import load_policy
from remediation.remediators import REMEDIATORS
from tests import claims, pictures

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r'\]\(([^)#\s]+)[^)]*\)|(?:src|srcset)="([^"]+)"')
INDENTED = re.compile(r"(?:^    .*\n|^\n)+", re.MULTILINE)
VARIABLE = re.compile(r"\b(?:SLACK|CODEHEALER|GITHUB|ARGOCD|NVIDIA|PAGERDUTY)_[A-Z_]+[A-Z]\b")
PER_SOURCE = "CODEHEALER_WEBHOOK_TOKEN_"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_inside_the_project_leads_to_a_file(document: Path) -> None:
    targets = ["".join(found) for found in LINK.findall(document.read_text())]
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not (document.parent / target).exists()] == []


def samples(document: str) -> list[str]:
    """The indented blocks of a document that are pieces of a policy."""
    blocks = [re.sub("^    ", "", block, flags=re.MULTILINE) for block in INDENTED.findall(document)]
    return [block for block in blocks if re.match(r"\s*(?:mode|environments|services):", block)]


def test_the_policy_samples_of_the_installation_are_valid(tmp_path: Path) -> None:
    found = samples((ROOT / "docs/install.md").read_text())
    assert len(found) == 2
    for number, sample in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(f"version: 1\n{sample}")
        assert load_policy(path).version == 1


def test_the_recipes_of_the_policy_are_valid(tmp_path: Path) -> None:
    recipes = (ROOT / "docs/policy.md").read_text().partition("## Recipes")[2]
    found = samples(recipes)
    assert len(found) == 4
    for number, recipe in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(f"version: 1\n{recipe}")
        assert load_policy(path).version == 1


def test_every_metric_is_documented() -> None:
    collected = {family.name for family in Metrics.make().registry.collect()}
    names = {name for name in collected if name.startswith("codehealer_")}  # the others are every process's
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    assert len(names) > 3
    assert {name for name in names if name not in text} == set()


def test_every_action_is_documented() -> None:
    text = (ROOT / "docs/remediators.md").read_text()
    assert [name for name in REMEDIATORS if f"`{name}`" not in text and not name.startswith("workflow_")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_variable_that_is_named_exists(document: Path) -> None:
    known = {field.alias for field in Settings.model_fields.values()} | {"CODEHEALER_REQUIRE_TOOLS"}
    named = {name for name in VARIABLE.findall(document.read_text()) if not name.startswith(PER_SOURCE)}
    assert named - known == set()


def test_every_claim_has_a_proof_that_exists() -> None:
    stated = claims.claims(claims.PAGE.read_text())
    assert len(stated) > 20
    assert len({claim.name for claim in stated}) == len(stated)
    assert [claim.name for claim in stated if not claim.tests and not claim.commands] == []
    assert {test for claim in stated for test in claim.tests} - claims.places().keys() == set()
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    subcommands = set(re.findall(r"^\| `([a-z-]+)", (ROOT / "docs/commands.md").read_text(), re.MULTILINE))
    known = {f"make {verb}" for verb in verbs} | {f"codehealer {name}" for name in subcommands}
    commands = {" ".join(command.split()[:2]) for claim in stated for command in claim.commands}
    assert commands - known == set()


def test_the_pictures_are_small_and_come_bright_and_dark() -> None:
    drawn = {path.name for path in pictures.FOLDER.glob("*.png")}
    assert drawn == {f"{name}{look}.png" for name in pictures.NAMES for look in pictures.LOOKS}
    assert all(path.stat().st_size <= pictures.MOST_BYTES for path in pictures.FOLDER.glob("*.png"))
