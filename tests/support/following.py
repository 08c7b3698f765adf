"""A follow in a process of its own, which can be killed, and a way to wait until it has caught up."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from redismove.dataplane import mirror
from redismove.dataplane.connect import ServerAddress
from redismove.dataplane.errors import DataPlaneError
from redismove.dataplane.mirror import copy_and_follow
from redismove.dataplane.mirror_report import FollowProgress, FollowReport
from redismove.dataplane.throttle import Limits

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.support.following"])
"""A server of processes that has everything imported: the next follower begins in a few ms."""


def _follow(pipe: Pipe, source: ServerAddress, target: ServerAddress, limits: dict[str, Any], options: Any) -> None:
    mirror.LOOK_EVERY_S = options.pop("look_every_s")
    try:
        report = copy_and_follow(source, target, limits=Limits(**limits), on_progress=pipe.send, **options)
        pipe.send(report)
    except DataPlaneError as error:
        pipe.send(str(error))


@dataclass
class Following:
    """
    A follower that runs; nothing of it is shared with this process.

    Attributes:
        seen: its progress so far.
        report: of its end.
        error: what ended it.
    """

    process: BaseProcess
    pipe: Pipe
    seen: list[FollowProgress] = field(default_factory=list)
    report: FollowReport | None = None
    error: str | None = None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.join(10)
        self.pipe.close()

    def wait(self, condition: Callable[[], Any], what: str, *, deadline_s: float = 30.0) -> None:
        """Read what it tells until the condition holds."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}; {self.seen[-1:]} {self.error}"
            if not self.pipe.poll(0.1):
                continue
            try:
                told = self.pipe.recv()
            except EOFError:
                raise AssertionError(f"it ended before {what}: {self.error or self.report}") from None
            if isinstance(told, FollowProgress):
                self.seen.append(told)
            elif isinstance(told, FollowReport):
                self.report = told
            else:
                self.error = told

    def wait_until_caught_up(self, *, deadline_s: float = 30.0) -> None:
        """Wait until everything is carried that was written before now."""
        now_s = time.time()
        self.wait(
            lambda: self.seen and (self.seen[-1].caught_up_at_s or 0) >= now_s, "caught up", deadline_s=deadline_s
        )

    def wait_for_end(self, *, deadline_s: float = 60.0) -> FollowReport:
        """Wait for its report."""
        self.wait(lambda: self.report or self.error, "its end", deadline_s=deadline_s)
        assert self.report is not None, self.error
        return self.report


def start_following(
    source: ServerAddress,
    target: ServerAddress,
    *,
    checkpoint: Path | None = None,
    limits: dict[str, Any] | None = None,
    look_every_s: float = 0.1,
    **options: Any,
) -> Following:
    """Begin to follow, and look more often than usual; the caller kills it."""
    here, there = _PROCESSES.Pipe(duplex=False)
    arguments = (
        there,
        source,
        target,
        limits or {},
        {"checkpoint": checkpoint, "look_every_s": look_every_s, **options},
    )
    process = _PROCESSES.Process(target=_follow, args=arguments, daemon=True)
    process.start()
    there.close()
    return Following(process, here)


@contextmanager
def following(source: ServerAddress, target: ServerAddress, **options: Any) -> Iterator[Following]:
    """A follower for the length of a block."""
    running = start_following(source, target, **options)
    try:
        yield running
    finally:
        running.kill()
