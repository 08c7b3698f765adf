"""How the long-running operations of clusters and databases are carried on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from localazure import redis_import
from localazure.arm.cache import archive
from localazure.arm.enterprise.models import ClusterRecord, DatabaseRecord
from localazure.operations import OperationFailed, OperationRecord, Operations

if TYPE_CHECKING:
    from localazure.azure import Azure

NEWEST_RDB = {"7.2": 11, "7.4": 12}
"""Newest RDB file that a Redis version reads: documented for 7.2; 7.4 writes 12."""


def register(operations: Operations) -> None:
    """Make the kinds of this room known."""
    operations.register("cluster_create", Cluster())
    operations.register("cluster_update", Update())
    operations.register("cluster_delete", DeleteCluster())
    operations.register("database_create", CreateDatabase())
    operations.register("database_update", Update())
    operations.register("database_keys", Update())
    operations.register("database_access", Access())
    operations.register("database_delete", DeleteDatabase())
    operations.register("database_flush", Flush())
    operations.register("database_export", Export())
    operations.register("database_import", Import())


def _cluster(azure: Azure, operation: OperationRecord) -> ClusterRecord:
    return azure.world.enterprise_clusters[operation.subject["cluster"]]


def _database(azure: Azure, operation: OperationRecord) -> DatabaseRecord:
    database = _cluster(azure, operation).database
    assert database is not None, "no operation on a database begins without one"
    return database


class Cluster:
    """A cluster without a database: nothing runs yet. Also the ends that all kinds share."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Nothing."""

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """Cluster and database are ready."""
        self._end(_cluster(azure, operation), "Succeeded", "Running")

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """What was being made or changed is marked as failed."""
        cluster = _cluster(azure, operation)
        database = cluster.database
        if operation.kind.startswith("database_") and database is not None:
            word = "CreateFailed" if operation.kind == "database_create" else "UpdateFailed"
            database.provisioning_state, database.resource_state = "Failed", word
            cluster.operation_id = None
            return
        word = "CreateFailed" if operation.kind == "cluster_create" else "UpdateFailed"
        cluster.provisioning_state, cluster.resource_state, cluster.operation_id = "Failed", word, None

    @staticmethod
    def _end(cluster: ClusterRecord, state: str, resource_state: str) -> None:
        cluster.provisioning_state, cluster.resource_state, cluster.operation_id = state, resource_state, None
        if cluster.database is not None:
            cluster.database.provisioning_state, cluster.database.resource_state = state, resource_state


class CreateDatabase(Cluster):
    """Starts the redis-servers of a new database."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Start what does not run yet."""
        database = _database(azure, operation)
        await azure.fleet.start(database.redis)
        await azure.forwarders.open(database.redis)


class Update(Cluster):
    """Applies a new specification, new access keys among it."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Apply it to the running redis-servers, where there are any."""
        database = _cluster(azure, operation).database
        if database is None:
            return
        await azure.fleet.start(database.redis)
        await azure.fleet.apply(database.redis)
        if operation.subject.get("cut") == "true":
            await azure.fleet.apply_users(database.redis, cut=True)


class Access(Cluster):
    """A change of assignments, applied to the data-plane users."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Apply the users as they will be."""
        cluster = _cluster(azure, operation)
        azure.refresh_database_users(cluster)
        await azure.fleet.apply_users(_database(azure, operation).redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """What was being made is there, what was being deleted is gone."""
        database = _database(azure, operation)
        database.assignments = {k: v for k, v in database.assignments.items() if v.state != "Deleting"}
        for assignment in database.assignments.values():
            assignment.state = "Succeeded"
        super().finish(azure, operation)


class DeleteDatabase(Cluster):
    """Ends the redis-servers of a database and removes its data."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """End them."""
        database = _database(azure, operation)
        await azure.forwarders.close(database.redis)
        await azure.fleet.erase(database.redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The database is gone, the cluster stays."""
        _cluster(azure, operation).database = None
        super().finish(azure, operation)


class DeleteCluster(Cluster):
    """Deletes a cluster with its database."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """End what runs."""
        cluster = azure.world.enterprise_clusters.get(operation.subject["cluster"])
        if cluster is not None and cluster.database is not None:
            await azure.forwarders.close(cluster.database.redis)
            await azure.fleet.erase(cluster.database.redis)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The cluster is gone; the name is free."""
        azure.world.enterprise_clusters.pop(operation.subject["cluster"], None)


class Flush(Cluster):
    """Removes every key."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Remove them."""
        await azure.fleet.flush(_database(azure, operation).redis)


@asynccontextmanager
async def _told_as_enterprise() -> AsyncIterator[None]:
    """Give failures of storage the code that was seen of this product."""
    try:
        yield
    except OperationFailed as failure:
        raise OperationFailed("OperationFailed", failure.message) from None


class Export(Cluster):
    """Writes what each shard holds into a compressed block blob of its own."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Save every shard at about one moment, then write the files to storage."""
        cluster, database = _cluster(azure, operation), _database(azure, operation)
        folder = redis_import.clear(azure.home, database.redis)
        try:
            files = [folder / f"{index}.rdb" for index in database.redis.nodes]
            await asyncio.gather(
                *(azure.fleet.save_rdb(database.redis, index, file) for index, file in enumerate(files))
            )
            # The same names when it is done again after a kill; Azure's own form is not known.
            moment = datetime.fromtimestamp(operation.started_at, UTC)
            stem = f"{cluster.name}-{moment:%Y%m%d%H%M%S}-{operation.id[:8]}"

            def write() -> None:
                where = archive.place(
                    azure,
                    cluster,
                    operation.secrets["container"],
                    parameter="sasUri",
                    by_identity=False,
                    begun=True,
                )
                with archive.container(azure, where, rights=archive.RIGHTS_TO_EXPORT, page_blobs=False) as client:
                    for number, file in enumerate(files, 1):
                        archive.upload_compressed(client, f"{stem}-{number}_of_{len(files)}.rdb.gz", file)

            async with _told_as_enterprise():
                await azure.serve_blobs()
                async with azure.azurite.in_use():
                    await asyncio.to_thread(write)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The database is as it was."""
        self.finish(azure, operation)


class Import(Cluster):
    """Replaces everything in a database by what is in RDB files, compressed or not."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Read all files first; then the database goes down and comes back with their keys."""
        cluster, database = _cluster(azure, operation), _database(azure, operation)
        folder = redis_import.clear(azure.home, database.redis)
        files = [folder / f"{number}.rdb" for number in range(len(operation.secrets))]

        def read() -> None:
            for number, file in enumerate(files):
                place = archive.place(
                    azure,
                    cluster,
                    operation.secrets[str(number)],
                    parameter="sasUris",
                    by_identity=False,
                    begun=True,
                )
                with archive.container(azure, place, rights=archive.RIGHTS_TO_IMPORT, page_blobs=False) as client:
                    archive.download(client, place.blob, file)
                archive.decompress(file)
                archive.check_version(file, cluster.redis_version, NEWEST_RDB[cluster.redis_version])

        try:
            async with _told_as_enterprise():
                await azure.serve_blobs()
                async with azure.azurite.in_use():
                    await asyncio.to_thread(read)
            await redis_import.replace_data(azure.home, azure.fleet, database.redis, files)
        except redis_import.NotLoadable as error:
            raise OperationFailed("OperationFailed", f"The RDB file could not be loaded: {error}.") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The database has what it held."""
        self.finish(azure, operation)
