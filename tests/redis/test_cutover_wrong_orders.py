"""
The cut-over with one step wrong: the checker must see acknowledged writes that are lost.

A test of "0 lost" proves something only if it can see a loss. Each case here is the real procedure with one step
moved, left out or too late, under the same application that loses nothing in `test_cutover.py`. Whether a write falls
into the hole is a matter of chance, so each case has a few tries.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from redismove.dataplane.connect import Node, Server
from redismove.dataplane.cutover import CutOver, CutoverLimits
from redismove.dataplane.follow import DirtyKeys, Follower, Mark, _Subscriber
from redismove.dataplane.hold import WritePause
from redismove.dataplane.pursuit import Pursuit
from tests.support.cutover import world

pytestmark = pytest.mark.redis

TRIES = 5
SLOW_KEYS_S = 0.15
"""How long a service may take to change a key; our servers take no time."""


class UnpauseBeforeFence(CutOver):
    """One blocked command of each connection runs on the source when the pause ends, and is answered OK."""

    def fence(self) -> None:
        for connection in self.source.controls():
            connection.call("CLIENT", "UNPAUSE")
        super().fence()


class PauseEndsBeforeFence(CutOver):
    """The pause is not made to outlast a slow change of keys."""

    def outlast(self) -> None:
        pass

    def fence(self) -> None:
        time.sleep(max(0.0, self._pause.remaining_s if self._pause else 0.0) + 0.02)
        self._pause = None
        super().fence()


class NoFence(CutOver):
    """Switched, and the applications left on the source."""

    def fence(self) -> None:
        pass


class DrainedOnce(Pursuit):
    """To zero once, which is right where nobody can write any more."""

    def settle(self, hold_deadline: float) -> None:
        self.marker()
        self.carry(self.dirty.take())


class NothingCut(CutOver):
    """The hold by new keys alone: whoever is logged in stays, and writes on."""

    pursuit_type = DrainedOnce

    def hold_by_fence(self) -> None:
        self._hold_began_at = time.monotonic()
        self.change_keys()

    def check_unchanged(self) -> None:
        pass


class CutBeforeNewKeys(CutOver):
    """Who is cut comes back with the old key before the new one is there."""

    pursuit_type = DrainedOnce

    def hold_by_fence(self) -> None:
        self._hold_began_at = time.monotonic()
        self.cut(until_alone=False)
        time.sleep(SLOW_KEYS_S)

    def check_unchanged(self) -> None:
        pass

    def fence(self) -> None:
        self.change_keys()
        super().fence()


class OneShardNotPaused(CutOver):
    """Every primary but the last one is held; the change of keys takes its time."""

    def hold_by_pause(self) -> None:
        self._pause = WritePause(lambda: self.source.controls()[:-1])
        self._hold_began_at = time.monotonic()
        self._pause.begin(self.limits.hold_ms)

    def fence(self) -> None:
        time.sleep(SLOW_KEYS_S)
        super().fence()


class MarkOffAfterCopy(CutOver):
    """A change between the read and the taking off of the mark is forgotten."""

    class pursuit_type(Pursuit):
        def drain_round(self, limit: int | None = None) -> float:
            marks = sorted(self.dirty.snapshot())
            self.carry(marks)
            time.sleep(0.005)  # a read and a write over a line longer than ours
            forgotten = set(marks)
            self.dirty.add([mark for mark in self.dirty.take() if mark not in forgotten])
            return 0.0


class RepairBeforeFollow(CutOver):
    """What is written between the comparison of a key and the subscription is not seen."""

    def follow_and_repair(self) -> None:
        self.pursuit.repair_pass()
        time.sleep(0.05)  # the gap of a bigger cache
        self.pursuit.follow()


class GroupsNotCarried(CutOver):
    """What XREADGROUP and XACK did is not notified, and not looked for."""

    class pursuit_type(Pursuit):
        def repair(self) -> None:
            super().repair()
            self._group_streams.clear()

        def _look_for_groups(self) -> None:
            pass


class NoDrain(CutOver):
    """What changed while the comparison went on is not carried over."""

    class pursuit_type(Pursuit):
        def drain(self, hold_limit_ms: int) -> None:
            pass

        def drain_until(self, moment: float) -> None:
            pass

        def settle(self, hold_deadline: float) -> None:
            pass


WRONG: list[tuple[type[CutOver], dict[str, Any], bool]] = [
    (UnpauseBeforeFence, {}, False),
    (PauseEndsBeforeFence, {"limits": CutoverLimits(hold_ms=150)}, False),
    (NoFence, {}, False),
    (NothingCut, {"hold_method": "fence"}, False),
    (CutBeforeNewKeys, {"hold_method": "fence"}, False),
    (OneShardNotPaused, {}, True),
    (MarkOffAfterCopy, {}, False),
    (RepairBeforeFollow, {}, False),
    (GroupsNotCarried, {"limits": CutoverLimits(notice_ms=150)}, False),
    (NoDrain, {}, False),
]


@pytest.mark.parametrize(
    ("kind", "options", "clustered"), WRONG, ids=[kind.__name__ for kind, _options, _clustered in WRONG]
)
def test_a_wrong_order_loses_writes_and_is_seen(
    tmp_path: Path, kind: type[CutOver], options: dict[str, Any], clustered: bool
) -> None:
    lost = []
    for number in range(TRIES):
        folder = tmp_path / str(number)
        folder.mkdir()
        with world(folder, clustered=clustered) as here:
            here.fill(600)
            writers = here.writers(rate=4000, seed=number)
            writers.wait_for(1200)
            here.cut(kind, evidence=False, **options)
            writers.wait_for(400, more=True)
            lost.append(writers.stop()["lost"])
        if lost[-1]:
            return
    pytest.fail(f"{kind.__name__} must lose writes, and {len(lost)} runs showed none")


class SlowKeys(CutOver):
    """Everything right, and the service slow: the applications do not wait for it."""

    def change_keys(self) -> None:
        time.sleep(SLOW_KEYS_S)
        super().change_keys()
        time.sleep(SLOW_KEYS_S)


def test_a_slow_change_of_keys_in_the_right_order_loses_nothing(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(600)
        writers = here.writers(rate=4000)
        writers.wait_for(1200)
        report = here.cut(SlowKeys)
        writers.wait_for(400, more=True)
        result = writers.stop()

        assert result["findings"] == []
        assert report.total_ms > 2 * SLOW_KEYS_S * 1000
        assert result["gap_ms"][0] < SLOW_KEYS_S * 1000, "who is cut goes to the target at once"


def test_late_writes_to_the_source_are_told(tmp_path: Path) -> None:
    """A run that lost its fence says so itself: the evidence is not clean."""
    with world(tmp_path) as here:
        here.fill(600)
        writers = here.writers(rate=4000)
        writers.wait_for(400)

        class Leaking(NoFence):
            def release(self) -> None:
                super().release()
                writers.wait_for(100, more=True)

        report = here.cut(Leaking)
        writers.stop()

        assert report.evidence["late_writes"] > 0
        assert not report.clean


def test_without_the_marker_a_reader_that_is_behind_looks_like_one_with_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, source: Server
) -> None:
    """PING on the subscription's own connection stands behind the last notification; silence proves nothing."""
    mark = _Subscriber._mark

    def late(self: _Subscriber, marks: list[Mark]) -> None:
        if marks:
            time.sleep(0.2)  # a thread that did not get its turn
        mark(self, marks)

    monkeypatch.setattr(_Subscriber, "_mark", late)
    source.connection().call("CONFIG", "SET", "notify-keyspace-events", "KA")
    try:
        with Follower(source, DirtyKeys()) as follower:
            source.connection().call("SET", "key", "value")

            assert len(follower.dirty) == 0, "the write is made, and not marked yet"
            follower.marker()
            assert follower.dirty.take() == [(0, b"key")]
    finally:
        source.connection().call("CONFIG", "SET", "notify-keyspace-events", "")


def test_a_pause_that_ran_out_is_noticed(source: Server) -> None:
    pause = WritePause(lambda: [source.connection(Node(source.nodes[0].host, source.nodes[0].port))])
    pause.begin(5)
    time.sleep(0.01)

    with pytest.raises(Exception, match="may have run out"):
        pause.lengthen(5)
