"""Make a target what its source is while the source is written to, and keep up with it until the writes are held."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from redismove.dataplane.carry import Carrier
from redismove.dataplane.connect import Connection, Server
from redismove.dataplane.cutover_report import CutoverGaveUp, CutoverLimits, CutoverReport, Teller
from redismove.dataplane.follow import (
    DirtyKeys,
    FollowBroken,
    Follower,
    Mark,
    SourceState,
    notification_setting,
    notifies_everything,
)
from redismove.dataplane.hold import HoldFailed
from redismove.dataplane.own import OwnServer, OwnSource
from redismove.dataplane.passes import compare_all
from redismove.dataplane.repair import (
    OutOfTime,
    RepairReport,
    StreamCarrier,
    by_database,
    carry_marks,
    differing,
    have_groups,
    only_groups_differ,
    repair,
    streams_with_groups,
)
from redismove.dataplane.verify.compare import Pair

_ROUND_KEYS: Final = 2000
"""So many keys are carried between two looks at the clock."""
_SILENCE_S: Final = 1.0
"""A source that is written to and notifies nothing for so long notifies nothing."""
_FEW_KEYS: Final = 8
"""So few take no time; waiting for fewer would."""
_FITS: Final = 4
"""What is left has to take no more than this part of the hold, tried once outside of it."""


class Changed(HoldFailed):
    """Something about one of the servers changed while they were followed."""


class Pursuit:
    """
    The target, made equal to a source that is in use.

    Without notifications (`following` is False) there is nothing to keep up with: passes over all keys come as near as
    they can, and one more has to be made while the writes are held.
    """

    def __init__(
        self,
        source: OwnSource,
        target: OwnServer,
        *,
        limits: CutoverLimits,
        report: CutoverReport,
        tell: Teller,
        deadline: float,
        notify_keyspace_events: str | None = None,
    ) -> None:
        """
        Look at what the source notifies.

        Args:
            source: only read.
            target: made equal; nobody else writes to it.
            limits: see there.
            report: is added to.
            tell: is told what happens.
            deadline: monotonic time at which to give up.
            notify_keyspace_events: the source's setting where the server hides it.
        """
        self.source, self.target = source, target
        self.dirty = DirtyKeys()
        self._limits, self._report, self._tell, self._deadline = limits, report, tell, deadline
        self._carrier = Carrier(source.server, target)
        self._pair = Pair.of(source.server, target)
        self._follower: Follower | None = None
        self._target_follower: Follower | None = None
        self._state = self._target_state = SourceState()
        self._changes_before = 0
        self._group_streams: set[Mark] = set()
        self._streams = StreamCarrier()
        self._compare_keys_per_s = 1.0
        setting = notify_keyspace_events
        if setting is None:
            setting = notification_setting(source.server)
        self.following = setting is not None and notifies_everything(setting)
        if not self.following:
            self._cannot_follow(
                "does not say what it notifies" if setting is None else f"notifies {setting!r}, needed is 'KA'"
            )

    def _cannot_follow(self, why: str) -> None:
        self.following = False
        self._report.not_possible.append(
            f"the source {why}: it could not be followed, and everything was compared inside the hold"
        )
        self._tell("probe", f"the source {why}: the hold will hold a comparison of everything")

    # -- following and repairing ----------------------------------------------------------------------------------

    @property
    def follower(self) -> Follower:
        """Follows the source."""
        assert self._follower is not None
        return self._follower

    def follow(self) -> None:
        """Note what must not change from now on, and subscribe; from here on no change goes unseen."""
        if self._follower is not None:
            self._follower.stop()
            self._follower = None
        self.source.server.refresh_nodes()
        self._state = self._read_state()
        self._target_state = self._read_target_state()
        if self.following:
            self.dirty.clear()
            self._changes_before = self._changes()
            self._follower = Follower(self.source.server, self.dirty)
            self._tell("follow", "following the source's changes", primaries=len(self.source.server.nodes))

    def gap(self) -> str | None:
        """Tell what kept changes from being seen since `follow`; None when nothing did."""
        return self._gap(self._read_state())

    def _gap(self, state: SourceState) -> str | None:
        if self._follower is not None and self._follower.broken is not None:
            return f"the notifications broke off ({self._follower.broken})"
        changes = state.changes_since(self._state)
        return f"the source changed: {'; '.join(changes)}" if changes else None

    def repair(self) -> None:
        """
        Compare everything and carry the differences over, until a pass ends with nothing missed meanwhile.

        Raises:
            CutoverGaveUp: it does not come to an end, or a hold with a comparison in it would be too long.
            OutOfTime: the time is over.
        """
        last: int | None = None
        for _ in range(self._limits.repair_passes):
            done = self.repair_pass()
            if self.following:
                self._group_streams = streams_with_groups(self.source.server)
                gap = self.gap()
                if gap is None:
                    return
                self._tell("repair", f"{gap}: subscribing and comparing again")
                self.follow()
                continue
            # Nobody tells of changes: passes get shorter of themselves, until only what is written meanwhile is left.
            if done.repaired <= self._limits.drain_keys or (last is not None and done.repaired >= last * 0.8):
                self._announce_compare()
                return
            last = done.repaired
        if self.following:
            raise CutoverGaveUp(
                f"{self._limits.repair_passes} passes over all keys were made, and each had a gap in the notifications"
            )
        self._announce_compare()

    def repair_pass(self) -> RepairReport:
        """Compare everything once and carry the differences over."""

        def progress(done: RepairReport, expected: int) -> None:
            self._tell(
                "repair",
                f"compared {done.scanned:,} of about {expected:,} keys, repaired {done.repaired:,}",
                scanned=done.scanned,
                expected=expected,
                repaired=done.repaired,
            )

        self._streams.forget_all()
        done = repair(self.source.server, self.target, self._carrier, deadline=self._deadline, on_progress=progress)
        self.dirty.add(done.unsettled)
        self._report.repair_s += done.seconds
        self._report.repair_passes += 1
        self._report.keys_compared += done.compared
        self._report.keys_repaired += done.repaired
        self._compare_keys_per_s = max(done.compared / max(done.seconds, 0.001), 1.0)
        self._tell(
            "repair",
            f"compared {done.compared:,} keys in {done.seconds:.1f} s, repaired {done.repaired:,}",
            compared=done.compared,
            repaired=done.repaired,
            seconds=round(done.seconds, 3),
            dirty=len(self.dirty),
        )
        return done

    def _announce_compare(self) -> None:
        count = sum(self.source.server.databases().values())
        expected_s = count / self._compare_keys_per_s
        self._tell(
            "forecast",
            f"the hold will last about {expected_s:.1f} s: {count:,} keys at {self._compare_keys_per_s:,.0f} keys/s",
            keys=count,
            expected_hold_s=round(expected_s, 2),
        )
        if expected_s > self._limits.hold_with_compare_s:
            raise CutoverGaveUp(
                f"the source cannot be followed, so the hold would last about {expected_s:.1f} s, allowed are "
                f"{self._limits.hold_with_compare_s:g} s; switch its notifications on (notify-keyspace-events KA), "
                "or allow more"
            )

    # -- keeping up -----------------------------------------------------------------------------------------------

    def drain(self, hold_limit_ms: int) -> None:
        """
        Carry over what changed, until what is left fits a hold of *hold_limit_ms*.

        Raises:
            FollowBroken: changes were missed.
            OutOfTime: the source is written to faster than can be carried, or the time is over.
        """
        if not self.following:
            return
        began = fell_at = time.monotonic()
        seen, drained, least = self.follower.notifications, 0, len(self.dirty)
        last = least + 1
        while True:
            if (gap := self.gap()) is not None:
                raise FollowBroken(gap)
            self._look_for_groups()
            left = len(self.dirty)
            now = time.monotonic()
            if left <= self._limits.drain_keys and (left <= _FEW_KEYS or left >= last):
                # It does not get less any more. What is to be done inside the hold is done outside once, to see it fit.
                took_ms = self.drain_round() * 1000
                if took_ms * _FITS <= hold_limit_ms and len(self.dirty) <= self._limits.drain_keys:
                    break
                state = (
                    f"the last keys and {len(self._group_streams)} streams with groups take {took_ms:.0f} ms to carry"
                )
            else:
                last = left
                self.drain_round(_ROUND_KEYS)
                drained += min(left, _ROUND_KEYS)
                if left < least * 0.9:
                    least, fell_at = left, now
                elapsed_s = max(now - began, 0.001)
                state = (
                    f"{left:,} changed keys are left: {drained / elapsed_s:,.0f} keys/s are carried, "
                    f"{(self.follower.notifications - seen) / elapsed_s:,.0f} changes/s come"
                )
            if now >= self._deadline or now - fell_at > self._limits.stall_s:
                raise OutOfTime(f"{state}; that has not become less for {now - fell_at:.0f} s")
        self._tell(
            "drain",
            f"carried {drained:,} changed keys in {time.monotonic() - began:.2f} s, {len(self.dirty)} are left",
            drained=drained,
            left=len(self.dirty),
        )
        changes = self._changes()
        self.marker()
        if changes > self._changes_before and not self._notifies_within(_SILENCE_S):
            self._cannot_follow("was written to and notified nothing")
            self.repair()

    def _notifies_within(self, seconds: float) -> bool:
        """Tell whether the source notifies at all: the first changes may be such as none does (XREADGROUP, XACK)."""
        until = min(time.monotonic() + seconds, self._deadline)
        while not self.follower.notifications and time.monotonic() < until:
            time.sleep(0.005)
            self.marker()
        return self.follower.notifications > 0

    def drain_until(self, moment: float) -> None:
        """Keep up until a monotonic time."""
        self.drain_while(lambda: time.monotonic() < moment)

    def drain_while(self, goes_on: Callable[[], bool]) -> None:
        """Keep up for as long as *goes_on* says so."""
        while goes_on():
            if self.following and len(self.dirty):
                self.drain_round()
            else:
                time.sleep(0.001)

    def drain_round(self, limit: int | None = None) -> float:
        """
        Take marks off, then read, then write (in this order); without *limit* also the streams with groups.

        Returns:
            How long it took, in seconds.
        """
        began = time.monotonic()
        marks = self.dirty.take(limit)
        self.carry(marks)
        self._report.keys_drained += len(marks)
        if limit is None:
            self._streams.carry(self._carrier, self._group_streams.difference(marks))
        return time.monotonic() - began

    def carry(self, marks: list[Mark]) -> None:
        """Carry keys over as they are now."""
        # Streams with groups by their own carrier: it knows what the target has, and need not carry them once more.
        streams = self._group_streams.intersection(marks) - self._carrier.big
        try:
            self.dirty.add(carry_marks(self._carrier, [mark for mark in marks if mark not in streams]))
            self._streams.carry(self._carrier, streams)
        except BaseException:
            # Some are carried, some are not: all of them are to be carried again.
            self.dirty.add(marks)
            raise

    def _look_for_groups(self) -> None:
        self._group_streams |= have_groups(self.source.server, self.follower.take_suspects())

    # -- inside the hold ------------------------------------------------------------------------------------------

    def settle(self, hold_deadline: float) -> None:
        """
        Carry over what is left, to zero, while the writes are held, and see that it is equal.

        Args:
            hold_deadline: monotonic time at which the hold is over.

        Raises:
            FollowBroken, HoldFailed, OutOfTime: it is not proven that nothing is left.
        """
        if not self.following:
            self._settle_by_comparing(hold_deadline)
            return
        self.marker()
        self._report.left_for_hold = len(self.dirty)
        self._look_for_groups()
        carried: set[Mark] = set()
        while marks := self.dirty.take():
            carried.update(marks)
            self.carry(marks)
            self.marker()
            if time.monotonic() >= hold_deadline:
                raise HoldFailed(f"{len(self.dirty)} changed keys were left when the time of the hold was over")
        # What reading did to a stream's groups was not notified; those above were read while the writes were held.
        unseen = self._streams.carry(self._carrier, self._group_streams - carried)
        self._report.streams_for_hold = len(unseen)
        carried.update(unseen)
        different = differing(self.source.server, self.target, carried, self._pair)
        if different:
            # A key may have expired between the two reads.
            self.carry(different)
            different = differing(self.source.server, self.target, different, self._pair)
        self._report.in_hold = {"keys": len(carried), "differences": len(different)}
        if different:
            raise HoldFailed(f"{len(different)} keys differ after they were carried over inside the hold")

    def _settle_by_comparing(self, hold_deadline: float) -> None:
        done = repair(self.source.server, self.target, self._carrier, deadline=hold_deadline)
        compared, repaired = done.compared, done.repaired
        while done.repaired or done.unsettled:
            done = repair(self.source.server, self.target, self._carrier, deadline=hold_deadline)
        self._report.left_for_hold = repaired
        self._report.in_hold = {"keys": compared, "differences": 0}

    def marker(self) -> None:
        """Return when everything that was notified before is marked."""
        self.follower.marker()

    def check_unchanged(self) -> None:
        """
        Prove that nothing was missed, and that both servers are who they were.

        Raises:
            FollowBroken: changes were missed.
            Changed: the target is another.
        """
        source, target = SourceState.read_together([self._source_side, self._target_side])
        if (gap := self._gap(source)) is not None:
            raise FollowBroken(gap)
        changes = target.changes_since(self._target_state)
        if changes:
            raise Changed(f"the target changed: {'; '.join(changes)}")

    def must_begin_again(self) -> bool:
        """Tell whether changes were missed or a server is another, so that everything has to be compared again."""
        return self.gap() is not None or bool(self._target_changes())

    def _target_changes(self) -> list[str]:
        return self._read_target_state().changes_since(self._target_state)

    def check_still_empty(self) -> None:
        """
        Prove that nothing was written since everything was carried; what merely expired is carried over.

        Raises:
            FollowBroken: it cannot be told.
            HoldFailed: something was.
        """
        if not self.following:
            return
        self.marker()
        while marks := self.dirty.take():
            written = self._there(self.source.server, marks)
            if written:
                raise HoldFailed(f"{len(written)} keys were written to the source after it was closed")
            self.carry(marks)
            self.marker()

    # -- after the switch -----------------------------------------------------------------------------------------

    def watch_target(self, notify_keyspace_events: str | None) -> None:
        """
        Follow the target too, so that what applications write there after the switch can be told from a difference.

        Args:
            notify_keyspace_events: the target's setting where the server hides it.
        """
        if self._target_follower is not None and self._target_follower.broken is None:
            return
        setting = notify_keyspace_events
        if setting is None:
            setting = notification_setting(self.target)
        if setting is not None and notifies_everything(setting):
            self._target_follower = Follower(self.target)

    def target_is_used_from_now(self) -> None:
        """Note that applications write to the target from here on; everything before was ours."""
        if self.following:
            self._report.notifications = self.follower.notifications
        if self._target_follower is not None:
            self._target_follower.dirty.clear()

    def prove(self) -> None:
        """
        Compare everything once more, now that the source is closed and cannot change.

        What applications wrote to the target since the switch is newer, and left out.

        Raises:
            DataPlaneError: it could not be done; what was done before stays done.
        """
        evidence = self._report.evidence
        # Our connections may have been among those that a change of keys ended.
        with OwnServer.open_own(self.source.address) as source, OwnServer.open_own(self.target.address) as target:
            if self.following:
                late = self._written_late(source)
                evidence["late_writes"] = len(late)
                if late:
                    self._tell(
                        "evidence", f"{len(late)} keys of the source were written after the switch", late=len(late)
                    )
            if self._target_follower is None:
                self._report.not_possible.append(
                    "the target does not notify its changes, so it could not be compared once more after the switch"
                )
                return
            began = time.monotonic()
            compared = sum(source.databases().values())
            different, newer = self._different_and_not_newer(source, target, self._target_follower)
            evidence |= {
                "keys": compared,
                "differences": len(different),
                "written_since": newer,
                "seconds": round(time.monotonic() - began, 3),
                "first_differences": [f"db{database} {key[:80]!r}" for database, key in different[:10]],
            }
        self._tell(
            "evidence",
            f"compared {compared:,} keys again after the switch: {len(different)} differ",
            compared=compared,
            differences=len(different),
        )

    def _different_and_not_newer(self, source: Server, target: Server, writes: Follower) -> tuple[list[Mark], int]:
        pair = Pair.of(source, target)
        found: dict[Mark, None] = {}
        compare_all(pair, lambda database, _, keys: found.update(dict.fromkeys((database, key) for key in keys)))
        different = list(found)
        newer: set[Mark] = set()
        # Each is read a second and a third time: a key may have expired between two reads.
        for again in (True, True, False):
            writes.marker()
            newer = writes.dirty.snapshot()
            different = [mark for mark in different if mark not in newer]
            if again:
                different = differing(source, target, different, pair)
        # Reading a stream's groups is not notified: what applications read since the switch is newer too.
        read_since = only_groups_differ(source, target, different)
        return [mark for mark in different if mark not in read_since], len(newer | read_since)

    def _written_late(self, source: Server) -> list[Mark]:
        """Return the keys of the source that were written to after the switch; what expired since was not."""
        self.marker()
        return self._there(source, self.dirty.snapshot())

    def _there(self, source: Server, marks: Iterable[Mark]) -> list[Mark]:
        return [
            (database, key)
            for database, keys in by_database(marks)
            for key, there in zip(keys, source.execute([(key, ("EXISTS", key)) for key in keys], database), strict=True)
            if there
        ]

    # -- helpers --------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the subscriptions."""
        for follower in (self._follower, self._target_follower):
            if follower is not None:
                follower.stop()

    def _read_state(self) -> SourceState:
        return SourceState.read_together([self._source_side])[0]

    def _read_target_state(self) -> SourceState:
        return SourceState.read_together([self._target_side])[0]

    @property
    def _source_side(self) -> tuple[list[Connection], bool]:
        return self.source.controls(), self.source.server.clustered

    @property
    def _target_side(self) -> tuple[list[Connection], bool]:
        return [self.target.connection(node) for node in self.target.nodes], self.target.clustered

    def _changes(self) -> int:
        """Return the source's count of changes; it falls to 0 with each of its saves."""
        return sum(
            int(self.source.server.info("persistence", node).get("rdb_changes_since_last_save", "0"))
            for node in self.source.server.nodes
        )
