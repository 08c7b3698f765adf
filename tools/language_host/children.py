"""Starts the processes of the language host and ends them again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

#: How long a child may take to end before it is killed; the engine gives its plugins the same 5 seconds.
STOP_GRACE_S = 5.0

_LAUNCHER = Path(__file__).with_name("exec_with_parent.py")


class Child:
    """A program, policy pack or plugin that runs for one call of the engine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._stopping = threading.Lock()

    def stop(self) -> None:
        """Ask the child to end, and kill it where it does not within `STOP_GRACE_S`. Returns at once.

        An interrupt would do too, but a Python program answers it with the traceback of wherever it was, and the
        user, who has just read what was really wrong, would have to read that as well.
        """
        if self.process.poll() is not None or not self._stopping.acquire(blocking=False):
            return
        self._signal(signal.SIGTERM)
        timer = threading.Timer(STOP_GRACE_S, self._signal, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        """Kill the child now."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment, which is what was wanted
            self.process.send_signal(number)


class Children:
    """Every child that runs now, so that `Cancel` and the end of the host reach them all."""

    def __init__(self) -> None:
        self._running: set[Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str | None,
        capture_output: bool,
    ) -> Child:
        """Start `command`; it dies with this process.

        Args:
            command: program and arguments.
            environment: the whole environment of the child.
            directory: working directory, or None for this process's own.
            capture_output: True to read its output through pipes, False to let it write to this process's output,
                where the engine reads it.

        Returns:
            The running child. Call `wait` to end its bookkeeping.

        Raises:
            OSError: the program cannot be started.
        """
        output = subprocess.PIPE if capture_output else None
        with self._lock:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command],
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A process group of its own: the engine interrupts the host's whole group, see `Child.stop`.
                process_group=0,
            )
            child = Child(process)
            self._running.add(child)
            closed = self._closed
        if closed:
            child.stop()
        return child

    def wait(self, child: Child) -> int:
        """Wait until `child` has ended.

        Returns:
            Its exit code; negative is the number of the signal that ended it.
        """
        code = child.process.wait()
        with self._lock:
            self._running.discard(child)
        return code

    def stop_all(self) -> None:
        """Ask every child to end, and whatever is started from now on."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for child in running:
            child.stop()

    def end_all(self, grace_s: float = STOP_GRACE_S) -> None:
        """Ask every child to end and wait until all have; what is left after `grace_s` seconds is killed."""
        self.stop_all()
        with self._lock:
            running = list(self._running)
        for child in running:
            try:
                child.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                child.kill()
