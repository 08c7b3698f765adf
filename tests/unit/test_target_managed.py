"""What a target in Azure Managed Redis is made of, and how a cluster of redisEnterprise reads as a cache."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest

from redismove import settings, target
from redismove.azure import enterprise
from redismove.azure.caches import CacheId
from redismove.facts import MANAGED, REDIS, CacheFacts, FirewallRule, ScheduleEntry
from redismove.steps.rdb import Transfer
from tests.support.moves import cache_id, managed, source

TARGET_ID = cache_id("orders-west").replace("/Redis/", "/redisEnterprise/")
SOURCE_SETTINGS = json.dumps({"resourceGroup": "rg", "name": "orders-east"})


def declared(cache: CacheFacts, **changes: Any) -> CacheFacts:
    """The target that is declared for a source; *changes* are of `redismove:target`."""
    asked = {"resourceGroup": "rg", "name": "orders-west", "location": "westus2", "kind": "managed", **changes}
    read = settings.read({"source": SOURCE_SETTINGS, "target": json.dumps(asked), "method": "copy"})
    return target.target_like(cache, read, move_id="abc", target_id=TARGET_ID)


def test_it_is_like_the_source_as_far_as_the_product_has_it() -> None:
    made = declared(source(redis_configuration={"maxmemory-policy": "allkeys-lfu", "maxmemory-reserved": "642"}))

    assert (made.product, made.sku_name, made.clustering_policy) == (MANAGED, "Balanced_B5", "NoCluster")
    assert made.redis_configuration == {"maxmemory-policy": "allkeys-lfu"}
    assert (made.client_protocol, made.ssl_port, made.access_keys_disabled) == ("Encrypted", 10000, False)
    assert made.replicas_per_primary == 1
    assert made.public_network_access == "Enabled"
    assert target.made_by(dataclasses.replace(made, exists=True), "abc")


@pytest.mark.parametrize(
    ("size", "sku"),
    [
        ({"sku_name": "Standard", "sku_family": "C", "sku_capacity": 0}, "Balanced_B0"),
        ({"sku_name": "Standard", "sku_family": "C", "sku_capacity": 2}, "Balanced_B3"),
        ({"sku_name": "Standard", "sku_family": "C", "sku_capacity": 4}, "Balanced_B20"),
        ({"sku_capacity": 5, "shard_count": 10}, ""),
        ({"sku_capacity": 1, "shard_count": 3}, "Balanced_B20"),
        ({"product": MANAGED, "sku_name": "MemoryOptimized_M20"}, "MemoryOptimized_M20"),
        ({"product": MANAGED, "sku_name": "Enterprise_E10", "sku_capacity": 4}, "Balanced_B20"),
    ],
)
def test_without_a_wish_it_has_the_memory_of_the_source(size: dict[str, Any], sku: str) -> None:
    assert declared(source(**size)).sku_name == sku


@pytest.mark.parametrize(
    ("cache", "asked", "policy"),
    [
        ({}, {}, "NoCluster"),
        ({}, {"sku": "Balanced_B50"}, "EnterpriseCluster"),
        ({"shard_count": 1}, {}, "OSSCluster"),
        (
            {"product": MANAGED, "sku_name": "Balanced_B5", "clustering_policy": "EnterpriseCluster"},
            {},
            "EnterpriseCluster",
        ),
        ({"shard_count": 2}, {"clusteringPolicy": "EnterpriseCluster"}, "EnterpriseCluster"),
    ],
)
def test_clients_see_what_they_saw_of_the_source(cache: dict[str, Any], asked: dict[str, Any], policy: str) -> None:
    assert declared(source(**cache), **asked).clustering_policy == policy


def test_a_basic_cache_gets_no_second_node_unless_it_is_wished_for() -> None:
    basic = source(sku_name="Basic", sku_family="C", sku_capacity=1)

    assert declared(basic).replicas_per_primary == 0
    assert declared(basic, highAvailability="Enabled").replicas_per_primary == 1
    assert declared(source(), highAvailability="Disabled").replicas_per_primary == 0


def test_a_source_behind_a_firewall_gets_a_target_without_public_access() -> None:
    office = FirewallRule(name="office", start_ip="10.0.0.0", end_ip="10.0.0.255")
    hours = ScheduleEntry(day_of_week="Sunday", start_hour_utc=3)
    cache = source(firewall_rules=(office,), patch_schedule=(hours,))

    assert declared(cache).public_network_access == "Disabled"
    notes = target.not_carried(cache, to=MANAGED)
    assert any(note.startswith("firewall rules") for note in notes)
    assert any(note.startswith("patch schedule") for note in notes)
    assert not any(note.startswith("firewall rules") for note in target.not_carried(cache))


def test_settings_that_the_products_have_in_common_are_compared() -> None:
    live = managed(redis_configuration={"maxmemory-policy": "volatile-lru"})

    assert target.settings_that_differ(source(redis_configuration={}), live) == ()
    assert target.settings_that_differ(source(access_keys_disabled=True), live) == ("access_keys_disabled",)
    assert target.settings_that_differ(source(public_network_access="Disabled"), live) == ("public_network_access",)
    strict = source(redis_configuration={"maxmemory-policy": "noeviction"})
    assert target.settings_that_differ(strict, live) == ("redisConfiguration.maxmemory-policy",)
    assert target.settings_that_differ(managed(client_protocol="Plaintext"), live) == ("client_protocol",)


def _state(provisioning: str, resource: str = "Running") -> SimpleNamespace:
    return SimpleNamespace(name="c", provisioning_state=provisioning, resource_state=resource)


@pytest.mark.parametrize(
    ("cluster", "database", "state"),
    [
        (_state("Succeeded"), _state("Succeeded"), "Succeeded"),
        (_state("Creating", "Creating"), None, "Creating"),
        (_state("Succeeded"), None, enterprise.NO_DATABASE),
        (_state("Succeeded"), _state("Updating", "Updating"), "Updating"),
        (_state("Succeeded", "Scaling"), _state("Succeeded"), "Scaling"),
        (_state("Succeeded", "UpdateFailed"), _state("Succeeded"), "Failed"),
        (_state("Succeeded"), _state("Failed", "CreateFailed"), "Failed"),
        (_state("Canceled"), None, "Failed"),
    ],
)
def test_a_cluster_and_its_database_have_one_state(cluster: Any, database: Any, state: str) -> None:
    assert enterprise.Cluster(cluster, database).provisioning_state == state


def test_an_id_tells_its_product_and_a_child_its_cache() -> None:
    assert CacheId.parse(cache_id("a")).product == REDIS
    parts = CacheId.parse(f"{TARGET_ID}/databases/default")
    assert (parts.product, parts.name, parts.resource_group) == (MANAGED, "orders-west", "rg")


def test_files_of_a_managed_cache_go_through_a_container_of_their_own() -> None:
    def transfer(source_id: str, target_id: str) -> Transfer:
        return Transfer(
            source_id=source_id,
            target_id=target_id,
            source_account="",
            target_account="",
            container="redismove",
            move_id="0123456789abcdef",
            attempt="1",
            endpoint_file="",
            by_identity=False,
            erases_foreign=True,
            keep_blobs=False,
            timeout_s=1,
        )

    named = transfer(cache_id("orders-east"), TARGET_ID)
    assert (named.container_of_files, named.stem) == ("redismove", "rdb-0123456789ab-")
    assert named.container_of_kept == "redismove-0123456789ab-kept"
    own = transfer(TARGET_ID, TARGET_ID)
    assert (own.container_of_files, own.stem) == ("redismove-0123456789ab", "")
    long = dataclasses.replace(own, container="c" * 63)
    assert len(long.container_of_kept) <= 63
