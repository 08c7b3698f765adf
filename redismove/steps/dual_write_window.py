"""The dual-write window: applications on this project's client are told to write to both caches, or to one again."""

from __future__ import annotations

import time
from typing import Final

from redismove import stages
from redismove.azure.caches import CacheId, Caches, same
from redismove.azure.errors import AzureError
from redismove.dataplane.connect import Server
from redismove.dataplane.population import population
from redismove.facts import CacheFacts, CarriedFacts
from redismove.steps.access import Tell, address
from redismove.steps.cutover import entry_of, store_at
from redismove.steps.in_use import refuse_if_in_use

_SAMPLE_KEYS: Final = 100_000
"""Of a source with more keys so many are drawn at random."""


def open_window(source_id: str, target_id: str, *, endpoint_file: str, tell: Tell) -> CarriedFacts:
    """
    Tell applications through the Endpoint to write to both caches and to read from the source; safe to repeat.

    Returns:
        When the window was opened and the longest expiry then (of a sample, where there are many keys), for the gates.

    Raises:
        RedismoveError: a cache is missing, or a cut-over is under way.
    """
    refuse_if_in_use(endpoint_file, target_id)
    caches = Caches.of(source_id)
    source, target = caches.read(source_id), caches.read(target_id)
    if source is None or target is None:
        missing = source_id if source is None else target_id
        raise AzureError(f'cache "{CacheId.parse(missing).name}": found none, allowed both caches; go back to prepare')
    store_at(endpoint_file).set_dual_write("write-both", entry_of(target, "target"))
    tell(f'applications on the dual-write client write to "{target.name}" too from now on')
    now = time.time()
    longest_s = _longest_expiry_s(caches, source, target)
    tell(f"the longest expiry of a key is {longest_s / 3600:.1f} h: after that time every key was written or has gone")
    return CarriedFacts(
        source_id=source_id,
        target_id=target_id,
        method=stages.DUAL_WRITE,
        started_at_s=now,
        finished_at_s=now,
        longest_expiry_s=longest_s,
    )


def _longest_expiry_s(caches: Caches, source: CacheFacts, target: CacheFacts) -> float:
    with Server.open(address(caches, source)) as here, Server.open(address(caches, target)) as far:
        return round(population(here, far, sample_keys=_SAMPLE_KEYS, depth="values").longest_expiry_s)


def close_window(source_id: str, *, endpoint_file: str) -> None:
    """Tell applications to write to the source alone again; nothing where they use another cache already."""
    store = store_at(endpoint_file)
    if same(store.read().entry.resource_id, source_id):
        store.set_dual_write("off")
