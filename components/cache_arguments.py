"""Facts about a cache as arguments of `azure_native.redis.Redis`, or of a redisEnterprise cluster and its database."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_azure_native import redis, redisenterprise

from redismove.facts import REPORTED_ONLY, CacheFacts

_SNAKE = str.maketrans("-", "_")
_KNOWN_CONFIGURATION = frozenset(redis.RedisCommonPropertiesRedisConfigurationArgs.__init__.__annotations__)


def within(settle_s: float) -> pulumi.CustomTimeouts:
    """Bound each of the engine's own operations on a resource by *settle_s* seconds (`redismove:settleMinutes`)."""
    limit = f"{settle_s:g}s"
    return pulumi.CustomTimeouts(create=limit, update=limit, delete=limit)


def redis_arguments(facts: CacheFacts) -> dict[str, Any]:
    """
    Return the arguments that declare the cache *facts* describe.

    Settings that azure-native has no property for (it names the documented ones) cannot be declared and are left
    out; the evidence compares them all the same.
    """
    configuration = {
        key.translate(_SNAKE): value
        for key, value in facts.redis_configuration.items()
        if key not in REPORTED_ONLY and key.translate(_SNAKE) in _KNOWN_CONFIGURATION
    }
    arguments: dict[str, Any] = {
        "name": facts.name,
        "resource_group_name": facts.resource_group,
        "location": facts.location,
        "sku": redis.SkuArgs(name=facts.sku_name, family=facts.sku_family, capacity=facts.sku_capacity),
        "redis_version": facts.redis_version,
        "enable_non_ssl_port": facts.non_ssl_port_enabled,
        "public_network_access": facts.public_network_access,
        "disable_access_key_authentication": facts.access_keys_disabled,
        "redis_configuration": redis.RedisCommonPropertiesRedisConfigurationArgs(**configuration),
        "tags": dict(facts.tags),
    }
    if facts.minimum_tls_version:
        arguments["minimum_tls_version"] = facts.minimum_tls_version
    if facts.update_channel:
        arguments["update_channel"] = facts.update_channel
    if facts.sku_name == "Premium":
        arguments["replicas_per_primary"] = facts.replicas_per_primary
        if facts.shard_count:
            arguments["shard_count"] = facts.shard_count
        if facts.zonal_allocation_policy:
            arguments["zonal_allocation_policy"] = facts.zonal_allocation_policy
        if facts.zones:
            arguments["zones"] = list(facts.zones)
        if facts.subnet_id:
            arguments["subnet_id"] = facts.subnet_id
    if facts.identity_type and facts.identity_type != "None":
        arguments["identity"] = redis.ManagedServiceIdentityArgs(
            type=facts.identity_type, user_assigned_identities=list(facts.user_assigned_identities) or None
        )
    return arguments


_EVICTION = {
    "allkeys-lfu": "AllKeysLFU",
    "allkeys-lru": "AllKeysLRU",
    "allkeys-random": "AllKeysRandom",
    "volatile-lru": "VolatileLRU",
    "volatile-lfu": "VolatileLFU",
    "volatile-ttl": "VolatileTTL",
    "volatile-random": "VolatileRandom",
    "noeviction": "NoEviction",
}
DATABASE = "default"
"""The name of a cluster's one database."""


def cluster_arguments(facts: CacheFacts) -> dict[str, Any]:
    """Return the arguments that declare the cluster of the managed cache *facts* describe."""
    arguments: dict[str, Any] = {
        "cluster_name": facts.name,
        "resource_group_name": facts.resource_group,
        "location": facts.location,
        "sku": redisenterprise.SkuArgs(name=facts.sku_name, capacity=facts.sku_capacity or None),
        "high_availability": "Enabled" if facts.replicas_per_primary else "Disabled",
        "minimum_tls_version": facts.minimum_tls_version or "1.2",
        "public_network_access": facts.public_network_access,
        "tags": dict(facts.tags),
    }
    if facts.zones:
        arguments["zones"] = list(facts.zones)
    if facts.identity_type and facts.identity_type != "None":
        arguments["identity"] = redisenterprise.ManagedServiceIdentityArgs(
            type=facts.identity_type, user_assigned_identities=list(facts.user_assigned_identities) or None
        )
    return arguments


def database_arguments(facts: CacheFacts) -> dict[str, Any]:
    """Return the arguments that declare the database of the managed cache *facts* describe."""
    eviction = facts.redis_configuration.get("maxmemory-policy", "volatile-lru")
    return {
        "cluster_name": facts.name,
        "resource_group_name": facts.resource_group,
        "database_name": DATABASE,
        "client_protocol": facts.client_protocol or "Encrypted",
        "port": facts.ssl_port,
        "clustering_policy": facts.clustering_policy or "OSSCluster",
        "eviction_policy": _EVICTION.get(eviction, eviction),
        # Azure's default is Disabled, and nobody could log in by key.
        "access_keys_authentication": "Disabled" if facts.access_keys_disabled else "Enabled",
    }
