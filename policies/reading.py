"""
What a policy is shown, as facts.

In a preview some values are not known yet: looking at one raises. Here every value is taken through one function, which
puts `NOT_KNOWN` in its place, so that a rule that asks for it is told as not known yet and never passes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pulumi_policy.proxy import UnknownValueError

from redismove.facts import MANAGED, NOT_KNOWN, CacheFacts, FirewallRule, Move, from_dict

GATE: Final = "pulumi-python:dynamic/redismove:StageGate"
_AZURE_TYPE: Final = re.compile(
    r"azure-native:(?:redis|redisenterprise|cache)(?:/v\w+)?:"
    r"(?P<kind>Redis|LinkedServer|FirewallRule|RedisEnterprise|Database)"
)
_OF_A_MOVE: Final = "redismove:index:CacheMove$"
_CACHE_ID: Final = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Cache/redis/([^/]+)", re.I
)
_REGION_BLANKS: Final = re.compile(r"\s+")


def kind_of(resource_type: str) -> str:
    """
    Return what a resource of azure-native is, of any version: "Redis", "LinkedServer", "FirewallRule",
    "RedisEnterprise" or "Database"; "" for any other.
    """
    match = _AZURE_TYPE.fullmatch(resource_type)
    return match["kind"] if match else ""


def belongs_to_move(urn: str) -> bool:
    """Whether a resource is a part of this project's own component, whose gate judges it."""
    return _OF_A_MOVE in urn


def known(holder: Mapping[str, Any] | Sequence[Any], key: Any, default: Any = None) -> Any:
    """
    Return what *holder* has under *key* with everything in it, `NOT_KNOWN` in place of what is not known yet.

    *default* stands for what is not there or null.
    """
    try:
        value = holder[key]
    except UnknownValueError:
        return NOT_KNOWN
    except (KeyError, IndexError):
        return default
    return default if value is None else _whole(value)


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: known(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [known(value, index) for index in range(len(value))]
    return value


def move_of(props: Mapping[str, Any]) -> Move:
    """Return the move that a StageGate's inputs carry."""
    data = known(props, "move", {})
    if not isinstance(data, Mapping):
        return Move(**{field.name: NOT_KNOWN for field in dataclasses.fields(Move)})
    return from_dict(Move, data)


def cache_of(props: Mapping[str, Any], firewall_rules: Sequence[FirewallRule] = ()) -> CacheFacts:
    """Return the facts that the inputs (or outputs) of an `azure-native:redis:Redis` show."""
    sku = known(props, "sku", {})
    settings = known(props, "redisConfiguration", {})
    whole_id = known(props, "id", "")
    match = _CACHE_ID.search(whole_id) if isinstance(whole_id, str) else None
    name = known(props, "name", NOT_KNOWN)
    if isinstance(name, str):
        name = name.rsplit("/", 1)[-1]
    group = known(props, "resourceGroupName", match[2] if match else "")
    subscription = match[1] if match else ""
    return CacheFacts(
        id=match[0] if match else "",
        name=name,
        resource_group=group,
        subscription_id=subscription,
        location=_region(known(props, "location", "")),
        sku_name=_part(sku, "name", NOT_KNOWN),
        sku_family=_part(sku, "family", NOT_KNOWN),
        sku_capacity=_whole_number(_part(sku, "capacity", NOT_KNOWN)),
        redis_version=_text(known(props, "redisVersion", "")),
        shard_count=_whole_number(known(props, "shardCount", 0)),
        replicas_per_primary=_whole_number(_first(props, "replicasPerPrimary", "replicasPerMaster", default=1)),
        zones=_texts(known(props, "zones", [])),
        zonal_allocation_policy=_text(known(props, "zonalAllocationPolicy", "")),
        rdb_backup_enabled=_on(_part(settings, "rdbBackupEnabled", "")),
        aof_backup_enabled=_on(_part(settings, "aofBackupEnabled", "")),
        subnet_id=_text(known(props, "subnetId", "")),
        static_ip=_text(known(props, "staticIP", "")),
        non_ssl_port_enabled=_flag(known(props, "enableNonSslPort", False)),
        minimum_tls_version=_text(known(props, "minimumTlsVersion", "")),
        public_network_access=_text(known(props, "publicNetworkAccess", "Enabled")),
        access_keys_disabled=_flag(known(props, "disableAccessKeyAuthentication", False)),
        redis_configuration=_configuration(settings),
        firewall_rules=tuple(firewall_rules),
    )


def cluster_of(props: Mapping[str, Any]) -> CacheFacts:
    """Return the facts that the inputs (or outputs) of an `azure-native:redisenterprise:RedisEnterprise` show."""
    sku = known(props, "sku", {})
    name = _first(props, "clusterName", "name", default=NOT_KNOWN)
    return CacheFacts(
        id="",
        name=name.rsplit("/", 1)[-1] if isinstance(name, str) else name,
        resource_group=known(props, "resourceGroupName", ""),
        subscription_id="",
        location=_region(known(props, "location", "")),
        product=MANAGED,
        sku_name=_part(sku, "name", NOT_KNOWN),
        sku_family="",
        sku_capacity=_whole_number(_part(sku, "capacity", 0)),
        redis_version="",
        zones=_texts(known(props, "zones", [])),
        minimum_tls_version=_text(known(props, "minimumTlsVersion", "")),
        public_network_access=_text(known(props, "publicNetworkAccess", "Enabled")),
    )


def database_of(props: Mapping[str, Any], cluster: CacheFacts) -> CacheFacts:
    """Return *cluster* with the database that an `azure-native:redisenterprise:Database` declares on it."""
    return dataclasses.replace(
        cluster,
        clustering_policy=_text(known(props, "clusteringPolicy", "OSSCluster")),
        client_protocol=_text(known(props, "clientProtocol", "Encrypted")),
        access_keys_disabled=_off(known(props, "accessKeysAuthentication", "Disabled")),
    )


def cluster_name_of(props: Mapping[str, Any]) -> Any:
    """Return the name of the cluster that an `azure-native:redisenterprise:Database` stands on."""
    name = known(props, "clusterName", "")
    return name.rsplit("/", 1)[-1] if isinstance(name, str) else name


def firewall_rule_of(props: Mapping[str, Any]) -> tuple[Any, FirewallRule]:
    """Return the name of the cache and the rule that an `azure-native:redis:FirewallRule` declares."""
    name = _first(props, "ruleName", "name", default="")
    rule = FirewallRule(name=name, start_ip=known(props, "startIP", ""), end_ip=known(props, "endIP", ""))
    return known(props, "cacheName", ""), rule


def linked_names(props: Mapping[str, Any]) -> tuple[Any, Any]:
    """
    Return the names of the primary and the secondary that an `azure-native:redis:LinkedServer` links.

    The record hangs on one cache and names the other, with the other's role: "Secondary" where the first is the
    primary.
    """
    holder = known(props, "name", "")
    whole_id = known(props, "id", "")
    match = _CACHE_ID.search(whole_id) if isinstance(whole_id, str) else None
    if match:
        holder = match[3]
    other_id = known(props, "linkedRedisCacheId", "")
    other = known(props, "linkedServerName", "")
    if isinstance(other_id, str) and other_id:
        other = other_id.rsplit("/", 1)[-1]
    return (other, holder) if is_reversed(props) else (holder, other)


def is_reversed(props: Mapping[str, Any]) -> bool:
    """Whether a LinkedServer's record hangs on the secondary and names the primary."""
    role = known(props, "serverRole", "Secondary")
    return isinstance(role, str) and role == "Primary"


def _first(props: Mapping[str, Any], *names: str, default: Any) -> Any:
    for name in names:
        value = known(props, name)
        if value is not None:
            return value
    return default


def _part(holder: Any, key: str, default: Any) -> Any:
    return NOT_KNOWN if holder is NOT_KNOWN else holder.get(key, default)


def _whole_number(value: Any) -> Any:
    if value is NOT_KNOWN or isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) or str(value).isdecimal() else NOT_KNOWN


def _text(value: Any) -> Any:
    return value if value is NOT_KNOWN else str(value)


def _texts(value: Any) -> Any:
    return value if value is NOT_KNOWN else tuple(_text(item) for item in value)


def _flag(value: Any) -> Any:
    return value if value is NOT_KNOWN else bool(value)


def _off(value: Any) -> Any:
    return value if value is NOT_KNOWN else str(value) != "Enabled"


def _on(value: Any) -> Any:
    return value if value is NOT_KNOWN else str(value).lower() == "true"


def _region(value: Any) -> Any:
    return value if value is NOT_KNOWN else _REGION_BLANKS.sub("", str(value)).lower()


def _configuration(settings: Any) -> Any:
    if settings is NOT_KNOWN:
        return NOT_KNOWN
    return {re.sub(r"(?=[A-Z])", "-", key).lower(): _text(value) for key, value in settings.items()}
