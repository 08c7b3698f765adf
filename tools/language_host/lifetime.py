"""Ends this process when the process that started it is gone.

The engine asks its plugins to stop when it ends in an orderly way. Killed, it asks nobody, and a language host, a
program or a provider that waits for the next request would wait for ever. The engine holds the other end of each
plugin's standard input, so the end of that file tells at once; where standard input is something else, a changed
parent id tells.

Only the standard library: this file also runs on the interpreter of somebody else's virtual environment.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Callable

#: How often the parent id is compared, in seconds; a closed standard input is noticed without waiting.
POLL_INTERVAL_S = 1.0


def watch_parent(on_gone: Callable[[], None]) -> threading.Thread:
    """Call `on_gone` once, from a thread of its own, when the parent process has gone.

    Args:
        on_gone: what to do then. It runs in the watching thread.

    Returns:
        The watching thread, already started; it does not keep the process alive.
    """
    parent_pid = os.getppid()
    thread = threading.Thread(target=_watch, args=(parent_pid, on_gone), name="parent-watch", daemon=True)
    thread.start()
    return thread


def _watch(parent_pid: int, on_gone: Callable[[], None]) -> None:
    watches_stdin = _stdin_is_a_pipe()
    tick = threading.Event()
    while os.getppid() == parent_pid:
        if not watches_stdin:
            tick.wait(POLL_INTERVAL_S)
            continue
        readable, _, _ = select.select([0], [], [], POLL_INTERVAL_S)
        if readable and not os.read(0, 4096):
            break
    on_gone()


def _stdin_is_a_pipe() -> bool:
    # A terminal, a file or /dev/null says nothing about the parent: a file is at its end from the beginning.
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
