"""A log's few telling lines: error lines and lines that a rule knows, with a neighbour each side, repeats folded.

Retrieval and classification stand or fall with this (see docs on quality): a whole log drowns the needle.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from knowledge.language_models.rules import Marks, mark

_BLOCK_CHARS = 1 << 20
_LINE_CHARS = 500
# Past this many different templates a new, weak one is not worth its memory.
_MOST_TEMPLATES = 4000
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b|\d+")
_TIMESTAMP = re.compile(
    r"^\s*\[?(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?|\d\d:\d\d:\d\d(?:[.,]\d+)?)\]?\s*"
)
_TELLING_PART = re.compile(
    r"(?i)error|exception|fail|denied|refused|not found|forbidden|timeout|timed out|back-?off|killed|unhealthy|expired"
)


@dataclass(frozen=True, slots=True)
class Reduction:
    """`lines` are (1-based number, text), ascending; a text is a verbatim part of its line, at most 500 characters.

    `folded` counts the lines left out because one like them was kept; `repeats` has that count by kept line number.
    `telling` counts the different telling lines found; 0 means that `lines` are only the first and last ones.
    `truncated` says that telling lines or parts of lines had to be left out for want of room.
    """

    lines: tuple[tuple[int, str], ...]
    total_lines: int
    total_chars: int
    folded: int
    truncated: bool
    repeats: dict[int, int] = field(default_factory=dict)
    telling: int = 0

    @property
    def text(self) -> str:
        """What the lines say, one a line: what is embedded and classified."""
        return "\n".join(said for _, text in self.lines if (said := said_in(text)))


_FIELDS = re.compile(r"\"(?:message|msg|error|err|reason|exception)\":\s*\"((?:[^\"\\]|\\.){3,600})")
_FRAME = re.compile(r"^\s+(?:File \"[^\"]+\", line \d+|at [\w$.<>]+\()")


def said_in(line: str) -> str:
    """What a line says: without timestamp; of a JSON log line its message and error; "" for a stack frame."""
    if _FRAME.match(line):
        return ""
    text = without_timestamp(line)
    if text.startswith('{"') and (fields := _FIELDS.findall(text)):
        return " ".join(dict.fromkeys(fields))
    return text


def without_timestamp(line: str) -> str:
    return _TIMESTAMP.sub("", line, count=1)


@dataclass(slots=True)
class _Candidate:
    number: int
    text: str
    weight: float
    before: tuple[int, str] | None
    after: tuple[int, str] | None
    count: int = 1


@dataclass(slots=True)
class _State:
    candidates: dict[str, _Candidate] = field(default_factory=dict)
    head: list[tuple[int, str]] = field(default_factory=list)
    tail: list[tuple[int, str]] = field(default_factory=list)
    lines: int = 0
    chars: int = 0
    dropped: bool = False
    cut: bool = False


def reduce_log(text: str | Iterable[str], *, max_lines: int = 60, max_chars: int = 6000) -> Reduction:
    """Reduce a text, or lines (with or without their line ends) of one that does not fit in memory.

    100,000 lines take well under a second; memory does not grow with the input.
    """
    state = _State()
    for block in _blocks(text):
        _take(state, block)
    chosen = _choose(state, max_lines, max_chars)
    kept = {number for number, _ in chosen}
    repeats = {c.number: c.count for c in state.candidates.values() if c.count > 1 and c.number in kept}
    left_out = any(c.number not in kept for c in state.candidates.values())
    return Reduction(
        lines=tuple(chosen),
        total_lines=state.lines,
        total_chars=state.chars,
        folded=sum(count - 1 for count in repeats.values()),
        truncated=left_out or state.dropped or state.cut,
        repeats=repeats,
        telling=len(state.candidates),
    )


def _blocks(text: str | Iterable[str]) -> Iterator[str]:
    if isinstance(text, str):
        start = 0
        while start < len(text):
            end = text.rfind("\n", start, start + _BLOCK_CHARS) + 1
            if end <= start or start + _BLOCK_CHARS >= len(text):
                end = text.find("\n", start + _BLOCK_CHARS) + 1 or len(text)
            yield text[start:end]
            start = end
        return
    held: list[str] = []
    size = 0
    for line in text:
        held.append(line if line.endswith("\n") else line + "\n")
        size += len(line)
        if size >= _BLOCK_CHARS:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _take(state: _State, block: str) -> None:
    lines = block.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    offset = state.lines
    state.chars += len(block)
    state.lines += len(lines)
    if len(state.head) < 5:
        state.head += [(offset + i + 1, line) for i, line in enumerate(lines[:20]) if line.strip()][
            : 5 - len(state.head)
        ]
    recent = [(offset + i + 1, lines[i]) for i in range(max(0, len(lines) - 60), len(lines)) if lines[i].strip()]
    state.tail = (state.tail + recent)[-20:]
    for index, weight in sorted(_weights(mark(block)).items()):
        if index <= len(lines):
            _note(state, lines, index - 1, offset, weight)


def _weights(marks: Marks) -> dict[int, float]:
    """By line: an error line counts 2, a rule's hit 3 times its weight, several rules a little more."""
    weights = dict.fromkeys(marks.error_lines, 2.0)
    for hit in marks.hits:
        old = weights.get(hit.line, 0.0)
        weights[hit.line] = max(old, 3.0 * hit.rule.weight) + (0.2 if old else 0.0)
    return weights


def _note(state: _State, lines: list[str], index: int, offset: int, weight: float) -> None:
    line = lines[index]
    template = _VARIABLE.sub("#", line[:300])
    known = state.candidates.get(template)
    if known is not None:
        known.count += 1
        return
    if len(state.candidates) >= _MOST_TEMPLATES and weight < 6:
        state.dropped = True
        return
    if len(state.candidates) >= 2 * _MOST_TEMPLATES:
        state.dropped = True
        return
    before = (offset + index, lines[index - 1]) if index > 0 else None
    after = (offset + index + 2, lines[index + 1]) if index + 1 < len(lines) else None
    state.candidates[template] = _Candidate(offset + index + 1, line, weight, before, after)


def _choose(state: _State, max_lines: int, max_chars: int) -> list[tuple[int, str]]:
    if not state.candidates:
        pool = dict([*state.head, *state.tail])
        return _fit(state, sorted(pool.items()), max_lines, max_chars)
    ranked = sorted(state.candidates.values(), key=lambda c: (-c.weight, c.count, c.number))
    wanted: list[tuple[int, str]] = [(c.number, c.text) for c in ranked]
    room = max(0, max_lines - len(wanted))
    seen = {number for number, _ in wanted}
    for candidate in ranked:
        for neighbour in (candidate.before, candidate.after):
            if room and neighbour and neighbour[0] not in seen and neighbour[1].strip():
                wanted.append(neighbour)
                seen.add(neighbour[0])
                room -= 1
    return _fit(state, wanted, max_lines, max_chars)


def _fit(state: _State, wanted: list[tuple[int, str]], max_lines: int, max_chars: int) -> list[tuple[int, str]]:
    """The first of `wanted` that fit, back in the order of the text."""
    kept: list[tuple[int, str]] = []
    size = 0
    for number, line in wanted:
        text = _cut(line)
        if len(kept) >= max_lines or (kept and size + len(text) > max_chars):
            break
        state.cut = state.cut or len(text) < len(line.rstrip())
        kept.append((number, text))
        size += len(text) + 1
    return sorted(kept)


def _cut(line: str) -> str:
    """The line without trailing white space; of a very long one the part around its first telling word."""
    line = line.rstrip()
    if len(line) <= _LINE_CHARS:
        return line
    match = _TELLING_PART.search(line, 0, 200_000)
    start = max(0, match.start() - 150) if match else 0
    return line[start : start + _LINE_CHARS]
