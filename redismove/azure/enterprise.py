"""
Microsoft.Cache/redisEnterprise (Azure Managed Redis, Enterprise, Enterprise Flash) as facts, and what is done to it.

A cluster has one database, called `default`; both together are what the rest of this program calls a cache, and the
cluster's id is its id. Source: azure-rest-api-specs, redisenterprise 2025-07-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from azure.core.exceptions import ResourceNotFoundError

from redismove.facts import MANAGED, AccessPolicyAssignment, CacheFacts

if TYPE_CHECKING:
    from azure.mgmt.redisenterprise import RedisEnterpriseManagementClient

DATABASE: Final = "default"
NO_DATABASE: Final = "NoDatabase"
"""Our own word for a cluster whose database is not there: a killed update may leave one."""
_ENDED: Final = ("Succeeded", "Failed", "Canceled")
_EVICTION: Final = {
    "AllKeysLFU": "allkeys-lfu",
    "AllKeysLRU": "allkeys-lru",
    "AllKeysRandom": "allkeys-random",
    "VolatileLRU": "volatile-lru",
    "VolatileLFU": "volatile-lfu",
    "VolatileTTL": "volatile-ttl",
    "VolatileRandom": "volatile-random",
    "NoEviction": "noeviction",
}


@dataclass(frozen=True)
class Cluster:
    """What the GETs of a cluster and of its database answered."""

    cluster: Any
    database: Any | None

    @property
    def name(self) -> str:
        """The cluster's name."""
        return str(self.cluster.name)

    @property
    def provisioning_state(self) -> str:
        """One state for both: what is still under way, else what is wrong, else "Succeeded"."""
        parts = [self.cluster] if self.database is None else [self.cluster, self.database]
        for part in parts:
            state, resource = _word(part.provisioning_state), _word(part.resource_state)
            if state not in _ENDED:
                return state
            if state == "Succeeded" and resource not in ("", "Running"):
                return "Failed" if resource.endswith("Failed") else resource
            if state != "Succeeded":
                return "Failed"
        return NO_DATABASE if self.database is None else "Succeeded"


def get(client: RedisEnterpriseManagementClient, resource_group: str, name: str) -> Cluster | None:
    """Read a cluster and its database; None where there is no such cluster."""
    try:
        cluster = client.redis_enterprise.get(resource_group, name)
    except ResourceNotFoundError:
        return None
    try:
        database = client.databases.get(resource_group, name, DATABASE)
    except ResourceNotFoundError:
        database = None
    return Cluster(cluster, database)


def assignments(
    client: RedisEnterpriseManagementClient, resource_group: str, name: str
) -> tuple[AccessPolicyAssignment, ...]:
    """Return who may sign in to a cluster's database with Entra."""
    return tuple(
        AccessPolicyAssignment(
            name=(entry.name or "").rsplit("/", 1)[-1],
            object_id=(entry.user.object_id if entry.user else "") or "",
            object_id_alias="",
            access_policy_name=entry.access_policy_name or "",
        )
        for entry in client.access_policy_assignment.list(resource_group, name, DATABASE)
    )


def access_keys(client: RedisEnterpriseManagementClient, resource_group: str, name: str) -> tuple[str, str]:
    """Return the primary and the secondary access key of a cluster's database."""
    keys = client.databases.list_keys(resource_group, name, DATABASE)
    return keys.primary_key or "", keys.secondary_key or ""


def regenerate_key(client: RedisEnterpriseManagementClient, resource_group: str, name: str, which: str) -> str:
    """Make a new access key, *which* is "Primary" or "Secondary", wait until it is in force, and return it."""
    from azure.mgmt.redisenterprise.models import RegenerateKeyParameters

    client.databases.begin_regenerate_key(
        resource_group, name, DATABASE, RegenerateKeyParameters(key_type=which)
    ).result()
    # What the operation's end tells of the keys differs between versions of the service; listing them does not.
    primary, secondary = access_keys(client, resource_group, name)
    return primary if which == "Primary" else secondary


def facts(
    found: Cluster,
    *,
    subscription_id: str,
    resource_group: str,
    location: str,
    access_policy_assignments: tuple[AccessPolicyAssignment, ...] = (),
) -> CacheFacts:
    """Return a cluster and its database as facts; *location* is the region's short name."""
    cluster, database = found.cluster, found.database
    identity, persistence = cluster.identity, database.persistence if database else None
    eviction = _word(database.eviction_policy) if database else ""
    return CacheFacts(
        id=f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}/providers/Microsoft.Cache/redisEnterprise/{cluster.name}",
        name=cluster.name,
        resource_group=resource_group,
        subscription_id=subscription_id,
        location=location,
        product=MANAGED,
        provisioning_state=found.provisioning_state,
        sku_name=_word(cluster.sku.name),
        sku_family="",
        sku_capacity=int(cluster.sku.capacity or 0),
        redis_version=(database.redis_version if database else "") or cluster.redis_version or "",
        replicas_per_primary=1 if _word(cluster.high_availability) != "Disabled" else 0,
        zones=tuple(cluster.zones or ()),
        rdb_backup_enabled=bool(persistence and persistence.rdb_enabled),
        aof_backup_enabled=bool(persistence and persistence.aof_enabled),
        private_endpoints=tuple(c.name or "" for c in cluster.private_endpoint_connections or ()),
        minimum_tls_version=_word(cluster.minimum_tls_version),
        public_network_access=_word(cluster.public_network_access) or "Enabled",
        access_keys_disabled=database is not None and _word(database.access_keys_authentication) != "Enabled",
        redis_configuration={"maxmemory-policy": _EVICTION.get(eviction, eviction)} if eviction else {},
        access_policy_assignments=access_policy_assignments,
        identity_type=_word(identity.type) if identity else "",
        user_assigned_identities=tuple(identity.user_assigned_identities or {}) if identity else (),
        tags=dict(cluster.tags or {}),
        host_name=cluster.host_name or "",
        ssl_port=int((database.port if database else None) or 10000),
        port=int((database.port if database else None) or 10000),
        clustering_policy=_word(database.clustering_policy) if database else "",
        client_protocol=_word(database.client_protocol) if database else "",
        geo_replication_group=_word(database.geo_replication.group_nickname)
        if database and database.geo_replication
        else "",
        modules=tuple(module.name for module in (database.modules or ())) if database else (),
    )


def _word(value: Any) -> str:
    """Return the text of what Azure's models give as an enumeration, as text or not at all."""
    return str(getattr(value, "value", value) or "")
