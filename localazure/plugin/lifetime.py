"""The plugin's life: it ends when it is told to, and when the process that started it is gone."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PARENT_CHECK_S = 1.0


def end_with_parent(parent_pid: int, end: Callable[[], None]) -> None:
    """
    Call *end* when the process *parent_pid* is gone: a killed engine must not leave the plugin behind.

    A handle on the process (pidfd) tells exactly that. Where the kernel has none, the parent's death signal and a look
    at the parent once a second do. The death signal alone is not enough: it comes when the *thread* that forked ends.
    """
    if parent_pid <= 1:
        return
    try:
        handle = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        end()
        return
    except (OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        watch: Callable[[], None] = lambda: _poll_parent(parent_pid, end)  # noqa: E731
    else:
        watch = lambda: _watch_handle(handle, end)  # noqa: E731
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _watch_handle(handle: int, end: Callable[[], None]) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll()
    end()


def _poll_parent(parent_pid: int, end: Callable[[], None]) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_PARENT_CHECK_S)
    end()


def end_quietly_on_signals(end: Callable[[], None]) -> None:
    """Call *end* on SIGINT and SIGTERM, without a traceback: so the engine ends its plugins."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        end()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
