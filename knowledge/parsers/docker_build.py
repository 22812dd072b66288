# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Docker builds, BuildKit's and the classic builder's: the instruction and the stage that failed."""

import re

from knowledge.parsers.entities import find_entities, merged
from knowledge.parsers.fallback import exit_code_in, telling_lines
from knowledge.parsers.parsed import Parsed

# A step in brackets has a place ("builder 3/5") or a name of BuildKit's own; "#12 [fix]" of a changelog has neither.
_STEP = r"\[(?:[\w./-]+ ){0,2}(?:\d+/\d+|internal|auth|context [\w-]+)\]"
_BUILDKIT = re.compile(
    rf"^#\d+ (?:{_STEP}|ERROR|CACHED|DONE [\d.]+s|\d+\.\d+ |sha256:|exporting |transferring )|failed to solve|executor failed running|^ ?> ?{_STEP}",
    re.MULTILINE,
)
_VERDICT = re.compile(r"failed to solve|dockerfile parse error|^#\d+ ERROR", re.MULTILINE)
_CLASSIC = re.compile(r"^Step (\d+)/(\d+) : (.+)$", re.MULTILINE)
_CLASSIC_SIGN = re.compile(r"^ ---> |^The command '|^Sending build context|^Successfully built", re.MULTILINE)
_MARKED = re.compile(r"^ ?> ?\[([^\]]+)\] ?(.*)$", re.MULTILINE)
_NUMBERED = re.compile(r"^#(\d+) \[([^\]]+)\] (.+)$", re.MULTILINE)
_FAILED_NUMBER = re.compile(r"^#(\d+) ERROR", re.MULTILINE)
_PROCESS = re.compile(
    r"process \\?\"(.+?)\\?\" did not complete|command '(.+?)' returned a non-zero code|executor failed running \[(.+?)\]"
)
_INSTRUCTION = re.compile(
    r"^(FROM|RUN|COPY|ADD|ARG|ENV|WORKDIR|USER|CMD|ENTRYPOINT|HEALTHCHECK|SHELL|LABEL|EXPOSE|VOLUME)\b"
)


def parse_docker_build(text: str, _hint: str) -> Parsed | None:
    """Recognised by BuildKit's numbered steps or its verdict, or by the classic builder's `Step n/m :`."""
    head = text[:400_000]
    classic = _CLASSIC.findall(head)
    if classic and len(classic) < 2 and not _CLASSIC_SIGN.search(head):
        classic = []
    if len(_BUILDKIT.findall(head)) < 2 and not _VERDICT.search(head) and not classic:
        return None
    step, command = _failed_step(text, classic)
    instruction = _INSTRUCTION.match(command)
    stage = step.rpartition(" ")[0].split(" ")[-1]
    if process := _PROCESS.search(text):
        command = next(group for group in process.groups() if group)
    lines = telling_lines(text)
    own = {"instruction": (instruction.group(1),) if instruction else (), "stage": (stage,) if stage else ()}
    return Parsed(
        format="docker_build",
        tool="docker build",
        step=step[:200],
        command=command.strip()[:500],
        exit_code=exit_code_in(text),
        error_lines=lines,
        entities=merged(find_entities(line for _, line in lines), {k: v for k, v in own.items() if v}),
    )


def _failed_step(text: str, classic: list[tuple[str, str, str]]) -> tuple[str, str]:
    """(step, instruction): the one that the verdict marks, else the one whose number failed, else the last one."""
    if marked := _MARKED.search(text):
        return marked.group(1), marked.group(2).rstrip(":")
    steps = _NUMBERED.findall(text)
    failed = {match.group(1) for match in _FAILED_NUMBER.finditer(text)}
    for number, step, command in steps[::-1]:
        if number in failed:
            return step, command
    if steps:
        return steps[-1][1], steps[-1][2]
    return (f"{classic[-1][0]}/{classic[-1][1]}", classic[-1][2]) if classic else ("", "")
