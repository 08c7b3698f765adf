"""The bulk copy: every key of the source written to the target; what changes meanwhile is the cut-over's to carry."""

from __future__ import annotations

import time
from pathlib import Path

from redismove import stages
from redismove.azure.caches import CacheId, Caches, same
from redismove.azure.errors import AzureError
from redismove.dataplane.connect import Server
from redismove.dataplane.copy import copy
from redismove.dataplane.copy_job import Permit
from redismove.dataplane.throttle import Limits
from redismove.facts import CarriedFacts
from redismove.steps.access import Tell, address
from redismove.steps.in_use import refuse_if_in_use
from redismove.steps.progress import at_intervals, copy_words


def bulk_copy(
    source_id: str,
    target_id: str,
    *,
    checkpoint: str,
    endpoint_file: str,
    keys_per_s: float | None,
    mb_per_s: float | None,
    tell: Tell,
) -> CarriedFacts:
    """
    Copy every key with type, value, absolute expiry and database; stopped or killed it goes on where it was.

    The source is only read. *checkpoint* is a file, *keys_per_s* and *mb_per_s* bound the speed (None: no bound).

    Returns:
        What was read and written, for the gates.

    Raises:
        RedismoveError: it could not be done; the sentence says how far it got.
    """
    if same(source_id, target_id):
        raise AzureError(f"target {target_id}: found the source itself, allowed another cache; nothing was copied")
    refuse_if_in_use(endpoint_file, target_id)
    caches = Caches.of(source_id)
    source, target = caches.read(source_id), caches.read(target_id)
    if source is None or target is None:
        missing = source_id if source is None else target_id
        raise AzureError(f'cache "{CacheId.parse(missing).name}": found none, allowed both caches; go back to prepare')
    started_at_s = time.time()
    file = Path(checkpoint).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    with Server.open(address(caches, source)) as here, Server.open(address(caches, target)) as far:
        Permit(far).withdraw()  # where a job was to copy before: two copies at once would cross
        done = copy(
            here,
            far,
            limits=Limits(keys_per_s=keys_per_s, mb_per_s=mb_per_s),
            checkpoint=file,
            on_progress=at_intervals(tell, copy_words),
            on_notice=tell,
        )
    tell(f"copied {done.copied:,} keys in {done.duration_s:.1f} s")
    return CarriedFacts(
        source_id=source_id,
        target_id=target_id,
        method=stages.COPY,
        started_at_s=started_at_s,
        finished_at_s=time.time(),
        keys_read=done.scanned - done.gone,
        keys_written=done.copied,
    )
