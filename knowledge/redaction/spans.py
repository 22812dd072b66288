"""Where a secret stands: [start, end) in bytes and its kind; and small searches that all rules share.

An empty span says that a rule has looked as far as there, so that its next anchors up to there are passed over.
"""

import re

from knowledge.redaction.judging import VALUE

Span = tuple[int, int, str]

_TO_SPACE = re.compile(rb"""[^\s"'`]{1,4096}""")


def to_space(data: bytes, position: int) -> int:
    """Where the word that begins at `position` ends: at white space or a quote, 4,096 bytes at most."""
    match = _TO_SPACE.match(data, position, position + VALUE)
    return match.end() if match else position


def closing(data: bytes, begin: int, opener: bytes) -> int:
    """Where a quoted value ends: at the same quote with the same escaping, else at the line's end or a space."""
    limit = min(len(data), begin + VALUE)
    line_end = data.find(b"\n", begin, limit)
    within = line_end if line_end >= 0 else limit
    if len(opener) > 1:
        stop = data.find(opener, begin, within)
    else:
        stop = begin
        tries = 0
        while (stop := data.find(opener, stop, within)) >= 0 and _escaped(data, begin, stop) and tries < 64:
            stop += 1
            tries += 1
    return stop if stop >= 0 else to_space(data, begin)


def _escaped(data: bytes, begin: int, position: int) -> bool:
    slashes = 0
    while position - 1 - slashes >= begin and data[position - 1 - slashes] == 0x5C and slashes < 16:
        slashes += 1
    return slashes % 2 == 1
