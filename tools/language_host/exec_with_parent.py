"""Replaces itself with another program that the kernel kills when the parent dies.

Usage: `python exec_with_parent.py PARENT_PID PROGRAM ARGUMENT...`

The language host starts programs and policy packs through this file. A watching thread inside the program (as in
`lifetime`) is not possible, because the program is not ours; a `preexec_fn` would run Python between fork and exec
of a process full of gRPC threads, which can deadlock. The setting survives the exec, the process id stays the same.

Only the standard library: it runs on the interpreter of somebody else's virtual environment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: `PR_SET_PDEATHSIG` of linux/prctl.h.
PR_SET_PDEATHSIG = 1


def main() -> None:
    parent_pid, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != int(parent_pid):
        # The parent died before the kernel was asked: nobody waits for the program any more.
        sys.exit(f"the language host (process {parent_pid}) ended before {command[0]} could start")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
