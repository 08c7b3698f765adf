"""The cut-over between two caches: where applications are sent, and how they get there without a lost write."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from redismove.azure.caches import CacheId, Caches, same
from redismove.azure.errors import AzureError
from redismove.dataplane.cutover import (
    CutoverLimits,
    CutoverReport,
    cut_over,
    finish_fence,
    take_back_hold,
)
from redismove.dataplane.tally import count_and_cut_over
from redismove.endpoint import EndpointEntry, EndpointMissing, FileEndpointStore
from redismove.facts import CacheFacts, CutoverFacts, to_dict
from redismove.steps.access import AccessKeys, Tell, address, notifies
from redismove.steps.progress import each_event

Side = Literal["source", "target"]
_SETTLE_S = 3_600.0
_KEYS_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Cutover:
    """
    What a cut-over needs to know; plain values, so that it can travel through Pulumi.

    `endpoint_file` may be relative to the project. `limit_s` bounds everything before the switch, `hold_ms` how long
    writes are held; `hold` is "auto", "pause-write" or "fence"; `carry` is False for new-cache, which moves no data.
    With `count_loss` a cut-over to the target counts the keys that the target lacks or has older, and leaves them so;
    one back to the source carries all the same. `accept_open_fence`: where nothing holds the writes of a source that
    takes no access keys, every application holds by itself. With `write_both` it also opens the dual-write window
    again.
    """

    source_id: str
    target_id: str
    endpoint_file: str
    limit_s: float
    hold_ms: int
    hold: Literal["auto", "pause-write", "fence"]
    carry: bool
    count_loss: bool = False
    accept_open_fence: bool = False
    write_both: bool = False

    @property
    def store(self) -> FileEndpointStore:
        """The Endpoint document."""
        return store_at(self.endpoint_file)

    @property
    def limits(self) -> CutoverLimits:
        """The bounds as the procedure takes them: a hold by fence changes two keys, which takes Azure its time."""
        return CutoverLimits(
            total_s=self.limit_s,
            hold_ms=self.hold_ms,
            fence_hold_ms=max(self.hold_ms, CutoverLimits.fence_hold_ms),
        )


def store_at(endpoint_file: str) -> FileEndpointStore:
    """Return the store of the Endpoint document *endpoint_file*, which may be relative to the project."""
    return FileEndpointStore(Path(endpoint_file).absolute())


def publish(asked: Cutover, *, tell: Tell) -> dict[str, Any]:
    """
    Tell applications of the source, for the first time or again; take back a hold that a killed cut-over left.

    Returns:
        What the Endpoint resource shows: host, port, tls, resourceId.

    Raises:
        RedismoveError: the document names another cache.
    """
    caches = Caches.of(asked.source_id)
    store = asked.store
    store.path.parent.mkdir(parents=True, exist_ok=True)
    source = _live(caches, asked.source_id)
    document = store.put(entry_of(source, "source"))
    if document.state == "hold":
        tell("taking back the hold of a cut-over that was ended before it switched")
        take_back_hold(address(caches, source), endpoint=store)
        document = store.read()
    return _shown(document.entry)


def switch(asked: Cutover, *, to: Side, tell: Tell) -> dict[str, Any]:
    """
    Cut over to side *to*; where that is done already, finish what is left of it.

    Returns:
        What the Endpoint resource shows, with `cutover`, the facts that the gates judge, and `report`, the figures.

    Raises:
        RedismoveError: it could not be done; before the switch nothing has changed, after it the next run goes on.
    """
    caches = Caches.of(asked.source_id)
    counting = asked.count_loss and to == "target"
    from_id, to_id = (asked.source_id, asked.target_id) if to == "target" else (asked.target_id, asked.source_id)
    old_side: Side = "source" if to == "target" else "target"
    old, new = caches.settled(from_id, timeout_s=_SETTLE_S, tell=tell), _live(caches, to_id)
    store = asked.store
    store.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        document = store.read()
    except EndpointMissing:
        document = store.put(entry_of(_live(caches, from_id), old_side))
    if same(document.entry.resource_id, to_id) and (old is None or document.phase == "settled"):
        report = CutoverReport(resumed=True)  # the switch and its fence are done; only the state does not say so yet
    elif old is None:
        raise AzureError(
            f'cache "{CacheId.parse(from_id).name}": found none, allowed the cache that applications use; '
            f"point {store.path.name} at the other one by hand if it is gone for good"
        )
    else:
        keys = None if old.access_keys_disabled else AccessKeys(caches, old.id, timeout_s=min(asked.limit_s, _KEYS_S))
        if same(document.entry.resource_id, to_id):
            report = finish_fence(
                address(caches, old),
                address(caches, new),
                endpoint=store,
                keys=keys,
                limits=asked.limits,
                hold_method=asked.hold,
                on_event=each_event(tell),
            )
        else:
            report = (count_and_cut_over if counting else cut_over)(
                address(caches, old),
                address(caches, new),
                endpoint=store,
                source_entry=entry_of(old, old_side),
                target_entry=entry_of(new, to),
                keys=keys,
                limits=asked.limits,
                hold_method=asked.hold,
                accept_open_fence=asked.accept_open_fence,
                on_event=each_event(tell),
                carry=asked.carry,
                notify_keyspace_events=notifies(old),
                target_notify_keyspace_events=notifies(new),
            )
    for sentence in report.not_possible:
        tell(sentence)
    if asked.write_both and to == "source" and old is not None:
        store.set_dual_write("write-both", entry_of(old, old_side))
    return {
        **_shown(entry_of(new, to)),
        "cutover": to_dict(
            CutoverFacts(
                from_id=from_id,
                to_id=to_id,
                finished_at_s=time.time(),
                differences=_differences(report),
                fenced=store.read().phase == "settled",
                hold_ms=report.hold_ms,
                keys_carried=0 if counting else report.keys_repaired + report.keys_drained,
            )
        ),
        "report": report.to_dict(),
    }


def _differences(report: CutoverReport) -> int:
    """Return the differences and late writes that were found; the switch itself happens only at 0."""
    found = (report.in_hold.get("differences"), report.evidence.get("differences"), report.evidence.get("late_writes"))
    return sum(int(number or 0) for number in found)


def _live(caches: Caches, cache_id: str) -> CacheFacts:
    cache = caches.settled(cache_id, timeout_s=_SETTLE_S)
    if cache is None:
        raise AzureError(f'cache "{CacheId.parse(cache_id).name}": found none, allowed a cache that runs')
    return cache


def entry_of(cache: CacheFacts, role: Side) -> EndpointEntry:
    """Return what the Endpoint says of *cache*."""
    return EndpointEntry(
        host=cache.host_name,
        port=cache.ssl_port,
        tls=cache.speaks_tls,
        clustered=cache.is_clustered,
        resource_id=cache.id,
        role=role,
    )


def _shown(entry: EndpointEntry) -> dict[str, Any]:
    return {"host": entry.host, "port": entry.port, "tls": entry.tls, "resourceId": entry.resource_id}
