"""The dual-write window: applications on this project's client are told to write to both caches, or to one again."""

from __future__ import annotations

import time

from redismove import stages
from redismove.azure.caches import CacheId, Caches, same
from redismove.azure.errors import AzureError
from redismove.facts import CarriedFacts
from redismove.steps.access import Tell
from redismove.steps.cutover import entry_of, store_at
from redismove.steps.in_use import refuse_if_in_use


def open_window(source_id: str, target_id: str, *, endpoint_file: str, tell: Tell) -> CarriedFacts:
    """
    Tell applications through the Endpoint to write to both caches and to read from the source; safe to repeat.

    Returns:
        When the window was opened, for the gates.

    Raises:
        RedismoveError: a cache is missing, or a cut-over is under way.
    """
    refuse_if_in_use(endpoint_file, target_id)
    caches = Caches.of(source_id)
    target = caches.read(target_id)
    if target is None:
        raise AzureError(
            f'cache "{CacheId.parse(target_id).name}": found none, allowed both caches; go back to prepare'
        )
    store_at(endpoint_file).set_dual_write("write-both", entry_of(target, "target"))
    tell(f'applications on the dual-write client write to "{target.name}" too from now on')
    now = time.time()
    return CarriedFacts(
        source_id=source_id, target_id=target_id, method=stages.DUAL_WRITE, started_at_s=now, finished_at_s=now
    )


def close_window(source_id: str, *, endpoint_file: str) -> None:
    """Tell applications to write to the source alone again; nothing where they use another cache already."""
    store = store_at(endpoint_file)
    if same(store.read().entry.resource_id, source_id):
        store.set_dual_write("off")
