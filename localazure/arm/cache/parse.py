"""Request bodies of a cache: taken as loosely as ARM takes them, refused in its words."""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import Any

from localazure.arm.cache import refusals
from localazure.arm.cache.errors import BadRequest, InvalidParameter
from localazure.arm.cache.models import MAX_DATABASES, CacheRecord
from localazure.regions import has_zones

TLS_VERSIONS = ("1.0", "1.1", "1.2")
DEFAULT_DATABASES = 16
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Everyday", "Weekend")
DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")
MINIMUM_WINDOW_H = 5


def sku(body: Any, *, required: bool) -> tuple[str, str, int] | None:
    """Read tier, family (in any case) and capacity (number or string)."""
    if body is None and not required:
        return None
    if not isinstance(body, dict):
        raise InvalidParameter("properties.sku", "It is required.")
    name, family, capacity = body.get("name"), body.get("family"), body.get("capacity")
    try:
        number = int(str(capacity))
    except ValueError:
        raise InvalidParameter("properties.sku.capacity") from None
    tier = next((tier for tier in refusals.TIER_FAMILY if tier.lower() == str(name).lower()), str(name))
    return tier, str(family).upper(), number


def boolean(properties: dict[str, Any], name: str, otherwise: bool) -> bool:
    """Read a truth value."""
    value = properties.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, bool):
        raise InvalidParameter(f"properties.{name}")
    return value


def choice(properties: dict[str, Any], name: str, allowed: tuple[str, ...], otherwise: str) -> str:
    """Read one of some words, in any case."""
    value = properties.get(name)
    if value is None:
        return otherwise
    for word in allowed:
        if word.lower() == str(value).lower():
            return word
    raise InvalidParameter(f"properties.{name}", f"Allowed are {', '.join(allowed)}.")


def rdb_format(body: dict[str, Any]) -> None:
    """Refuse a file format other than RDB; left out it is RDB."""
    if str(body.get("format") or "RDB").upper() != "RDB":
        raise InvalidParameter("format", "Only 'RDB' is supported.")


def by_identity(cache: CacheRecord, body: dict[str, Any]) -> bool:
    """Read whether storage is reached by the cache's own identity, which it must have then, and not by SAS."""
    method = choice(body, "preferred-data-archive-auth-method", ("SAS", "ManagedIdentity"), "SAS")
    if method == "ManagedIdentity" and not (cache.identity or {}).get("type", "None") != "None":
        raise BadRequest(f"The cache '{cache.name}' has no managed identity.")
    return method == "ManagedIdentity"


def strings(body: dict[str, Any], name: str) -> dict[str, str] | None:
    """Read an object of strings; None when it is not there."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise InvalidParameter(name, "It is an object of strings.")
    return value


def identity(body: dict[str, Any], before: dict[str, Any] | None, tenant_id: str) -> dict[str, Any] | None:
    """Read a managed identity and give it the ids that Azure would give."""
    given = body.get("identity")
    if given is None:
        return before
    kind = str(given.get("type", "")).replace(" ", "") if isinstance(given, dict) else ""
    known = {"none": "None", "systemassigned": "SystemAssigned", "userassigned": "UserAssigned"}
    known["systemassigned,userassigned"] = "SystemAssigned, UserAssigned"
    if kind.lower() not in known:
        raise InvalidParameter("identity.type")
    kind = known[kind.lower()]
    if kind == "None":
        return None
    result: dict[str, Any] = {"type": kind}
    if "SystemAssigned" in kind:
        result["principalId"] = (before or {}).get("principalId") or str(uuid.uuid4())
        result["tenantId"] = tenant_id
    if "UserAssigned" in kind:
        users = given.get("userAssignedIdentities")
        if not isinstance(users, dict) or not users:
            raise InvalidParameter("identity.userAssignedIdentities")
        old = (before or {}).get("userAssignedIdentities", {})
        result["userAssignedIdentities"] = {
            user: old.get(user) or {"principalId": str(uuid.uuid4()), "clientId": str(uuid.uuid4())} for user in users
        }
    return result


def version(asked: Any, default: str) -> str:
    """
    Read a Redis version: `latest`, `6`, `6.0`, `6.0.14` as Azure takes them; `6.2` exists here only.

    Args:
        asked: what the request says.
        default: version of a cache for which nothing, `latest` or `6` is asked.
    """
    text = str(asked) if asked is not None else "latest"
    if text.lower() == "latest" or text == "6":
        return default
    match = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", text)
    if text in ("4", "3") or (match and match[1] in ("3", "4")):
        raise BadRequest(
            f"Redis version '{text}' is retired: no new cache can be created with it, and none downgraded to it."
        )
    if match and f"{match[1]}.{match[2]}" in ("6.0", "6.2"):
        return f"{match[1]}.{match[2]}"
    raise InvalidParameter("properties.redisVersion", "Allowed are 6, 6.0 and latest (and 6.2 on the local Azure).")


def integer(properties: dict[str, Any], *names: str) -> int | None:
    """Read a whole number under the first of some names; None when it is not there."""
    for name in names:
        value = properties.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, str)) or not re.fullmatch(r"\d+", str(value)):
            raise InvalidParameter(f"properties.{name}")
        return int(value)
    return None


def apply_properties(
    cache: CacheRecord, body: dict[str, Any], *, creating: bool, default_version: str, tenant_id: str
) -> None:
    """
    Bring a cache to what a create or update request says, and refuse what is not allowed.

    Args:
        cache: changed in place; a copy, so that a refusal changes nothing.
        body: the request.
        creating: for a new cache.
        default_version: Redis version of this Azure.
        tenant_id: for a managed identity.
    """
    properties = body.get("properties") or {}
    if not isinstance(properties, dict):
        raise InvalidParameter("properties")
    tags = strings(body, "tags")
    if tags is not None:
        cache.tags = tags
    cache.identity = identity(body, cache.identity, tenant_id)
    size = sku(properties.get("sku"), required=creating)
    if size is not None:
        if creating:
            refusals.check_sku(*size)
        else:
            refusals.check_scaling(cache, *size)
        cache.sku_name, cache.sku_family, cache.sku_capacity = size
    if creating or properties.get("redisVersion") is not None:
        asked = version(properties.get("redisVersion"), default_version)
        if not creating and asked < cache.redis_version:
            raise BadRequest(f"The Redis version cannot be downgraded from {cache.redis_version} to {asked}.")
        cache.redis_version = asked
    cache.enable_non_ssl_port = boolean(properties, "enableNonSslPort", cache.enable_non_ssl_port)
    cache.minimum_tls_version = choice(properties, "minimumTlsVersion", TLS_VERSIONS, cache.minimum_tls_version)
    cache.public_network_access = choice(
        properties, "publicNetworkAccess", ("Enabled", "Disabled"), cache.public_network_access
    )
    cache.update_channel = choice(properties, "updateChannel", ("Stable", "Preview"), cache.update_channel)
    cache.tenant_settings = strings(properties, "tenantSettings") or cache.tenant_settings
    shards = integer(properties, "shardCount")
    if shards is not None:
        cache.shard_count = shards
    replicas = integer(properties, "replicasPerPrimary", "replicasPerMaster")
    if replicas is not None:
        cache.replicas_per_primary = replicas
    if creating:
        cache.subnet_id = properties.get("subnetId")
        cache.static_ip = properties.get("staticIP")
    _apply_zones(cache, body, properties, creating=creating)
    refusals.check_premium_features(cache)
    refusals.check_zones(cache)
    _apply_configuration(cache, properties, creating=creating)
    cache.disable_access_key_authentication = boolean(
        properties, "disableAccessKeyAuthentication", cache.disable_access_key_authentication
    )
    if cache.disable_access_key_authentication and not cache.entra_enabled:
        raise BadRequest(
            "Access key authentication can be disabled only when Microsoft Entra authentication is enabled."
        )


def _apply_zones(cache: CacheRecord, body: dict[str, Any], properties: dict[str, Any], *, creating: bool) -> None:
    zones = body.get("zones")
    if zones is not None and not isinstance(zones, list):
        raise InvalidParameter("zones")
    policy = properties.get("zonalAllocationPolicy")
    if creating:
        cache.zones = [str(zone) for zone in zones or []]
        if policy is not None:
            cache.zonal_allocation_policy = choice(
                properties, "zonalAllocationPolicy", ("Automatic", "UserDefined", "NoZones"), "NoZones"
            )
        elif cache.zones:
            cache.zonal_allocation_policy = "UserDefined"
        else:
            # The specification: omitted, it is Automatic where the region has zones. Basic is one machine.
            automatic = has_zones(cache.location) and cache.sku_name != "Basic"
            cache.zonal_allocation_policy = "Automatic" if automatic else "NoZones"
    elif policy is not None and str(policy).lower() != cache.zonal_allocation_policy.lower():
        raise BadRequest("The property 'zonalAllocationPolicy' cannot be changed by this stand-in after creation.")


def _apply_configuration(cache: CacheRecord, properties: dict[str, Any], *, creating: bool) -> None:
    given = properties.get("redisConfiguration")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise InvalidParameter("properties.redisConfiguration")
    before = dict(cache.redis_configuration)
    merged = dict(before)
    for name, value in given.items():
        if value is None:
            merged.pop(name, None)
        elif name not in refusals.PERSISTENCE_SECRETS and name not in refusals.READ_ONLY_SETTINGS:
            merged[name] = value
    probe = cache.model_copy(update={"redis_configuration": {k: v for k, v in merged.items() if isinstance(v, str)}})
    # Checked against what is there before for "only at creation", against what will be for the rest.
    if not creating and "databases" in given and given["databases"] != before.get("databases", str(DEFAULT_DATABASES)):
        raise InvalidParameter("databases", "The number of databases can be set only at creation.")
    refusals.check_configuration(probe, given, creating=creating)
    cache.redis_configuration = merged


def databases(cache: CacheRecord) -> int:
    """Give the number of databases of a cache."""
    if cache.shard_count:
        return 1
    asked = cache.redis_configuration.get("databases")
    return int(asked) if asked else min(DEFAULT_DATABASES, MAX_DATABASES[cache.sku_family][cache.sku_capacity])


def firewall_rule(body: dict[str, Any]) -> tuple[str, str]:
    """Read a firewall rule: two IPv4 addresses in order."""
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise InvalidParameter("properties")
    ends = []
    for name in ("startIP", "endIP"):
        try:
            ends.append(ipaddress.IPv4Address(properties.get(name)))
        except ValueError:
            raise InvalidParameter(f"properties.{name}", "An IPv4 address is expected.") from None
    if ends[0] > ends[1]:
        raise InvalidParameter("properties.endIP", "It must not be lower than startIP.")
    return str(ends[0]), str(ends[1])


def patch_schedule(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Read a patch schedule: days, an hour in UTC, a window of at least five hours."""
    properties = body.get("properties")
    entries = properties.get("scheduleEntries") if isinstance(properties, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InvalidParameter("properties.scheduleEntries", "At least one entry is expected.")
    result = []
    for entry in entries:
        day = next((day for day in DAYS if day.lower() == str(entry.get("dayOfWeek")).lower()), None)
        if day is None:
            raise InvalidParameter("properties.scheduleEntries.dayOfWeek", f"Allowed are {', '.join(DAYS)}.")
        hour = entry.get("startHourUtc")
        if isinstance(hour, bool) or not isinstance(hour, int) or not 0 <= hour <= 23:
            raise InvalidParameter("properties.scheduleEntries.startHourUtc", "Allowed are 0 to 23.")
        window = entry.get("maintenanceWindow") or f"PT{MINIMUM_WINDOW_H}H"
        match = DURATION.fullmatch(str(window))
        hours = (int(match[1] or 0) + int(match[2] or 0) / 60) if match else 0
        if hours < MINIMUM_WINDOW_H:
            raise InvalidParameter(
                "properties.scheduleEntries.maintenanceWindow", f"At least PT{MINIMUM_WINDOW_H}H is expected."
            )
        result.append({"dayOfWeek": day, "startHourUtc": hour, "maintenanceWindow": str(window)})
    return result
