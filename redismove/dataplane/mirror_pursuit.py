"""A pursuit without an end: what a follow does to keep a target equal to its source."""

from __future__ import annotations

import math
from collections.abc import Callable

from redismove.dataplane.connect import clock_skew_ms, parse_info
from redismove.dataplane.cutover_report import CutoverLimits, CutoverReport, Teller
from redismove.dataplane.errors import ReplyError
from redismove.dataplane.follow import DirtyKeys, Mark, notification_setting, notifies_everything
from redismove.dataplane.mirror_report import StopRequest
from redismove.dataplane.own import OwnServer, OwnSource
from redismove.dataplane.pursuit import Pursuit
from redismove.dataplane.repair import RepairReport, StreamCarrier, carry_marks, repair, streams_with_groups
from redismove.dataplane.throttle import Limits, SourceGuard, Throttle, judge

MOST_MARKS = 500_000
"""Some 120 MB. With more changed keys waiting it is cheaper to compare everything again."""
ROUND_KEYS = 2000
"""So many keys are carried between two looks at the clock."""
Prints = tuple[tuple[int, ...], ...]
"""Counters of each primary: changes since the last save, its time, expired and evicted keys."""


class StopAsked(Exception):
    """The end was asked for in the middle of something."""


class Mirror(Pursuit):
    """A pursuit that goes on, at a bounded speed, with what changes while it compares carried in between."""

    def __init__(
        self,
        source: OwnSource,
        target: OwnServer,
        *,
        limits: Limits,
        stop: StopRequest,
        told: Callable[..., None],
        notice: Callable[[str], None],
        notify_keyspace_events: str | None,
    ) -> None:
        super().__init__(
            source,
            target,
            limits=CutoverLimits(),
            report=CutoverReport(),
            tell=Teller(None),
            deadline=math.inf,
            notify_keyspace_events=notify_keyspace_events,
        )
        self.dirty = DirtyKeys(MOST_MARKS)
        self.limits, self.throttle = limits, Throttle(limits)
        self.mean_bytes = 100.0
        self.carried = 0
        self._notifications_before = 0
        self._guards: list[SourceGuard] = []
        self._compare_rate = 0.0
        self._stop, self._told, self._notice = stop, told, notice

    # -- comparing --------------------------------------------------------------------------------------------------

    def repair_pass(self) -> RepairReport:
        """Compare everything once and carry the differences over."""
        self._streams = StreamCarrier()

        def progress(done: RepairReport, expected: int) -> None:
            self._compare_rate = done.scanned / done.seconds if done.seconds else 0.0
            numbers = {"scanned": done.scanned, "expected": expected, "keys_per_s": self._compare_rate}
            self._told("compare" if self.following else "passes", **numbers)

        self._guards = [SourceGuard(self.source.server, node) for node in self.source.server.nodes]
        try:
            done = repair(
                self.source.server,
                self.target,
                self._carrier,
                deadline=math.inf,
                on_progress=progress,
                between=self._between,
                native=self.throttle.rate(self.mean_bytes) is None,  # a bound is kept better in small batches
            )
        finally:
            for guard in self._guards:
                guard.close()
            self._guards = []
        self.carried += done.repaired
        if self.following:
            self.dirty.add(done.unsettled)
        return done

    def _between(self, keys: int) -> None:
        if self._stop.is_set():
            raise StopAsked
        if self.following:
            self.follower.renew_logins()
            if len(self.dirty):
                self.drain_some()
        self._mind_the_source(keys)
        while keys > 0:
            allowed = self.throttle.allowance(self.mean_bytes)
            if allowed < 0:
                return
            keys -= allowed
            if keys > 0 and self._stop.wait(0.001):
                raise StopAsked

    def _mind_the_source(self, keys: int) -> None:
        """Go slower while the source suffers."""
        for guard in self._guards:
            guard.own_commands += 3 * keys // len(self._guards)
            reading = guard.take()
            if reading is None:
                continue
            was, reason = self.throttle.reason, judge(reading, self.limits)
            self.throttle.note(reason, self._compare_rate)
            if reason and was is None:
                self._notice(f"slower: {reason}")

    # -- keeping up -------------------------------------------------------------------------------------------------

    def drain_some(self) -> int:
        """Carry the keys that have waited longest; return how many."""
        before = self._report.keys_drained
        allowed = self.throttle.allowance(self.mean_bytes)
        if allowed:
            self.drain_round(ROUND_KEYS if allowed < 0 else min(ROUND_KEYS, allowed))
        done = self._report.keys_drained - before
        self.carried += done
        return done

    def follow(self) -> None:
        """Note what must not change from now on, and subscribe."""
        if self._follower is not None:
            self._notifications_before += self._follower.notifications
        super().follow()
        if self.following:
            # Later ones are notified when they are made; these may be read from without a notification.
            self._group_streams = streams_with_groups(self.source.server)

    def carry(self, marks: list[Mark]) -> None:
        """Carry keys over as they are now; any of them may have become too big for one reply."""
        try:
            self._streams.forget(marks)
            self.dirty.add(carry_marks(self._carrier, marks, probe=True))
        except BaseException:
            self.dirty.add(marks)
            raise

    def carry_streams(self) -> None:
        """Carry the streams over whose groups have moved on: what reads from them is not notified."""
        self._look_for_groups()
        self.carried += len(self._streams.carry(self._carrier, self._group_streams))

    def what_was_missed(self) -> str | None:
        """Tell what kept changes from being seen, or made the target another; None when nothing did."""
        if self.dirty.overflowed:
            return f"more than {MOST_MARKS:,} changed keys were waiting"
        if (gap := self.gap()) is not None:
            return gap
        changes = self._target_changes()
        return f"the target changed: {'; '.join(changes)}" if changes else None

    @property
    def has_group_streams(self) -> bool:
        """There are streams with groups."""
        return bool(self._group_streams)

    def notifications(self) -> int:
        """Return how many notifications came in all."""
        return self._notifications_before + (self._follower.notifications if self._follower is not None else 0)

    def touch(self) -> None:
        """Use the connections that were silent, and look at the clocks again."""
        for server in (self.source.server, self.target):
            for connection in server.own_connections():
                connection.call("PING")
        self._carrier.skew_ms = self._pair.skew_ms = clock_skew_ms(self.source.server, self.target)

    def fingerprint(self) -> Prints | None:
        """
        Return counters that change with every write, also with those that are not notified; None where they are hidden.

        XREADGROUP, XACK, FLUSHDB and SWAPDB count as changes (rdb_changes_since_last_save; seen on 6.2, 7.0, Valkey 9).
        """
        found: list[tuple[int, ...]] = []
        for connection in self.source.controls():
            info: dict[str, str] = {}
            for reply in connection.pipeline([("INFO", "persistence"), ("INFO", "stats")]):
                if isinstance(reply, ReplyError):
                    raise reply
                info |= parse_info(reply)
            if "rdb_changes_since_last_save" not in info:
                return None
            names = ("rdb_changes_since_last_save", "rdb_last_save_time", "expired_keys", "evicted_keys")
            found.append(tuple(int(info.get(name, "0")) for name in names))
        return tuple(found)

    def notifies(self) -> bool | None:
        """Ask the source again whether it notifies everything; None where it does not say."""
        setting = notification_setting(self.source.server)
        return None if setting is None else notifies_everything(setting)
