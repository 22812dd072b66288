"""All threads of the bot share one arena of glibc's."""

import platform
import subprocess
import sys

import pytest

THREADS = """
import ctypes, sys, threading
from bot.arenas import keep_one_arena
if sys.argv[1] == "one":
    assert keep_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
all_there = threading.Barrier(5)
def allocate():
    libc.malloc(1000)  # without Python's lock, as numpy does
    all_there.wait(60)
threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
all_there.wait(60)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no arenas")
def test_threads_take_their_memory_from_one_arena() -> None:
    def arenas(how: str) -> int:
        said = subprocess.run([sys.executable, "-c", THREADS, how], capture_output=True, text=True, check=True)
        return said.stdout.count("<heap nr=")

    assert arenas("usual") > 1
    assert arenas("one") == 1
