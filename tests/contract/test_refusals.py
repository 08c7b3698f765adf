"""What Azure refuses, each with its ARM error body, through the management client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import GROUP, Caches, Cloud, Refusal, body, refused

SUBSCRIPTION_2_CACHE = "far"


@pytest.fixture(scope="module")
def pair(cloud: Cloud, caches: Caches) -> Iterator[Caches]:
    """Give caches that break one rule each against `rules-a` (P2, not clustered)."""
    backup = {"rdb-backup-enabled": "true", "rdb-backup-frequency": "60", "rdb-storage-connection-string": "x=y"}
    caches.make(
        **{
            "rules-a": {"sku": "P2"},
            "rules-standard": {"sku": "C1", "tier": "Standard"},
            "rules-small": {"sku": "P1"},
            "rules-clustered": {"sku": "P2", "shardCount": 2},
            "rules-backup": {"sku": "P2", "redisConfiguration": backup},
            "rules-zones": {"sku": "P2", "zones": ["1", "2"]},
            "rules-replicas": {"sku": "P2", "replicasPerPrimary": 2},
            "rules-newer": {"sku": "P2", "redisVersion": "6.2"},
            "rules-b": {"sku": "P2", "location": "westus2"},
            "rules-c": {"sku": "P2"},
        }
    )
    cloud.make_group(subscription=2)
    cloud.management(subscription=2).redis.begin_create(GROUP, SUBSCRIPTION_2_CACHE, body(sku="P2")).result()
    return caches


def link_refused(caches: Caches, primary: str, secondary: str, **changes: Any) -> Refusal:
    request = caches.link_body(secondary)
    request["properties"] |= changes
    return refused(lambda: caches.client.linked_server.begin_create(GROUP, primary, secondary, request).result())


@pytest.mark.parametrize(
    ("secondary", "says"),
    [
        ("rules-standard", "Both caches must be Premium"),
        ("rules-small", "is smaller than the primary"),
        ("rules-clustered", "same number of shards"),
        ("rules-backup", "data persistence is enabled on the cache 'rules-backup'"),
        ("rules-zones", "'rules-zones' is zone redundant"),
        ("rules-replicas", "Exactly one is supported"),
        ("rules-newer", "different Redis versions"),
        ("rules-a", "cannot be linked to itself"),
    ],
)
def test_link_is_refused_for_each_broken_rule(pair: Caches, secondary: str, says: str) -> None:
    error = link_refused(pair, "rules-a", secondary)
    assert (error.status, error.code) == (400, "InvalidRequestBody")
    assert says in error.message
    assert "RequestID=" in error.message
    assert pair.client.redis.get(GROUP, "rules-a").linked_servers in (None, [])


def test_rules_hold_for_the_primary_too(pair: Caches) -> None:
    assert "rules-backup" in link_refused(pair, "rules-backup", "rules-b").message
    assert "zone redundant" in link_refused(pair, "rules-zones", "rules-b").message


def test_link_across_subscriptions_is_refused(cloud: Cloud, pair: Caches) -> None:
    far = cloud.management(subscription=2).redis.get(GROUP, SUBSCRIPTION_2_CACHE)
    request = {
        "properties": {
            "linkedRedisCacheId": far.id,
            "linkedRedisCacheLocation": far.location,
            "serverRole": "Secondary",
        }
    }
    error = refused(
        lambda: pair.client.linked_server.begin_create(GROUP, "rules-a", SUBSCRIPTION_2_CACHE, request).result()
    )
    assert (error.status, error.code) == (400, "InvalidRequestBody")
    assert "same subscription" in error.message


def test_link_body_must_fit(pair: Caches) -> None:
    assert (
        "is in 'West US 2', not in"
        in link_refused(pair, "rules-a", "rules-b", linkedRedisCacheLocation="uksouth").message
    )
    missing = pair.id("rules-b").replace("rules-b", "rules-nobody")
    assert "linkedServerName" in link_refused(pair, "rules-a", "rules-b", linkedRedisCacheId=missing).message
    request = {
        "properties": {"linkedRedisCacheId": missing, "linkedRedisCacheLocation": "x", "serverRole": "Secondary"}
    }
    error = refused(lambda: pair.client.linked_server.begin_create(GROUP, "rules-a", "rules-nobody", request).result())
    assert "was not found" in error.message


def test_while_linked_azure_refuses_what_would_break_the_link(cloud: Cloud, pair: Caches) -> None:
    client = pair.client
    pair.link("rules-a", "rules-b")
    try:
        again = link_refused(pair, "rules-a", "rules-b")
        assert (again.status, again.code) == (400, "InvalidRequestBody")
        assert "this cache is already linked to another cache" in again.message
        assert "already linked" in link_refused(pair, "rules-c", "rules-b").message
        assert "already linked" in link_refused(pair, "rules-b", "rules-c").message

        for name in ("rules-a", "rules-b"):
            error = refused(lambda name=name: client.redis.begin_delete(GROUP, name).result())
            assert error.status == 400
            assert "linked for geo-replication" in error.message
            for properties in (
                {"sku": {"name": "Premium", "family": "P", "capacity": 3}},
                {"shardCount": 2},
                {"replicasPerPrimary": 2},
                {"redisConfiguration": {"rdb-backup-enabled": "true", "rdb-storage-connection-string": "x=y"}},
            ):
                change = {"properties": properties}
                error = refused(
                    lambda name=name, change=change: client.redis.begin_update(GROUP, name, change).result()
                )
                assert (error.status, error.code) == (400, "BadRequest"), properties
                assert "linked for geo-replication" in error.message
            endpoint = {"properties": {"privateLinkServiceConnectionState": {"status": "Approved"}}}
            error = refused(
                lambda n=name, e=endpoint: client.private_endpoint_connections.begin_put(GROUP, n, "pe", e).result()
            )
            assert "private endpoint cannot be added" in error.message
        files = {"files": ["https://a/b"], "format": "RDB"}
        error = refused(lambda: client.redis.begin_import_data(GROUP, "rules-b", files).result())
        assert "geo-replication secondary" in error.message
        error = refused(lambda: client.redis.begin_flush_cache(GROUP, "rules-b").result())
        assert "read-only" in error.message
        error = refused(lambda: client.linked_server.begin_delete(GROUP, "rules-b", "rules-a").result())
        assert "must be deleted on its primary" in error.message
    finally:
        pair.unlink("rules-a", "rules-b")
    # After the link everything is possible again.
    client.redis.begin_update(GROUP, "rules-b", {"properties": {"replicasPerPrimary": 2}}).result()


def test_one_operation_at_a_time(cloud: Cloud, pair: Caches) -> None:
    client = pair.client
    request = pair.link_body("rules-c")
    client.linked_server.begin_create(GROUP, "rules-a", "rules-c", request, polling=False)
    for name in ("rules-a", "rules-c"):
        assert client.redis.get(GROUP, name).provisioning_state == "Linking"
        for action in (
            lambda name=name: client.redis.begin_update(GROUP, name, {"tags": {"a": "b"}}).result(),
            lambda name=name: client.redis.regenerate_key(GROUP, name, {"keyType": "Primary"}),
            lambda name=name: client.firewall_rules.create_or_update(
                GROUP, name, "r", {"properties": {"startIP": "1.1.1.1", "endIP": "1.1.1.1"}}
            ),
        ):
            error = refused(action)
            assert (error.status, error.code) == (409, "Conflict")
            assert f"/Redis/{name}' is busy processing a previous update request" in error.message
    wait_idle(pair, "rules-a", "rules-c")
    client.linked_server.begin_delete(GROUP, "rules-a", "rules-c", polling=False)
    assert client.linked_server.get(GROUP, "rules-a", "rules-c").provisioning_state == "Deleting"
    assert client.redis.get(GROUP, "rules-c").provisioning_state == "Unlinking"
    error = refused(lambda: client.redis.begin_update(GROUP, "rules-c", {"tags": {}}).result())
    assert error.code == "Conflict"
    wait_idle(pair, "rules-a", "rules-c")


def wait_idle(caches: Caches, *names: str) -> None:
    deadline = time.monotonic() + 30
    while any(caches.client.redis.get(GROUP, name).provisioning_state != "Succeeded" for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("wanted", "code", "says"),
    [
        ({"sku": "P1", "tier": "Standard"}, "BadRequest", "SkuFamilyNotSupportedException"),
        ({"sku": "C6", "tier": "Premium"}, "BadRequest", "SkuFamilyNotSupportedException"),
        ({"sku": "P6"}, "BadRequest", "SkuFamilyNotSupportedException"),
        (
            {"sku": "C0", "tier": "Basic", "redisConfiguration": {"notify-keyspace-events": "KEA"}},
            "BadRequest",
            "The setting 'notify-keyspace-events' is not allowed on 'Basic' cache instances.",
        ),
        (
            {"sku": "C0", "tier": "Basic", "redisConfiguration": {"maxmemory-reserved": "50"}},
            "BadRequest",
            "The setting 'maxmemory-reserved' is not allowed on 'Basic' cache instances.",
        ),
        (
            {"sku": "C1", "tier": "Standard", "redisConfiguration": {"rdb-backup-enabled": "true"}},
            "BadRequest",
            "not allowed on 'Standard'",
        ),
        (
            {"redisConfiguration": {"rdb-backup-max-snapshot-count": "0"}},
            "InvalidRequestBody",
            "snapshot-count' is invalid",
        ),
        ({"redisConfiguration": {"maxmemory-policy": "sometimes"}}, "InvalidRequestBody", "maxmemory-policy"),
        ({"sku": "C1", "tier": "Standard", "shardCount": 2}, "BadRequest", "'shardCount' is not allowed on 'Standard'"),
        ({"shardCount": 31}, "InvalidRequestBody", "1 to 30"),
        ({"replicasPerPrimary": 4}, "InvalidRequestBody", "1 to 3"),
        ({"location": "westus", "zones": ["1"]}, "InvalidRequestBody", "no availability zones"),
        ({"location": "atlantis"}, "LocationNotAvailableForResourceType", "atlantis"),
        ({"redisVersion": "4"}, "BadRequest", "retired"),
        ({"minimumTlsVersion": "0.9"}, "InvalidRequestBody", "minimumTlsVersion"),
        ({"disableAccessKeyAuthentication": True}, "BadRequest", "Entra"),
    ],
)
def test_creation_is_refused(caches: Caches, wanted: dict[str, Any], code: str, says: str) -> None:
    error = refused(lambda: caches.client.redis.begin_create(GROUP, "not-made", body(**wanted)).result())
    assert (error.status, error.code) == (400, code)
    assert says in error.message
    assert "not-made" not in [cache.name for cache in caches.client.redis.list_by_subscription()]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"no-such-setting": "1"}, "There is no such setting"),
        ({"databases": "17"}, "1 to 16 databases"),
        ({"maxmemory-policy": 1}, "strings"),
    ],
)
def test_settings_that_the_client_does_not_send_are_refused_too(
    cloud: Cloud, settings: dict[str, Any], says: str
) -> None:
    group = f"/subscriptions/{cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}"
    answer = cloud.arm("PUT", f"{group}/providers/Microsoft.Cache/redis/not-made", body(redisConfiguration=settings))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "InvalidRequestBody"
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["a--b", "-a", "a-", "a_b", "a" * 64])
def test_names_are_checked(caches: Caches, name: str) -> None:
    error = refused(lambda: caches.client.redis.begin_create(GROUP, name, body()).result())
    assert (error.status, error.code) == (400, "InvalidRequestBody")


def test_names_are_unique_in_the_cloud(cloud: Cloud, caches: Caches) -> None:
    caches.make(unique={})
    client = caches.client.redis
    client.check_name_availability({"type": "Microsoft.Cache/Redis", "name": "still-free"})
    error = refused(lambda: client.check_name_availability({"type": "Microsoft.Cache/Redis", "name": "Unique"}))
    assert (error.status, error.code) == (409, "NameNotAvailable")
    other = cloud.management(subscription=2).redis
    cloud.make_group(subscription=2)
    assert refused(lambda: other.begin_create(GROUP, "unique", body()).result()).code == "NameNotAvailable"


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            {"sku": "C1", "tier": "Standard"},
            {"name": "Basic", "family": "C", "capacity": 1},
            "down to the 'Basic' tier",
        ),
        ({"sku": "C0", "tier": "Basic"}, {"name": "Premium", "family": "P", "capacity": 1}, "SkuFamilyNotSupported"),
        ({"sku": "C1", "tier": "Standard"}, {"name": "Standard", "family": "C", "capacity": 0}, "down to C0"),
    ],
)
def test_scaling_that_azure_does_not_do(
    caches: Caches, before: dict[str, Any], after: dict[str, Any], says: str
) -> None:
    name = f"scale-{before['tier']}-{after['name']}-{after['capacity']}".lower()
    caches.make(**{name: before})
    error = refused(lambda: caches.client.redis.begin_update(GROUP, name, {"properties": {"sku": after}}).result())
    assert (error.status, error.code) == (400, "BadRequest")
    assert says in error.message


def test_what_is_fixed_at_creation(cloud: Cloud, caches: Caches) -> None:
    caches.make(fixed={"shardCount": 1})
    client = caches.client.redis
    error = refused(lambda: client.begin_create(GROUP, "fixed", body(location="westus2")).result())
    assert (error.status, error.code) == (409, "InvalidResourceLocation")
    error = refused(lambda: client.begin_update(GROUP, "fixed", {"properties": {"shardCount": 0}}).result())
    assert "Clustering cannot be disabled" in error.message
    caches.make(fixed2={})
    change = {"properties": {"redisConfiguration": {"databases": "8"}}}
    answer = cloud.arm("PATCH", caches.id("fixed2"), change)
    assert answer.status_code == 400
    assert "only at creation" in answer.json()["error"]["message"]


def test_retired_regions_refuse_creation_and_nothing_else(own_cloud: Any) -> None:
    cloud = own_cloud("home", "--retired", "westus2")
    caches = Caches(cloud)
    caches.make(here={})
    error = refused(lambda: caches.client.redis.begin_create(GROUP, "there", body(location="West US 2")).result())
    assert (error.status, error.code) == (400, "BadRequest")
    assert error.message.startswith("Azure Cache for Redis is retiring, create Azure Managed Redis instance instead")


def test_group_with_linked_caches_sticks_in_deleting(own_cloud: Any) -> None:
    cloud = own_cloud()
    caches = Caches(cloud)
    caches.make(one={}, two={"location": "westus2"}, alone={})
    caches.link("one", "two")
    path = f"/subscriptions/{cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}"
    cloud.arm("DELETE", path)
    deadline = time.monotonic() + 30
    while [cache.name for cache in caches.client.redis.list_by_subscription()] != ["one", "two"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert cloud.arm("GET", path).json()["properties"]["provisioningState"] == "Deleting"
    assert caches.connect("one").set("still", "running")
    error = refused(lambda: caches.client.redis.begin_create(GROUP, "new", body()).result())
    assert (error.status, error.code) == (409, "ResourceGroupBeingDeleted")
    caches.unlink("one", "two")
    while cloud.arm("GET", path).status_code != 404:
        assert time.monotonic() < deadline + 30
        time.sleep(0.1)
    caches.close()
