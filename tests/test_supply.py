"""What the program is made of, and what must not be in its repository."""

import re
import subprocess
import tomllib
from pathlib import Path

from knowledge.redaction import redact
from tests import licences

ROOT = Path(__file__).parents[1]
SECURITY = ROOT / "docs" / "security.md"
# Samples of secrets that tests are made of, lines of data that talk of them, and generated or binary files.
SAMPLES = re.compile(
    r"^(?:tests/|requirements/|docs/pictures/|knowledge/.*/data/|bot/sandbox/(?:page|world|slack)/)"
    r"|\.(?:png|onnx|npz|ico|woff2|gz|svg)$"
)
# Of a form that nobody writes by hand: a token's prefix or a key's block. Names with values are all over a program.
FORMS = re.compile(
    r"\[redacted:(?:code_host|slack|gitlab|hugging_face|npm)_token\]|\[redacted:(?:aws_access|anthropic|nvidia|private)_key\]"
    r"|\[redacted:jwt\]"
)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and not SAMPLES.search(name)]


def secrets_in(text: str) -> list[str]:
    # Apart from the names before them: a name with a value counts by the name, and programs are full of those.
    return FORMS.findall(redact(re.sub(r"[=:]\s*['\"]?", "\n", text)))


def test_no_secret_is_in_the_repository() -> None:
    files = tracked()
    assert len(files) > 300
    found = {str(path.relative_to(ROOT)): secrets_in(path.read_text()) for path in files}
    assert {name: kinds for name, kinds in found.items() if kinds} == {}


def test_a_secret_in_a_file_would_be_found() -> None:
    assert secrets_in("token = '" + "gh" + "p_" + "a1B2c3D4e5" * 3 + "F6g7H8'")
    assert secrets_in("-----BEGIN " + "PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n")


def test_every_locked_package_has_hashes_and_an_allowed_licence() -> None:
    names = licences.packages()
    assert len(names) > 50
    assert licences.unlocked() == []
    stated = {name: licences.licence(name) for name in names}
    assert {name: one for name, one in stated.items() if licences.disallowed(one)} == {}
    assert licences.page() == licences.PAGE.read_text(), "python -m tests.licences"


def test_the_lock_has_every_extra_that_a_setting_asks_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {re.split(r"[<>=\[]", one)[0] for name in extras.keys() - {"train", "dev"} for one in extras[name]}
    assert asked >= {"redis", "opentelemetry-sdk"}
    assert asked - set(licences.packages()) == set()


def test_a_licence_that_is_not_allowed_would_be_found() -> None:
    assert licences.disallowed("GPL-3.0-or-later")
    assert licences.disallowed("MIT AND AGPL-3.0-only")
    assert licences.disallowed("")
    assert not licences.disallowed("MPL-2.0 AND (Apache-2.0 OR MIT)")


def test_every_control_of_the_threat_model_names_a_test_that_exists() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^(?:async )?def (test_\w+)", sources, re.MULTILINE))
    text = SECURITY.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "test_" in line]
    assert len(rows) > 20
    assert set(re.findall(r"`(test_\w+)`", text)) - known == set()
