"""The child process of ChildEmbedder: reads texts from standard input, writes vectors to standard output.

A request is a 4-byte big-endian length and that many bytes of UTF-8. An answer is a byte (0 fine, 1 refused), a length
and a vector of little-endian float32 or the reason. Ends at end of input, and on Linux with its parent.
"""

import ctypes
import os
import signal
import struct
import sys
from typing import BinaryIO

LARGEST_TEXT = 1 << 20
_PR_SET_PDEATHSIG = 1


def _die_with_parent(parent: int) -> bool:
    """Ask Linux to end us when the parent ends; false when it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return os.getppid() == parent
    return True


def _serve(requests: BinaryIO, answers: BinaryIO, threads: int) -> None:
    # Loaded here so that the parent's import of this module for its constants stays free of the runtime.
    from knowledge.embedding.minilm import MiniLM  # noqa: PLC0415
    from knowledge.errors import CodeHealerError  # noqa: PLC0415

    try:
        model = MiniLM(threads)
    except CodeHealerError as error:
        reason = str(error).encode()
        answers.write(b"\x01" + struct.pack(">I", len(reason)) + reason)
        answers.flush()
        return
    answers.write(b"\x00" + struct.pack(">I", 0))  # ready
    answers.flush()
    while header := requests.read(4):
        if len(header) < 4:
            return
        (length,) = struct.unpack(">I", header)
        if length > LARGEST_TEXT:
            return
        vector = model.embed(requests.read(length).decode("utf-8", "replace")).astype("<f4").tobytes()
        answers.write(b"\x00" + struct.pack(">I", len(vector)) + vector)
        answers.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to answer; we end when it does
    parent, threads = int(sys.argv[1]), int(sys.argv[2])
    if _die_with_parent(parent):
        _serve(sys.stdin.buffer, sys.stdout.buffer, threads)


if __name__ == "__main__":
    main()
