"""Facts about a cache as arguments of `azure_native.redis.Redis`."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_azure_native import redis

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
