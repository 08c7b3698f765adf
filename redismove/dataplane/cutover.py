"""
The cut-over: from the source to the target while applications write, without losing an acknowledged write.

The order of the steps is the whole point; with one of them moved, acknowledged writes are lost (the tests show which):

1. follow: subscribe at every primary of the source, before anything is compared;
2. repair: compare both sides, carry every difference over;
3. drain: take the mark off, then read, then write; until what is left fits the hold;
4. hold: the Endpoint says so, then CLIENT PAUSE WRITE at every primary; or, where the server has no such mode, the
   fence: both access keys changed, then every connection but ours cut;
5. settle: PING behind the last notification, drain to zero, PING again; streams with groups once more; nothing about
   the server has changed, else the hold ends and nothing has changed;
6. switch: the pause made to outlast the fence, then the Endpoint names the target;
7. fence, inside the pause: cut, change both keys, cut until CLIENT LIST shows only ourselves;
8. release: only now, because whatever waits when a pause ends is run on the source and acknowledged.

Before the switch everything can be taken back, and is, when the time is over or anything fails. After it the only
way is forward: `finish_fence` ends what a killed run left.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from redismove.dataplane.carry import Carrier
from redismove.dataplane.connect import Connection, Node, Secret, Server, ServerAddress, parse_info
from redismove.dataplane.errors import AuthenticationFailed, ConnectionLost, DataPlaneError
from redismove.dataplane.fence import (
    SYSTEM_USERS,
    CutResult,
    FenceFailed,
    KeyName,
    KeyRotation,
    cut_foreign,
    cut_refusal,
    wait_until_refused,
)
from redismove.dataplane.follow import (
    DirtyKeys,
    Follower,
    FollowBroken,
    Mark,
    SourceState,
    notification_setting,
    notifies_everything,
)
from redismove.dataplane.hold import HoldFailed, WritePause, pause_in_force, write_pause_refusal
from redismove.dataplane.repair import (
    OutOfTime,
    RepairReport,
    StreamCarrier,
    carry_marks,
    differing,
    have_groups,
    only_groups_differ,
    repair,
    streams_with_groups,
)
from redismove.dataplane.verify.compare import Pair, differences
from redismove.endpoint import EndpointEntry, EndpointStore
from redismove.errors import RedismoveError

HoldMethod = Literal["pause-write", "fence"]

_DRAIN_KEYS: Final = 2000
"""So many keys are carried between two looks at the clock."""
_FEW_KEYS: Final = 8
"""So few take no time; waiting for fewer would."""


class CutoverRefused(DataPlaneError):
    """The cut-over cannot work here; nothing was begun."""


class CutoverGaveUp(DataPlaneError):
    """What had to be done before the switch could not be done; applications use the source as before."""


class FenceUnfinished(DataPlaneError):
    """Applications use the target, and the source is not proven closed: `finish_fence` has to end that."""


class _Changed(DataPlaneError):
    """Something about a server changed while it was followed."""


class _HoldTooLong(HoldFailed):
    """What had to be done inside the hold did not fit."""


@dataclass(frozen=True, kw_only=True)
class CutoverLimits:
    """
    How long and how much; times end in their unit.

    Attributes:
        total_s: everything before the switch.
        hold_ms: the longest hold by pause before the switch.
        fence_hold_ms: the longest hold by fence: it holds two changes of keys, which a service may take its time for.
        hold_with_compare_s: the longest hold that may hold a whole comparison (a source that notifies nothing).
        notice_ms: from the Endpoint saying "hold" to the hold; longer than applications on our client believe an old
            document. 0 gives no notice.
        drain_keys: so few keys may be left for the hold.
        fence_s: how long the pause outlasts the switch, and the fence may take.
        attempts: how often a hold may be begun.
        stall_s: give up when what is left to carry has not become less for so long.
        repair_passes: the most passes over all keys before the first hold.
    """

    total_s: float = 3600.0
    hold_ms: int = 5_000
    fence_hold_ms: int = 60_000
    hold_with_compare_s: float = 30.0
    notice_ms: int = 20
    drain_keys: int = 200
    fence_s: float = 900.0
    attempts: int = 3
    stall_s: float = 30.0
    repair_passes: int = 10


@dataclass(frozen=True)
class CutoverEvent:
    """One thing that happened: the step it belongs to, a sentence, and the numbers in it."""

    step: str
    message: str
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass
class CutoverReport:
    """
    What a cut-over did; holds no secret.

    Attributes:
        method: how the writes were held.
        hold_ms: from the first PAUSE (or the change of the first key) to the switch.
        announced_ms: from the Endpoint saying "hold" to the switch.
        total_ms: from the first PAUSE (or change) to the end of the hold, fence included.
        repair_s: all passes over all keys together.
        keys_compared, keys_repaired: in those passes.
        keys_drained: carried because they were changed while followed.
        left_for_hold: carried inside the hold (streams with groups not counted).
        streams_for_hold: streams whose groups had moved on unseen, carried once more inside the hold.
        connections_cut: of others, on the source.
        cut_without_key: of those, opened when no old key worked any more (applications that try to come back).
        keys_changed: both access keys of the source are new.
        attempts: holds that were begun.
        in_hold: keys compared on both sides inside the hold, and their differences.
        evidence: the comparison of everything after the switch; empty where it was not asked for or not possible.
        not_possible: one sentence for each thing that could not be done as it should.
        resumed: an earlier run had made the switch, this one ended the fence.
        generation: the Endpoint's.
    """

    method: HoldMethod | None = None
    hold_ms: float = 0.0
    announced_ms: float = 0.0
    total_ms: float = 0.0
    elapsed_s: float = 0.0
    repair_s: float = 0.0
    repair_passes: int = 0
    keys_compared: int = 0
    keys_repaired: int = 0
    keys_drained: int = 0
    notifications: int = 0
    left_for_hold: int = 0
    streams_for_hold: int = 0
    connections_cut: int = 0
    cut_without_key: int = 0
    keys_changed: bool = False
    attempts: int = 0
    in_hold: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    not_possible: list[str] = field(default_factory=list)
    resumed: bool = False
    generation: int = 0

    @property
    def clean(self) -> bool:
        """No difference, and no write to the source after the switch, was found."""
        return not any(
            found.get(name) for found in (self.in_hold, self.evidence) for name in ("differences", "late_writes")
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in vars(self).items()}


class _OwnServer(Server):
    """A server that remembers the id of every connection of ours, so that the fence can spare them."""

    def __init__(self, address: ServerAddress, **options: Any) -> None:
        super().__init__(address, **options)
        self.own_ids: dict[tuple[str, int], set[int]] = {}

    def own(self, connection: Connection) -> set[int]:
        """Return the ids of our connections at the primary behind *connection*."""
        return self.own_ids.setdefault((connection.host, connection.port), set())

    def remember(self, connection: Connection) -> Connection:
        """Note a connection of ours."""
        self.own(connection).add(connection.client_id())
        return connection

    def new_connection(self, node: Node | None = None, database: int = 0) -> Connection:
        return self.remember(super().new_connection(node, database))

    def _connection_to(self, host: str, port: int) -> Connection:
        known = self._connections.get((host, port))
        connection = super()._connection_to(host, port)
        if connection is not known:
            self.remember(connection)
        return connection

    @classmethod
    def open_own(cls, address: ServerAddress) -> _OwnServer:
        """Connect, and remember the connections made."""
        server = cls.open(address)
        assert isinstance(server, cls)
        for connection in server.own_connections():
            server.remember(connection)
        return server


class _Source:
    """Our side of the source: readers, one control connection a primary, and a password that may change."""

    def __init__(self, address: ServerAddress) -> None:
        self._password = address.password.reveal() if address.password is not None else None
        if address.username is None and address.password is not None:
            address = address.with_password(Secret(lambda: self._password or ""))
        self.address = address
        self.server = _OwnServer.open_own(address)
        self._controls: dict[tuple[str, int], Connection] = {}

    def use(self, password: str) -> None:
        """Log in with *password* from now on; connections that are open stay."""
        if self.address.username is None:
            self._password = password

    def controls(self) -> list[Connection]:
        """Return one connection to each primary for CLIENT and INFO; one that broke is made anew."""
        found = []
        for node in self.server.nodes:
            connection = self._controls.get((node.host, node.port))
            if connection is None or connection.closed_because is not None:
                connection = self._controls[(node.host, node.port)] = self.server.new_connection(node)
            found.append(connection)
        return found

    def own_ids(self, connection: Connection) -> set[int]:
        """Return the ids of our connections at the primary behind *connection*."""
        return self.server.own(connection)

    def close(self) -> None:
        """End every connection."""
        for connection in self._controls.values():
            connection.close()
        self.server.close()


class CutOver:
    """
    One cut-over; `run` goes through the steps in their order. See `cut_over` for the arguments.

    Each step is a method of its own, so that the tests can run them in wrong orders and see the losses.
    """

    def __init__(
        self,
        source: ServerAddress,
        target: ServerAddress,
        *,
        endpoint: EndpointStore,
        source_entry: EndpointEntry,
        target_entry: EndpointEntry,
        keys: KeyRotation | None,
        limits: CutoverLimits | None = None,
        hold_method: Literal["auto", "pause-write", "fence"] = "auto",
        on_event: Callable[[CutoverEvent], None] | None = None,
        carry: bool = True,
        used_key: KeyName = "Primary",
        notify_keyspace_events: str | None = None,
        target_notify_keyspace_events: str | None = None,
        accept_open_fence: bool = False,
        evidence: bool = True,
        system_users: Collection[str] = SYSTEM_USERS,
    ) -> None:
        self.source_address, self.target_address = source, target
        self.endpoint = endpoint
        self.source_entry, self.target_entry = source_entry, target_entry
        self.keys = keys
        self.limits = limits or CutoverLimits()
        self.hold_method = hold_method
        self.carry = carry
        self.used_key: KeyName = used_key
        self.notify_keyspace_events = notify_keyspace_events
        self.target_notify_keyspace_events = target_notify_keyspace_events
        self.accept_open_fence = accept_open_fence
        self.want_evidence = evidence
        self.system_users = system_users
        self.report = CutoverReport()
        self._on_event = on_event
        self._began = time.monotonic()
        self._deadline = self._began + self.limits.total_s
        self._following = carry
        self._source: _Source | None = None
        self._target: _OwnServer | None = None
        self._carrier: Carrier | None = None
        self._pair: Pair | None = None
        self._dirty = DirtyKeys()
        self._follower: Follower | None = None
        self._target_follower: Follower | None = None
        self._state = SourceState()
        self._target_state = SourceState()
        self._changes_before = 0
        self._group_streams: set[Mark] = set()
        self._streams = StreamCarrier()
        self._pause: WritePause | None = None
        self._newest_with_key: dict[tuple[str, int], int] = {}
        self._announced_at = 0.0
        self._hold_began_at = 0.0
        self._switched_at: float | None = None
        self._compare_keys_per_s = 0.0

    # -- the order ------------------------------------------------------------------------------------------------

    def run(self) -> CutoverReport:
        """Go through all steps; see `cut_over`."""
        try:
            if self.resume():
                return self.report
            self.connect()
            self.take_back()
            self.probe()
            if self.carry:
                self.follow()
                self.repair()
            self.until_switched()
            self.fence()
            self.release()
            self.prove()
        finally:
            self.report.elapsed_s = time.monotonic() - self._began
            self.close()
        return self.report

    def until_switched(self) -> None:
        """Drain, hold, settle, switch; when it fails take the hold back, and begin again if that may help."""
        while True:
            self.report.attempts += 1
            try:
                if self.carry:
                    self.drain()
                    self.watch_target()
                self.hold()
                if self.carry:
                    self.settle()
                self.check_unchanged()
                self.outlast()
                self.switch()
                return
            except (RedismoveError, OSError) as error:
                self.let_go()
                self._begin_again_or_give_up(error)
            except BaseException:
                if self._switched_at is None:
                    self.let_go()
                raise

    def _begin_again_or_give_up(self, error: Exception) -> None:
        again = (
            isinstance(error, FollowBroken | _Changed | HoldFailed)
            and self.method != "fence"  # every try of that cuts every application off
            and self.report.attempts < self.limits.attempts
            and time.monotonic() < self._deadline
        )
        if not again:
            raise CutoverGaveUp(
                f"nothing was switched: {error}; applications use {self.source_address.url} as before"
                + ("; its access keys are new" if self.report.keys_changed else "")
            ) from error
        self._event("again", f"the hold was taken back: {error}; trying again", attempt=self.report.attempts)
        if self.carry and (isinstance(error, _Changed) or self._gap()):
            self.follow()
            self.repair()

    # -- before -----------------------------------------------------------------------------------------------------

    def resume(self) -> bool:
        """
        Look at the Endpoint first: end the fence of an earlier run (True), take its hold back, or begin.

        Raises:
            CutoverRefused: the Endpoint names neither of the two caches, or the target already.
        """
        document = self.endpoint.read()
        if document.phase == "fencing":
            if document.entry != self.target_entry:
                raise CutoverRefused(
                    "an earlier cut-over in the other direction has not finished its fence: finish that first"
                )
            self.finish()
            return True
        if document.entry == self.target_entry:
            self._event("resume", "the Endpoint names the target already, and the source is closed: nothing to do")
            self.report.resumed, self.report.generation = True, document.generation
            return True
        if document.entry != self.source_entry:
            raise CutoverRefused("the Endpoint names neither the source nor the target of this cut-over")
        return False

    def finish(self) -> None:
        """
        Do what is left after a switch whose run was killed: fence, end of the hold. Only forward from there.

        Raises:
            FenceUnfinished: it could not be done either.
        """
        self.report.resumed = True
        self._event("resume", "an earlier run switched the Endpoint and did not finish its fence: finishing it")
        self._connect_source()
        self._hold_began_at = time.monotonic()
        self.method = "fence"
        if self.hold_method != "fence":
            # Looked at and lengthened before anything else: to try whether the server knows pauses would end this one.
            in_force = pause_in_force(self.source.server.new_connection())
            self._pause = WritePause(self.source.controls)
            try:
                self._pause.begin(int(self.limits.fence_s * 1000))
                self.method = "pause-write"
                if not in_force:
                    self.report.not_possible.append(
                        "the pause had run out before the fence could be finished: what applications that do not follow "
                        "the Endpoint wrote to the source meanwhile is not on the target"
                    )
            except HoldFailed:
                self._pause = None  # a server without it was closed before it was switched
        self.report.method = self.method
        self._refuse_without_cutting()
        self.fence()
        self.release()

    def connect(self) -> None:
        """Open our connections to both sides."""
        self._connect_source()
        self._target = _OwnServer.open_own(self.target_address)

    def _connect_source(self) -> None:
        try:
            self._source = _Source(self.source_address)
        except AuthenticationFailed:
            if self.keys is None or self.source_address.username is not None:
                raise
            # An earlier run may have changed the key after our caller had read it.
            self._source = _Source(self.source_address.with_password(self.keys.current()[self.used_key]))

    def take_back(self) -> None:
        """Take back the hold that a killed run left before its switch."""
        document = self.endpoint.read()
        self.report.generation = document.generation
        if document.state == "hold":
            for connection in self.source.controls():
                # Its pause may go on for long: it was made to outlast a fence. 6.0 knows no UNPAUSE, and had no pause.
                connection.pipeline([("CLIENT", "UNPAUSE")])
            self.endpoint.open()
            self._event("resume", "took back the hold that an earlier run had left")

    def probe(self) -> None:
        """
        Find out how this source can be held, cut and followed, before anything is begun.

        Raises:
            CutoverRefused: it cannot.
        """
        for name, connection in [("source", self.source.controls()[0]), ("target", self.target.connection())]:
            role = parse_info(connection.call("INFO", "replication")).get("role")
            if role != "master":
                raise CutoverRefused(f"the {name} {connection.where} is a {role}, and only a primary takes writes")
        self._probe_hold()
        if self.keys is None and self.method == "fence" and not self.accept_open_fence:
            raise CutoverRefused(
                "this source can only be held by changing its access keys, and it has none to change: applications would "
                "come back as soon as they are cut; use access keys, or accept that every application holds by itself"
            )
        if self.carry:
            self._probe_notifications()

    def _refuse_without_cutting(self) -> None:
        refusal = cut_refusal(self.source.controls())
        if refusal is not None:
            raise CutoverRefused(
                f"the source cannot be closed, because connections cannot be cut: {refusal} "
                "Open connections stay logged in when keys change, so writes would be lost."
            )
        if self.keys is None:
            self.report.not_possible.append(
                "no access key could be changed: connections were cut by id alone, and an application that does not "
                "follow the Endpoint could come back to the source"
            )

    def _probe_hold(self) -> None:
        self._refuse_without_cutting()
        controls = self.source.controls()
        refusal = None if self.hold_method == "fence" else write_pause_refusal(controls)
        if refusal is not None and self.hold_method == "pause-write":
            raise CutoverRefused(f"the writes cannot be held by a pause: {refusal}; hold them by the fence")
        self.method: HoldMethod = "fence" if self.hold_method == "fence" or refusal is not None else "pause-write"
        self.report.method = self.method
        because = f": {refusal}" if refusal is not None else ""
        self._event("probe", f"the writes will be held by {self.method}{because}", method=self.method)

    def _probe_notifications(self) -> None:
        setting = self.notify_keyspace_events
        if setting is None:
            setting = notification_setting(self.source.server)
        self._following = setting is not None and notifies_everything(setting)
        if self._following:
            return
        self._cannot_follow(
            "does not say what it notifies" if setting is None else f"notifies {setting!r}, needed is 'KA'"
        )

    def _cannot_follow(self, why: str) -> None:
        self._following = False
        self.report.not_possible.append(
            f"the source {why}: it could not be followed, and everything was compared inside the hold"
        )
        self._event("probe", f"the source {why}: the hold will hold a comparison of everything")

    def follow(self) -> None:
        """Note what must not change from now on, and subscribe; from here on no change goes unseen."""
        if self._follower is not None:
            self._follower.stop()
            self._follower = None
        self.source.server.refresh_nodes()
        self._state = self._read_state()
        self._target_state = self._read_target_state()
        if self._following:
            self._dirty.clear()
            self._changes_before = self._changes()
            self._follower = Follower(self.source.server, self._dirty)
            self._event("follow", "following the source's changes", primaries=len(self.source.server.nodes))
        if self._carrier is None:
            self._carrier = Carrier(self.source.server, self.target)
            self._pair = Pair.of(self.source.server, self.target)

    def repair(self) -> None:
        """Compare everything and carry the differences over, until a pass ends with nothing missed meanwhile."""
        last: int | None = None
        for _ in range(self.limits.repair_passes):
            done = self._repair_pass()
            if self._following:
                self._group_streams = streams_with_groups(self.source.server)
                problem = self._gap()
                if problem is None:
                    return
                self._event("repair", f"{problem}: subscribing and comparing again")
                self.follow()
                continue
            # Nobody tells of changes: passes get shorter of themselves, until only what is written meanwhile is left.
            if done.repaired <= self.limits.drain_keys or (last is not None and done.repaired >= last * 0.8):
                break
            last = done.repaired
        else:
            raise CutoverGaveUp(
                f"nothing was switched: {self.limits.repair_passes} passes over all keys, and each had a gap in the "
                f"notifications (last: {self._gap()}); applications use {self.source_address.url} as before"
            )
        self._announce_compare()

    def _repair_pass(self) -> RepairReport:
        def progress(done: RepairReport, expected: int) -> None:
            self._event(
                "repair",
                f"compared {done.scanned:,} of about {expected:,} keys, repaired {done.repaired:,}",
                scanned=done.scanned,
                expected=expected,
                repaired=done.repaired,
            )

        try:
            done = repair(self.source.server, self.target, self.carrier, deadline=self._deadline, on_progress=progress)
        except OutOfTime as error:
            raise CutoverGaveUp(
                f"nothing was switched: {error}; applications use {self.source_address.url} as before, "
                f"allow more than {self.limits.total_s:g} s"
            ) from None
        self._dirty.add(done.unsettled)
        self.report.repair_s += done.seconds
        self.report.repair_passes += 1
        self.report.keys_compared += done.compared
        self.report.keys_repaired += done.repaired
        self._compare_keys_per_s = done.compared / max(done.seconds, 0.001)
        self._event(
            "repair",
            f"compared {done.compared:,} keys in {done.seconds:.1f} s, repaired {done.repaired:,}",
            compared=done.compared,
            repaired=done.repaired,
            seconds=round(done.seconds, 3),
            dirty=len(self._dirty),
        )
        return done

    def _announce_compare(self) -> None:
        count = sum(self.source.server.databases().values())
        expected_s = count / max(self._compare_keys_per_s, 1.0)
        self._event(
            "forecast",
            f"the hold will last about {expected_s:.1f} s: {count:,} keys at {self._compare_keys_per_s:,.0f} keys/s",
            keys=count,
            expected_hold_s=round(expected_s, 2),
        )
        if expected_s > self.limits.hold_with_compare_s:
            raise CutoverGaveUp(
                f"nothing was switched: the source cannot be followed, so the hold would last about {expected_s:.0f} s, allowed are "
                f"{self.limits.hold_with_compare_s:g} s; switch its notifications on (notify-keyspace-events KA), or allow more"
            )

    def drain(self) -> None:
        """
        Carry over what changed, until what is left fits the hold.

        Raises:
            OutOfTime: the source is written to faster than can be carried, or the time is over.
        """
        if not self._following:
            return
        began = fell_at = time.monotonic()
        seen, drained, least = self.follower.notifications, 0, len(self._dirty)
        last = least + 1
        while True:
            if (gap := self._gap()) is not None:
                raise FollowBroken(gap)
            self._group_streams |= have_groups(self.source.server, self.follower.take_suspects())
            left = len(self._dirty)
            now = time.monotonic()
            if left <= self.limits.drain_keys and (left <= _FEW_KEYS or left >= last):
                # It does not get less of itself any more. What will be done inside the hold, once outside: it has to fit.
                took_s = self._drain_round(None) + self._carry_streams()
                if took_s * 4000 <= self._hold_limit_ms() and len(self._dirty) <= self.limits.drain_keys:
                    break
                state = (
                    f"the {len(self._group_streams)} streams with groups and the last keys take {took_s:.2f} s to carry"
                )
            else:
                last = left
                self._drain_round(_DRAIN_KEYS)
                drained += min(left, _DRAIN_KEYS)
                if left < least * 0.9:
                    least, fell_at = left, now
                elapsed = max(now - began, 0.001)
                state = (
                    f"{left:,} changed keys are left: {drained / elapsed:,.0f} keys/s are carried, "
                    f"{(self.follower.notifications - seen) / elapsed:,.0f} changes/s come"
                )
            if now >= self._deadline or now - fell_at > self.limits.stall_s:
                raise OutOfTime(f"{state}; that did not get less in {now - fell_at:.0f} s")
        self._event(
            "drain",
            f"carried {drained:,} changed keys in {time.monotonic() - began:.2f} s, {len(self._dirty)} are left",
            drained=drained,
            left=len(self._dirty),
        )
        if self.follower.notifications == 0 and self._changes() != self._changes_before:
            self._cannot_follow("was written to and notified nothing")
            self.repair()

    def _drain_round(self, limit: int | None) -> float:
        """Take marks off, then read, then write; return how long it took."""
        began = time.monotonic()
        marks = self._dirty.take(limit)
        self._carry(marks)
        self.report.keys_drained += len(marks)
        return time.monotonic() - began

    def _carry_streams(self) -> float:
        began = time.monotonic()
        self._streams.carry(self.carrier, self._group_streams)
        return time.monotonic() - began

    def _carry(self, marks: list[Mark]) -> None:
        try:
            self._streams.forget(marks)
            self._dirty.add(carry_marks(self.carrier, marks))
        except BaseException:
            # Some are carried, some are not: all of them are to be carried again.
            self._dirty.add(marks)
            raise

    def watch_target(self) -> None:
        """Follow the target too: what changes there after the switch is newer than the source."""
        if not self.want_evidence or (self._target_follower is not None and self._target_follower.broken is None):
            return
        setting = self.target_notify_keyspace_events
        if setting is None:
            setting = notification_setting(self.target)
        if setting is not None and notifies_everything(setting):
            self._target_follower = Follower(self.target)

    # -- the hold -----------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Say "hold" in the Endpoint, give notice, and hold the writes."""
        self._announced_at = time.monotonic()
        self.endpoint.hold(self._hold_limit_ms() + self.limits.notice_ms)
        self._event("hold", "the Endpoint says hold")
        until = self._announced_at + self.limits.notice_ms / 1000
        # Applications have no way to answer that they hold; the notice is as long as they may believe an old document.
        while (remaining_s := until - time.monotonic()) > 0:
            if self.carry and self._following and len(self._dirty):
                self._drain_round(None)
                self._carry_streams()
            else:
                time.sleep(min(remaining_s, 0.001))
        if self.method == "pause-write":
            self.hold_by_pause()
        else:
            self.hold_by_fence()

    def hold_by_pause(self) -> None:
        """Hold the writes by CLIENT PAUSE WRITE at every primary."""
        self._pause = WritePause(self.source.controls)
        self._hold_began_at = time.monotonic()
        self._pause.begin(self._hold_limit_ms())

    def hold_by_fence(self) -> None:
        """Hold the writes by closing the source: change the keys, then cut everybody (in this order)."""
        self._hold_began_at = time.monotonic()
        self.change_keys()
        self._cut(until_alone=True)

    def _hold_limit_ms(self) -> int:
        if not self._following and self.carry:
            return int(self.limits.hold_with_compare_s * 1000)
        return self.limits.hold_ms if self.method == "pause-write" else self.limits.fence_hold_ms

    def _check_hold(self) -> None:
        held_ms = (time.monotonic() - self._hold_began_at) * 1000
        # What is left is for the switch; a pause that ran out would let writes go to the source unseen.
        if held_ms > self._hold_limit_ms() * 0.8:
            raise _HoldTooLong(
                f"the hold took {held_ms:.0f} ms, allowed are {self._hold_limit_ms()} ms ({len(self._dirty)} keys were left)"
            )

    def settle(self) -> None:
        """Carry over what the hold found unread, to zero, and prove that nothing is left."""
        if not self._following:
            self.settle_by_comparing()
            return
        self.marker()
        self.report.left_for_hold = len(self._dirty)
        # What reading did to a stream's groups was not notified.
        carried = set(self._streams.carry(self.carrier, self._group_streams))
        self.report.streams_for_hold = len(carried)
        while marks := self._dirty.take():
            carried.update(marks)
            self._carry(marks)
            self.marker()
            self._check_hold()
        self._check_equal(carried)

    def settle_by_comparing(self) -> None:
        """Compare everything inside the hold and carry the differences over, until none is left."""
        deadline = min(self._deadline, self._hold_began_at + self._hold_limit_ms() / 1000 * 0.8)
        done = repair(self.source.server, self.target, self.carrier, deadline=deadline)
        compared, repaired = done.compared, done.repaired
        while done.repaired:
            done = repair(self.source.server, self.target, self.carrier, deadline=deadline)
        self.report.left_for_hold = repaired
        self.report.in_hold = {"keys": compared, "differences": 0}

    def marker(self) -> None:
        """Wait until everything notified so far is marked."""
        self.follower.marker()

    def _check_equal(self, carried: set[Mark]) -> None:
        different = differing(self.source.server, self.target, carried, self._pair)
        if different:
            # A key may expire between the two reads.
            self._carry(different)
            different = differing(self.source.server, self.target, different, self._pair)
        self.report.in_hold = {"keys": len(carried), "differences": len(different)}
        if different:
            raise HoldFailed(f"{len(different)} keys differ after they were carried over inside the hold")

    def check_unchanged(self) -> None:
        """
        Prove that nothing about the two servers changed since they are followed.

        Raises:
            FollowBroken, _Changed: something did.
        """
        if self.carry:
            if (gap := self._gap()) is not None:
                raise FollowBroken(gap)
            changes = self._read_target_state().changes_since(self._target_state)
            if changes:
                raise _Changed(f"the target changed: {'; '.join(changes)}")
        self._check_hold()
        if self.method == "fence" and self._following and self.carry:
            # Nothing pauses the source: whatever got in by another way since it was closed has left a notification.
            self.marker()
            if len(self._dirty):
                raise HoldFailed(f"{len(self._dirty)} keys were written to the source after it was closed")

    def _gap(self) -> str | None:
        if self._follower is not None and self._follower.broken is not None:
            return f"the notifications broke off ({self._follower.broken})"
        changes = self._read_state().changes_since(self._state)
        return f"the source changed: {'; '.join(changes)}" if changes else None

    def outlast(self) -> None:
        """Make the pause outlast the fence: whatever waits when it ends is run on the source."""
        if self._pause is not None:
            self._pause.lengthen(int(self.limits.fence_s * 1000))

    def let_go(self) -> None:
        """Take the hold back, as far as there is one."""
        if self._switched_at is not None or self.endpoint.read().phase == "fencing":
            return
        if self._pause is not None:
            try:
                self._unpause()
            except DataPlaneError as error:
                self.report.not_possible.append(
                    f"the pause of the source could not be ended, it runs out by itself: {error}"
                )
            self._pause = None
        self.endpoint.open()

    def switch(self) -> None:
        """Name the target in the Endpoint: from here on the only way is forward."""
        if self._target_follower is not None:
            self._target_follower.dirty.clear()
        try:
            document = self.endpoint.switch(self.target_entry)
        except Exception:
            # Written or not? The document itself tells.
            document = self.endpoint.read()
            if not (document.phase == "fencing" and document.entry == self.target_entry):
                raise
        self._switched_at = time.monotonic()
        self.report.generation = document.generation
        self.report.hold_ms = (self._switched_at - self._hold_began_at) * 1000
        self.report.announced_ms = (self._switched_at - self._announced_at) * 1000

    # -- after the switch -----------------------------------------------------------------------------------------

    def fence(self) -> None:
        """
        Close the source to everybody but ourselves.

        Raises:
            FenceUnfinished: it could not be done; the pause goes on, and `finish_fence` has to end it.
        """
        try:
            if self.method == "pause-write":
                # First of all: what waits in the pause must never run, and its application shall go to the target now.
                self._cut(until_alone=False)
                self.change_keys()
                if self._pause is not None:
                    self._pause.lengthen(int(self.limits.fence_s * 1000))
            self._cut(until_alone=True)
        except (RedismoveError, OSError) as error:
            if self._pause is not None:
                with contextlib.suppress(DataPlaneError):
                    self._pause.lengthen(int(self.limits.fence_s * 1000))
            raise FenceUnfinished(
                f"applications use {self.target_address.url}, and {self.source_address.url} could not be closed: {error}; "
                f"its writes stay held for {self.limits.fence_s:g} s, run the cut-over again within that time to finish"
            ) from error
        self._event("fence", "the source is closed to everybody else", cut=self.report.connections_cut)

    def change_keys(self) -> None:
        """Change both access keys, the one that nobody is said to use first."""
        if self.keys is None:
            return
        old = list(self.keys.current().values())
        unused: KeyName = "Secondary" if self.used_key == "Primary" else "Primary"
        # Our own connections move to the first new key before the second changes, should a service cut those of a key.
        names: tuple[KeyName, KeyName] = (unused, self.used_key)
        for name in names:
            self.report.keys_changed = True
            self.source.use(self.keys.regenerate(name))
        wait_until_refused(self.source.controls(), old)
        # Every connection with a higher id than these was opened when no old key worked any more.
        self._newest_with_key = {(node.host, node.port): self._newest_id(node) for node in self.source.server.nodes}

    def _newest_id(self, node: Node) -> int:
        with self.source.server.new_connection(node) as connection:
            return connection.client_id()

    def _cut(self, *, until_alone: bool) -> None:
        deadline = time.monotonic() + self.limits.fence_s
        while True:
            try:
                result = cut_foreign(
                    self.source.controls(),
                    self.source.own_ids,
                    system_users=self.system_users,
                    until_alone=until_alone,
                    newest_with_key=lambda connection: self._newest_with_key.get((connection.host, connection.port)),
                    timeout_s=min(10.0, self.limits.fence_s),
                )
                break
            except FenceFailed as error:
                if self.keys is not None:
                    raise
                self.report.not_possible.append(f"without a change of keys others came back: {error}")
                return
            except DataPlaneError:
                # Our own connection was cut, by the change of keys or by chance: a new one, with the new key.
                if time.monotonic() >= deadline or self._switched_at is None:
                    raise
        self._count(result)

    def _count(self, result: CutResult) -> None:
        self.report.connections_cut += result.cut
        self.report.cut_without_key += result.without_key

    def release(self) -> None:
        """End the pause, now that nobody is left to be run by it, and note in the Endpoint that all is done."""
        if self._pause is not None:
            self._unpause()
            self._pause = None
        ended = time.monotonic()
        self.report.total_ms = (ended - self._hold_began_at) * 1000
        self.report.generation = self.endpoint.settle().generation
        self._event(
            "release",
            f"held for {self.report.hold_ms:.1f} ms before the switch, {self.report.total_ms:.1f} ms in all; "
            f"{self.report.connections_cut} connections were cut",
            hold_ms=round(self.report.hold_ms, 3),
            total_ms=round(self.report.total_ms, 3),
        )

    def prove(self) -> None:
        """
        Compare everything once more, now that the source is closed and cannot change.

        What applications wrote to the target since the switch is newer, and left out; the target's own notifications
        tell which keys those are. Whatever goes wrong here cannot change what is done, and is reported.
        """
        if not self.carry:
            return
        if self._follower is not None:
            self.report.notifications = self._follower.notifications
        if not self.want_evidence:
            return
        try:
            self._prove()
        except (FollowBroken, DataPlaneError) as error:
            self.report.not_possible.append(f"the comparison after the switch could not be ended: {error}")

    def _prove(self) -> None:
        began = time.monotonic()
        # Our connections may have been among those that a change of keys ended.
        with _OwnServer.open_own(self.source.address) as source, _OwnServer.open_own(self.target_address) as target:
            if self._following:
                late = self._written_late(source)
                self.report.evidence["late_writes"] = len(late)
                if late:
                    self._event(
                        "evidence", f"{len(late)} keys were written to the source after the switch", late=len(late)
                    )
            if self._target_follower is None:
                self.report.not_possible.append(
                    "the target does not notify its changes, so it could not be compared once more after the switch"
                )
                return
            compared = sum(source.databases().values())
            pair = Pair.of(source, target)
            different = list(dict.fromkeys(differences(source, target)))
            for _ in range(2):
                self._target_follower.marker()
                written = self._target_follower.dirty.snapshot()
                # Read a second time: a key may have expired between two reads.
                different = differing(source, target, [mark for mark in different if mark not in written], pair)
            self._target_follower.marker()
            written = self._target_follower.dirty.snapshot()
            different = [mark for mark in different if mark not in written]
            # Reading a stream's groups is not notified: what applications read since the switch is newer too.
            read_since = only_groups_differ(source, target, different)
            different = [mark for mark in different if mark not in read_since]
        self.report.evidence |= {
            "keys": compared,
            "differences": len(different),
            "written_since": len(written) + len(read_since),
            "seconds": round(time.monotonic() - began, 3),
            "first_differences": [f"db{database} {key[:80]!r}" for database, key in different[:10]],
        }
        self._event(
            "evidence",
            f"compared {compared:,} keys again after the switch: {len(different)} differ",
            compared=compared,
            differences=len(different),
        )

    def _written_late(self, source: Server) -> list[Mark]:
        """Return the keys of the source that were written to after the switch; what expired since was not."""
        self.follower.marker()
        marks = sorted(self._dirty.snapshot())
        return [mark for mark in marks if source.execute([(mark[1], ("EXISTS", mark[1]))], mark[0])[0]]

    # -- helpers --------------------------------------------------------------------------------------------------

    @property
    def source(self) -> _Source:
        """Our side of the source."""
        assert self._source is not None
        return self._source

    @property
    def target(self) -> _OwnServer:
        """Our side of the target."""
        assert self._target is not None
        return self._target

    @property
    def carrier(self) -> Carrier:
        """Carries from the source to the target."""
        assert self._carrier is not None
        return self._carrier

    @property
    def follower(self) -> Follower:
        """Follows the source."""
        assert self._follower is not None
        return self._follower

    def close(self) -> None:
        """End our connections."""
        for follower in (self._follower, self._target_follower):
            if follower is not None:
                follower.stop()
        if self._source is not None:
            self._source.close()
        if self._target is not None:
            self._target.close()

    def _event(self, step: str, message: str, **numbers: float | int | str) -> None:
        if self._on_event is not None:
            self._on_event(CutoverEvent(step, message, numbers))

    def _unpause(self) -> None:
        try:
            for connection in self.source.controls():
                connection.call("CLIENT", "UNPAUSE")
        except ConnectionLost:
            for connection in self.source.controls():
                connection.call("CLIENT", "UNPAUSE")

    def _read_state(self) -> SourceState:
        return SourceState.read(self.source.controls(), clustered=self.source.server.clustered)

    def _read_target_state(self) -> SourceState:
        connections = [self.target.connection(node) for node in self.target.nodes]
        return SourceState.read(connections, clustered=self.target.clustered)

    def _changes(self) -> int:
        """Return the source's count of changes; it falls back to 0 with each of its saves."""
        return sum(
            int(self.source.server.info("persistence", node).get("rdb_changes_since_last_save", "0"))
            for node in self.source.server.nodes
        )


def cut_over(
    source: ServerAddress,
    target: ServerAddress,
    *,
    endpoint: EndpointStore,
    source_entry: EndpointEntry,
    target_entry: EndpointEntry,
    keys: KeyRotation | None,
    limits: CutoverLimits | None = None,
    hold_method: Literal["auto", "pause-write", "fence"] = "auto",
    on_event: Callable[[CutoverEvent], None] | None = None,
    carry: bool = True,
    used_key: KeyName = "Primary",
    notify_keyspace_events: str | None = None,
    target_notify_keyspace_events: str | None = None,
    accept_open_fence: bool = False,
    evidence: bool = True,
    system_users: Collection[str] = SYSTEM_USERS,
) -> CutoverReport:
    """
    Move the applications from *source* to *target* without losing an acknowledged write; forwards or backwards alike.

    Run again after a kill it goes on: a hold before the switch is taken back, a switch is finished.

    Args:
        source: the cache in use; with a password, one of its two access keys.
        target: the cache to use from now on; nothing but this may write to it before.
        endpoint: the Endpoint that applications follow; also the journal.
        source_entry: what the Endpoint says of the source.
        target_entry: what the Endpoint is to say of the target.
        keys: changes the source's access keys; None where it has none (Entra only).
        limits: how long what may take.
        hold_method: "auto" takes the pause where the server knows it, else the fence.
        on_event: is told what happens, for progress; called from this thread.
        carry: False moves the applications alone (hold, switch, fence) and carries no key.
        used_key: the key that applications use; the other is changed first.
        notify_keyspace_events: the source's setting where the server hides it (Azure shows it in the resource).
        target_notify_keyspace_events: the same of the target, for the comparison after the switch.
        accept_open_fence: hold by cutting alone where no key can be changed: every application holds by itself.
        evidence: compare everything once more after the switch.
        system_users: users whose connections are the service's own.

    Returns:
        What was done and measured. `clean` is False when a difference or a late write was found.

    Raises:
        CutoverRefused: it cannot work here; nothing was begun.
        CutoverGaveUp: the limits ran out or something failed before the switch; applications use the source as before.
        FenceUnfinished: applications use the target, the source is not proven closed; run again to finish.
    """
    return CutOver(
        source,
        target,
        endpoint=endpoint,
        source_entry=source_entry,
        target_entry=target_entry,
        keys=keys,
        limits=limits,
        hold_method=hold_method,
        on_event=on_event,
        carry=carry,
        used_key=used_key,
        notify_keyspace_events=notify_keyspace_events,
        target_notify_keyspace_events=target_notify_keyspace_events,
        accept_open_fence=accept_open_fence,
        evidence=evidence,
        system_users=system_users,
    ).run()


def finish_fence(
    source: ServerAddress,
    target: ServerAddress,
    *,
    endpoint: EndpointStore,
    keys: KeyRotation | None,
    limits: CutoverLimits | None = None,
    hold_method: Literal["auto", "pause-write", "fence"] = "auto",
    on_event: Callable[[CutoverEvent], None] | None = None,
    used_key: KeyName = "Primary",
    system_users: Collection[str] = SYSTEM_USERS,
) -> CutoverReport:
    """
    Close the old cache after a switch whose run was killed; without such a switch nothing is done.

    Args:
        source: the cache that the Endpoint named before.
        target: the cache that it names now (only for messages).
        endpoint: the Endpoint.
        keys: changes the source's access keys; None where it has none.
        limits: how long what may take (`fence_s`).
        hold_method: as for `cut_over`.
        on_event: as for `cut_over`.
        used_key: as for `cut_over`.
        system_users: as for `cut_over`.

    Raises:
        FenceUnfinished: it could not be closed; run again.
    """
    document = endpoint.read()
    run = CutOver(
        source,
        target,
        endpoint=endpoint,
        source_entry=document.previous or document.entry,
        target_entry=document.entry,
        keys=keys,
        limits=limits,
        hold_method=hold_method,
        on_event=on_event,
        used_key=used_key,
        system_users=system_users,
    )
    try:
        run.resume()
    finally:
        run.close()
    return run.report
