"""How the C library deals out memory to this process."""

import ctypes

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
