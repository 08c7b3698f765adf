"""The running local Azure: its state, its redis-servers, its operations, and what keeps them together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any

import redis.exceptions
from starlette.requests import Request

from localazure.arm.cache import handlers as cache_handlers
from localazure.arm.cache import models as cache_models
from localazure.arm.cache import work as cache_work
from localazure.arm.cache.errors import InvalidParameter
from localazure.arm.cache.models import BUILT_IN_POLICIES, CacheRecord
from localazure.arm.containerinstance import work as container_work
from localazure.arm.containerinstance.models import ContainerGroupRecord
from localazure.arm.enterprise import handlers as enterprise_handlers
from localazure.arm.enterprise import work as enterprise_work
from localazure.arm.enterprise.models import ClusterRecord
from localazure.arm.identity.models import REDIS_AUDIENCES, TOKEN_LIFETIME_S, Identity
from localazure.arm.resources import handlers as resource_handlers
from localazure.arm.resources.errors import ResourceGroupNotFound, SubscriptionNotFound
from localazure.arm.resources.models import GroupRecord
from localazure.arm.storage import work as storage_work
from localazure.arm.storage.models import AccountRecord
from localazure.azurite_process import Azurite
from localazure.container_process import Containers
from localazure.errors import LocalAzureError
from localazure.faults import PATH as FAULTS_PATH
from localazure.faults import Fault, Faults
from localazure.forwarder import Forwarders
from localazure.home import LOCK_HOST_OCTET, Home, can_listen
from localazure.operations import OperationRecord, Operations
from localazure.redis_process import PLAIN_PORT, TLS_PORT, RedisFleet, RedisUser, password_hash
from localazure.world import load_world, save_world

WATCH_INTERVAL_S = 1.0


class Azure:
    """One local Azure; everything changes in one event loop, so a change between two awaits is whole."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.world = load_world(home)
        self.identity = Identity(home)
        self.fleet = RedisFleet(home)
        self.azurite = Azurite(home)
        self.containers = Containers(home)
        self.forwarders = Forwarders()
        self.faults = Faults()
        self.operations = Operations(self)
        cache_work.register(self.operations)
        enterprise_work.register(self.operations)
        storage_work.register(self.operations)
        container_work.register(self.operations)
        resource_handlers.register(self.operations)
        self._watcher: asyncio.Task[None] | None = None

    # --- life

    async def start(self) -> None:
        """Bring everything back to what the state says, and carry on what was under way."""
        await asyncio.gather(
            self._bring_up_blobs(),
            *(self._bring_up(cache) for cache in list(self.world.caches.values())),
            *(self._bring_up_database(cluster) for cluster in list(self.world.enterprise_clusters.values())),
        )
        for group in self.world.container_groups.values():
            # One with an operation under way is started by that operation.
            if group.operation_id is None and not group.stopped:
                await self.containers.start(group)
        self.operations.resume()
        self._watcher = asyncio.create_task(self._watch())

    async def _bring_up(self, cache: CacheRecord) -> None:
        self.specify(cache)
        try:
            # A cache with an operation under way is brought up by that operation.
            if cache.operation_id is None and cache.provisioning_state != "Failed":
                await self.fleet.start(cache.redis)
                await self.fleet.apply(cache.redis)
            if cache.provisioning_state != "Creating":
                await self.forwarders.open(cache.redis)
        except Exception:  # noqa: BLE001 - one cache that does not come up must not take the others with it
            self.log(traceback.format_exc())

    async def _bring_up_database(self, cluster: ClusterRecord) -> None:
        database = cluster.database
        if database is None:
            return
        self.specify_database(cluster)
        try:
            if cluster.operation_id is None and database.provisioning_state != "Failed":
                await self.fleet.start(database.redis)
                await self.fleet.apply(database.redis)
            if database.provisioning_state != "Creating":
                await self.forwarders.open(database.redis)
        except Exception:  # noqa: BLE001 - one that does not come up must not take the others with it
            self.log(traceback.format_exc())

    async def _bring_up_blobs(self) -> None:
        try:
            await self.serve_blobs()
        except LocalAzureError as error:
            # An account's blobs are not there; everything else is.
            self.log(str(error))

    async def serve_blobs(self) -> None:
        """
        Make sure that Azurite runs with the accounts that there are.

        Raises:
            LocalAzureError: it does not come up.
        """
        await self.azurite.serve({name: account.keys for name, account in self.world.storage_accounts.items()})

    async def stop(self) -> None:
        """End everything, with the data on disk."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self.operations.stop()
        await self.forwarders.close_all()
        await asyncio.gather(
            self.azurite.stop(),
            self.containers.stop_all(list(self.world.container_groups.values())),
            *(self.fleet.stop(cache.redis) for cache in self.world.caches.values()),
            *(
                self.fleet.stop(cluster.database.redis)
                for cluster in self.world.enterprise_clusters.values()
                if cluster.database is not None
            ),
        )
        self.save()

    async def _watch(self) -> None:
        """Restart redis-servers and containers that ended, and apply changed switches."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self.world.storage_accounts and not self.azurite.runs:
                await self._bring_up_blobs()
            for group in list(self.world.container_groups.values()):
                if await self.containers.look(group):
                    self.save()
            for cache in list(self.world.caches.values()):
                if cache.operation_id is not None or cache.provisioning_state == "Failed":
                    continue
                try:
                    if any(not self.fleet.runs(cache.redis, index) for index in cache.redis.nodes):
                        self.log(f"a redis-server of {cache.name} ended; starting it again")
                        await self.fleet.start(cache.redis)
                    before = (cache.redis.client_pause, cache.redis.maxmemory_bytes, cache.redis_version)
                    self.specify(cache)
                    if before != (cache.redis.client_pause, cache.redis.maxmemory_bytes, cache.redis_version):
                        self.save()
                        await self.fleet.apply(cache.redis)
                except Exception:  # noqa: BLE001 - whatever it is, the others must be watched on
                    self.log(traceback.format_exc())
            for cluster in list(self.world.enterprise_clusters.values()):
                await self._watch_database(cluster)

    async def _watch_database(self, cluster: ClusterRecord) -> None:
        database = cluster.database
        if database is None or cluster.operation_id is not None or database.provisioning_state == "Failed":
            return
        try:
            if any(not self.fleet.runs(database.redis, index) for index in database.redis.nodes):
                self.log(f"a redis-server of {cluster.name} ended; starting it again")
                await self.fleet.start(database.redis)
            before = database.redis.maxmemory_bytes
            self.specify_database(cluster)
            if before != database.redis.maxmemory_bytes:
                self.save()
                await self.fleet.apply(database.redis)
        except Exception:  # noqa: BLE001 - whatever it is, the others must be watched on
            self.log(traceback.format_exc())

    # --- state

    def save(self) -> None:
        """Write the state."""
        save_world(self.home, self.world)

    def specify(self, cache: CacheRecord) -> None:
        """Bring the specification of a cache's redis-servers to its ARM properties and the home's switches."""
        settings = self.home.settings
        cache.redis_version = settings.redis_version_by_cache.get(cache.name, cache.redis_version)
        pause = settings.client_pause_by_cache.get(cache.name)
        if pause is not None:
            if cache.name not in settings.redis_version_by_cache:
                cache.redis_version = pause
        else:
            pause = "6.2" if cache.redis_version.startswith("6.2") else "6.0"
        specification = cache_handlers.specification(cache, memory_scale=settings.memory_scale, client_pause=pause)
        for name, value in specification.items():
            setattr(cache.redis, name, value)
        self.refresh_users(cache)

    def refresh_users(self, cache: CacheRecord) -> None:
        """Bring the Entra users of a cache to its assignments and the tokens that are valid."""
        users: dict[str, RedisUser] = {}
        if cache.entra_enabled:
            now = time.time()
            hashes = [entry for entry, ends in self.world.redis_token_hashes.items() if ends > now]
            policies = {name.lower(): rules for name, rules in BUILT_IN_POLICIES.items()}
            policies |= {name: entry.permissions for name, entry in cache.access_policies.items()}
            for assignment in cache.access_policy_assignments.values():
                # The home has one principal: a token is always its own.
                if assignment.state == "Deleting" or assignment.object_id != self.home.config.object_id:
                    continue
                rules = policies.get(assignment.policy.lower())
                if rules is not None:
                    users[assignment.object_id] = RedisUser(rules=rules, password_hashes=hashes)
        cache.redis.users = users

    def specify_database(self, cluster: ClusterRecord) -> None:
        """Bring the specification of a database's redis-servers to its ARM properties and the home's switches."""
        database = cluster.database
        if database is None:
            return
        specification = enterprise_handlers.specification(cluster, memory_scale=self.home.settings.memory_scale)
        for name, value in specification.items():
            setattr(database.redis, name, value)
        self.refresh_database_users(cluster)

    def refresh_database_users(self, cluster: ClusterRecord) -> None:
        """Bring the Entra users of a database to its assignments and the tokens that are valid."""
        database = cluster.database
        if database is None:
            return
        now = time.time()
        hashes = [entry for entry, ends in self.world.redis_token_hashes.items() if ends > now]
        database.redis.users = {
            entry.object_id: RedisUser(rules="+@all allkeys", password_hashes=hashes)
            for entry in database.assignments.values()
            # The home has one principal: a token is always its own.
            if entry.state != "Deleting" and entry.object_id == self.home.config.object_id
        }

    async def redis_token_issued(self, audience: str, token: str) -> None:
        """Make a token for Redis known to the caches whose assignments allow its principal."""
        if audience.rstrip("/") not in REDIS_AUDIENCES:
            return
        now = time.time()
        known = {entry: ends for entry, ends in self.world.redis_token_hashes.items() if ends > now}
        known[password_hash(token)] = now + TOKEN_LIFETIME_S
        self.world.redis_token_hashes = known
        self.save()
        for cache in list(self.world.caches.values()):
            if cache.entra_enabled and cache.operation_id is None:
                self.refresh_users(cache)
                await self.fleet.apply_users(cache.redis)
        for cluster in list(self.world.enterprise_clusters.values()):
            if cluster.database is not None and cluster.database.assignments and cluster.operation_id is None:
                self.refresh_database_users(cluster)
                await self.fleet.apply_users(cluster.database.redis)

    async def check_rules(self, cache: CacheRecord, rules: str) -> None:
        """
        Refuse access rules that redis does not understand.

        Raises:
            ArmError: 400, with redis's reason.
        """
        probe = f"_probe_{time.monotonic_ns()}"
        async with self.fleet.admin(cache.redis, 0) as client:
            try:
                await client.execute_command("ACL", "SETUSER", probe, "-@all", *rules.split())
            except redis.exceptions.ResponseError as error:
                raise InvalidParameter("properties.permissions", str(error)) from None
            finally:
                with contextlib.suppress(redis.exceptions.RedisError):
                    await client.execute_command("ACL", "DELUSER", probe)

    def fault_for(self, request: Request) -> Fault | None:
        """Give the fault that is to befall a request; None unless the switch `admin` is on."""
        if not self.faults.waiting or request.url.path.startswith(FAULTS_PATH) or not self.home.settings.admin:
            return None
        return self.faults.take(request)

    # --- look-ups

    @property
    def subscriptions(self) -> list[str]:
        """Give the ids of the two subscriptions."""
        return [self.home.config.subscription_id, self.home.config.subscription_id_2]

    def subscription(self, request: Request) -> str:
        """
        Give the subscription a request is about.

        Raises:
            ArmError: 404, there is no such one.
        """
        asked = request.path_params["subscription"].lower()
        if asked not in self.subscriptions:
            raise SubscriptionNotFound(request.path_params["subscription"])
        return str(asked)

    def find_group(self, subscription_id: str, name: str) -> GroupRecord | None:
        """Give a resource group, whatever the case of its name."""
        return self.world.groups.get(f"{subscription_id}/{name.lower()}")

    def group(self, request: Request) -> GroupRecord:
        """
        Give the resource group a request is about.

        Raises:
            ArmError: 404, there is no such subscription or group.
        """
        group = self.find_group(self.subscription(request), request.path_params["group"])
        if group is None:
            raise ResourceGroupNotFound(request.path_params["group"])
        return group

    def find_cache(self, request: Request) -> CacheRecord | None:
        """Give the cache a request is about; None when it is not in that group and subscription."""
        group = self.group(request)
        cache = self.world.caches.get(request.path_params["name"].lower())
        return cache if cache is not None and self._is_in(cache, group) else None

    def caches_of(self, group: GroupRecord) -> list[CacheRecord]:
        """Give the caches of a resource group."""
        return [cache for cache in self.world.caches.values() if self._is_in(cache, group)]

    def find_cluster(self, request: Request) -> ClusterRecord | None:
        """Give the cluster a request is about; None when it is not in that group and subscription."""
        group = self.group(request)
        name = request.path_params["name"].lower()
        return next((cluster for cluster in self.clusters_of(group) if cluster.name.lower() == name), None)

    def clusters_of(self, group: GroupRecord) -> list[ClusterRecord]:
        """Give the clusters of Redis Enterprise of a resource group."""
        return [cluster for cluster in self.world.enterprise_clusters.values() if self._is_in(cluster, group)]

    def find_account(self, request: Request) -> AccountRecord | None:
        """Give the storage account a request is about; None when it is not in that group and subscription."""
        group = self.group(request)
        account = self.world.storage_accounts.get(request.path_params["name"].lower())
        return account if account is not None and self._is_in(account, group) else None

    def accounts_of(self, group: GroupRecord) -> list[AccountRecord]:
        """Give the storage accounts of a resource group."""
        return [account for account in self.world.storage_accounts.values() if self._is_in(account, group)]

    def find_container_group(self, request: Request) -> ContainerGroupRecord | None:
        """Give the container group a request is about; None when it is not in that resource group."""
        group = self.group(request)
        key = f"{group.subscription_id}/{group.name}/{request.path_params['name']}".lower()
        return self.world.container_groups.get(key)

    def container_groups_of(self, group: GroupRecord) -> list[ContainerGroupRecord]:
        """Give the container groups of a resource group."""
        return [entry for entry in self.world.container_groups.values() if self._is_in(entry, group)]

    @staticmethod
    def _is_in(
        resource: CacheRecord | ClusterRecord | AccountRecord | ContainerGroupRecord, group: GroupRecord
    ) -> bool:
        same_subscription = resource.subscription_id == group.subscription_id
        return same_subscription and resource.resource_group.lower() == group.name.lower()

    def resource_at(self, operation: OperationRecord) -> dict[str, Any] | None:
        """Show the resource that an operation was about, as it is now; None when it is gone."""
        parts = operation.result_path.split("/")
        cluster = self.world.enterprise_clusters.get("/".join(parts[:9]).lower())
        if cluster is not None:
            if len(parts) == 9:
                return cluster.render()
            if cluster.database is None:
                return None
            entry = cluster.database.assignments.get(parts[-1].lower()) if len(parts) > 11 else None
            return cluster.render_assignment(entry) if entry is not None else cluster.render_database()
        cache = self.world.caches.get(parts[8].lower()) if len(parts) > 8 else None
        if cache is None:
            return None
        if len(parts) == 9:
            return cache.render(with_keys=True)
        kind, name = parts[9], parts[10].lower()
        if kind == "linkedServers" and name in cache.links:
            return cache_models.render_link(cache, cache.links[name])
        if kind == "accessPolicies" and name in cache.access_policies:
            return cache_models.render_policy(cache, cache.access_policies[name])
        if kind == "accessPolicyAssignments" and name in cache.access_policy_assignments:
            return cache_models.render_assignment(cache, cache.access_policy_assignments[name])
        if kind == "privateEndpointConnections" and name in cache.private_endpoints:
            return cache_models.render_private_endpoint(cache, cache.private_endpoints[name])
        return None

    def new_address(self) -> str:
        """
        Give a loopback address that no cache has and nobody listens on.

        Raises:
            LocalAzureError: all are taken.
        """
        taken = {cache.redis.host for cache in self.world.caches.values() if hasattr(cache.redis, "host")}
        taken |= {cluster.host for cluster in self.world.enterprise_clusters.values()}
        for _ in range(LOCK_HOST_OCTET - 1):
            # The next one, not the lowest free one: a client of a deleted cache must not reach another cache.
            self.world.last_address = self.world.last_address % (LOCK_HOST_OCTET - 1) + 1
            address = f"{self.home.config.address_prefix}.{self.world.last_address}"
            if address not in taken and can_listen(address, TLS_PORT) and can_listen(address, PLAIN_PORT):
                return address
        raise LocalAzureError("all 253 addresses of this home are taken: delete some caches.")

    # --- logs

    @staticmethod
    def timestamp(seconds: float | None) -> str | None:
        """Show a time as ARM does."""
        return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"

    def log(self, text: str) -> None:
        """Write to the server's log."""
        sys.stdout.write(f"{self.timestamp(time.time())} {text}\n")
        sys.stdout.flush()

    def log_request(self, request: Request, request_id: str, status: int, duration_ms: float) -> None:
        """Write one line about a request: neither headers nor bodies, and of the query the api-version alone."""
        line = {
            "time": self.timestamp(time.time()),
            "method": request.method,
            "path": request.url.path,
            "api_version": request.query_params.get("api-version"),
            "status": status,
            "duration_ms": round(duration_ms, 1),
            "request_id": request_id,
        }
        with self.home.request_log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
