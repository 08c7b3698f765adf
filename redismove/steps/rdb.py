"""
The method `rdb`: export, copy of the files to the target's region, import of all of them.

What was reached is noted in a blob beside the files, the journal, because a killed update leaves nothing in the stack's
state. A finished export is taken up again, files that are over are not copied again, and nothing is imported over a
target that applications use. An export that was not seen to end is made again: its files may be half written.
"""

from __future__ import annotations

import dataclasses
import json
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from redismove import stages
from redismove.azure.caches import CacheId, Caches, same
from redismove.azure.errors import AzureError, NotFound
from redismove.azure.session import Session
from redismove.azure.storage import AccountId, Blob, Container, open_container
from redismove.dataplane.connect import Server
from redismove.facts import MANAGED, CacheFacts, CarriedFacts
from redismove.steps.access import Tell, address
from redismove.steps.in_use import refuse_if_in_use

_MAGIC: Final = b"REDIS"
_HEAD_BYTES: Final = 512
"""Enough of a file to tell what it is, packed or not."""
_TELL_EVERY_S: Final = 15.0


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """
    What is to be brought over, and through which storage; plain values, so that it can travel through Pulumi.

    `source_account` and `target_account` are full resource ids; `container` is made where it is not there. `move_id`
    and `attempt` tell this transfer from others: of other moves, and of an earlier `replicate` of this one.
    `erases_foreign`: the target was not made by this move, and what it holds is exported before it is erased.
    `timeout_s` bounds each operation.
    """

    source_id: str
    target_id: str
    source_account: str
    target_account: str
    container: str
    move_id: str
    attempt: str
    endpoint_file: str
    by_identity: bool
    erases_foreign: bool
    keep_blobs: bool
    timeout_s: float

    @property
    def names_files(self) -> bool:
        """Whether the source's export takes names from us; a managed cache's does not: it gets its own container."""
        return CacheId.parse(self.source_id).product != MANAGED

    @property
    def container_of_files(self) -> str:
        """The container, on both sides, that the files go through."""
        return self.container if self.names_files else self._own_container

    @property
    def container_of_kept(self) -> str:
        """The container, on the target's side, for what the target held before; nothing in it is ever deleted."""
        return self.container if CacheId.parse(self.target_id).product != MANAGED else f"{self._own_container}-kept"

    @property
    def _own_container(self) -> str:
        return f"{self.container[:40].rstrip('-')}-{self.move_id[:12]}"

    @property
    def stem(self) -> str:
        """What the names of all files of this move begin with; "" in a container of their own."""
        return f"rdb-{self.move_id[:12]}-" if self.names_files else ""

    @property
    def journal_name(self) -> str:
        """The blob, in the source's container, that says how far this is."""
        return f"journal-{self.move_id[:12]}.json"


@dataclass
class Journal:
    """
    How far a transfer is. Times are Unix time; 0: not yet.

    `prefix` is that of the export's names, `files` what it wrote, with sizes; both are there once it has ended.
    `kept` names the files that hold what was in the target before; nobody but their owner removes them.
    """

    source_id: str
    target_id: str
    attempt: str
    prefix: str = ""
    started_at_s: float = 0.0
    exported_at_s: float = 0.0
    imported_at_s: float = 0.0
    files: list[tuple[str, int]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    looked_into_target: bool = False

    @property
    def blobs(self) -> list[Blob]:
        """The files of the export."""
        return [Blob(name=name, size_bytes=size) for name, size in self.files]


def transfer(asked: Transfer, *, tell: Tell) -> dict[str, Any]:
    """
    Bring everything that the source holds now to the target; stopped or killed it goes on where it was.

    The source is only read; the target loses what it held. What is written to the source meanwhile is not in the
    files: `verify` and the cut-over carry it.

    Returns:
        `carried` (`CarriedFacts`), `files` (names), `bytes`, `kept` (names of files with what the target held before).

    Raises:
        RedismoveError: it could not be done; the sentence says how far it is.
    """
    if same(asked.source_id, asked.target_id):
        raise AzureError(f"target {asked.target_id}: found the source itself, allowed another cache; nothing was done")
    refuse_if_in_use(asked.endpoint_file, asked.target_id)
    session = Session.from_environment(CacheId.parse(asked.source_id).subscription_id)
    caches = Caches(session)
    source, target = (_settled(caches, cache_id, asked, tell) for cache_id in (asked.source_id, asked.target_id))
    with ExitStack() as stack:
        near, far = (
            stack.enter_context(
                open_container(session, account, asked.container_of_files, by_identity=asked.by_identity)
            )
            for account in (asked.source_account, asked.target_account)
        )
        near.make()
        far.make()
        journal = _read_journal(near, asked)
        if not journal.imported_at_s:
            if not journal.exported_at_s:
                _export(caches, source, near, asked, journal, tell)
            near_bytes = sum(blob.size_bytes for blob in journal.blobs)
            tell(f"bringing {len(journal.files)} files, {near_bytes:,} bytes, from {near.place} to {far.place}")
            far.copy_from(near, journal.blobs, timeout_s=asked.timeout_s, tell=tell)
            _refuse_incomplete(far, journal)
            if asked.erases_foreign and not journal.looked_into_target:
                kept = stack.enter_context(
                    open_container(
                        session, asked.target_account, asked.container_of_kept, by_identity=asked.by_identity
                    )
                )
                kept.make()
                _keep_what_is_there(caches, target, kept, near, asked, journal, tell)
            _import(caches, target, far, near, asked, journal, tell)
        else:
            tell("the files were imported by an earlier run")
    return {
        "carried": dataclasses.asdict(
            CarriedFacts(
                source_id=asked.source_id,
                target_id=asked.target_id,
                method=stages.RDB,
                started_at_s=journal.started_at_s,
                finished_at_s=journal.imported_at_s,
                files_exported=len(journal.files),
                files_imported=len(journal.files),
            )
        ),
        "files": [name for name, _ in journal.files],
        "bytes": sum(size for _, size in journal.files),
        "kept": list(journal.kept),
    }


def remove_files(asked: Transfer, *, tell: Tell) -> None:
    """
    Delete the files of this move and its journal on both sides; where they are to be kept, the journal alone.

    What the target held before is never deleted. An account that is gone is no error.

    Raises:
        RedismoveError: storage refuses.
    """
    session = Session.from_environment(CacheId.parse(asked.source_id).subscription_id)
    for account in (asked.source_account, asked.target_account):
        try:
            with open_container(session, account, asked.container_of_files, by_identity=asked.by_identity) as container:
                container.remove([asked.journal_name])
                if asked.keep_blobs:
                    continue
                names = [blob.name for blob in container.list(asked.stem)]
                container.remove(names)
                if names:
                    tell(f"deleted {len(names)} files from {container.place}")
        except NotFound:
            tell(f'storage account "{AccountId.parse(account).name}" is gone, and its files with it')


# -- the steps


def _export(caches: Caches, source: CacheFacts, near: Container, asked: Transfer, journal: Journal, tell: Tell) -> None:
    """Export the source under names that no export had before, and note what came of it."""
    if not asked.keep_blobs:
        near.remove([blob.name for blob in near.list(asked.stem) if blob.name != asked.journal_name])
    journal.started_at_s = time.time()
    journal.prefix = f"{asked.stem}{int(journal.started_at_s * 1000):x}" if asked.names_files else ""
    _write_journal(near, asked, journal)
    tell(f'exporting "{source.name}" to {near.place}')
    blobs = _exported(caches, source, near, journal.prefix, asked, tell)
    journal.files = [(blob.name, blob.size_bytes) for blob in blobs]
    journal.exported_at_s = time.time()
    _write_journal(near, asked, journal)
    took_s = journal.exported_at_s - journal.started_at_s
    tell(f"exported {len(blobs)} files, {sum(blob.size_bytes for blob in blobs):,} bytes, in {took_s:.1f} s")


def _exported(
    caches: Caches, cache: CacheFacts, container: Container, prefix: str, asked: Transfer, tell: Tell
) -> list[Blob]:
    """Export a cache and return its files, which Azure alone names; every shard must have one."""

    is_managed = cache.product == MANAGED
    before = {blob.name for blob in container.list(prefix)} | {asked.journal_name}

    def exported() -> list[Blob]:
        return [blob for blob in container.list(prefix) if blob.name not in before]

    def progress(elapsed_s: float) -> str:
        written = exported()
        return f"{elapsed_s:.0f} s, {len(written)} files, {sum(blob.size_bytes for blob in written):,} bytes so far"

    caches.export_data(
        cache.id,
        container_url=container.for_export(valid_s=asked.timeout_s, signed=is_managed).reveal(),
        prefix=prefix,
        identity_subscription_id=container.subscription_id if asked.by_identity else "",
        timeout_s=asked.timeout_s,
        tell=_now_and_then(f'export of "{cache.name}"', progress, tell),
    )
    blobs = exported()
    # How many shards a managed cache has nobody says.
    wanted = "1 or more" if is_managed else f"{max(cache.shard_count, 1)}"
    if not blobs or (not is_managed and len(blobs) != max(cache.shard_count, 1)):
        raise AzureError(
            f'export of cache "{cache.name}": found {len(blobs)} files under "{prefix}" in {container.place}, allowed '
            f"{wanted}, one a shard; look at the container and run the same command again"
        )
    for blob in blobs:
        if not _is_rdb(container.read(blob.name, _HEAD_BYTES) or b""):
            raise AzureError(
                f'export of cache "{cache.name}": found a file "{blob.name}" in {container.place} that is no RDB file, '
                "allowed RDB files alone; look at the activity log of the cache and run the same command again"
            )
    return blobs


def _is_rdb(head: bytes) -> bool:
    """Tell whether a file begins as an RDB file does, packed (a managed cache's) or not."""
    if head.startswith(_MAGIC):
        return True
    try:
        return zlib.decompressobj(wbits=31).decompress(head, len(_MAGIC)) == _MAGIC
    except zlib.error:
        return False


def _refuse_incomplete(far: Container, journal: Journal) -> None:
    """Compare what arrived with what was exported, file by file."""
    there = {blob.name: blob.size_bytes for blob in far.list(journal.prefix)}
    missing = [name for name, size in journal.files if there.get(name) != size]
    if missing:
        raise AzureError(
            f"the files of the export: found {len(journal.files) - len(missing)} of {len(journal.files)} complete in "
            f"{far.place}, allowed all; run the same command again"
        )


def _keep_what_is_there(
    caches: Caches,
    target: CacheFacts,
    far: Container,
    near: Container,
    asked: Transfer,
    journal: Journal,
    tell: Tell,
) -> None:
    """Export what somebody else put into the target before it is erased; an import cannot be undone."""
    with Server.open(address(caches, target)) as server:
        keys = sum(server.databases().values())
    if keys:
        tell(f'exporting the {keys:,} keys that "{target.name}" holds, to be kept in {far.place}')
        prefix = "" if target.product == MANAGED else f"before-{asked.move_id[:12]}-{int(time.time() * 1000):x}"
        journal.kept = [blob.name for blob in _exported(caches, target, far, prefix, asked, tell)]
        tell(f"what was there is kept in {far.place}: {', '.join(journal.kept)}")
    journal.looked_into_target = True
    _write_journal(near, asked, journal)


def _import(
    caches: Caches,
    target: CacheFacts,
    far: Container,
    near: Container,
    asked: Transfer,
    journal: Journal,
    tell: Tell,
) -> None:
    """Import all files at once, unless applications use the target by now."""
    refuse_if_in_use(asked.endpoint_file, asked.target_id)
    began = time.monotonic()
    tell(f'importing {len(journal.files)} files into "{target.name}", which serves nobody meanwhile')
    caches.import_data(
        target.id,
        file_urls=[
            far.for_import(name, valid_s=asked.timeout_s, signed=target.product == MANAGED).reveal()
            for name, _ in journal.files
        ],
        identity_subscription_id=far.subscription_id if asked.by_identity else "",
        timeout_s=asked.timeout_s,
        tell=_now_and_then(f'import into "{target.name}"', lambda elapsed_s: f"{elapsed_s:.0f} s", tell),
    )
    _settled(caches, target.id, asked, tell)
    journal.imported_at_s = time.time()
    _write_journal(near, asked, journal)
    tell(f"imported {len(journal.files)} files in {time.monotonic() - began:.1f} s")


# -- common parts


def _settled(caches: Caches, cache_id: str, asked: Transfer, tell: Tell) -> CacheFacts:
    cache = caches.settled(cache_id, timeout_s=asked.timeout_s, tell=tell)
    if cache is None:
        raise AzureError(f'cache "{CacheId.parse(cache_id).name}": found none, allowed both caches; go back to prepare')
    return cache


def _read_journal(near: Container, asked: Transfer) -> Journal:
    """Return how far this transfer is; that of another attempt, or one that cannot be read, counts for nothing."""
    fresh = Journal(source_id=asked.source_id, target_id=asked.target_id, attempt=asked.attempt)
    written = near.read(asked.journal_name)
    if written is None:
        return fresh
    try:
        found = Journal(**json.loads(written))
    except (ValueError, TypeError):
        return fresh
    of_this = same(found.source_id, asked.source_id) and same(found.target_id, asked.target_id)
    if not of_this or found.attempt != asked.attempt:
        return fresh
    found.files = [(str(name), int(size)) for name, size in found.files]
    if found.exported_at_s and not found.imported_at_s and not _still_there(near, found.blobs):
        return fresh
    return found


def _still_there(near: Container, blobs: Sequence[Blob]) -> bool:
    return bool(blobs) and all(any(blob == there for there in near.list(blob.name)) for blob in blobs)


def _write_journal(near: Container, asked: Transfer, journal: Journal) -> None:
    near.write(asked.journal_name, json.dumps(dataclasses.asdict(journal), indent=1).encode())


def _now_and_then(what: str, words: Callable[[float], str], tell: Tell) -> Callable[[float], None]:
    last_s = 0.0

    def progress(elapsed_s: float) -> None:
        nonlocal last_s
        if elapsed_s - last_s >= _TELL_EVERY_S:
            last_s = elapsed_s
            tell(f"{what}: {words(elapsed_s)}")

    return progress
