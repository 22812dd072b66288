"""Replays the build stage of the Dockerfile in a folder of its own, for machines without a container engine.

`python -m tests.image` takes its RUN and COPY steps as they are written, with /opt and /src moved into that folder, and
then starts what was installed as the image would: its settings are checked, and its health check is run.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEP = re.compile(r"^(RUN|COPY) (.+(?:\\\n.+)*)", re.MULTILINE)


def steps() -> list[tuple[str, str]]:
    """(instruction, rest) of the first stage, in order."""
    build = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1]
    return [(found[1], found[2].replace("\\\n", " ")) for found in STEP.finditer(build)]


def copied() -> list[str]:
    """What the first stage takes from the project."""
    return [name for instruction, rest in steps() if instruction == "COPY" for name in rest.split()[:-1]]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="codehealer-image-") as folder:
        source, target = Path(folder, "src"), Path(folder, "opt/codehealer")
        source.mkdir()
        for instruction, rest in steps():
            sys.stdout.write(f"{instruction} {rest}\n")
            if instruction == "COPY":
                *names, where = rest.split()
                for name in names:
                    _copy(name, source / where)
            else:
                command = rest.replace("/opt/codehealer", str(target))
                subprocess.run(["sh", "-c", command], cwd=source, check=True)
        shutil.rmtree(source)
        started = [str(target / "bin/codehealer"), "policy", "check"]
        clean = {"PATH": os.environ["PATH"], "HOME": folder, "CODEHEALER_DATA_DIR": f"{folder}/data"}
        policy = next(target.glob("lib/python*/site-packages/remediation/policy_default.yaml"))
        subprocess.run([*started, str(policy)], cwd=folder, env=clean, check=True)
        assert not list(target.glob("lib/python*/site-packages/pip")), "pip is in the image"
        sys.stdout.write(f"installed: {shlex.join(started)} works, without pip and without the sources\n")


def _copy(name: str, where: Path) -> None:
    found = ROOT / name
    if found.is_dir():
        shutil.copytree(found, where, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        return
    destination = where if where.suffix else where / found.name
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(found, destination)


if __name__ == "__main__":
    main()
