"""A long log as a short text that keeps its beginning, its end, its telling lines, and every line's number.

It is read line by line, so that a log of 100 MB costs a few megabytes.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from knowledge.redaction import redact_stream
from knowledge.reduction import reduce_log

# Of one piece of evidence, in characters; of a longer one the middle is thinned out.
LONGEST_TEXT = 4 * 1024 * 1024
_HALF = LONGEST_TEXT // 2
_MIDDLE_LINES = 400
_LONGEST_LINE = 1 << 20


@dataclass(slots=True)
class _Middle:
    """What has passed between the beginning and the end; `lines` still counts while it is read."""

    tail: deque[str] = field(default_factory=deque)
    tail_chars: int = 0
    lines: int = 0
    chars: int = 0


def bounded(text: str) -> str:
    """`text`, at most about 4 MB of it: of the middle of a longer one only the telling lines stay, others are empty."""
    return text if len(text) <= LONGEST_TEXT else bounded_lines(_lines_of(text))


def bounded_lines(lines: Iterable[str]) -> str:
    """The same for lines with their ends, of a text that does not fit in memory.

    The middle is redacted as a whole before anything is picked from it.
    """
    rest = iter(lines)
    head: list[str] = []
    size = 0
    while size < _HALF and (line := next(rest, None)) is not None:
        head.append(line)
        size += len(line)
    middle = _Middle()
    blocks = redact_stream(_falling_out(rest, middle))
    reduction = reduce_log(
        (line for block in blocks for line in block.removesuffix("\n").split("\n")),
        max_lines=_MIDDLE_LINES,
        max_chars=_MIDDLE_LINES * 400,
    )
    kept = [""] * middle.lines
    for number, line in reduction.lines:
        if number <= len(kept):
            kept[number - 1] = line
    if kept and not kept[0]:
        kept[0] = f"[{middle.chars} characters in {len(kept)} lines were searched; only their telling lines are kept]"
    return "".join([*head, *(line + "\n" for line in kept), *middle.tail])


def _lines_of(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        stop = text.find("\n", position) + 1 or len(text)
        # A line without an end would defeat the bound: it goes on in pieces.
        stop = min(stop, position + _LONGEST_LINE)
        yield text[position:stop]
        position = stop


def _falling_out(lines: Iterator[str], middle: _Middle) -> Iterator[str]:
    """The lines that are followed by more than the end that is kept."""
    for line in lines:
        middle.tail.append(line)
        middle.tail_chars += len(line)
        while middle.tail_chars > _HALF and len(middle.tail) > 1:
            out = middle.tail.popleft()
            middle.tail_chars -= len(out)
            middle.chars += len(out)
            middle.lines += out.count("\n")
            yield out
