"""Evidence: both caches compared, with the state of the link, the lag and the settings."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from redismove import stages, target
from redismove.azure.caches import CacheId, Caches
from redismove.azure.errors import AzureError
from redismove.dataplane.connect import Node, Server
from redismove.dataplane.copy_job import Permit
from redismove.dataplane.population import population
from redismove.dataplane.verify import Depth, Difference, Progress, verify
from redismove.facts import CacheFacts, EvidenceFacts, PopulationFacts
from redismove.steps.access import Tell, address
from redismove.steps.in_use import refuse_if_in_use
from redismove.steps.keep_up import keeping_up
from redismove.steps.progress import at_intervals

NO_OFFSETS: Final = -1
MARKER_PREFIX: Final = b"redismove:marker:"
_LAG_DEADLINE_S: Final = 30.0
_SAMPLE_KEYS: Final = 100_000
"""So many keys tell the share within 0.3 points, and are read in a few seconds."""
_ROUNDS: Final = 12
"""A key that is written all the time differs in some rounds; one that differs in all of them differs."""


def compare(
    source_id: str,
    target_id: str,
    *,
    method: str,
    depth: Depth,
    allow_marker_key: bool,
    endpoint_file: str,
    carry: bool,
    tell: Tell,
) -> EvidenceFacts:
    """
    Compare source and target, both ways, and return the evidence.

    A linked target is only read. One that nothing keeps filled is first made equal again (what changed since the data
    was brought over is carried) and kept so while the comparison runs. The source is only read, but for the marker key
    where that is allowed.

    *depth* is "keys", "values" or "full". *allow_marker_key* lets a key of ours be written to the source, to see it
    arrive, where the service shows no replication offsets. *carry* False only compares: what the target lacks is
    counted and stays lacking. *tell* gets a line of progress every few seconds.

    Raises:
        RedismoveError: one of them cannot be asked.
    """
    linked = method == stages.GEO_REPLICATION
    if not linked:
        refuse_if_in_use(endpoint_file, target_id)
    caches = Caches.of(source_id)
    source, there = _both(caches, source_id, target_id)
    link_state = caches.link(source_id, target_id).provisioning_state if linked else ""
    with Server.open(address(caches, source)) as here, Server.open(address(caches, there)) as far:
        _refuse_one_server(here, far)
        if method == stages.COPY:
            Permit(far).withdraw()  # the copy is over: no job may write from here on
        lag = _lag_bytes(here, far, allow_marker_key=allow_marker_key) if linked else 0
        # Before anything is carried over: what the applications' own writes have brought.
        populated = measured(here, far, depth=depth) if method == stages.DUAL_WRITE else None
        if populated is not None:
            tell(populated.words)
        tell(f'comparing "{source.name}" with "{there.name}", depth {depth}')
        with nullcontext() if linked or not carry else keeping_up(caches, source, there, tell=tell):
            report = verify(
                here,
                far,
                depth=depth,
                rounds=_ROUNDS,
                on_progress=at_intervals(tell, _round),
                known_ignored=lambda _database, key: key.startswith(MARKER_PREFIX),
            )
    return EvidenceFacts(
        source_id=source_id,
        target_id=target_id,
        method=method,
        made_at_s=time.time(),
        depth=depth,
        link_state=link_state,
        lag_bytes=lag,
        keys_compared=report.counts["compared"],
        only_in_source=report.counts["only_in_source"],
        only_in_target=report.counts["only_in_target"],
        different=report.different - report.counts["only_in_source"] - report.counts["only_in_target"],
        settings_differ=target.settings_that_differ(source, there),
        first_differences=tuple(_words(difference) for difference in report.first_differences),
        signature=report.signature,
        population=populated,
    )


def measured(here: Server, far: Server, *, depth: Depth, required_share: float = 1.0) -> PopulationFacts:
    """Measure how much of *here* *far* has, and when it will have *required_share* (0 to 1) of the live keys."""
    found = population(here, far, sample_keys=_SAMPLE_KEYS, depth="values" if depth == "keys" else depth)
    enough_at_s = found.enough_at_s(required_share)
    return PopulationFacts(
        measured_at_s=found.measured_at_s,
        keys=found.keys,
        share=found.share,
        required_share=required_share,
        enough_at_s=-1.0 if enough_at_s is None else enough_at_s,
        missing=found.missing,
        different=found.different,
        lacking_without_expiry=found.lacking_without_expiry,
        longest_expiry_s=found.longest_expiry_s,
        longest_lacking_expiry_s=found.longest_lacking_expiry_s,
        sampled=found.sampled,
        words=found.summary(required_share),
    )


def _both(caches: Caches, source_id: str, target_id: str) -> tuple[CacheFacts, CacheFacts]:
    found = []
    for cache_id in (source_id, target_id):
        cache = caches.read(cache_id)
        if cache is None:
            raise AzureError(
                f'cache "{CacheId.parse(cache_id).name}": found none, allowed both caches to be there; '
                "go back to prepare"
            )
        found.append(cache)
    return found[0], found[1]


def _refuse_one_server(here: Server, far: Server) -> None:
    """A cache compared with itself is always equal: a topology that leads back to the source must not pass."""
    if {here.run_id(node) for node in here.nodes} & {far.run_id(node) for node in far.nodes}:
        raise AzureError(
            f"{here.address} and {far.address}: found the same servers behind both, allowed servers of their own; "
            "nothing was compared"
        )


def _words(difference: Difference) -> str:
    return f"database {difference.database}, key {difference.key!r}: {difference.reason}"


def _lag_bytes(here: Server, far: Server, *, allow_marker_key: bool) -> int:
    """
    Return how many bytes written before now the secondary still lacks, after at most 30 s of waiting for it.

    The primary's offset is read first: what is written later does not count. Shards are compared as a sum: which
    secondary follows which primary is the service's affair.
    """
    before = [_offset(here, node, "master_repl_offset") for node in here.nodes]
    after: list[int] = []

    def lag() -> int:
        after[:] = [_offset(far, node, "slave_repl_offset") for node in far.nodes]
        if NO_OFFSETS in after or len(after) != len(before):
            return NO_OFFSETS
        return max(0, sum(before) - sum(after))

    if NO_OFFSETS not in before:
        found = _poll(lag, lambda value: value in (0, NO_OFFSETS))
        if found != NO_OFFSETS:
            return found
    return _lag_by_marker(here, far) if allow_marker_key else NO_OFFSETS


def _lag_by_marker(here: Server, far: Server) -> int:
    """Write one key of ours to the source and see it arrive; 0 when it did, `NO_OFFSETS` when not within 30 s."""
    key = MARKER_PREFIX + uuid.uuid4().hex.encode()
    here.execute([(key, ("SET", key, b"1", "PX", 120_000))])
    try:
        arrived = lambda: 0 if far.execute([(key, ("EXISTS", key))])[0] == 1 else NO_OFFSETS  # noqa: E731
        return _poll(arrived, lambda value: value == 0)
    finally:
        here.execute([(key, ("DEL", key))])


def _poll(ask: Callable[[], int], done: Callable[[int], bool]) -> int:
    deadline = time.monotonic() + _LAG_DEADLINE_S
    while True:
        value = ask()
        if done(value) or time.monotonic() > deadline:
            return value
        time.sleep(0.05)


def _offset(server: Server, node: Node, name: str) -> int:
    value = server.info("replication", node).get(name, "")
    return int(value) if value.isdigit() else NO_OFFSETS


def _round(at: Progress) -> str:
    return f"round {at.round}: {at.scanned} of about {at.expected} keys looked at, {at.different} differ so far"
