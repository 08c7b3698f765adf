"""
Copy everything, then follow: the target becomes what the source is, and stays so until this is stopped.

The order is the cut-over's (`Pursuit`), without its end: subscribe, copy, carry what was changed. The bulk copy reads
each key once and marks come off only when it is over, so an older value never overtakes a newer one or a delete.
Whatever may have gone unseen (a broken subscription, a flush, another process, more marks than are kept, the time
before a restart) is met by the same means: subscribe again, then compare everything both ways and carry the
differences. A source that notifies nothing is compared again and again.

"Caught up" is said with the moment for which it holds: what was written before it is on the target.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redismove.dataplane.checkpoint import Checkpoint
from redismove.dataplane.connect import ServerAddress
from redismove.dataplane.copy import CopyProgress, Engine, copy
from redismove.dataplane.errors import (
    CannotCarry,
    ClusterMoved,
    ConnectionLost,
    ConnectionRefused,
    DataPlaneError,
    ServerNotReady,
    ServerTimeout,
)
from redismove.dataplane.follow import FollowBroken, notification_setting, notifies_everything
from redismove.dataplane.mirror_pursuit import ROUND_KEYS, Mirror, Prints, StopAsked
from redismove.dataplane.mirror_report import (
    CLOSE_S,
    CannotCatchUp,
    FollowProgress,
    FollowRefused,
    FollowReport,
    FollowStopped,
    Phase,
    StopRequest,
)
from redismove.dataplane.own import OwnServer, OwnSource
from redismove.dataplane.repair import RepairReport
from redismove.dataplane.throttle import Limits

_CLOSE_FOR_S = 2.0
"""Being close has to last so long to be taken for caught up."""
LOOK_EVERY_S = 1.0
"""So often what is not notified is looked for, and progress is told."""
_CLAIM_EVERY_S = 0.2
_IDLE_S = 0.2
_TOUCH_EVERY_S = 60.0
"""Azure cuts connections that were silent for ten minutes."""
_RATES_OVER_S = 5.0
_RECOVER_WITHIN_S = 60.0
_SAY_EVERY_S = 60.0
_MOST_RESCANS = 10
"""So many comparisons of everything in a row, none of which could be followed on from."""
_SETTING = "notify-keyspace-events"
_SILENT = "the source was written to and notified nothing"
_PASSING = (ConnectionLost, ServerTimeout, ConnectionRefused, ServerNotReady, ClusterMoved, FollowBroken, CannotCarry)
"""What may be over in a while: a network that breaks, a server that restarts, a cluster that fails over."""


def copy_and_follow(
    source: ServerAddress,
    target: ServerAddress,
    *,
    until_caught_up: bool = False,
    remove_extra: bool = False,
    limits: Limits | None = None,
    checkpoint: Path | None = None,
    engine: Engine = "auto",
    scheduler: str | None = None,
    workers: int | None = None,
    notify_keyspace_events: str | None = None,
    enable_notifications: bool = False,
    give_up_after_s: float = 60.0,
    stop: StopRequest | None = None,
    on_progress: Callable[[FollowProgress], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> FollowReport:
    """
    Copy every key, then carry every change, until stopped or caught up.

    Args:
        source: only read (but for `enable_notifications`).
        target: becomes equal; what the source lacks is removed there. Nobody else may write to it.
        until_caught_up: end then; otherwise only `stop` ends it.
        remove_extra: the target may have keys at the beginning; those that the source lacks are removed.
        limits: how fast it may go; changeable while it runs.
        checkpoint: a file to go on from when this is stopped or killed; it is kept, so that a later run goes on too.
        engine: of the bulk copy, as for `copy`.
        scheduler: of the bulk copy, as for `copy_shards`.
        workers: of the bulk copy, as for `copy_shards`; 1 copies in this process.
        notify_keyspace_events: the source's setting where the server hides it.
        enable_notifications: switch them on while this runs where they are off; put back at the end.
        give_up_after_s: with `until_caught_up`, when for so long nothing has become less.
        stop: ends it from outside.
        on_progress: called about once a second, during the bulk copy more often.
        on_notice: called with one sentence when something is done in another way, or again, and why.

    Raises:
        FollowRefused: the target has keys and `remove_extra` is False.
        FollowStopped: with how far it got and how to go on.
    """
    ours = OwnSource(source)
    try:
        there = OwnServer.open_own(target)
    except BaseException:
        ours.close()
        raise
    run = _Run(ours, there, source, limits or Limits(), checkpoint, stop or StopRequest(), on_progress, on_notice)
    try:
        run.prepare(notify_keyspace_events, remove_extra=remove_extra, enable_notifications=enable_notifications)
        run.bulk(engine, scheduler, workers)
        run.keep_up(until_caught_up=until_caught_up, give_up_after_s=give_up_after_s)
        return run.report
    except FollowRefused:
        raise
    except DataPlaneError as error:
        raise run.stopped_by(error) from None
    finally:
        run.close()


class _Run:
    def __init__(
        self,
        source: OwnSource,
        target: OwnServer,
        source_address: ServerAddress,
        limits: Limits,
        checkpoint: Path | None,
        stop: StopRequest,
        on_progress: Callable[[FollowProgress], None] | None,
        on_notice: Callable[[str], None] | None,
    ) -> None:
        self.source, self.target, self.limits, self.stop = source, target, limits, stop
        self.on_progress, self.on_notice = on_progress, on_notice
        self.source_address = source_address  # as it was given: it travels to workers
        self.report = FollowReport()
        self.checkpoint_path = checkpoint
        self.checkpoint: Checkpoint | None = None
        self.begun = time.monotonic()
        self._mirror: Mirror | None = None
        self._rates: deque[tuple[float, int, int]] = deque([(self.begun, 0, 0)])
        self._look_at = self._claim_at = self._touch_at = self._say_at = 0.0
        self._close_since: float | None = None
        self._caught_up_at_s: float | None = None
        self._compare_because: str | None = None
        self._compared_in_a_row = 0
        self._heard: tuple[Prints | None, int] = (None, 0)
        self._doubt_at, self._doubt_every_s = 0.0, _SAY_EVERY_S / 2
        self._least, self._fell_at = math.inf, self.begun
        self._until = False
        self._give_up_after_s = math.inf
        self._ended = False
        self._last_pass = RepairReport()
        self._pass_began = self._next_pass_at = 0.0
        self._pass_prints: tuple[Prints | None, Prints | None] = (None, None)
        self._told_at = 0.0

    # -- the beginning ------------------------------------------------------------------------------------------------

    def prepare(self, setting: str | None, *, remove_extra: bool, enable_notifications: bool) -> None:
        """Open the checkpoint, see that the target may be changed, find out what is notified, subscribe."""
        identity = {"what": "follow", "source": self.source.address.url, "target": self.target.address.url}
        checkpoint = self.checkpoint = Checkpoint(self.checkpoint_path, identity)
        self.report.resumed = checkpoint.resumed
        there = sum(self.target.databases().values())
        if checkpoint.resumed:
            self._compare_because = "an earlier run was stopped, and what was written since is not known"
        elif there and not remove_extra:
            raise FollowRefused(
                f"{self.target.address.host}:{self.target.address.port} has {there:,} keys already, and following "
                "removes those that the source lacks: use an empty target, give the checkpoint of the run that wrote "
                "them, or say that they may go (--remove-extra)."
            )
        elif there:
            self._compare_because = f"the target had {there:,} keys"
        checkpoint.data.setdefault("phase", "copy")
        if enable_notifications:
            self._enable(checkpoint)
        checkpoint.save()
        self._mirror = Mirror(
            self.source,
            self.target,
            limits=self.limits,
            stop=self.stop,
            told=self._tell,
            notice=self.notice,
            notify_keyspace_events=setting,
        )
        if not self.mirror.following:
            hidden = notification_setting(self.source.server) if setting is None else setting
            why = "does not say what it notifies" if hidden is None else f'notifies "{hidden}", needed is "KA"'
            self.notice(
                f"the source {why}: it is compared again and again instead of followed, which reads everything each "
                "time; switch its notifications on (--enable-notifications where CONFIG is allowed), or say what is "
                "set (--notify-keyspace-events)"
            )
        self._subscribe()

    def _subscribe(self) -> None:
        self.mirror.follow()
        self._heard = (self.mirror.fingerprint(), self.mirror.notifications())

    @property
    def mirror(self) -> Mirror:
        """Makes the target what the source is."""
        assert self._mirror is not None
        return self._mirror

    def _enable(self, checkpoint: Checkpoint) -> None:
        before: dict[str, str] = checkpoint.data.setdefault("notifications_before", {})
        for node in self.source.server.nodes:
            connection = self.source.server.connection(node)
            reply = connection.call("CONFIG", "GET", _SETTING)
            was = reply[1].decode() if reply else ""
            if notifies_everything(was):
                continue
            before.setdefault(str(node), was)
            checkpoint.save()  # before it is changed: a killed run's successor puts it back
            wanted = "".join(dict.fromkeys(was + "KA"))
            try:
                connection.call("CONFIG", "SET", _SETTING, wanted)
            except DataPlaneError:
                del before[str(node)]
                checkpoint.save()
                raise
            self.notice(f'{node}: {_SETTING} was "{was}" and is "{wanted}" while this runs')

    @property
    def _bulk_path(self) -> Path | None:
        return self.checkpoint_path.with_name(f"{self.checkpoint_path.name}.copy") if self.checkpoint_path else None

    def bulk(self, engine: Engine, scheduler: str | None, workers: int | None) -> None:
        """Copy everything once, unless an earlier run has."""
        assert self.checkpoint is not None
        if self.checkpoint.data["phase"] != "copy":
            return
        path = self._bulk_path

        def show(progress: CopyProgress) -> None:
            self._tell(
                "copy",
                scanned=progress.scanned,
                expected=progress.expected,
                keys_per_s=progress.keys_per_s,
                mb_per_s=progress.mb_per_s,
                remaining_s=progress.remaining_s,
                slowed_by=progress.slowed_by,
                force=True,
            )

        several = len(self.source.server.nodes) > 1 and workers != 1
        if scheduler is None and not several:
            self.report.bulk = copy(
                self.source.server,
                self.target,
                limits=self.limits,
                checkpoint=path,
                engine=engine,
                on_progress=show,
                on_notice=self.notice,
            )
        else:
            from redismove.dataplane.shards import copy_shards

            self.report.bulk = copy_shards(
                self.source_address,
                self.target.address,
                scheduler=scheduler,
                workers=workers,
                limits=self.limits,
                checkpoint=path,
                engine=engine,
                on_progress=show,
                on_notice=self.notice,
            )
        self.mirror.dirty.add(self.report.bulk.unsettled)
        if self.report.bulk.copied:
            self.mirror.mean_bytes = self.report.bulk.payload_bytes / self.report.bulk.copied
        self.checkpoint.data["phase"] = "follow"
        self.checkpoint.save()

    # -- keeping up ---------------------------------------------------------------------------------------------------

    def keep_up(self, *, until_caught_up: bool, give_up_after_s: float) -> None:
        """Carry every change until the end is asked for, or until nothing is left."""
        self._until = until_caught_up
        self._give_up_after_s = give_up_after_s if until_caught_up else math.inf
        self._least, self._fell_at = math.inf, time.monotonic()
        self.stop.heard = True
        broken_since: float | None = None
        wait_s = 0.0
        while not self._ended:
            try:
                if self.stop.is_set():
                    self._end_as_asked()
                    return
                self._step()
                broken_since, wait_s = None, 0.0
            except StopAsked:
                self._caught_up_at_s = None
                self._end_as_asked(looked=True)
                return
            except _PASSING as error:
                if broken_since is None:
                    broken_since = time.monotonic()
                    self.notice(f"{error} Trying again.")
                if time.monotonic() - broken_since > _RECOVER_WITHIN_S:
                    raise
                self.stop.wait(wait_s)
                wait_s = min(1.0, wait_s * 2 + 0.05)
                self._recover(broken_since + _RECOVER_WITHIN_S)

    def _step(self) -> None:
        if self._compare_because is not None:
            self._compare(self._compare_because)
        elif self.mirror.following:
            self._follow_on()
        else:
            self._pass_on()

    def _compare(self, because: str) -> None:
        """Subscribe, then compare everything; what is missed meanwhile is found at the next look."""
        self._compared_in_a_row += 1
        if self._until and self._compared_in_a_row > _MOST_RESCANS:
            raise CannotCatchUp(
                f"Everything was compared {_MOST_RESCANS} times and each time changes were missed again "
                f"({because}); {self._numbers()}."
            )
        self.notice(f"{because}: everything is compared again")
        if because not in self.report.reasons:
            self.report.reasons.append(because)
        self._caught_up_at_s = self._close_since = None
        self._compare_because = because  # until it is done
        self._tell("compare", force=True)
        self._subscribe()
        notified = self.mirror.notifications()
        done = self._one_pass()
        self._compare_because = None
        if because == _SILENT and done.repaired and self.mirror.notifications() == notified:
            self._compare_instead("the source notifies nothing, whatever was said of it")
        self._look_at = 0.0

    def _one_pass(self) -> RepairReport:
        self.report.comparisons += 1
        return self.mirror.repair_pass()

    def _follow_on(self) -> None:
        mirror = self.mirror
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._look()
            if self._compare_because is not None:
                return
        if len(mirror.dirty) and not mirror.drain_some():
            self.stop.wait(0.001)  # as much as its limits allow was carried
        left = len(mirror.dirty)
        self._note_rates()
        self._see_it_fall(left)
        near = left <= ROUND_KEYS or mirror.dirty.waiting_s() < CLOSE_S / 2
        if near and time.monotonic() >= self._claim_at:
            self._claim()
        elif not left:
            mirror.dirty.wait(_IDLE_S)
        self._tell("follow")

    def _look(self) -> None:
        """Look for what is not notified: flushes, another process, a lost subscription, other limits."""
        mirror = self.mirror
        if self.limits.refresh():
            self.notice(f"limits are now {self.limits.keys_per_s or 'no'} keys/s, {self.limits.mb_per_s or 'no'} MB/s")
        mirror.follower.renew_logins()
        now = time.monotonic()
        if now >= self._touch_at:
            self._touch_at = now + _TOUCH_EVERY_S
            mirror.touch()
        if mirror.notifies() is False:
            self._compare_instead("the source was told to notify no longer")
            return
        missed = mirror.what_was_missed()
        self._compare_because = missed if missed is not None else self._silence()

    def _compare_instead(self, because: str) -> None:
        self.notice(f"{because}: it is compared again and again instead of followed")
        self.mirror.following = False
        self._caught_up_at_s = self._close_since = None

    def _silence(self) -> str | None:
        """A source whose setting cannot be read, that is written to and says nothing, has perhaps nothing to say."""
        mirror = self.mirror
        # Those who read from streams with groups write without a notification.
        if mirror.has_group_streams or mirror.notifies() is not None:
            return None
        now = mirror.fingerprint()
        mirror.marker()
        notified = mirror.notifications()
        (before, notified_before), self._heard = self._heard, (now, notified)
        if now is None or before is None or notified != notified_before:
            return None
        written = any(new[0] > old[0] or new[1] != old[1] for new, old in zip(now, before, strict=False))
        if not written or time.monotonic() < self._doubt_at:
            return None
        self._doubt_every_s *= 2
        self._doubt_at = time.monotonic() + self._doubt_every_s
        return _SILENT

    def _claim(self) -> None:
        """Carry everything that is known now, and see whether anything is left: then it is caught up."""
        mirror = self.mirror
        began, began_at_s = time.monotonic(), time.time()
        before = mirror.fingerprint()
        mirror.marker()
        marked = time.monotonic()
        while mirror.dirty.waiting_s() > time.monotonic() - marked and time.monotonic() < began + CLOSE_S:
            if not mirror.drain_some():
                self.stop.wait(0.001)
        mirror.carry_streams()
        mirror.marker()
        missed = mirror.what_was_missed() or self._silence()
        if missed is not None:
            self._compare_because = missed
            return
        now = time.monotonic()
        left, waited_s = len(mirror.dirty), mirror.dirty.waiting_s()
        exact = not left and before is not None and mirror.fingerprint() == before
        # Seconds behind: what was written before `began` is carried, unless a mark is older than that.
        lag_s = 0.0 if exact else max(now - began, waited_s)
        self.report.exact, self.report.lag_keys, self.report.lag_s = exact, left, lag_s
        close = exact or lag_s <= CLOSE_S
        self.report.caught_up = close
        self._caught_up_at_s = began_at_s - max(0.0, waited_s - (now - began)) if close else None
        self._compared_in_a_row = 0
        self._close_since = (self._close_since or now) if close else None
        settled = self._close_since is not None and now - self._close_since >= _CLOSE_FOR_S
        if self._until and (exact or settled):
            self._ended = True
        self._claim_at = now + (LOOK_EVERY_S if exact and not self._until else _CLAIM_EVERY_S)
        self._tell("follow", force=self._ended)

    def _see_it_fall(self, left: int) -> None:
        """Give up, or say so, when what is left does not become less."""
        now = time.monotonic()
        if left < self._least * 0.9 or (self._close_since is not None and left <= ROUND_KEYS):
            self._least, self._fell_at = left, now
            return
        stalled_s = now - self._fell_at
        if stalled_s > self._give_up_after_s:
            raise CannotCatchUp(f"It cannot catch up: {self._numbers()}, for {stalled_s:.0f} s.")
        if stalled_s > _SAY_EVERY_S and now >= self._say_at:
            self._say_at = now + _SAY_EVERY_S
            self.notice(f"it does not catch up: {self._numbers()}, for {stalled_s:.0f} s")
        if left > self._least * 1.5:
            self._least = left / 1.2  # falling from here counts

    def _numbers(self) -> str:
        changes, carried = self._rate()
        bound = self.mirror.throttle.rate(self.mirror.mean_bytes)
        limited = f" (limited to {bound:,.0f}; raise the limit)" if bound is not None else ""
        return (
            f"{changes:,.0f} changes/s come and {carried:,.0f} keys/s are carried{limited}, "
            f"{len(self.mirror.dirty):,} changed keys are waiting"
        )

    # -- without notifications ----------------------------------------------------------------------------------------

    def _pass_on(self) -> None:
        """One comparison of everything, when there is a reason for one."""
        mirror = self.mirror
        now = time.monotonic()
        if self.limits.refresh():
            self.notice(f"limits are now {self.limits.keys_per_s or 'no'} keys/s, {self.limits.mb_per_s or 'no'} MB/s")
        if mirror.notifies():
            self.notice("the source notifies now: it is followed from here on")
            mirror.following = True
            self._compare_because = "the source began to notify"
            return
        if now >= self._touch_at:
            self._touch_at = now + _TOUCH_EVERY_S
            mirror.touch()
        print_now = mirror.fingerprint()
        first, second = self._pass_prints
        unchanged = print_now is not None and first == second == print_now
        if unchanged and mirror.what_was_missed() is None:
            self._caught_up_at_s = time.time()
            self._tell("passes")
            self.stop.wait(_IDLE_S)
            return
        if not self._until and now < self._next_pass_at:
            self._tell("passes")
            self.stop.wait(min(_IDLE_S, self._next_pass_at - now))
            return
        self._make_pass()

    def _make_pass(self) -> None:
        mirror = self.mirror
        mirror.dirty.clear()
        mirror.follow()  # nothing is subscribed; who the servers are is noted
        began, began_at_s, before = time.monotonic(), time.time(), mirror.fingerprint()
        done, last = self._one_pass(), self._last_pass
        after, took_s = mirror.fingerprint(), time.monotonic() - began
        self._last_pass, self._pass_began, self._pass_prints = done, began, (before, after)
        # The source is not read without end: at least as long as a pass takes nothing is done.
        self._next_pass_at = time.monotonic() + max(LOOK_EVERY_S, took_s)
        missed = mirror.what_was_missed()
        exact = not done.unsettled and missed is None and before is not None and before == after
        # Without counters two passes in a row that found nothing have to do.
        blind = before is None and not done.repaired and not last.repaired and last.compared > 0
        self.report.exact = exact
        self.report.caught_up = exact or blind
        self.report.lag_keys, self.report.lag_s = (0, 0.0) if exact else (done.repaired, took_s)
        self._caught_up_at_s = began_at_s if exact or blind else None
        if self._until:
            self._ended = exact or blind
            if done.repaired < self._least * 0.8:
                self._least, self._fell_at = done.repaired, time.monotonic()
            elif not self._ended and time.monotonic() - self._fell_at > self._give_up_after_s:
                raise CannotCatchUp(self._why_passes_do_not_do(done, before, after, took_s))
        self._tell("passes", force=True)

    def _why_passes_do_not_do(
        self, done: RepairReport, before: Prints | None, after: Prints | None, took_s: float
    ) -> str:
        writes = ""
        if before is not None and after is not None:
            changes = sum(now[0] - then[0] for now, then in zip(after, before, strict=False))
            writes = f" ({max(0, changes) / took_s:,.0f} changes/s)" if changes > 0 else ""
        return (
            f"It cannot catch up without notifications: each comparison of {done.compared:,} keys takes {took_s:.1f} s "
            f"({done.scanned / took_s:,.0f} keys/s), and finds {done.repaired:,} keys that were written to meanwhile"
            f"{writes}; switch notifications on (--enable-notifications), or stop the writes."
        )

    # -- when something breaks ----------------------------------------------------------------------------------------

    def _recover(self, deadline: float) -> None:
        """Wait until both sides answer again; whether anything was missed is seen at the next look."""
        wait_s = 0.05
        while not self.stop.is_set():
            try:
                for server in (self.source.server, self.target):
                    server.forget_broken()
                    server.refresh_nodes()
                    for node in server.nodes:
                        server.connection(node).call("PING")
                self.source.controls()
                self._look_at = 0.0
                if self._compare_because is None and self.mirror.following:
                    self._compare_because = self.mirror.what_was_missed()
                return
            except _PASSING:
                if time.monotonic() > deadline:
                    raise
                self.stop.wait(wait_s)
                wait_s = min(1.0, wait_s * 2)

    def stopped_by(self, error: DataPlaneError) -> FollowStopped:
        """Put how far it got, and how to go on, behind the reason."""
        path = self.checkpoint_path
        again = f"the same command with the checkpoint {path} compares what could be stale and goes on"
        if path is None:
            again = "the same command begins anew (give a checkpoint file to go on instead)"
        cause = getattr(error, "cause", error)
        if self.checkpoint is None or self.checkpoint.data.get("phase", "copy") == "copy":
            # The copy's own sentence says both.
            return FollowStopped(str(error).replace(str(self._bulk_path), str(path)), cause)
        carried = self._mirror.carried if self._mirror is not None else 0
        copied = f"{self.report.bulk.copied:,} keys were copied and " if self.report.bulk is not None else ""
        return FollowStopped(f"{error} {copied}{carried:,} changed keys carried; {again}.", cause)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _end_as_asked(self, *, looked: bool = False) -> None:
        self.report.stopped = True
        self.report.exact = self.report.caught_up = False
        try:
            self._look_a_last_time(looked=looked)
        except DataPlaneError as error:
            self.notice(str(error))

    def _look_a_last_time(self, *, looked: bool) -> None:
        mirror = self.mirror
        if looked or self._compare_because is not None:
            self.report.lag_keys, self.report.lag_s = len(mirror.dirty), mirror.dirty.waiting_s()
        elif mirror.following:
            self._claim()
        else:
            unchanged = self._pass_prints[0] is not None and self._pass_prints[0] == self._pass_prints[1]
            self.report.exact = self.report.caught_up = unchanged and mirror.fingerprint() == self._pass_prints[1]
            self.report.lag_keys = 0 if self.report.exact else self._last_pass.repaired
            self.report.lag_s = 0.0 if self.report.exact else time.monotonic() - self._pass_began

    def close(self) -> None:
        """Fill the report in, put the source's setting back, end the connections."""
        mirror = self._mirror
        if mirror is not None:
            self.report.carried = mirror.carried
            self.report.notifications = mirror.notifications()
            self.report.followed = mirror.following
            mirror.stop()
        self.report.duration_s = time.monotonic() - self.begun
        try:
            self._put_back()
        except DataPlaneError as error:
            self.notice(f"{_SETTING} of the source could not be put back: {error}")
        self.source.close()
        self.target.close()

    def _put_back(self) -> None:
        before = self.checkpoint.data.get("notifications_before") if self.checkpoint is not None else None
        if not before or self.checkpoint is None:
            return
        self.source.server.forget_broken()
        for node in self.source.server.nodes:
            if str(node) in before:
                self.source.server.connection(node).call("CONFIG", "SET", _SETTING, before[str(node)])
        del self.checkpoint.data["notifications_before"]
        self.checkpoint.save()

    # -- telling ------------------------------------------------------------------------------------------------------

    def notice(self, sentence: str) -> None:
        """Say a sentence, and keep it once."""
        if sentence not in self.report.notices:
            self.report.notices.append(sentence)
        if self.on_notice is not None:
            self.on_notice(sentence)

    def _note_rates(self) -> None:
        now = time.monotonic()
        if now - self._rates[-1][0] < 0.1:
            return
        self._rates.append((now, self.mirror.notifications(), self.mirror.carried))
        while self._rates[0][0] < now - _RATES_OVER_S:
            self._rates.popleft()

    def _rate(self) -> tuple[float, float]:
        (began, notified, carried), (now, notified_now, carried_now) = self._rates[0], self._rates[-1]
        seconds = now - began
        return ((notified_now - notified) / seconds, (carried_now - carried) / seconds) if seconds > 0 else (0.0, 0.0)

    def _tell(self, phase: Phase, *, force: bool = False, **numbers: Any) -> None:
        now = time.monotonic()
        if self.on_progress is None or (not force and now - self._told_at < LOOK_EVERY_S / 2):
            return
        self._told_at = now
        mirror = self.mirror
        changes_per_s, keys_per_s = self._rate()
        lag = {"lag_keys": len(mirror.dirty), "lag_s": round(mirror.dirty.waiting_s(), 3)}
        if phase == "passes":
            lag = {"lag_keys": self.report.lag_keys, "lag_s": round(self.report.lag_s, 3)}
        elif phase == "follow" and not lag["lag_keys"]:
            lag["lag_s"] = round(self.report.lag_s, 3)
        bound = mirror.throttle.rate(mirror.mean_bytes)
        known: dict[str, Any] = {
            **lag,
            "changes_per_s": changes_per_s,
            "keys_per_s": keys_per_s,
            "carried": mirror.carried,
            "comparisons": self.report.comparisons,
            "caught_up": self._caught_up_at_s is not None,
            "caught_up_at_s": self._caught_up_at_s,
            "slowed_by": "its limits" if bound is not None else None,
            "elapsed_s": now - self.begun,
        }
        self.on_progress(FollowProgress(phase, **{**known, **numbers}))
