"""How the long-running operations of a cache are carried on: the work on redis-servers, and the state afterwards."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from localazure import redis_import
from localazure.arm.cache import archive
from localazure.arm.cache.models import AccessRecord, CacheRecord
from localazure.operations import OperationFailed, OperationRecord, Operations

if TYPE_CHECKING:
    from localazure.azure import Azure


def register(operations: Operations) -> None:
    """Make the kinds of this room known."""
    operations.register("create", Create())
    operations.register("update", Update())
    operations.register("delete", Delete())
    operations.register("link", Link())
    operations.register("unlink", Unlink())
    operations.register("flush", Flush())
    operations.register("reboot", Reboot())
    operations.register("export", Export())
    operations.register("import", Import())
    operations.register("access", Access())
    operations.register("private_endpoint", PrivateEndpoint())


def _cache(azure: Azure, operation: OperationRecord, role: str = "cache") -> CacheRecord:
    return azure.world.caches[operation.subject[role]]


def _idle(cache: CacheRecord, state: str = "Succeeded") -> None:
    cache.provisioning_state = state
    cache.operation_id = None


class Create:
    """Starts the redis-servers of a new cache."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Start what does not run yet."""
        cache = _cache(azure, operation)
        await azure.fleet.start(cache.redis)
        await azure.forwarders.open(cache.redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache is ready."""
        _idle(_cache(azure, operation))

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache stays, as a failed one."""
        _idle(_cache(azure, operation), "Failed")


class Update:
    """Applies a new specification; an update of a linked cache makes the pair synchronise anew."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Apply it to the running redis-servers."""
        cache = _cache(azure, operation)
        await azure.fleet.start(cache.redis)
        await azure.fleet.apply(cache.redis)
        if operation.subject.get("cut") == "true":
            await azure.fleet.apply_users(cache.redis, cut=True)
        await azure.forwarders.open(cache.redis)
        if operation.subject.get("reboot") == "true":
            await azure.fleet.restart(cache.redis, list(cache.redis.nodes), lose_data=False)
        for link in cache.links.values():
            other = azure.world.caches[link.name.lower()]
            primary, secondary = (other, cache) if link.role == "Primary" else (cache, other)
            await azure.fleet.full_resync(primary.redis)
            await azure.fleet.wait_synchronised(secondary.redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache is ready again."""
        _idle(_cache(azure, operation))

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache is marked as failed; a further update can mend it."""
        _idle(_cache(azure, operation), "Failed")


class Delete:
    """Ends the redis-servers of a cache and removes its data."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """End them."""
        cache = azure.world.caches.get(operation.subject["cache"])
        if cache is not None:
            await azure.forwarders.close(cache.redis)
            await azure.fleet.erase(cache.redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache and its children are gone; the name is free."""
        azure.world.caches.pop(operation.subject["cache"], None)

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache stays, as a failed one."""
        _idle(_cache(azure, operation), "Failed")


class Link:
    """Makes one cache the read-only replica of another."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Remove the secondary's data and copy the primary's."""
        primary, secondary = _cache(azure, operation, "primary"), _cache(azure, operation, "secondary")
        self._states(primary, secondary, "Linking")
        secondary.redis.primary_host = primary.redis.host
        azure.save()
        await azure.fleet.start(primary.redis)
        await azure.fleet.start_replication(secondary.redis)
        self._states(primary, secondary, "Syncing")
        azure.save()
        await azure.fleet.wait_synchronised(secondary.redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """Both caches are ready, and linked."""
        primary, secondary = _cache(azure, operation, "primary"), _cache(azure, operation, "secondary")
        self._states(primary, secondary, "Succeeded")
        _idle(primary)
        _idle(secondary)

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The link stays, as a failed one that can be deleted; the caches are ready."""
        primary, secondary = _cache(azure, operation, "primary"), _cache(azure, operation, "secondary")
        self._states(primary, secondary, "Failed")
        _idle(primary)
        _idle(secondary)

    @staticmethod
    def _states(primary: CacheRecord, secondary: CacheRecord, state: str) -> None:
        primary.links[secondary.name.lower()].state = state
        secondary.links[primary.name.lower()].state = state


class Unlink:
    """Ends the replication; the secondary keeps its data and takes writes from then on."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Promote the secondary."""
        secondary = _cache(azure, operation, "secondary")
        secondary.redis.primary_host = None
        azure.save()
        await azure.fleet.promote(secondary.redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """Both link records are gone, both caches ready."""
        primary, secondary = _cache(azure, operation, "primary"), _cache(azure, operation, "secondary")
        primary.links.pop(secondary.name.lower(), None)
        secondary.links.pop(primary.name.lower(), None)
        _idle(primary)
        _idle(secondary)

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The link stays, as a failed one that can be deleted again."""
        primary, secondary = _cache(azure, operation, "primary"), _cache(azure, operation, "secondary")
        for cache, other in ((primary, secondary), (secondary, primary)):
            if other.name.lower() in cache.links:
                cache.links[other.name.lower()].state = "Failed"
            _idle(cache)


class Flush:
    """Removes every key."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Remove them."""
        await azure.fleet.flush(_cache(azure, operation).redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache is ready again."""
        _idle(_cache(azure, operation))

    fail = finish


class Export:
    """Writes what each shard holds into a page blob of its own."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Save every shard at about one moment, then write the files to storage."""
        cache = _cache(azure, operation)
        folder = redis_import.clear(azure.home, cache.redis)
        try:
            files = [folder / f"{index}.rdb" for index in cache.redis.nodes]
            await asyncio.gather(*(azure.fleet.save_rdb(cache.redis, index, file) for index, file in enumerate(files)))
            where = archive.place(
                azure,
                cache,
                operation.secrets["container"],
                parameter="container",
                by_identity=operation.subject["identity"] == "true",
                begun=True,
            )
            # The same names when it is done again after a kill; names that nobody can construct, as on Azure.
            moment = datetime.fromtimestamp(operation.started_at, UTC)
            stem = f"{operation.subject['prefix']}-{moment:%Y%m%d%H%M%S}-{operation.id[:8]}"

            def write() -> None:
                with archive.container(azure, where, rights=archive.RIGHTS_TO_EXPORT) as client:
                    for number, file in enumerate(files):
                        archive.upload(client, f"{stem}-{number}", file)

            await azure.serve_blobs()
            async with azure.azurite.in_use():
                await asyncio.to_thread(write)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache is ready for another operation."""
        _idle(_cache(azure, operation))

    fail = finish


class Import:
    """Replaces everything in a cache by what is in RDB files."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Read all files first; then the cache goes down and comes back with their keys."""
        cache = _cache(azure, operation)
        folder = redis_import.clear(azure.home, cache.redis)
        by_identity = operation.subject["identity"] == "true"
        places = [
            archive.place(
                azure, cache, operation.secrets[number], parameter="files", by_identity=by_identity, begun=True
            )
            for number in sorted(operation.secrets, key=int)
        ]
        files = [folder / f"{number}.rdb" for number in range(len(places))]

        def read() -> None:
            for place, file in zip(places, files, strict=True):
                with archive.container(azure, place, rights=archive.RIGHTS_TO_IMPORT) as client:
                    archive.download(client, place.blob, file)
                archive.check_file(cache, file)

        try:
            await azure.serve_blobs()
            async with azure.azurite.in_use():
                await asyncio.to_thread(read)
            await redis_import.replace_data(azure.home, azure.fleet, cache.redis, files)
        except redis_import.NotLoadable as error:
            raise OperationFailed("Conflict", f"The RDB file could not be loaded: {error}.") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache is ready again."""
        _idle(_cache(azure, operation))

    fail = finish


class Reboot:
    """Restarts redis-servers."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Restart them, with their data or without."""
        nodes = [int(node) for node in operation.subject["nodes"].split()]
        await azure.fleet.restart(_cache(azure, operation).redis, nodes, lose_data=operation.subject["loses"] == "true")

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The cache is ready again."""
        _idle(_cache(azure, operation))

    fail = finish


class Access:
    """A change of access policies or assignments, applied to the data-plane users."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Apply the users as they will be."""
        cache = _cache(azure, operation)
        azure.refresh_users(cache)
        await azure.fleet.apply_users(cache.redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """What was being made is there, what was being deleted is gone."""
        cache = _cache(azure, operation)
        cache.access_policies = {k: v for k, v in cache.access_policies.items() if v.state != "Deleting"}
        cache.access_policy_assignments = {
            name: entry for name, entry in cache.access_policy_assignments.items() if entry.state != "Deleting"
        }
        children: list[AccessRecord] = [*cache.access_policies.values(), *cache.access_policy_assignments.values()]
        for child in children:
            child.state = "Succeeded"
        _idle(cache)

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """What was under way is marked as failed."""
        cache = _cache(azure, operation)
        children: list[AccessRecord] = [*cache.access_policies.values(), *cache.access_policy_assignments.values()]
        for child in children:
            if child.state != "Succeeded":
                child.state = "Failed"
        _idle(cache)


class PrivateEndpoint:
    """A private endpoint's connection; nothing to be done below the control plane."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Nothing: reachability is not modelled."""

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The connection is there."""
        cache = _cache(azure, operation)
        entry = cache.private_endpoints.get(operation.subject["name"])
        if entry is not None:
            entry.state = "Succeeded"
        _idle(cache)

    fail = finish
