# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Docker builds, BuildKit's and the classic builder's: the instruction and the stage that failed."""

import re

from knowledge.parsers.entities import find_entities
from knowledge.parsers.fallback import exit_code_in, telling_lines
from knowledge.parsers.parsed import Parsed

_BUILDKIT = re.compile(
    r"^#\d+ (?:\[|ERROR|CACHED|DONE|\d+\.\d+ )|failed to solve|executor failed running|^ > \[", re.MULTILINE
)
_CLASSIC = re.compile(r"^Step (\d+)/(\d+) : (.+)$", re.MULTILINE)
_FAILED_STEP = re.compile(r"^ ?> ?\[([^\]]+)\] ?(.*)$|^#\d+ \[([^\]]+)\] (.+)$", re.MULTILINE)
_PROCESS = re.compile(
    r"process \\?\"(.+?)\\?\" did not complete|command '(.+?)' returned a non-zero code|executor failed running \[(.+?)\]"
)
_FILE = re.compile(r"(?i)dockerfile(?:\.\w+)?:(\d+)")


def parse_docker_build(text: str, _hint: str) -> Parsed | None:
    """Recognised by BuildKit's numbered steps or its verdict, or by the classic builder's `Step n/m :`."""
    head = text[:400_000]
    classic = _CLASSIC.findall(head)
    if len(_BUILDKIT.findall(head)) < 2 and "failed to solve" not in head and not classic:
        return None
    step = command = ""
    if marked := re.search(r"^ ?> ?\[([^\]]+)\] ?(.*)$", head, re.MULTILINE):
        step, command = marked.group(1), marked.group(2).rstrip(":")
    elif steps := _FAILED_STEP.findall(head):
        step, command = steps[-1][2] or steps[-1][0], steps[-1][3] or steps[-1][1]
    elif classic:
        number, total, command = classic[-1]
        step = f"{number}/{total}"
    if process := _PROCESS.search(text):
        command = next(group for group in process.groups() if group)
    lines = telling_lines(text)
    entities = find_entities(line for _, line in lines)
    if line := _FILE.search(text):
        entities.setdefault("file", (line.group(),))
    return Parsed(
        format="docker_build",
        tool="docker build",
        step=step[:200],
        command=command.strip()[:500],
        exit_code=exit_code_in(text),
        error_lines=lines,
        entities=entities,
    )
