"""How the C library deals out memory to this process, and gets it back."""

import asyncio
import ctypes

GIVE_BACK_EVERY_S = 60.0
_M_ARENA_MAX = -8  # glibc's malloc.h


def keep_one_arena() -> bool:
    """Have glibc take all memory from one arena; False where another C library has no such setting.

    Else each thread that computes has an arena of its own, and what an arena once held is seldom given back: 30 MB more
    after five minutes at a hundred alerts a second. Python's own lock hardly lets two threads allocate at once anyway.
    Threads that have begun keep theirs, so this comes first.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1) == 1)
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
