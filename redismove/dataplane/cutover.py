"""
The cut-over: from the source to the target while applications write, without losing an acknowledged write.

The order of the steps is the whole point; with one of them moved, acknowledged writes are lost (the tests show which):

1. follow: subscribe at every primary of the source, before anything is compared;
2. repair: compare both sides, carry every difference over;
3. drain: take the mark off, then read, then write; until what is left fits the hold;
4. hold: the Endpoint says so, then CLIENT PAUSE WRITE at every primary; or, where the server has no such mode, the
   fence: both access keys changed (first the one that nobody uses, which holds nobody), then every connection but
   ours cut;
5. settle: PING behind the last notification, drain to zero, PING again; streams with groups once more; nothing about
   the servers has changed, else the hold ends and nothing has changed;
6. switch: the pause made to outlast the fence, then the Endpoint names the target;
7. fence, inside the pause: cut, change both keys, cut until CLIENT LIST shows only ourselves;
8. release: only now, because whatever waits when a pause ends is run on the source and acknowledged.

Before the switch everything can be taken back, and is, when the time is over or anything fails. After it the only
way is forward: `finish_fence` ends what a killed run left. A pause needs CLIENT LIST and CLIENT KILL as well: where
those are not allowed nothing closes the source, and the cut-over is refused before it begins.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from redismove.dataplane.connect import ServerAddress, parse_info
from redismove.dataplane.cutover_report import (
    CutoverEvent,
    CutoverGaveUp,
    CutoverLimits,
    CutoverRefused,
    CutoverReport,
    FenceUnfinished,
    HoldMethod,
    Teller,
)
from redismove.dataplane.errors import AuthenticationFailed, ConnectionLost, DataPlaneError
from redismove.dataplane.fence import (
    SYSTEM_USERS,
    FenceFailed,
    KeyName,
    KeyRotation,
    cut_foreign,
    cut_refusal,
    newest_ids,
    wait_until_refused,
)
from redismove.dataplane.follow import FollowBroken
from redismove.dataplane.hold import HoldFailed, WritePause, pause_in_force, write_pause_refusal
from redismove.dataplane.own import OwnServer, OwnSource
from redismove.dataplane.pursuit import Pursuit
from redismove.endpoint import EndpointEntry, EndpointStore
from redismove.errors import RedismoveError

__all__ = [
    "CutOver",
    "CutoverEvent",
    "CutoverGaveUp",
    "CutoverLimits",
    "CutoverRefused",
    "CutoverReport",
    "FenceUnfinished",
    "cut_over",
    "finish_fence",
    "take_back_hold",
]

HoldChoice = Literal["auto", "pause-write", "fence"]

_CUT_TIMEOUT_S = 10.0
"""So long may applications keep coming back while they are cut."""
_RECONNECT_S = 60.0
"""So long may our own connections to the source be refused after the switch."""


class CutOver:
    """
    One cut-over; `run` goes through the steps in their order. See `cut_over` for the arguments.

    Each step is a method of its own, so that the tests can run them in wrong orders and see the losses.
    """

    pursuit_type = Pursuit

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
        hold_method: HoldChoice = "auto",
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
        self.evidence = evidence
        self.system_users = system_users
        self.report = CutoverReport()
        self.tell = Teller(on_event)
        self.method: HoldMethod = "pause-write"
        self._began = time.monotonic()
        self._deadline = self._began + self.limits.total_s
        self._source: OwnSource | None = None
        self._target: OwnServer | None = None
        self._pursuit: Pursuit | None = None
        self._pause: WritePause | None = None
        self._old_keys: list[str] = []
        self._new_keys: dict[KeyName, str] = {}
        self._newest_with_key: dict[tuple[str, int], int] = {}
        self._announced_at = 0.0
        self._hold_began_at = 0.0
        self._switched = False

    # -- the order ------------------------------------------------------------------------------------------------

    def run(self) -> CutoverReport:
        """Go through all steps; see `cut_over`."""
        try:
            if not self.resume():
                self.connect()
                self.take_back()
                self.probe()
                self.endpoint.announce(self.target_entry)
                self.prepare_and_switch()
                self.fence()
                self.release()
                self.prove()
        finally:
            self.report.elapsed_s = time.monotonic() - self._began
            self.close()
        return self.report

    def prepare_and_switch(self) -> None:
        """Everything that can be taken back, and the switch at its end."""
        try:
            if self.carry:
                self.pursue()
                self.follow_and_repair()
            while not self.try_to_switch():
                if self.carry and self.pursuit.must_begin_again():
                    self.follow_and_repair()
        except CutoverRefused:
            raise
        except (RedismoveError, OSError) as error:
            with contextlib.suppress(RedismoveError, OSError):
                self.endpoint.announce(None)
            raise CutoverGaveUp(
                f"nothing was switched: {str(error).rstrip('.')}; applications use {self.source_address.url} as before"
                + ("; its access keys are new" if self.report.keys_changed else "")
            ) from error

    def try_to_switch(self) -> bool:
        """
        Drain, hold, settle, switch; when it fails take the hold back. Return whether it is switched.

        Raises:
            RedismoveError, OSError: it failed in a way, or so often, that another try will not help.
        """
        self.report.attempts += 1
        try:
            if self.carry:
                self.pursuit.drain(self._hold_limit_ms)
                if self.evidence:
                    self.pursuit.watch_target(self.target_notify_keyspace_events)
            self.hold()
            self.report.hold_parts_ms.clear()
            with _no_collection():
                for step in (self.settle, self.check_unchanged, self.outlast, self.switch):
                    began = time.monotonic()
                    step()
                    self.report.hold_parts_ms[step.__name__] = round((time.monotonic() - began) * 1000, 3)
            return True
        except BaseException as error:
            self.let_go()
            again = (
                isinstance(error, FollowBroken | HoldFailed)
                and self.method != "fence"  # every try of that cuts every application off
                and self.report.attempts < self.limits.attempts
                and time.monotonic() < self._deadline
            )
            if not again:
                raise
            self.tell("again", f"the hold was taken back: {error}; trying again", attempt=self.report.attempts)
            return False

    # -- before -----------------------------------------------------------------------------------------------------

    def resume(self) -> bool:
        """
        Look at the Endpoint first. Return True when there is nothing left to do but what was done here.

        Raises:
            CutoverRefused: the Endpoint names neither of the two caches, or a fence in the other direction is open.
            FenceUnfinished: an earlier run's fence could not be finished.
        """
        document = self.endpoint.read()
        self.report.generation = document.generation
        at_target = _same(document.entry, self.target_entry)
        if document.phase == "fencing":
            if not at_target:
                raise CutoverRefused(
                    "an earlier cut-over in the other direction has not finished its fence: finish that first"
                )
            self.finish()
            return True
        if at_target:
            if document.state == "hold":
                take_back_hold(self.target_address, endpoint=self.endpoint)
                self.tell("resume", "took back the hold that a run in the other direction had left")
            self.tell("resume", "the Endpoint names the target already, and the source is closed: nothing to do")
            self.report.resumed = True
            return True
        if not _same(document.entry, self.source_entry):
            raise CutoverRefused("the Endpoint names neither the source nor the target of this cut-over")
        return False

    def finish(self) -> None:
        """
        Do what is left after a switch whose run was killed: fence, end of the hold. Only forward from there.

        Raises:
            FenceUnfinished: it could not be done either.
        """
        self.report.resumed = self._switched = True
        self.tell("resume", "an earlier run switched the Endpoint and did not finish its fence: finishing it")
        self._connect_source()
        self._hold_began_at = time.monotonic()
        self.method = "fence"
        if self.hold_method != "fence":
            # Looked at and lengthened before anything else: to try whether the server knows pauses would end this one.
            in_force = pause_in_force(self.source.server.new_connection())
            self._pause = WritePause(self.source.controls)
            try:
                self._pause.begin(self._fence_ms)
                self.method = "pause-write"
                if not in_force:
                    self.report.not_possible.append(
                        "the pause had run out before the fence could be finished: what applications that do not "
                        "follow the Endpoint wrote to the source meanwhile is not on the target"
                    )
            except HoldFailed:
                self._pause = None  # a server without it was closed before it was switched
        self.report.method = self.method
        self._probe_cut()
        self.fence()
        self.release()

    def connect(self) -> None:
        """Open our connections to both sides."""
        self._connect_source()
        self._target = OwnServer.open_own(self.target_address)

    def _connect_source(self) -> None:
        try:
            self._source = OwnSource(self.source_address)
        except AuthenticationFailed:
            if self.keys is None or self.source_address.username is not None:
                raise
            # An earlier run may have changed the key after our caller had read it.
            self._source = OwnSource(self.source_address.with_password(self.keys.current()[self.used_key]))

    def take_back(self) -> None:
        """Take back the hold that a killed run left before its switch."""
        if self.endpoint.read().state == "hold":
            _unpause_and_open(self.source, self.endpoint)
            self.tell("resume", "took back the hold that an earlier run had left")

    def probe(self) -> None:
        """
        Find out how this source can be held and cut, before anything is begun.

        Raises:
            CutoverRefused: it cannot.
        """
        for name, connection in [("source", self.source.controls()[0]), ("target", self.target.connection())]:
            role = parse_info(connection.call("INFO", "replication")).get("role")
            if role != "master":
                raise CutoverRefused(f"the {name} {connection.where} is a {role}, and only a primary takes writes")
        self._probe_cut()
        refusal = None if self.hold_method == "fence" else write_pause_refusal(self.source.controls())
        if refusal is not None and self.hold_method == "pause-write":
            raise CutoverRefused(f"the writes cannot be held by a pause: {refusal}; hold them by the fence")
        self.method = "fence" if self.hold_method == "fence" or refusal is not None else "pause-write"
        self.report.method = self.method
        if self.keys is None and self.method == "fence" and not self.accept_open_fence:
            raise CutoverRefused(
                "this source can only be held by changing its access keys, and it has none to change: applications "
                "would come back as soon as they are cut; use access keys, or accept that each one holds by itself "
                "(cutover.acceptOpenFence)"
            )
        because = f": {refusal}" if refusal is not None else ""
        self.tell("probe", f"the writes will be held by {self.method}{because}", method=self.method)

    def _probe_cut(self) -> None:
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
        else:
            self._old_keys = list(self.keys.current().values())

    def pursue(self) -> None:
        """Begin to make the target what the source is."""
        self._pursuit = self.pursuit_type(
            self.source,
            self.target,
            limits=self.limits,
            report=self.report,
            tell=self.tell,
            deadline=self._deadline,
            notify_keyspace_events=self.notify_keyspace_events,
        )

    def follow_and_repair(self) -> None:
        """Subscribe, then compare everything and carry the differences over."""
        self.pursuit.follow()
        self.pursuit.repair()

    # -- the hold -----------------------------------------------------------------------------------------------------

    @property
    def _hold_limit_ms(self) -> int:
        if self.carry and not self.pursuit.following:
            return int(self.limits.hold_with_compare_s * 1000)
        return self.limits.hold_ms if self.method == "pause-write" else self.limits.fence_hold_ms

    @property
    def _hold_deadline(self) -> float:
        # The rest is for the switch: a pause that ran out would let writes go to the source unseen. Applications on our
        # client count from when the Endpoint said "hold", which a change of the unused key may make long ago.
        began_at = self._hold_began_at
        if self.method == "fence":
            began_at = min(began_at, self._announced_at + self.limits.notice_ms / 1000)
        return began_at + self._hold_limit_ms / 1000 * 0.8

    @property
    def _fence_ms(self) -> int:
        return int(self.limits.fence_s * 1000)

    def hold(self) -> None:
        """Say "hold" in the Endpoint, give notice, and hold the writes."""
        self._announced_at = time.monotonic()
        self.endpoint.hold(self._hold_limit_ms + self.limits.notice_ms)
        self.tell("hold", "the Endpoint says hold")
        self.endpoint.prepare_switch(self.target_entry)
        # Applications have no way to answer that they hold; the notice is longer than they may believe an old document.
        noticed_at = self._announced_at + self.limits.notice_ms / 1000
        if self.method == "fence":
            self.change_unused_key()
        if self.carry:
            self.pursuit.drain_until(noticed_at)
        else:
            time.sleep(max(0.0, noticed_at - time.monotonic()))
        if self.method == "pause-write":
            self.hold_by_pause()
        else:
            self.hold_by_fence()

    def hold_by_pause(self) -> None:
        """Hold the writes by CLIENT PAUSE WRITE at every primary."""
        self._pause = WritePause(self.source.controls)
        self._hold_began_at = time.monotonic()
        self._pause.begin(self._hold_limit_ms)

    def hold_by_fence(self) -> None:
        """Hold the writes by closing the source: change the key in use, then cut everybody (in this order)."""
        self._hold_began_at = time.monotonic()
        self.change_keys()
        # Applications on our client wait no longer than they were told: past that they would be cut in the midst of it.
        self._check_time()
        self.cut(until_alone=True)

    def settle(self) -> None:
        """Carry over what the hold found unread, to zero; where nothing is carried, count what stays behind."""
        if self.carry:
            self.pursuit.settle(min(self._deadline, self._hold_deadline))
        else:
            behind = sum(self.source.server.databases().values())
            self.report.in_hold = {"keys": behind, "differences": behind}
            self.tell("tally", f"{behind:,} keys stay behind", differences=behind)

    def check_unchanged(self) -> None:
        """
        Prove that the hold holds, and that nothing about the two servers changed since they are followed.

        Raises:
            FollowBroken, HoldFailed: not so.
        """
        if self.carry:
            self.pursuit.check_unchanged()
            if self.method == "fence":
                # Nothing pauses the source: whatever got in by another way has left a notification.
                self.pursuit.check_still_empty()
        self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() > self._hold_deadline:
            held_ms = (time.monotonic() - self._hold_began_at) * 1000
            raise HoldFailed(f"the hold took {held_ms:.0f} ms, allowed are {self._hold_limit_ms} ms")

    def outlast(self) -> None:
        """Make the pause outlast the fence: whatever waits when it ends is run on the source."""
        if self._pause is not None:
            self._pause.lengthen(self._fence_ms)

    def switch(self) -> None:
        """Name the target in the Endpoint: from here on the only way is forward."""
        if self.carry:
            self.pursuit.target_is_used_from_now()
        try:
            self.endpoint.switch(self.target_entry)
        except (RedismoveError, OSError):
            # Written or not? The document itself tells.
            if not self._is_switched():
                raise
        self._switched = True
        now = time.monotonic()
        self.report.hold_ms = (now - self._hold_began_at) * 1000
        self.report.announced_ms = (now - self._announced_at) * 1000

    def let_go(self) -> None:
        """Take the hold back, as far as there is one; after the switch there is nothing to take back."""
        if self._switched or self._is_switched():
            self._switched = True
            return
        if self._pause is not None:
            try:
                _each_control(self.source, ("CLIENT", "UNPAUSE"))
            except DataPlaneError as error:
                self.report.not_possible.append(f"the pause could not be ended, it runs out by itself: {error}")
            self._pause = None
        self.endpoint.open()

    def _is_switched(self) -> bool:
        document = self.endpoint.read()
        return document.phase == "fencing" and _same(document.entry, self.target_entry)

    # -- after the switch -----------------------------------------------------------------------------------------

    def fence(self) -> None:
        """
        Close the source to everybody but ourselves.

        Raises:
            FenceUnfinished: it could not be done; a pause goes on, and the next run has to end it.
        """
        try:
            if self.method == "pause-write":
                # First of all: what waits in the pause must never run, and its application shall go to the target now.
                self.cut(until_alone=False)
                self.change_keys()
                self.outlast()
            self.cut(until_alone=True)
        except Exception as error:
            held = ""
            if self._pause is not None:
                with contextlib.suppress(DataPlaneError):
                    self._pause.lengthen(self._fence_ms)
                held = f" within {self.limits.fence_s:g} s, for so long its writes stay held"
            raise FenceUnfinished(
                f"applications use {self.target_address.url}, and {self.source_address.url} could not be closed: "
                f"{str(error).rstrip('.')}; run the cut-over again to finish{held}"
            ) from error
        self.tell("fence", "the source is closed to everybody else", cut=self.report.connections_cut)

    def change_unused_key(self) -> None:
        """
        Change the key that nobody is said to use, before the hold.

        Not before the Endpoint says "hold": from then on applications fetch no key, and none of them gets the new one.
        """
        if self.keys is not None:
            self._regenerate("Secondary" if self.used_key == "Primary" else "Primary")

    def change_keys(self) -> None:
        """Change both access keys, first the one that nobody is said to use; wait until the old ones are refused."""
        if self.keys is None:
            return
        self.change_unused_key()
        # New connections of ours log in with the first new key while the second changes.
        self._regenerate(self.used_key)
        wait_until_refused(self.source.controls(), self._old_keys)
        self._old_keys = list(self._new_keys.values())
        # Every connection with a higher id than these was opened when no old key worked any more.
        self._newest_with_key = newest_ids(self.source.controls())

    def _regenerate(self, name: KeyName) -> None:
        """Change a key unless this run has done so; before the switch keep up with the source meanwhile."""
        if self.keys is None or name in self._new_keys:
            return
        self.report.keys_changed = True
        if self._switched or not self.carry:
            new = self.keys.regenerate(name)
        else:
            # A service may take seconds for it, in which everybody who is logged in writes on.
            with ThreadPoolExecutor(1) as pool:
                changing = pool.submit(self.keys.regenerate, name)
                self.pursuit.drain_while(lambda: not changing.done())
                new = changing.result()
        self._new_keys[name] = new
        self.source.use(new)

    def cut(self, *, until_alone: bool) -> None:
        """Cut every connection of others; with *until_alone* until nobody is left."""
        deadline = time.monotonic() + _RECONNECT_S
        wait_s = 0.01
        while True:
            try:
                result = cut_foreign(
                    self.source.controls(),
                    self.source.server.own_ids,
                    system_users=self.system_users,
                    until_alone=until_alone,
                    newest_with_key=lambda connection: self._newest_with_key.get((connection.host, connection.port)),
                    timeout_s=min(_CUT_TIMEOUT_S, self.limits.fence_s),
                )
                self.report.connections_cut += result.cut
                self.report.cut_without_key += result.without_key
                return
            except FenceFailed as error:
                if self.keys is not None:
                    raise
                self.report.not_possible.append(f"without a change of keys others came back: {error}")
                return
            except DataPlaneError:
                # Our own connection was ended, by the change of keys or by chance: a new one, with the new key.
                if not self._switched or time.monotonic() >= deadline:
                    raise
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, 1.0)

    def release(self) -> None:
        """End the pause, now that nobody is left to be run by it, and note in the Endpoint that all is done."""
        if self._pause is not None:
            _each_control(self.source, ("CLIENT", "UNPAUSE"))
            self._pause = None
        self.report.total_ms = (time.monotonic() - self._hold_began_at) * 1000
        self.report.generation = self.endpoint.settle().generation
        before = "" if self.report.resumed else f"{self.report.hold_ms:.1f} ms before the switch, "
        self.tell(
            "release",
            f"held {before}{self.report.total_ms:.1f} ms in all; {self.report.connections_cut} connections were cut",
            hold_ms=round(self.report.hold_ms, 3),
            total_ms=round(self.report.total_ms, 3),
        )

    def prove(self) -> None:
        """Compare everything once more. Whatever goes wrong here cannot change what is done, and is reported."""
        if self.carry and self.evidence:
            try:
                self.pursuit.prove()
            except DataPlaneError as error:
                self.report.not_possible.append(f"the comparison after the switch could not be ended: {error}")

    # -- helpers --------------------------------------------------------------------------------------------------

    @property
    def source(self) -> OwnSource:
        """Our side of the source."""
        assert self._source is not None
        return self._source

    @property
    def target(self) -> OwnServer:
        """Our side of the target."""
        assert self._target is not None
        return self._target

    @property
    def pursuit(self) -> Pursuit:
        """Makes the target what the source is; there is none for a cut-over that carries nothing."""
        assert self._pursuit is not None
        return self._pursuit

    def close(self) -> None:
        """End our connections."""
        if self._pursuit is not None:
            self._pursuit.stop()
        for held in (self._source, self._target):
            if held is not None:
                held.close()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage: everybody would wait for it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _same(one: EndpointEntry, other: EndpointEntry) -> bool:
    """Two entries name the same cache: resource ids are told apart without regard to case."""
    return one.resource_id.casefold() == other.resource_id.casefold()


def _each_control(source: OwnSource, command: tuple[str, ...]) -> None:
    """Run a command at every primary; once more where a connection turned out to be broken."""
    try:
        for connection in source.controls():
            connection.call(*command)
    except ConnectionLost:
        for connection in source.controls():
            connection.call(*command)


def _unpause_and_open(source: OwnSource, endpoint: EndpointStore) -> None:
    for connection in source.controls():
        # Its pause may go on for long: it was made to outlast a fence. 6.0 knows no UNPAUSE, and had no such pause.
        connection.pipeline([("CLIENT", "UNPAUSE")])
    endpoint.open()


def take_back_hold(cache: ServerAddress, *, endpoint: EndpointStore) -> None:
    """
    Take back the hold that a killed cut-over left before its switch: writes go on, and the Endpoint says so.

    Args:
        cache: the one that the Endpoint names.
        endpoint: the Endpoint; when it does not say "hold" nothing is done.
    """
    if endpoint.read().state == "hold":
        source = OwnSource(cache)
        try:
            _unpause_and_open(source, endpoint)
        finally:
            source.close()


def cut_over(
    source: ServerAddress,
    target: ServerAddress,
    *,
    endpoint: EndpointStore,
    source_entry: EndpointEntry,
    target_entry: EndpointEntry,
    keys: KeyRotation | None,
    limits: CutoverLimits | None = None,
    hold_method: HoldChoice = "auto",
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
    hold_method: HoldChoice = "auto",
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
