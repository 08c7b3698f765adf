"""
What Azure refuses: read from its documentation by this room alone, as a second opinion on the rules of the mover.

Every function raises the ARM error, or returns. Sources: "Configure passive geo-replication" (prerequisites and
restrictions), "Configure Azure Cache for Redis", "Move Azure Cache for Redis instances to different regions", the REST
specification 2024-11-01.
"""

from __future__ import annotations

import re
from typing import Any

from localazure.arm.cache.errors import (
    BadRequest,
    Busy,
    InvalidParameter,
    LinkRefused,
    SettingNotAllowed,
    SkuFamilyNotSupported,
)
from localazure.arm.cache.models import (
    MAX_DATABASES,
    MAX_REPLICAS,
    MAX_SHARDS,
    MEMORY_MB,
    TIER_FAMILY,
    TIER_ORDER,
    CacheRecord,
)
from localazure.regions import has_zones, short_name

CACHE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?!-))*")
RULE_NAME = re.compile(r"[A-Za-z0-9_]{1,256}")
POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 -]{1,61}[A-Za-z0-9]")
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
BACKUP_FREQUENCIES = ("15", "30", "60", "360", "720", "1440")
EVICTION_POLICIES = (
    "volatile-lru",
    "allkeys-lru",
    "volatile-lfu",
    "allkeys-lfu",
    "volatile-random",
    "allkeys-random",
    "volatile-ttl",
    "noeviction",
)
READ_ONLY_SETTINGS = ("maxclients", "preferred-data-archive-auth-method", "zonal-configuration")
NOT_ON_BASIC = (
    "maxmemory-reserved",
    "maxfragmentationmemory-reserved",
    "maxmemory-delta",
    "notify-keyspace-events",
)
PERSISTENCE_SECRETS = (
    "rdb-storage-connection-string",
    "aof-storage-connection-string-0",
    "aof-storage-connection-string-1",
)
PREMIUM_ONLY = (
    "rdb-backup-enabled",
    "rdb-backup-frequency",
    "rdb-backup-max-snapshot-count",
    "aof-backup-enabled",
    "preferred-data-persistence-auth-method",
    "storage-subscription-id",
    "authnotrequired",
    *PERSISTENCE_SECRETS,
)
ANY_TIER = ("maxmemory-policy", "databases", "aad-enabled", "zset-max-ziplist-entries", "hash-max-ziplist-entries")
NOTIFY_FLAGS = set("KEg$lshzxetdmnA")


def check_name(name: str) -> None:
    """Refuse a name that cannot be a cache's: 1 to 63 letters, digits and single hyphens, alphanumeric at both ends."""
    if not 1 <= len(name) <= 63 or not CACHE_NAME.fullmatch(name) or name.endswith("-"):
        raise InvalidParameter(
            "name",
            "A cache name has 1 to 63 letters, digits and single hyphens, and begins and ends with a letter or digit.",
        )


def check_sku(name: str, family: str, capacity: int) -> None:
    """Refuse a tier, family and capacity that do not go together."""
    if name not in TIER_FAMILY:
        raise InvalidParameter("properties.sku.name", "Allowed are Basic, Standard and Premium.")
    if family not in MEMORY_MB:
        raise InvalidParameter("properties.sku.family", "Allowed are C (Basic, Standard) and P (Premium).")
    if TIER_FAMILY[name] != family or capacity not in MEMORY_MB[family]:
        raise SkuFamilyNotSupported


def check_scaling(cache: CacheRecord, name: str, family: str, capacity: int) -> None:
    """Refuse a change of size that Azure does not make: to a lower tier, over a tier, or down to C0."""
    check_sku(name, family, capacity)
    step = TIER_ORDER.index(name) - TIER_ORDER.index(cache.sku_name)
    if step < 0:
        raise BadRequest(f"A cache cannot be scaled from the '{cache.sku_name}' tier down to the '{name}' tier.")
    if step > 1:
        raise SkuFamilyNotSupported
    if family == "C" and capacity == 0 and cache.sku_capacity > 0:
        raise BadRequest("A cache cannot be scaled from a larger size down to C0.")


def check_premium_features(cache: CacheRecord) -> None:
    """Refuse what only a higher tier has."""
    if cache.shard_count and cache.sku_name != "Premium":
        raise BadRequest(f"The property 'shardCount' is not allowed on '{cache.sku_name}' cache instances.")
    if cache.shard_count > MAX_SHARDS:
        raise InvalidParameter("properties.shardCount", f"Allowed are 1 to {MAX_SHARDS} shards.")
    replicas = cache.replicas_per_primary
    if replicas is not None:
        if cache.sku_name != "Premium" and replicas != 1:
            raise BadRequest(f"The property 'replicasPerPrimary' is not allowed on '{cache.sku_name}' cache instances.")
        if not 1 <= replicas <= MAX_REPLICAS:
            raise InvalidParameter("properties.replicasPerPrimary", f"Allowed are 1 to {MAX_REPLICAS} replicas.")
    if (cache.subnet_id or cache.static_ip) and cache.sku_name != "Premium":
        raise BadRequest(f"The property 'subnetId' is not allowed on '{cache.sku_name}' cache instances.")
    if cache.static_ip and not cache.subnet_id:
        raise InvalidParameter("properties.staticIP", "A static IP needs a subnetId.")


def check_zones(cache: CacheRecord) -> None:
    """Refuse zones that the region, the tier or the allocation policy does not have."""
    if cache.zones:
        if cache.sku_name == "Basic":
            raise BadRequest("The property 'zones' is not allowed on 'Basic' cache instances.")
        if cache.zonal_allocation_policy != "UserDefined":
            raise InvalidParameter(
                "properties.zonalAllocationPolicy", "Zones can be given only with the policy 'UserDefined'."
            )
        if any(zone not in ("1", "2", "3") for zone in cache.zones) or len(set(cache.zones)) != len(cache.zones):
            raise InvalidParameter("zones", "Allowed are different ones of 1, 2 and 3.")
    elif cache.zonal_allocation_policy == "UserDefined":
        raise InvalidParameter("zones", "The allocation policy 'UserDefined' needs zones.")
    if cache.zonal_allocation_policy != "NoZones" and not has_zones(cache.location):
        raise InvalidParameter("zones", f"The region '{cache.location}' has no availability zones.")


def check_configuration(cache: CacheRecord, given: dict[str, Any], *, creating: bool) -> None:
    """
    Refuse a `redisConfiguration` setting: unknown, not a string, not of this tier, or with a value that is not allowed.

    Args:
        cache: the cache as it would be.
        given: the settings of the request; null removes one.
        creating: the number of databases can be set only then.
    """
    for name, value in given.items():
        parameter = f"redisConfiguration.{name}"
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidParameter(parameter, "Values of redisConfiguration are strings.")
        if name in READ_ONLY_SETTINGS:
            # A client may send back what GET showed; a different value is not taken.
            continue
        if name in NOT_ON_BASIC and cache.sku_name == "Basic":
            raise SettingNotAllowed(name, cache.sku_name)
        if name in PREMIUM_ONLY and cache.sku_name != "Premium":
            raise SettingNotAllowed(name, cache.sku_name)
        if name not in (*NOT_ON_BASIC, *PREMIUM_ONLY, *ANY_TIER):
            raise InvalidParameter(parameter, "There is no such setting.")
        _check_value(cache, name, value, parameter, creating=creating)
    persistent = cache.redis_configuration
    if cache.has_persistence and persistent.get("preferred-data-persistence-auth-method", "SAS") != "ManagedIdentity":
        needs = (
            "rdb-backup-enabled" if persistent.get("rdb-backup-enabled", "").lower() == "true" else "aof-backup-enabled"
        )
        secret = PERSISTENCE_SECRETS[0] if needs.startswith("rdb") else PERSISTENCE_SECRETS[1]
        if str(given.get(needs, "")).lower() == "true" and not given.get(secret):
            raise InvalidParameter(f"redisConfiguration.{secret}", f"'{needs}' needs it.")


def _check_value(cache: CacheRecord, name: str, value: str, parameter: str, *, creating: bool) -> None:
    if name == "maxmemory-policy" and value not in EVICTION_POLICIES:
        raise InvalidParameter(name, f"Allowed are {', '.join(EVICTION_POLICIES)}.")
    if name == "notify-keyspace-events" and not set(value) <= NOTIFY_FLAGS:
        raise InvalidParameter(name)
    if name in ("rdb-backup-enabled", "aof-backup-enabled", "aad-enabled", "authnotrequired"):
        if value.lower() not in ("true", "false"):
            raise InvalidParameter(name, "Allowed are 'true' and 'false'.")
        if name == "authnotrequired" and value.lower() == "true" and not cache.subnet_id:
            raise InvalidParameter(name, "It is for caches in a virtual network only.")
    if name == "rdb-backup-frequency" and value not in BACKUP_FREQUENCIES:
        raise InvalidParameter(name, f"Allowed are {', '.join(BACKUP_FREQUENCIES)} minutes.")
    if name in (
        "rdb-backup-max-snapshot-count",
        "maxmemory-reserved",
        "maxfragmentationmemory-reserved",
        "maxmemory-delta",
    ):
        if not value.isdigit() or (name == "rdb-backup-max-snapshot-count" and value == "0"):
            raise InvalidParameter(name)
        if not name.startswith("rdb") and int(value) > cache.memory_mb * 0.9:
            raise InvalidParameter(name, "It is more than 90 % of the cache's memory.")
    if name == "databases":
        most = MAX_DATABASES[cache.sku_family][cache.sku_capacity]
        if not value.isdigit() or not 1 <= int(value) <= most:
            raise InvalidParameter(name, f"Allowed are 1 to {most} databases on this size.")
        if cache.shard_count and int(value) != 1:
            raise InvalidParameter(name, "A clustered cache has database 0 only.")
        if not creating and value != cache.redis_configuration.get("databases", value):
            raise InvalidParameter(name, "The number of databases can be set only at creation.")
    del parameter


def check_not_busy(cache: CacheRecord) -> None:
    """Refuse a management operation while another one is under way on the cache."""
    if cache.operation_id is not None:
        raise Busy(cache.id)


def check_update_while_linked(old: CacheRecord, new: CacheRecord) -> None:
    """Refuse what cannot be changed while a cache is linked: size, shards, replicas, persistence, access-key login."""
    if not old.links:
        return
    unlink = "Unlink the caches first."
    if (old.sku_name, old.sku_family, old.sku_capacity) != (new.sku_name, new.sku_family, new.sku_capacity):
        raise BadRequest(f"The cache '{old.name}' cannot be scaled while it is linked for geo-replication. {unlink}")
    if old.shard_count != new.shard_count:
        raise BadRequest(
            f"The shard count of the cache '{old.name}' cannot be changed while it is linked for geo-replication. "
            f"{unlink}"
        )
    if old.effective_replicas != new.effective_replicas:
        raise BadRequest(
            f"The replicas of the cache '{old.name}' cannot be changed while it is linked for geo-replication. {unlink}"
        )
    if new.has_persistence:
        raise BadRequest(
            f"Persistence cannot be enabled on the cache '{old.name}' while it is linked for geo-replication. {unlink}"
        )
    if old.disable_access_key_authentication != new.disable_access_key_authentication:
        raise BadRequest(
            f"Access key authentication of the cache '{old.name}' cannot be changed while it is linked for "
            f"geo-replication. {unlink}"
        )


def check_delete(cache: CacheRecord) -> None:
    """Refuse to delete a linked cache. (Azure's own code and text are not known; the documentation says it fails.)"""
    if cache.links:
        other = next(iter(cache.links.values())).name
        raise BadRequest(
            f"The cache '{cache.name}' cannot be deleted because it is linked for geo-replication with '{other}'. "
            "Unlink "
            "the caches first."
        )


def check_private_endpoint(cache: CacheRecord) -> None:
    """Refuse a private endpoint on a linked cache: private links must exist before the caches are linked."""
    if cache.links:
        raise BadRequest(
            f"A private endpoint cannot be added to the cache '{cache.name}' while it is linked for geo-replication. "
            "Unlink the caches, add the private endpoint, and link again."
        )


def check_import(cache: CacheRecord) -> None:
    """Refuse an import on a tier without it, and into a geo-secondary."""
    check_premium_operation(cache, "import")
    if cache.is_geo_secondary:
        raise BadRequest(f"Data cannot be imported into the cache '{cache.name}': it is a geo-replication secondary.")


def check_premium_operation(cache: CacheRecord, operation: str) -> None:
    """Refuse an operation that only Premium caches have."""
    if cache.sku_name != "Premium":
        raise BadRequest(f"The operation '{operation}' is not allowed on '{cache.sku_name}' cache instances.")


def check_flush(cache: CacheRecord) -> None:
    """Refuse to flush a read-only cache."""
    if cache.is_geo_secondary:
        raise BadRequest(
            f"The cache '{cache.name}' cannot be flushed: it is a geo-replication secondary and read-only."
        )


def check_link(primary: CacheRecord, secondary: CacheRecord, given_location: str) -> None:
    """
    Refuse a geo-replication link whose prerequisites do not hold.

    Args:
        primary: the cache the request is addressed to.
        secondary: the cache that would lose its data and become read-only.
        given_location: the region that the request says the secondary is in.
    """
    if primary.links or secondary.links:
        raise LinkRefused("Cannot create geo-replication link, since this cache is already linked to another cache.")
    for cache in (primary, secondary):
        if cache.sku_name != "Premium":
            raise LinkRefused(
                f"Cannot create geo-replication link, since the cache '{cache.name}' is of the '{cache.sku_name}' "
                "tier. "
                "Both caches must be Premium."
            )
    if short_name(given_location) != short_name(secondary.location):
        raise LinkRefused(
            f"Cannot create geo-replication link, since the linked cache '{secondary.name}' is in "
            f"'{secondary.location}', "
            f"not in '{given_location}'."
        )
    if secondary.memory_mb < primary.memory_mb:
        raise LinkRefused(
            f"Cannot create geo-replication link, since the secondary cache '{secondary.name}' "
            f"(P{secondary.sku_capacity}) "
            f"is smaller than the primary cache '{primary.name}' (P{primary.sku_capacity})."
        )
    if primary.shard_count != secondary.shard_count:
        raise LinkRefused(
            "Cannot create geo-replication link, since both caches must have the same number of shards or both "
            "must not "
            f"be clustered: '{primary.name}' has {_shards(primary)}, '{secondary.name}' has {_shards(secondary)}."
        )
    for cache in (primary, secondary):
        if cache.has_persistence:
            raise LinkRefused(
                f"Cannot create geo-replication link, since data persistence is enabled on the cache '{cache.name}'."
            )
        if cache.is_zone_redundant:
            raise LinkRefused(
                f"Cannot create geo-replication link, since the cache '{cache.name}' is zone redundant "
                "(allocation policy "
                f"'{cache.zonal_allocation_policy}')."
            )
        if cache.effective_replicas != 1:
            raise LinkRefused(
                f"Cannot create geo-replication link, since the cache '{cache.name}' has {cache.effective_replicas} "
                "replicas per primary. Exactly one is supported."
            )
    if primary.redis_version != secondary.redis_version:
        raise LinkRefused(
            f"Cannot create geo-replication link, since the caches have different Redis versions: '{primary.name}' has "
            f"{primary.redis_version}, '{secondary.name}' has {secondary.redis_version}."
        )


def _shards(cache: CacheRecord) -> str:
    return f"{cache.shard_count} shards" if cache.shard_count else "no clustering"
