"""GitHub Actions logs: the failing step, its command and exit code; formats nested in the step are followed."""

import re
from collections.abc import Callable, Mapping

from knowledge.parsers.docker_build import parse_docker_build
from knowledge.parsers.entities import find_entities, merged
from knowledge.parsers.fallback import telling_lines
from knowledge.parsers.kubernetes import parse_kubernetes
from knowledge.parsers.parsed import Parsed
from knowledge.parsers.tools import tool_of

_STAMP = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ")
# `gh run view --log` writes job and step before each line.
_PREFIX = re.compile(r"^([^\t\n]{1,120})\t([^\t\n]{1,120})\t")
_MARK = re.compile(r"##\[(?:group|endgroup|error|warning|notice|section|command|debug)\]")
_CODE = re.compile(r"(?:Process completed with|failed with) exit code (\d+)")
_GROUP = re.compile(r"##\[group\](?:Run )?(.*)")
_JOB = re.compile(r"Complete job name: (.+)$", re.MULTILINE)
_REUSED = re.compile(r"\bUses: ([\w./-]+/\.github/workflows/[\w.-]+\.ya?ml@\S+)")
_LOCAL_ACTION = re.compile(r"##\[group\]Run (\./\S+)")
# What a workflow prints itself, and what the runner makes of it and of a problem matcher's find.
_ANNOTATION = re.compile(r"(?:##\[(?:error|warning)\]|::(?:error|warning)\b)")
_PLACED = re.compile(
    r"::(?:error|warning) (?:[^:\n]*,)?file=([^,:\n]+)(?:,line=(\d+))?|##\[error\]([\w@./-]+\.\w+)[:(](\d+)"
)
_POST = "Post job cleanup."
_HINTS = frozenset({"job_log", "ci_log"})
_NESTED: tuple[Callable[[str, str], Parsed | None], ...] = (parse_docker_build, parse_kubernetes)
# A tool says at its end what failed; of a longer step the beginning is not looked at for that.
_LAST_LINES, _LAST_CHARS = 1_000, 60_000
# What a tool's last lines name although they tell of no error themselves.
_PLACES = frozenset({"test", "file", "target", "task"})
_LINES_BEFORE = 120


def parse_github_actions(text: str, hint: str) -> Parsed | None:
    """Recognised by the runner's own marks; a line that merely begins with "Run" is none."""
    if not _recognised(text, hint):
        return None
    lines = text.split("\n")
    failing = _failing(lines)
    start = _step_start(lines, failing)
    step, command = _step(lines, start, failing)
    body = _body(lines, start, failing)
    telling = telling_lines(text)
    inside = tuple((number, line) for number, line in telling if start < number <= failing + 2) or telling
    nested = next((found for parser in _NESTED if (found := parser(body, ""))), None)
    entities = find_entities(_bare(line) for _, line in inside)
    placed = find_entities(body.split("\n")[-_LINES_BEFORE:], only=_PLACES)
    return Parsed(
        format="github_actions",
        tool=tool_of(body) or tool_of("\n".join(_bare(line) for _, line in telling)),
        step=step,
        command=command,
        exit_code=_exit_code(lines, failing),
        error_lines=inside,
        entities=merged(entities, placed, _of_the_run(text, lines, start, failing), nested.entities if nested else {}),
        job=_job(text, lines, failing),
        nested=nested.format if nested else "",
        nested_step=nested.step if nested else "",
    )


def _recognised(text: str, hint: str) -> bool:
    marks = len(_MARK.findall(text[:200_000]))
    stamped = sum(1 for line in text[:20_000].split("\n")[:50] if _STAMP.match(_PREFIX.sub("", line)))
    runner = "Current runner version" in text[:20_000] or "Process completed with exit code" in text
    return bool(
        marks >= 2
        or (marks and (stamped or runner))
        or (stamped >= 3 and runner)
        or (hint in _HINTS and (marks or runner))
    )


def _failing(lines: list[str]) -> int:
    """The line that ended the job: a step's exit code, else the first error; those of post steps come last.

    A linter's annotation inside a step that passed, or of one that may fail, comes before and is not it.
    """
    post = next((i for i, line in enumerate(lines) if line.endswith(_POST)), len(lines))
    errors = [i for i, line in enumerate(lines) if "##[error]" in line]
    ended = [i for i in errors if i < post and _CODE.search(lines[i])]
    return (ended or [i for i in errors if i < post] or errors or [len(lines) - 1])[0]


def _body(lines: list[str], start: int, failing: int) -> str:
    """The end of the failing step's own lines, without time stamps."""
    return "\n".join(_bare(line) for line in lines[max(start, failing - _LAST_LINES) : failing + 1])[-_LAST_CHARS:]


def _exit_code(lines: list[str], failing: int) -> int | None:
    for line in [lines[failing], *lines[failing + 1 :], *lines[:failing]] if lines else []:
        if "exit code" in line and (match := _CODE.search(line)) and int(match.group(1)):
            return int(match.group(1))
    return None


def _bare(line: str) -> str:
    return _STAMP.sub("", _PREFIX.sub("", line))


def _step_start(lines: list[str], failing: int) -> int:
    """The index of the group that opened the failing step: the last `Run …` before its error."""
    last = 0
    for index in range(min(failing, len(lines) - 1), -1, -1):
        line = lines[index]
        if line.endswith(_POST):
            return index
        if "##[group]Run " in line or ("##[group]" in line and not last):
            last = index
            if "##[group]Run " in line:
                break
    return last


def _step(lines: list[str], start: int, failing: int) -> tuple[str, str]:
    """(step's name, command): the name where the log gives it, else the command; of a composite action the inner."""
    if start >= len(lines):
        return "", ""
    if lines[start].endswith(_POST):
        return _POST.removesuffix("."), ""
    prefix = _PREFIX.match(lines[failing]) or _PREFIX.match(lines[start])
    group = _GROUP.search(lines[start])
    command = group.group(1).strip() if group else ""
    named = prefix.group(2) if prefix and prefix.group(2) != "UNKNOWN STEP" else ""
    return (named or command)[:200], command[:500]


def _job(text: str, lines: list[str], failing: int) -> str:
    """The job's name with its matrix values."""
    if found := _JOB.search(text[:200_000]):
        return found.group(1).strip()[:200]
    prefix = _PREFIX.match(lines[failing]) if lines else None
    return prefix.group(1) if prefix else ""


def _of_the_run(text: str, lines: list[str], start: int, failing: int) -> Mapping[str, tuple[str, ...]]:
    """The reusable workflow, the local composite action around the step, and where annotations point to."""
    found: dict[str, list[str]] = {}
    if reused := _REUSED.search(text[:200_000]):
        found["workflow"] = [reused.group(1)]
    for line in lines[max(0, start - 200) : start + 1]:
        if action := _LOCAL_ACTION.search(line):
            found["action"] = [action.group(1)]
    for line in lines[start : failing + 20]:
        if _ANNOTATION.search(line) and (place := _PLACED.search(line)):
            path, number = place.group(1) or place.group(3), place.group(2) or place.group(4)
            found.setdefault("file", []).append(f"{path}:{number}" if number else path)
    return {name: tuple(dict.fromkeys(values))[:8] for name, values in found.items()}
