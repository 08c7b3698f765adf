"""
What the target is made of: the source's settings, in the new region, with what the method and Azure ask to be
different.

Pure: the program declares what this returns, the gates judge it, and the plan shows it.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from redismove import stages
from redismove.facts import MANAGED, REDIS, REPORTED_ONLY, CacheFacts
from redismove.rules import tiers
from redismove.settings import MoveSettings

MOVE_TAG: Final = "redismove-move"
SOURCE_TAG: Final = "redismove-source"
_NOT_CARRIED_CONFIGURATION: Final = (
    "rdb-storage-connection-string",
    "aof-storage-connection-string-0",
    "aof-storage-connection-string-1",
    "storage-subscription-id",
)
_PERSISTENCE_CONFIGURATION: Final = (
    "rdb-backup-enabled",
    "rdb-backup-frequency",
    "rdb-backup-max-snapshot-count",
    "aof-backup-enabled",
    "preferred-data-persistence-auth-method",
)
_NOT_DECLARED: Final = frozenset(_NOT_CARRIED_CONFIGURATION + _PERSISTENCE_CONFIGURATION + REPORTED_ONLY)
"""Settings that the target does not take over."""
_COMPARED: Final = (
    "sku_name",
    "redis_version",
    "shard_count",
    "non_ssl_port_enabled",
    "minimum_tls_version",
    "public_network_access",
    "access_keys_disabled",
)
_COMPARED_OF_MANAGED: Final = ("client_protocol", "minimum_tls_version", "access_keys_disabled")
"""Of a managed target; its size, version and clustering are another product's."""
_CONTAINED: Final = ("firewall_rules", "patch_schedule", "access_policies", "access_policy_assignments")
"""Of these the target must have all that the source has, and may have more: clients of the new region, say."""


def made_by(cache: CacheFacts | None, move_id: str) -> bool:
    """
    Whether the move *move_id* made this cache, by its tag.

    The id is random and recorded when a stack adopts its source: a name would also fit the target of an earlier move.
    """
    return cache is not None and bool(move_id) and cache.tags.get(MOVE_TAG) == move_id


def notifications_with_ours(events: str) -> str:
    """
    Return *events*, a `notify-keyspace-events` setting, with what following changes needs added.

    Unchanged where it suffices: the keyspace channel and every class of commands (Redis: keyspace notifications).
    """
    suffices = "K" in events and ("A" in events or set("g$lshzxet") <= set(events))
    return events if suffices else "".join(dict.fromkeys(events + "KEA"))


def target_like(source: CacheFacts, settings: MoveSettings, *, move_id: str, target_id: str) -> CacheFacts:
    """
    Return the target as it is to be declared: like *source*, in the new region.

    A geo link allows one replica, no zones and no persistence; the other methods need none of these to serve
    either, and storage secrets cannot be read back, so persistence is never carried (see `not_carried`). The memory
    policy, TLS and port settings, firewall rules, patch schedule, access policies, tags and identity are the source's.
    """
    asked = settings.target
    assert asked is not None, "a target is declared only where the settings name one"
    if asked.kind == MANAGED:
        return _managed_like(source, settings, move_id=move_id, target_id=target_id)
    family, capacity = source.sku_family, source.sku_capacity
    if asked.sku:
        family, capacity = asked.sku[0], int(asked.sku[1:])
    name = (
        source.sku_name
        if (family == "P") == (source.sku_name == "Premium")
        else ("Premium" if family == "P" else "Standard")
    )
    geo = settings.method == stages.GEO_REPLICATION
    configuration = {key: value for key, value in source.redis_configuration.items() if key not in _NOT_DECLARED}
    if settings.enable_notifications and name != "Basic":  # for which Azure refuses the setting
        # The way back from the cut-over follows the target's changes as the way there follows the source's.
        configuration["notify-keyspace-events"] = notifications_with_ours(source.notify_keyspace_events)
    return CacheFacts(
        id=target_id,
        name=asked.name,
        resource_group=asked.resource_group,
        subscription_id=asked.subscription_id or source.subscription_id,
        location=asked.location,
        exists=False,
        product=asked.kind,
        sku_name=name,
        sku_family=family,
        sku_capacity=capacity,
        redis_version=source.redis_version.split(".")[0],
        shard_count=source.shard_count,
        replicas_per_primary=1 if geo else source.replicas_per_primary,
        zonal_allocation_policy="NoZones" if name == "Premium" else "",
        non_ssl_port_enabled=source.non_ssl_port_enabled,
        minimum_tls_version=source.minimum_tls_version or "1.2",
        public_network_access=source.public_network_access,
        access_keys_disabled=source.access_keys_disabled,
        update_channel=source.update_channel,
        redis_configuration=configuration,
        firewall_rules=source.firewall_rules,
        patch_schedule=source.patch_schedule,
        access_policies=source.access_policies,
        access_policy_assignments=source.access_policy_assignments,
        identity_type=source.identity_type,
        user_assigned_identities=source.user_assigned_identities,
        tags={**source.tags, MOVE_TAG: move_id, SOURCE_TAG: source.name},
    )


def _managed_like(source: CacheFacts, settings: MoveSettings, *, move_id: str, target_id: str) -> CacheFacts:
    """
    Return a target in Azure Managed Redis like *source*.

    It has no firewall: where the source has one, public access is disabled. Without another wish a source that clients
    see as a cluster gets the policy OSSCluster; any other NoCluster, which keeps commands over several keys working,
    or EnterpriseCluster where the size is too large for it. Basic has no second node, and gets no high availability.
    """
    asked = settings.target
    assert asked is not None, "a target is declared only where the settings name one"
    was_managed = source.product == MANAGED
    sku = asked.sku or tiers.managed_size_for(source)
    available = asked.high_availability != "Disabled"
    if not asked.high_availability:
        available = source.replicas_per_primary > 0 and source.sku_name != tiers.BASIC
    policy: str = asked.clustering_policy or source.clustering_policy
    if not policy and source.is_clustered:
        policy = "OSSCluster"
    eviction = source.redis_configuration.get("maxmemory-policy", "volatile-lru")
    declared = CacheFacts(
        id=target_id,
        name=asked.name,
        resource_group=asked.resource_group,
        subscription_id=asked.subscription_id or source.subscription_id,
        location=asked.location,
        exists=False,
        product=MANAGED,
        sku_name=sku,
        sku_family="",
        sku_capacity=0,
        redis_version="",
        replicas_per_primary=1 if available else 0,
        minimum_tls_version="1.2",
        public_network_access="Disabled" if source.firewall_rules else source.public_network_access,
        access_keys_disabled=source.access_keys_disabled,
        redis_configuration={"maxmemory-policy": eviction},
        access_policy_assignments=source.access_policy_assignments if was_managed else (),
        tags={**source.tags, MOVE_TAG: move_id, SOURCE_TAG: source.name},
        ssl_port=10000,
        port=10000,
        clustering_policy=policy,
        client_protocol=source.client_protocol or "Encrypted",
    )
    if not policy:
        fits = tiers.is_known_size(declared) and tiers.fits_no_cluster(declared)
        declared = dataclasses.replace(declared, clustering_policy="NoCluster" if fits else "EnterpriseCluster")
    return declared


def not_carried(source: CacheFacts, *, to: str = REDIS) -> tuple[str, ...]:
    """
    Name what the source has and the target cannot be given by the mover, one sentence each.

    *to* is the target's product ("redis" or "managed").
    """
    notes = ["access keys: the target has its own; applications must fetch them, or sign in with Entra"]
    notes += [f'private endpoint "{name}": make one for the target before linking' for name in source.private_endpoints]
    if source.subnet_id:
        notes.append(
            f"subnet {source.subnet_id}: a subnet lies in one region; give the target its own or a private endpoint"
        )
    if source.rdb_backup_enabled or source.aof_backup_enabled:
        notes.append(
            "persistence: its storage connection string cannot be read back; switch it on on the target after the move"
        )
    if source.zones:
        notes.append("zones: a geo-replication target is made without; zones cannot be added later")
    if source.identity_type and "SystemAssigned" in source.identity_type:
        notes.append("system-assigned identity: the target gets one of its own; repeat its role assignments")
    if source.geo_replication_group:
        notes.append(f'active geo-replication group "{source.geo_replication_group}": the target is in none')
    if source.modules:
        notes.append(f"modules {', '.join(source.modules)}: their keys cannot be read, and the target is made without")
    if to == MANAGED and source.product != MANAGED:
        notes += _lacking_in_managed(source)
    return tuple(notes)


def _lacking_in_managed(source: CacheFacts) -> list[str]:
    has = (
        (bool(source.firewall_rules), "firewall rules: Azure Managed Redis has none; public access is disabled"),
        (bool(source.patch_schedule), "patch schedule: set the maintenance of the target up by hand"),
        (
            bool(source.access_policies or source.access_policy_assignments),
            "access policies: Azure Managed Redis has the one policy default; assign principals to it by hand",
        ),
        (bool(source.notify_keyspace_events), "keyspace notifications: not in this version of the target's interface"),
        (source.non_ssl_port_enabled, "the port without TLS: the target's one port speaks TLS"),
    )
    return [note for there, note in has if there]


def settings_that_differ(source: CacheFacts, target: CacheFacts) -> tuple[str, ...]:
    """Name the settings of *target* that are not the source's, among those that are to be carried."""
    if target.product == MANAGED:
        return _managed_that_differ(source, target)
    differ = [name for name in _COMPARED if getattr(source, name) != getattr(target, name)]
    differ += [name for name in _CONTAINED if not set(getattr(source, name)) <= set(getattr(target, name))]
    carried = set(source.redis_configuration) - _NOT_DECLARED
    # Reserved memory and client limits follow the size; only at the same size do they have to be alike.
    if (source.sku_family, source.sku_capacity) != (target.sku_family, target.sku_capacity):
        carried -= {"maxmemory-reserved", "maxfragmentationmemory-reserved", "maxmemory-delta"}
    differ += [
        f"redisConfiguration.{key}"
        for key in sorted(carried)
        if source.redis_configuration.get(key) != target.redis_configuration.get(key)
    ]
    return tuple(differ)


def _managed_that_differ(source: CacheFacts, target: CacheFacts) -> tuple[str, ...]:
    compared = _COMPARED_OF_MANAGED if source.product == MANAGED else ("access_keys_disabled",)
    differ = [name for name in compared if getattr(source, name) != getattr(target, name)]
    if "Disabled" == source.public_network_access != target.public_network_access:
        differ.append("public_network_access")
    policy = "maxmemory-policy"
    if source.redis_configuration.get(policy, "volatile-lru") != target.redis_configuration.get(policy):
        differ.append(f"redisConfiguration.{policy}")
    return tuple(differ)
