"""Many regular expressions over one text in a single pass (hyperscan): time grows with the length only."""

import threading
from collections.abc import Sequence
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
    `starts` also asks for where each match begins, which costs a little; of the first `by_end` it is not asked.
    """

    expressions: Sequence[str]
    starts: bool = True
    by_end: int = 0
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
                    plain = hyperscan.HS_FLAG_MULTILINE
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
