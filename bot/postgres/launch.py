"""Become another user, ask to be told when the parent dies, then turn into the given program.

Run as a script: `launch.py UID GID PARENT_PID PROGRAM [ARGUMENT …]` (UID -1: stay who we are).
A script of its own because `preexec_fn` is unsafe in a process with threads, and because the kernel forgets the
parent-death signal when the user changes, so it can only be asked for afterwards.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Never returns: the process becomes PROGRAM, or exits with a message."""
    uid, gid, parent = (int(word) for word in sys.argv[1:4])
    program, arguments = sys.argv[4], sys.argv[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # SIGINT is PostgreSQL's fast shutdown: a killed bot leaves a cleanly stopped database behind.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
        if os.getppid() != parent:  # it died before we could ask to be told
            sys.exit("the starting process is gone")
    os.execv(program, arguments)  # noqa: S606  (the caller gives an absolute path and a list)


if __name__ == "__main__":
    main()
