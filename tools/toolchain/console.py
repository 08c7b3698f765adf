"""Says what happens, and that it still happens; runs other programs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

#: Seconds between two signs of life of a long step.
SIGN_OF_LIFE_S = 10.0
#: Lines of a failed program's output that are shown.
SHOWN_LINES = 15


class Problem(Exception):
    """Something that setting up cannot get past.

    Args:
        what: one sentence that says what failed and on which thing.
        cure: the command that would mend it.
    """

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what.rstrip('.')}. To mend it: {cure}")
        self.what = what
        self.cure = cure


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


@contextlib.contextmanager
def step(title: str, *, progress: Callable[[], str] | None = None) -> Iterator[None]:
    """Announce a step that takes a while, say every 10 seconds that it goes on, and how long it took.

    Args:
        title: what is done, as in "Installing Python packages".
        progress: what to add to a sign of life, such as a count.
    """
    say(f"{title} ...")
    begin = time.monotonic()
    over = threading.Event()

    def give_signs_of_life() -> None:
        while not over.wait(SIGN_OF_LIFE_S):
            detail = progress() if progress else ""
            say(f"    still at it, {time.monotonic() - begin:.0f} s{detail and ', ' + detail}")

    thread = threading.Thread(target=give_signs_of_life, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    say(f"    done in {time.monotonic() - begin:.1f} s")


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    what: str,
    cure: str,
    title: str | None = None,
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
    count: str = "",
) -> str:
    """Run a program to its end.

    Args:
        command: program and arguments.
        what: the sentence for a failure, without its reason.
        cure: the command that would mend a failure.
        title: announce it as a step of its own, with signs of life.
        cwd: working directory.
        variables: environment variables besides this process's own.
        count: what a line of its output stands for, such as "packages compiled"; shown in the signs of life.

    Returns:
        What it wrote to standard output.

    Raises:
        Problem: it cannot be started, or ended with another exit code than 0. Its last lines have been printed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:

        def progress() -> str:
            return f"{_count_lines(errors.fileno())} {count}" if count else ""

        with step(title, progress=progress) if title else contextlib.nullcontext():
            try:
                answer = subprocess.run(
                    command,
                    cwd=cwd,
                    env={**os.environ, **(variables or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    errors="replace",
                )
            except OSError as error:
                raise Problem(f"{what}: {command[0]} could not be started ({error.strerror})", cure) from error
        errors.seek(0)
        complaints = errors.read()
    if answer.returncode != 0:
        for line in (answer.stdout + complaints).strip().splitlines()[-SHOWN_LINES:]:
            print(f"    | {line}", file=sys.stderr)
        raise Problem(f"{what}: {Path(command[0]).name} ended with exit code {answer.returncode}", cure)
    return answer.stdout


def output_of(command: Sequence[str | os.PathLike[str]], *, stdin: str = "", timeout_s: float = 30) -> str | None:
    """Give everything that a program writes, or None where it does not run or does not end in time."""
    try:
        answer = subprocess.run(
            command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout


def _count_lines(descriptor: int) -> int:
    """Count what a program has reported so far, without what Go says of downloads."""
    # The child writes through the same open file: reading must not move its position.
    content, offset = b"\n", 0
    while chunk := os.pread(descriptor, 1 << 16, offset):
        content += chunk
        offset += len(chunk)
    return content.count(b"\n") - 1 - content.count(b"\ngo: ")
