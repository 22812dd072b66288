"""Many regular expressions over one text in a single pass (hyperscan): time grows with the length only."""

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import hyperscan

# hyperscan counts offsets in 32 bits; callers stay far below, this only keeps a mistake from becoming a crash.
MAX_BYTES = 1 << 30


class Crowded(Exception):
    """There are more matches than were allowed."""


@dataclass(slots=True)
class Scanner:
    """A compiled set of expressions (hyperscan's subset of PCRE: no groups to read, no look-around).

    Compiled at first use and shared by all threads; each thread has a scratch space of its own.
    `starts` also asks for where each match begins, which costs a little; of the first `by_end` it is not asked. With
    `prefilter` look-around and the like are allowed, and there may be matches that are none: each has to be looked at
    again with Python's `re`.
    """

    expressions: Sequence[str]
    starts: bool = True
    by_end: int = 0
    prefilter: bool = False
    _database: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _local: threading.local = field(default_factory=threading.local)

    def scan(self, data: bytes, most: int | None = None) -> list[tuple[int, int, int]]:
        """(expression's index, start, end) in bytes, ordered by end; start is 0 where it was not asked for.

        Crowded when there are more than `most`.
        """
        if not data:
            return []
        found: list[tuple[int, int, int]] = []

        def note(index: int, start: int, end: int, _flags: int, _context: object) -> bool | None:
            found.append((index, start, end))
            return True if most is not None and len(found) > most else None

        database = self._compiled()
        scratch = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = hyperscan.Scratch(database)
        try:
            database.scan(data[:MAX_BYTES], match_event_handler=note, scratch=scratch)
        except hyperscan.ScanTerminated:
            raise Crowded from None
        return found

    def _compiled(self) -> Any:
        if self._database is None:
            with self._lock:
                if self._database is None:
                    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
                    plain = hyperscan.HS_FLAG_MULTILINE | (hyperscan.HS_FLAG_PREFILTER if self.prefilter else 0)
                    placed = plain | hyperscan.HS_FLAG_SOM_LEFTMOST
                    count = len(self.expressions)
                    by_end = self.by_end if self.starts else count
                    database.compile(
                        expressions=[expression.encode() for expression in self.expressions],
                        ids=list(range(count)),
                        elements=count,
                        flags=[plain] * by_end + [placed] * (count - by_end),
                    )
                    self._database = database
        return self._database


def candidate_lines(scanner: Scanner, text: str) -> Iterator[tuple[int, str, set[int]]]:
    """(1-based number, line, indices of expressions that may match it) for lines that any may match, ascending."""
    # A byte a character: repetitions count characters in Python's `re`, bytes in hyperscan.
    data = text.encode("ascii", "replace")
    found: dict[int, set[int]] = {}
    starts = [0]
    position = data.find(b"\n")
    while position >= 0:
        starts.append(position + 1)
        position = data.find(b"\n", position + 1)
    for index, _start, end in scanner.scan(data):
        found.setdefault(bisect_right(starts, max(end - 1, 0)), set()).add(index)
    lines = text.split("\n") if found else []
    for number in sorted(found):
        yield number, lines[number - 1], found[number]
