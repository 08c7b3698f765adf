"""Clusters, their one database, their sizes, and how ARM shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from localazure.arm.resources.models import resource_id
from localazure.redis_process import ENTERPRISE_PORT, RedisSpec

TYPE = "Microsoft.Cache/redisEnterprise"
API_VERSIONS = ("2025-07-01",)
DATABASE_NAME = "default"
PORT = ENTERPRISE_PORT

_MANAGED_GB: dict[int, float] = {10: 12, 20: 24, 50: 60, 100: 120, 150: 180, 250: 240, 350: 360, 500: 480, 700: 720}
_SIZES_GB: dict[str, dict[int, float]] = {
    "Balanced_B": {0: 0.5, 1: 1, 3: 3, 5: 6, **_MANAGED_GB, 1000: 960},
    "MemoryOptimized_M": {**_MANAGED_GB, 1000: 960, 1500: 1440, 2000: 1920},
    "ComputeOptimized_X": {3: 3, 5: 6, **_MANAGED_GB},
    "FlashOptimized_A": {250: 240, 500: 480, 700: 720, 1000: 960, 1500: 1440, 2000: 1920, 4500: 4500},
    "Enterprise_E": {1: 1, 5: 4, 10: 12, 20: 25, 50: 50, 100: 100, 200: 200, 400: 400},
    "EnterpriseFlash_F": {300: 384, 700: 715, 1500: 1455},
}
SIZES_GB = {f"{family}{number}": size for family, sizes in _SIZES_GB.items() for number, size in sizes.items()}
"""Memory of each SKU (architecture of Azure Managed Redis; pricing of Enterprise)."""
OLD_FAMILIES = ("Enterprise_", "EnterpriseFlash_")
"""SKUs of Azure Cache for Redis Enterprise: with a capacity, and no longer created."""
CAPACITIES = {"Enterprise_": (2, 4, 6, 8, 10), "EnterpriseFlash_": (3, 9, 15)}
USABLE_SHARE = 0.8
"""About a fifth of the memory is reserved, as the architecture page says and as was seen."""
NO_CLUSTER_MOST_GB = 25
SHARDS = 2
"""Shards under OSSCluster. Azure's own number by SKU is not published."""
MAX_CLIENTS = 10000
"""Connections; Azure's own numbers stand on its pricing page alone."""
EVICTION = {
    "AllKeysLFU": "allkeys-lfu",
    "AllKeysLRU": "allkeys-lru",
    "AllKeysRandom": "allkeys-random",
    "VolatileLRU": "volatile-lru",
    "VolatileLFU": "volatile-lfu",
    "VolatileTTL": "volatile-ttl",
    "VolatileRandom": "volatile-random",
    "NoEviction": "noeviction",
}


class AssignmentRecord(BaseModel):
    """A principal that may use the database; there is one access policy, `default`."""

    name: str
    object_id: str
    policy: str = "default"
    state: str = "Succeeded"


class DatabaseRecord(BaseModel):
    """The database of a cluster."""

    client_protocol: str = "Encrypted"
    clustering_policy: str = "OSSCluster"
    eviction_policy: str = "VolatileLRU"
    persistence: dict[str, Any] = {}
    access_keys: bool = False
    defer_upgrade: str = "NotDeferred"
    provisioning_state: str = "Creating"
    resource_state: str = "Creating"
    primary_key: str = Field(repr=False)
    secondary_key: str = Field(repr=False)
    assignments: dict[str, AssignmentRecord] = {}
    redis: RedisSpec


class ClusterRecord(BaseModel):
    """
    One cluster.

    Attributes:
        host: its loopback address.
        operation_id: the operation that makes it, and its database, busy.
    """

    subscription_id: str
    resource_group: str
    name: str
    location: str
    host: str
    tags: dict[str, str] = {}
    identity: dict[str, Any] | None = None
    zones: list[str] = []
    sku_name: str = ""
    sku_capacity: int | None = None
    high_availability: bool = True
    minimum_tls_version: str = "1.2"
    public_network_access: str = "Enabled"
    encryption: dict[str, Any] | None = None
    provisioning_state: str = "Creating"
    resource_state: str = "Creating"
    operation_id: str | None = None
    database: DatabaseRecord | None = None

    @property
    def id(self) -> str:
        """Give the resource id."""
        return resource_id(self.subscription_id, self.resource_group, TYPE, self.name)

    @property
    def key(self) -> str:
        """Give what it is known by in the state."""
        return self.id.lower()

    @property
    def database_id(self) -> str:
        """Give the resource id of its database."""
        return f"{self.id}/databases/{DATABASE_NAME}"

    @property
    def is_old(self) -> bool:
        """Tell whether it is of Azure Cache for Redis Enterprise."""
        return self.sku_name.startswith(OLD_FAMILIES)

    @property
    def redis_version(self) -> str:
        """Give the Redis version: of Azure Managed Redis as was seen, of Enterprise as its pages say."""
        return "7.2" if self.is_old else "7.4"

    @property
    def memory_gb(self) -> float:
        """Give its memory, unscaled."""
        base = next((steps[0] for family, steps in CAPACITIES.items() if self.sku_name.startswith(family)), 1)
        return SIZES_GB[self.sku_name] * (self.sku_capacity or base) / base

    def render(self) -> dict[str, Any]:
        """Show the cluster as ARM does."""
        zoned = self.high_availability and bool(self.zones)
        properties: dict[str, Any] = {
            "provisioningState": self.provisioning_state,
            "resourceState": self.resource_state,
            "hostName": self.host,
            "redisVersion": self.redis_version,
            "minimumTlsVersion": self.minimum_tls_version,
            "publicNetworkAccess": self.public_network_access,
            "highAvailability": "Enabled" if self.high_availability else "Disabled",
            "redundancyMode": "ZR" if zoned else "LR" if self.high_availability else "None",
            "privateEndpointConnections": [],
        }
        if self.encryption is not None:
            properties["encryption"] = self.encryption
        sku: dict[str, Any] = {"name": self.sku_name}
        if self.sku_capacity is not None:
            sku["capacity"] = self.sku_capacity
        body: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "type": TYPE,
            "location": self.location,
            "kind": "v1" if self.is_old else "v2",
            "tags": self.tags,
            "sku": sku,
            "properties": properties,
        }
        if self.zones:
            body["zones"] = self.zones
        if self.identity is not None:
            body["identity"] = self.identity
        return body

    def render_database(self) -> dict[str, Any]:
        """Show the database as ARM does; without its keys."""
        database = self.database
        assert database is not None
        return {
            "id": self.database_id,
            "name": DATABASE_NAME,
            "type": f"{TYPE}/databases",
            "properties": {
                "provisioningState": database.provisioning_state,
                "resourceState": database.resource_state,
                "clientProtocol": database.client_protocol,
                "port": PORT,
                "clusteringPolicy": database.clustering_policy,
                "evictionPolicy": database.eviction_policy,
                "persistence": {"aofEnabled": False, "rdbEnabled": False} | database.persistence,
                "modules": [],
                "deferUpgrade": database.defer_upgrade,
                "redisVersion": self.redis_version,
                "accessKeysAuthentication": "Enabled" if database.access_keys else "Disabled",
            },
        }

    def render_assignment(self, assignment: AssignmentRecord) -> dict[str, Any]:
        """Show an access policy assignment."""
        return {
            "id": f"{self.database_id}/accessPolicyAssignments/{assignment.name}",
            "name": assignment.name,
            "type": f"{TYPE}/databases/accessPolicyAssignments",
            "properties": {
                "provisioningState": assignment.state,
                "accessPolicyName": assignment.policy,
                "user": {"objectId": assignment.object_id},
            },
        }
