"""All threads of the bot share one arena of glibc's, and what is freed in it is given back."""

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


FREED = """
import asyncio, re
from pathlib import Path
from bot.arenas import give_back_unused
def held_kb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
some = [bytes(5000) for _ in range(40_000)]
some = some[::7]  # what stays lies all along what is freed
async def main():
    before = held_kb()
    task = asyncio.create_task(give_back_unused(0))
    async with asyncio.timeout(60):
        while held_kb() > before / 2:
            await asyncio.sleep(0.01)
    task.cancel()
asyncio.run(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives back by itself, or never")
def test_what_was_freed_between_what_stays_is_given_back() -> None:
    assert subprocess.run([sys.executable, "-c", FREED], check=False).returncode == 0


LARGE = """
import ctypes, sys
from bot.arenas import LARGE_BYTES, keep_one_arena
if sys.argv[1] == "kept":
    assert keep_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keep")]
libc.mallinfo2.restype = Info
libc.free(ctypes.c_void_p(libc.malloc(20 << 20)))  # after which glibc takes what is smaller from the arena
before = libc.mallinfo2().hblks
libc.malloc(2 * LARGE_BYTES)
print(libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such threshold")
def test_large_blocks_stay_mappings_of_their_own() -> None:
    def mappings(how: str) -> str:
        return subprocess.run([sys.executable, "-c", LARGE, how], capture_output=True, text=True, check=True).stdout

    assert mappings("usual") == "0\n"
    assert mappings("kept") == "1\n"
