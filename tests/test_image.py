"""The Dockerfile is well formed, takes what exists and is not ignored, and its health check is a command that works."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests import image

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_linter_has_no_finding() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_copies_what_there_is_and_what_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    names = image.copied()
    assert {name.split("/")[0] for name in names} == allowed
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_it_runs_as_a_numbered_user_from_a_pinned_base() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    base = re.search(r"^ARG BASE=python:(\S+)$", DOCKERFILE, re.MULTILINE)
    assert base is not None
    assert re.fullmatch(r"3\.11\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base[1])
    assert "ADD " not in DOCKERFILE


def test_its_health_check_fails_where_nobody_answers() -> None:
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.+?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found is not None
    command = [sys.executable, *json.loads(found[1])[1:]]
    environment = {"CODEHEALER_HTTP_PORT": "9"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "refused" in done.stderr
