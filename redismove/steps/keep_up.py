"""Keeping a target equal to a source that is in use, while both are compared."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redismove.azure.caches import Caches
from redismove.dataplane.cutover_report import CutoverLimits, CutoverReport, Teller
from redismove.dataplane.errors import DataPlaneError
from redismove.dataplane.own import OwnServer, OwnSource
from redismove.dataplane.pursuit import Pursuit
from redismove.facts import CacheFacts
from redismove.steps.access import Tell, address, notifies
from redismove.steps.progress import each_event

_LIMIT_S: Final = 24 * 3600.0
_HOLD_MS: Final = 1_000
_ROUND_S: Final = 0.2


@contextmanager
def keeping_up(caches: Caches, source: CacheFacts, target: CacheFacts, *, tell: Tell) -> Iterator[None]:
    """
    Make *target* equal to *source*, and carry every change over while the block runs.

    To a comparison the target then looks like one that is linked: a key that is written to becomes equal in a later
    round. A source that tells of no changes is repaired once, and what is written afterwards shows as a difference.

    Raises:
        RedismoveError: the source is written to faster than can be carried, changes were missed, or a server was lost.
    """
    ours = OwnSource(address(caches, source))
    there = OwnServer.open_own(address(caches, target))
    pursuit: Pursuit | None = None
    try:
        pursuit = Pursuit(
            ours,
            there,
            limits=CutoverLimits(total_s=_LIMIT_S),
            report=CutoverReport(),
            tell=Teller(each_event(tell)),
            deadline=time.monotonic() + _LIMIT_S,
            notify_keyspace_events=notifies(source),
        )
        pursuit.follow()
        pursuit.repair()
        pursuit.drain(_HOLD_MS)
        with _carrying(pursuit):
            yield
    finally:
        if pursuit is not None:
            pursuit.stop()
        ours.close()
        there.close()


@contextmanager
def _carrying(pursuit: Pursuit) -> Iterator[None]:
    """Drain in a thread of its own, which alone uses the pursuit's connections meanwhile."""
    over = threading.Event()
    failed: list[BaseException] = []

    def drain() -> None:
        try:
            while pursuit.following and not over.is_set():
                # A whole round carries the streams with groups too, whose readers notify nothing.
                pursuit.drain_round()
                pursuit.drain_until(time.monotonic() + _ROUND_S)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the block ends
            failed.append(error)

    thread = threading.Thread(target=drain, name="redismove-keep-up")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]
    gap = pursuit.gap() if pursuit.following else None
    if gap is not None:
        raise DataPlaneError(f"while both caches were compared {gap}; run the same command again")
