"""GitHub Actions logs: the failing step, its command and exit code; formats nested in the step are followed."""

import re

from knowledge.parsers.entities import find_entities
from knowledge.parsers.fallback import telling_lines
from knowledge.parsers.parsed import Parsed
from knowledge.parsers.tools import tool_of

_STAMP = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ")
_COMMAND = re.compile(r"##\[(?:group|endgroup|error|warning|section|command|debug)\]")
_PREFIX = re.compile(r"^([^\t\n]{1,120})\t([^\t\n]{1,120})\t")
_EXIT = re.compile(r"##\[error\].*exit code (\d+)|Process completed with exit code (\d+)")
_GROUP = re.compile(r"##\[group\](?:Run )?(.*)")


def parse_github_actions(text: str, hint: str) -> Parsed | None:
    """Recognised by the runner's own marks; a line that merely begins with "Run" is none."""
    marks = len(_COMMAND.findall(text[:200_000]))
    stamped = sum(1 for line in text[:20_000].split("\n")[:50] if _STAMP.match(line))
    runner = "Current runner version" in text[:20_000] or "Process completed with exit code" in text
    if not (
        marks >= 2
        or (marks and (stamped or runner))
        or (stamped >= 3 and runner)
        or (hint in _HINTS and (marks or runner))
    ):
        return None
    lines = text.split("\n")
    failing = next((i for i, line in enumerate(lines) if "##[error]" in line), len(lines) - 1)
    start = _step_start(lines, failing)
    step, command = _step(lines, start)
    body = "\n".join(_bare(line) for line in lines[start : failing + 1])
    telling = telling_lines(text)
    inside = tuple((number, line) for number, line in telling if start < number <= failing + 2) or telling
    code = next((int(match.group(1) or match.group(2)) for line in lines if (match := _EXIT.search(line))), None)
    return Parsed(
        format="github_actions",
        tool=tool_of(body) or tool_of("\n".join(_bare(line) for _, line in telling)),
        step=step,
        command=command,
        exit_code=code,
        error_lines=inside,
        entities=find_entities(_bare(line) for _, line in inside),
    )


_HINTS = frozenset({"job_log", "ci_log"})


def _bare(line: str) -> str:
    return _STAMP.sub("", _PREFIX.sub("", line))


def _step_start(lines: list[str], failing: int) -> int:
    """The index of the group that opened the failing step: the last `Run …` before the first error."""
    last = 0
    for index in range(min(failing, len(lines) - 1), -1, -1):
        line = lines[index]
        if "##[group]Run " in line or ("##[group]" in line and not last):
            last = index
            if "##[group]Run " in line:
                break
    return last


def _step(lines: list[str], start: int) -> tuple[str, str]:
    if start >= len(lines):
        return "", ""
    prefix = _PREFIX.match(lines[start])
    group = _GROUP.search(lines[start])
    command = group.group(1).strip() if group else ""
    return (prefix.group(2) if prefix else command)[:200], command[:500]
