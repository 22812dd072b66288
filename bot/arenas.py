"""How the C library deals out memory to this process, and gets it back."""

import asyncio
import ctypes

GIVE_BACK_EVERY_S = 60.0
# glibc's malloc.h. A block of this size or more is a mapping of its own, which goes back as a whole.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
LARGE_BYTES = 64 << 10


def keep_one_arena() -> bool:
    """Have glibc take all memory but large blocks from one arena; False where another C library has no such settings.

    Else each thread that computes has an arena of its own, and what an arena once held is seldom given back: 30 MB more
    after five minutes at a hundred alerts a second. Python's own lock hardly lets two threads allocate at once anyway.
    Threads that have begun keep theirs, so this comes first.

    Left to itself, glibc takes blocks of up to 32 MB from the arena once one of that size was freed. They left gaps
    behind in which small ones settled: 5 % more in half an hour at a hundred alerts a second, instead of 0.6 %.
    """
    try:
        setting = ctypes.CDLL(None).mallopt
        return all(setting(what, value) == 1 for what, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, LARGE_BYTES)))
    except (AttributeError, OSError):
        return False


async def give_back_unused(every_s: float = GIVE_BACK_EVERY_S) -> None:
    """Give the system what glibc keeps of freed memory, every minute until cancelled; nothing elsewhere.

    By itself it gives back only what is free at the very end of its arena, and something always lies there.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return
    while True:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(trim, 0)
