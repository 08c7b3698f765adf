"""The copy as a job near the source: what is declared of it, and waiting for its end."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Final

from redismove import stages
from redismove.azure.caches import CacheId, Caches, same
from redismove.azure.container_groups import ContainerGroups, GroupId, GroupState
from redismove.azure.errors import AzureError
from redismove.azure.session import Session
from redismove.dataplane.connect import Secret, Server, ServerAddress
from redismove.dataplane.copy_job import Journal, Order, Permit, Place, Terms
from redismove.dataplane.errors import ConnectionLost, ConnectionRefused, ServerNotReady, ServerTimeout
from redismove.facts import CacheFacts, CarriedFacts, CopyJobFacts
from redismove.settings import MoveSettings
from redismove.steps.access import Tell, address
from redismove.steps.in_use import refuse_if_in_use
from redismove.steps.load import load_of
from redismove.steps.progress import at_intervals, copy_words

CONTAINER: Final = "copy"
COMMAND: Final = ("python", "-m", "redismove.cli.copy_job")
_READ_JOURNAL_EVERY_S: Final = 0.5
_ASK_AZURE_EVERY_S: Final = 5.0
_MOST_FAILURES: Final = 5
"""Runs in a row that end without having written a key."""
_MOST_STARTS: Final = 3
_LOG_LINES: Final = 50
_PASSING: Final = (ConnectionLost, ConnectionRefused, ServerNotReady, ServerTimeout)


def declared_job(
    settings: MoveSettings,
    caches: Caches,
    source: CacheFacts | None,
    *,
    recorded_where: str,
    move_id: str,
    attempt: str,
) -> CopyJobFacts | None:
    """
    Return the job that `replicate` declares, None where the copy runs inside the update.

    A job that was begun goes on unless the configuration says otherwise. Where it says nothing, the source's size
    decides.

    Args:
        settings: what is configured.
        caches: to ask the source for its size.
        source: the source, None where it is gone.
        recorded_where: where the copy runs or ran, "" where none was begun.
        move_id: the move; it and *attempt* are in the job's name.
        attempt: the passage through the stage.

    Raises:
        RedismoveError: the source's size is needed and cannot be read.
    """
    asked = settings.copy_job
    if settings.method != stages.COPY or settings.stage not in (stages.PREPARE, stages.REPLICATE) or source is None:
        return None
    if not asked.image or "inside" in (asked.where, recorded_where):
        return None
    by_size = asked.where == "auto" and not recorded_where
    if by_size and source.access_keys_disabled:
        return None  # a job has no other sign-in
    if by_size and load_of(caches, source).used_memory_bytes <= asked.threshold_gb * 1024**3:
        return None
    # What Azure cannot change in a group that is there makes another name, and so another group.
    fixed = [move_id, attempt, asked.cpu, asked.memory_gb, asked.subnet_id.lower()]
    digest = hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:12]
    return CopyJobFacts(
        name=f"redismove-copy-{digest}",
        location=source.location,
        subscription_id=source.subscription_id,
        image=asked.image,
        cpu=asked.cpu,
        memory_gb=asked.memory_gb,
        subnet_id=asked.subnet_id,
    )


@dataclass(frozen=True)
class OrderAndKeys:
    """What a job gets: the order in plain text, and the access keys, which are secrets."""

    order: str
    source_key: Secret
    target_key: Secret


def order_of(
    source: CacheFacts, target: CacheFacts, *, attempt: str, keys_per_s: float | None, mb_per_s: float | None
) -> OrderAndKeys:
    """
    Return the order to copy *source* to *target*, with the access keys as they are now.

    *keys_per_s* and *mb_per_s* bound its speed (None: no bound).
    """
    caches = Caches.of(source.id)
    here, far = address(caches, source), address(caches, target)
    order = Order(attempt, _place(source, here), _place(target, far), keys_per_s, mb_per_s)
    return OrderAndKeys(order.to_text(), _key(here), _key(far))


def _place(cache: CacheFacts, where: ServerAddress) -> Place:
    return Place(cache.id, where.host, where.port, where.tls, where.clustered)


def _key(where: ServerAddress) -> Secret:
    assert where.password is not None, "the mover logs in with access keys"
    return where.password


def wait_for_copy_job(
    source_id: str,
    target_id: str,
    *,
    group_id: str,
    attempt: str,
    endpoint_file: str,
    silence_s: float,
    tell: Tell,
) -> CarriedFacts:
    """
    Permit the job in container group *group_id* to copy, and wait for its end; killed, it can be called again.

    The job runs on whether anybody waits or not. It is given up only when nothing was heard of it for *silence_s*, or
    when it ends again and again without having written a key.

    Returns:
        What was read and written, for the gates.

    Raises:
        RedismoveError: the job cannot do it; the sentence says why, and the job is left as it is.
    """
    if same(source_id, target_id):
        raise AzureError(f"target {target_id}: found the source itself, allowed another cache; nothing was copied")
    refuse_if_in_use(endpoint_file, target_id)
    session = Session.from_environment(CacheId.parse(source_id).subscription_id)
    target = Caches(session).read(target_id)
    if target is None:
        raise AzureError(
            f'cache "{CacheId.parse(target_id).name}": found none, allowed both caches; go back to prepare'
        )
    watch = _Watch(ContainerGroups(session), group_id, Terms(attempt, source_id, target_id), silence_s, tell)
    tell(f'the copy runs in container group "{watch.name}"')
    while True:
        try:
            with Server.open(address(Caches(session), target)) as far:
                journal = watch.until_done(Permit(far))
        except _PASSING as error:
            watch.refuse_silence(str(error))
            time.sleep(_READ_JOURNAL_EVERY_S)
            continue
        break
    took_s = journal.finished_at_s - journal.started_at_s
    again = f", in {journal.runs} runs" if journal.runs > 1 else ""
    tell(f"copied {journal.keys_written:,} keys in {took_s:.1f} s{again}")
    return CarriedFacts(
        source_id=source_id,
        target_id=target_id,
        method=stages.COPY,
        started_at_s=journal.started_at_s,
        finished_at_s=journal.finished_at_s,
        keys_read=journal.keys_read,
        keys_written=journal.keys_written,
    )


def withdraw_permit(target_id: str) -> None:
    """Send away the job that copies to *target_id*; a target that is gone needs nothing."""
    caches = Caches.of(target_id)
    target = caches.read(target_id)
    if target is not None and target.provisioning_state == "Succeeded":
        with Server.open(address(caches, target)) as far:
            Permit(far).withdraw()


class _Watch:
    """What was heard of one job so far."""

    def __init__(self, groups: ContainerGroups, group_id: str, terms: Terms, silence_s: float, tell: Tell) -> None:
        self._groups, self._group_id, self._terms, self._silence_s = groups, group_id, terms, silence_s
        self._tell = tell
        self._progress = at_intervals(tell, copy_words)
        self.name = GroupId.parse(group_id).name
        self._heard_at = time.monotonic()
        self._last: Journal | None = None
        self._asked_at = float("-inf")
        self._failed_runs: int | None = None
        self._failures = 0
        self._starts = 0
        self._over = False
        self._granted = False

    def until_done(self, permit: Permit) -> Journal:
        """Wait until the journal says that the copy is complete."""
        while True:
            if not self._granted:
                # Once: an update that was killed and waits on unseen must not permit what a later one has withdrawn.
                permit.grant(self._terms)
                self._granted = True
            found = permit.read()
            if found is None or found[0] != self._terms:
                raise AzureError(
                    f'copy job "{self.name}": found its permit on the target gone, allowed it to stay until the copy '
                    "is complete (the target was flushed, or another command has begun); run the same command again, "
                    "and the copy begins anew"
                )
            journal = found[1]
            if journal.done:
                return journal
            self._listen(journal)
            if time.monotonic() - self._asked_at > _ASK_AZURE_EVERY_S:
                self._asked_at = time.monotonic()
                self._look(self._groups.state(self._group_id))
            self.refuse_silence("its journal does not change")
            time.sleep(_READ_JOURNAL_EVERY_S)

    def refuse_silence(self, why: str) -> None:
        """Give up when nothing was heard for too long."""
        if time.monotonic() - self._heard_at > self._silence_s:
            raise AzureError(
                f'copy job "{self.name}": found no sign of life for {self._silence_s:.0f} s ({why}), allowed a copy '
                f"that goes on; {self._where_to_look()} (redismove:settleMinutes sets the limit)"
            )

    def _listen(self, journal: Journal) -> None:
        if journal == self._last:
            return
        if self._last is not None and journal.earlier + journal.keys_written > (
            self._last.earlier + self._last.keys_written
        ):
            self._failures = 0
        self._last, self._heard_at = journal, time.monotonic()
        at = journal.copy_progress()
        if at is not None:
            self._progress(at)

    def _look(self, state: GroupState | None) -> None:
        if state is None:
            raise AzureError(
                f'copy job "{self.name}": found no such container group any more, allowed the one this stack made; '
                "run `pulumi up --refresh`, which makes it again, and the copy goes on where it was"
            )
        if state.over:
            self._start_again(state)
            return
        self._over = False
        ended = state.container in ("Waiting", "Terminated") and state.exit_code not in (None, 0)
        failed_runs = state.restarts + (1 if ended else 0)
        if self._failed_runs is None:
            # What failed before was another command's affair: what it complained of may be mended by now.
            self._failed_runs = failed_runs
        if failed_runs > self._failed_runs:
            self._failures += failed_runs - self._failed_runs
            self._failed_runs = failed_runs
            self._failed(state)

    def _start_again(self, state: GroupState) -> None:
        """Start a group that is over, seen twice: the end of the copy may just not have been read yet."""
        if not self._over:
            self._over, self._asked_at = True, float("-inf")
            return
        if self._starts >= _MOST_STARTS:
            raise AzureError(
                f'copy job "{self.name}": found it {state.state} with exit code {state.exit_code} and the copy '
                f"incomplete, allowed a job that finishes; {self._where_to_look()}"
            )
        self._starts += 1
        self._over = False
        self._tell(f'container group "{self.name}" is {state.state}, and the copy is not complete: starting it again')
        self._groups.start(self._group_id, timeout_s=self._silence_s)

    def _failed(self, state: GroupState) -> None:
        error, final = _error_in(self._groups.log(self._group_id, CONTAINER, lines=_LOG_LINES))
        said = error or f"it ended with exit code {state.exit_code}"
        if final or self._failures >= _MOST_FAILURES:
            raise AzureError(f'copy job "{self.name}": {said.rstrip(".")}; {self._where_to_look()}')
        self._tell(f"the copy job was ended and is started again: {said}")

    def _where_to_look(self) -> str:
        group = GroupId.parse(self._group_id).resource_group
        return (
            f"`az container logs --resource-group {group} --name {self.name}` shows its log; the same command again "
            "waits on"
        )


def _error_in(log: str) -> tuple[str, bool]:
    """Return the last error that a job's log tells of, and whether starting it again cannot help."""
    for line in reversed(log.splitlines()):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("event") == "failed":
            return str(entry.get("error") or ""), bool(entry.get("final"))
    return "", False
