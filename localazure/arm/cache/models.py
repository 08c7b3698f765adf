"""Caches, their children, their sizes, and how ARM shows them."""

from __future__ import annotations

import base64
import secrets
from typing import Any, Literal

from pydantic import BaseModel, Field

from localazure.arm.resources.models import resource_id
from localazure.redis_process import SHARD_PLAIN_PORT, SHARD_TLS_PORT, RedisSpec

TYPE = "Microsoft.Cache/Redis"
API_VERSIONS = ("2024-11-01",)

MEMORY_MB = {
    "C": {0: 250, 1: 1000, 2: 2500, 3: 6000, 4: 13000, 5: 26000, 6: 53000},
    "P": {1: 6000, 2: 13000, 3: 26000, 4: 53000, 5: 120000},
}
MAX_DATABASES = {
    "C": {0: 16, 1: 16, 2: 16, 3: 16, 4: 32, 5: 48, 6: 64},
    "P": {1: 16, 2: 32, 3: 48, 4: 64, 5: 64},
}
MAX_CLIENTS = {
    "C": {0: 256, 1: 1000, 2: 2000, 3: 5000, 4: 10000, 5: 15000, 6: 20000},
    "P": {1: 7500, 2: 15000, 3: 30000, 4: 40000, 5: 40000},
}
TIER_FAMILY = {"Basic": "C", "Standard": "C", "Premium": "P"}
TIER_ORDER = ["Basic", "Standard", "Premium"]
MAX_SHARDS = 30
MAX_REPLICAS = 3
BUILT_IN_POLICIES = {
    "Data Owner": "+@all allkeys",
    "Data Contributor": "+@all -@dangerous +cluster|info +cluster|nodes +cluster|slots allkeys",
    "Data Reader": "+@read +@connection +cluster|info +cluster|nodes +cluster|slots allkeys",
}


class LinkRecord(BaseModel):
    """One side of a geo-replication link; the role is the *linked* cache's: the primary's record says Secondary."""

    name: str
    linked_id: str
    linked_location: str
    role: Literal["Primary", "Secondary"]
    state: str
    primary_host: str


class AccessRecord(BaseModel):
    """What access policies and their assignments have in common."""

    name: str
    state: str = "Succeeded"


class PolicyRecord(AccessRecord):
    """A data access policy that a customer made."""

    permissions: str


class AssignmentRecord(AccessRecord):
    """A principal's assignment to an access policy."""

    object_id: str
    alias: str
    policy: str


class PrivateEndpointRecord(BaseModel):
    """A private endpoint's connection; control plane only."""

    name: str
    endpoint_id: str
    status: str = "Approved"
    description: str = ""
    state: str = "Succeeded"


class CacheRecord(BaseModel):
    """
    One cache.

    Attributes:
        operation_id: the operation that makes it busy.
        persistence_secret_given: a storage connection string was given (it is neither kept nor returned).
    """

    subscription_id: str
    resource_group: str
    name: str
    location: str
    tags: dict[str, str] = {}
    identity: dict[str, Any] | None = None
    zones: list[str] = []
    sku_name: str
    sku_family: str
    sku_capacity: int
    redis_version: str
    enable_non_ssl_port: bool = False
    shard_count: int = 0
    replicas_per_primary: int | None = None
    minimum_tls_version: str = "1.2"
    public_network_access: str = "Enabled"
    update_channel: str = "Stable"
    disable_access_key_authentication: bool = False
    zonal_allocation_policy: str = "NoZones"
    subnet_id: str | None = None
    static_ip: str | None = None
    tenant_settings: dict[str, str] = {}
    redis_configuration: dict[str, str] = {}
    provisioning_state: str = "Creating"
    operation_id: str | None = None
    primary_key: str = Field(repr=False)
    secondary_key: str = Field(repr=False)
    links: dict[str, LinkRecord] = {}
    firewall_rules: dict[str, tuple[str, str, str]] = {}
    patch_schedule: list[dict[str, Any]] | None = None
    access_policies: dict[str, PolicyRecord] = {}
    access_policy_assignments: dict[str, AssignmentRecord] = {}
    private_endpoints: dict[str, PrivateEndpointRecord] = {}
    redis: RedisSpec

    @property
    def id(self) -> str:
        """Give the resource id, in the capitals in which Azure answers."""
        return resource_id(self.subscription_id, self.resource_group, TYPE, self.name)

    @property
    def memory_mb(self) -> int:
        """Give the memory of a shard, unscaled."""
        return MEMORY_MB[self.sku_family][self.sku_capacity]

    @property
    def is_geo_secondary(self) -> bool:
        """Tell whether the cache is the read-only side of a link."""
        return any(link.role == "Primary" for link in self.links.values())

    @property
    def is_zone_redundant(self) -> bool:
        """Tell whether the cache is spread over zones."""
        return self.zonal_allocation_policy == "Automatic" or len(self.zones) > 1

    @property
    def has_persistence(self) -> bool:
        """Tell whether RDB or AOF persistence is switched on."""
        return any(
            self.redis_configuration.get(name, "false").lower() == "true"
            for name in ("rdb-backup-enabled", "aof-backup-enabled")
        )

    @property
    def entra_enabled(self) -> bool:
        """Tell whether principals can log in with a token."""
        return self.redis_configuration.get("aad-enabled", "false").lower() == "true"

    @property
    def effective_replicas(self) -> int:
        """Give the replicas per primary: none on Basic, one unless asked for more."""
        if self.sku_name == "Basic":
            return 0
        return 1 if self.replicas_per_primary is None else self.replicas_per_primary

    def render(self, *, with_keys: bool = False) -> dict[str, Any]:
        """
        Show the cache as ARM does.

        Args:
            with_keys: only in the answer to create and update; GET and lists show null.
        """
        configuration = {"maxclients": str(MAX_CLIENTS[self.sku_family][self.sku_capacity])}
        if self.sku_name != "Basic":
            reserved = reserved_memory_mb(self.sku_family, self.sku_capacity)
            for name in ("maxmemory-reserved", "maxfragmentationmemory-reserved", "maxmemory-delta"):
                configuration[name] = str(reserved)
        configuration |= self.redis_configuration
        properties: dict[str, Any] = {
            "provisioningState": self.provisioning_state,
            "redisVersion": self.redis_version,
            "sku": {"name": self.sku_name, "family": self.sku_family, "capacity": self.sku_capacity},
            "enableNonSslPort": self.enable_non_ssl_port,
            "minimumTlsVersion": self.minimum_tls_version,
            "publicNetworkAccess": self.public_network_access,
            "updateChannel": self.update_channel,
            "disableAccessKeyAuthentication": self.disable_access_key_authentication,
            "zonalAllocationPolicy": self.zonal_allocation_policy,
            "redisConfiguration": configuration,
            "tenantSettings": self.tenant_settings,
            "hostName": self.redis.host,
            "port": 6379,
            "sslPort": 6380,
            "accessKeys": None,
            "linkedServers": [{"id": f"{self.id}/linkedServers/{link.name}"} for link in self.links.values()],
            "instances": self._instances(),
        }
        if with_keys:
            properties["accessKeys"] = {"primaryKey": self.primary_key, "secondaryKey": self.secondary_key}
        if self.sku_name == "Premium":
            properties["replicasPerMaster"] = properties["replicasPerPrimary"] = self.effective_replicas
            if self.shard_count:
                properties["shardCount"] = self.shard_count
        if self.subnet_id:
            properties["subnetId"] = self.subnet_id
        if self.static_ip:
            properties["staticIP"] = self.static_ip
        if self.private_endpoints:
            properties["privateEndpointConnections"] = [
                render_private_endpoint(self, entry) for entry in self.private_endpoints.values()
            ]
        body: dict[str, Any] = {
            "id": self.id,
            "location": self.location,
            "name": self.name,
            "type": TYPE,
            "tags": self.tags,
            "properties": properties,
        }
        if self.zones:
            body["zones"] = self.zones
        if self.identity is not None:
            body["identity"] = self.identity
        return body

    def _instances(self) -> list[dict[str, Any]]:
        # Primaries only: replicas are not run, and an instance that cannot be connected to is not shown.
        instances = []
        for index in self.redis.nodes:
            instance: dict[str, Any] = {
                "sslPort": SHARD_TLS_PORT + index,
                "isMaster": True,
                "isPrimary": True,
            }
            if self.enable_non_ssl_port:
                instance["nonSslPort"] = SHARD_PLAIN_PORT + index
            if self.shard_count:
                instance["shardId"] = index
            if self.zones:
                instance["zone"] = self.zones[index % len(self.zones)]
            instances.append(instance)
        return instances


def reserved_memory_mb(family: str, capacity: int) -> int:
    """Give Azure's default of reserved memory: 642 MB was seen for P1; about a tenth is taken for the others."""
    return 642 if (family, capacity) == ("P", 1) else round(MEMORY_MB[family][capacity] * 0.107)


def new_access_key() -> str:
    """Make an access key: 33 random bytes in base64, as long as Azure's."""
    return base64.b64encode(secrets.token_bytes(33)).decode()


def render_link(cache: CacheRecord, link: LinkRecord) -> dict[str, Any]:
    """Show a link record; both host names are the address of the geo-primary, which needs no DNS."""
    return {
        "id": f"{cache.id}/linkedServers/{link.name}",
        "name": link.name,
        "type": f"{TYPE}/linkedServers",
        "properties": {
            "linkedRedisCacheId": link.linked_id,
            "linkedRedisCacheLocation": link.linked_location,
            "geoReplicatedPrimaryHostName": link.primary_host,
            "primaryHostName": link.primary_host,
            "provisioningState": link.state,
            "serverRole": link.role,
        },
    }


def render_firewall_rule(cache: CacheRecord, rule: tuple[str, str, str]) -> dict[str, Any]:
    """Show a firewall rule."""
    name, start, end = rule
    return {
        "id": f"{cache.id}/firewallRules/{name}",
        "name": f"{cache.name}/{name}",
        "type": f"{TYPE}/firewallRules",
        "properties": {"startIP": start, "endIP": end},
    }


def render_patch_schedule(cache: CacheRecord) -> dict[str, Any]:
    """Show the patch schedule."""
    return {
        "id": f"{cache.id}/patchSchedules/default",
        "location": cache.location,
        "name": f"{cache.name}/default",
        "type": f"{TYPE}/PatchSchedules",
        "properties": {"scheduleEntries": cache.patch_schedule},
    }


def render_policy(cache: CacheRecord, policy: PolicyRecord, *, kind: str = "Custom") -> dict[str, Any]:
    """Show a data access policy."""
    return {
        "id": f"{cache.id}/accessPolicies/{policy.name}",
        "name": policy.name,
        "type": f"{TYPE}/accessPolicies",
        "properties": {"permissions": policy.permissions, "provisioningState": policy.state, "type": kind},
    }


def render_assignment(cache: CacheRecord, assignment: AssignmentRecord) -> dict[str, Any]:
    """Show an access policy assignment."""
    return {
        "id": f"{cache.id}/accessPolicyAssignments/{assignment.name}",
        "name": assignment.name,
        "type": f"{TYPE}/accessPolicyAssignments",
        "properties": {
            "objectId": assignment.object_id,
            "objectIdAlias": assignment.alias,
            "accessPolicyName": assignment.policy,
            "provisioningState": assignment.state,
        },
    }


def render_private_endpoint(cache: CacheRecord, entry: PrivateEndpointRecord) -> dict[str, Any]:
    """Show a private endpoint's connection."""
    return {
        "id": f"{cache.id}/privateEndpointConnections/{entry.name}",
        "name": entry.name,
        "type": f"{TYPE}/privateEndpointConnections",
        "properties": {
            "privateEndpoint": {"id": entry.endpoint_id},
            "privateLinkServiceConnectionState": {
                "status": entry.status,
                "description": entry.description,
                "actionsRequired": "None",
            },
            "provisioningState": entry.state,
        },
    }
