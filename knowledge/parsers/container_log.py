"""A container's log: CRI and Docker lines, JSON log lines, and the language whose error it shows."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from knowledge.parsers.entities import find_entities, merged
from knowledge.parsers.fallback import exit_code_in, telling_lines
from knowledge.parsers.objects import texts
from knowledge.parsers.parsed import Parsed
from knowledge.parsers.tools import tool_of

_CRI = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:\d\d) (?:stdout|stderr) [FP] ", re.MULTILINE)
_JSON_LINE = re.compile(r"^\{\".{2,}\}$", re.MULTILINE)
_LEVELS = ("level", "severity", "lvl", "log.level", "levelname", "@level")
_MESSAGES = ("msg", "message", "error", "err", "log", "exception", "stack_trace")
_BAD = re.compile(r"(?i)err|fatal|crit|panic|emerg|alert|severe|^[56]0$")
# What a runtime prints when it ends: [runtime, expression].
_RUNTIMES = tuple(
    (name, re.compile(pattern, re.MULTILINE))
    for name, pattern in (
        ("python", r"^Traceback \(most recent call last\):"),
        ("java", r"^Exception in thread |^Caused by: (?:[a-z]\w*\.)+|^\s+at (?:[a-z]\w*\.)+[A-Z]\w*\.\w+\("),
        ("go", r"^panic: |^goroutine \d+ \[|^fatal error: "),
        ("node", r"^\s+at .+ \((?:node:|file:|/).+:\d+:\d+\)$|^Node\.js v\d+|UnhandledPromiseRejection"),
        ("ruby", r"^\S+\.rb:\d+:in [`']"),
        ("dotnet", r"^Unhandled exception\. |^\s+at \S+ in \S+\.cs:line \d+"),
        ("rust", r"^thread '.+' (?:\(\d+\) )?panicked at "),
        ("php", r"^PHP (?:Fatal|Parse) error: "),
    )
)
_HINTS = frozenset({"logs", "previous_logs", "container_log"})


def parse_container_log(text: str, hint: str) -> Parsed | None:
    """Recognised by the container runtime's or a logger's own form of line, or by a runtime's last words in a log."""
    head = text[:400_000]
    written = len(_CRI.findall(head)) >= 2
    objects = list(_objects(head)) if _JSON_LINE.search(head) else []
    runtime = next((name for name, expression in _RUNTIMES if expression.search(head)), "")
    if not (written or len(objects) >= 2 or (hint in _HINTS and runtime)):
        return None
    lines = telling_lines(text)
    said = [part for _, line in lines for part in (_CRI.sub("", line), *_messages(line))]
    levels = tuple(dict.fromkeys(level for _, level in objects if _BAD.search(level)))[:4]
    return Parsed(
        format="container_log",
        tool=tool_of("\n".join(said)) or runtime,
        exit_code=exit_code_in("\n".join(line for _, line in lines)),
        error_lines=_worst(lines, {number for number, level in objects if _BAD.search(level)}) if levels else lines,
        entities=merged(find_entities(said), {"level": levels} if levels else {}),
    )


def _objects(head: str) -> Iterator[tuple[int, str]]:
    """(1-based line, level) of the lines that are JSON log lines."""
    for number, line in enumerate(head.split("\n")[:20_000], start=1):
        if line.startswith('{"') and (node := _load(line)):
            level = next((str(node[name]) for name in _LEVELS if name in node), "")
            if level or texts(node, *_MESSAGES):
                yield number, level


def _load(line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _messages(line: str) -> list[str]:
    return texts(_load(line), *_MESSAGES) if line.startswith('{"') else []


def _worst(lines: tuple[tuple[int, str], ...], bad: set[int]) -> tuple[tuple[int, str], ...]:
    """Of JSON log lines those whose level is bad, and everything that is no JSON line; all when none is left."""
    kept = tuple((number, line) for number, line in lines if number in bad or not line.startswith('{"'))
    return kept or lines
