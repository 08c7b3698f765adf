"""A cache from creation to deletion, through the management client and redis-py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
import redis
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError

from .conftest import GROUP, Caches, Cloud, body, refused


def test_cache_is_created_shown_listed_and_deleted(caches: Caches) -> None:
    client = caches.client.redis
    poller = client.begin_create(
        GROUP,
        "life",
        body(
            location="westeurope",
            redisConfiguration={"maxmemory-policy": "allkeys-lru", "notify-keyspace-events": "KEA"},
        )
        | {"tags": {"team": "cart"}},
    )
    created = poller.result()
    assert created.provisioning_state == "Succeeded"
    shown = client.get(GROUP, "life")
    assert (shown.location, shown.type, shown.tags) == ("West Europe", "Microsoft.Cache/Redis", {"team": "cart"})
    assert (shown.port, shown.ssl_port, shown.redis_version) == (6379, 6380, "6.0")
    assert shown.access_keys is None, "keys are shown by listKeys alone"
    assert shown.redis_configuration.maxmemory_policy == "allkeys-lru"
    assert "/Redis/life" in shown.id
    assert "life" in [cache.name for cache in client.list_by_subscription()]
    assert "life" in [cache.name for cache in client.list_by_resource_group(GROUP)]

    connection = caches.connect("life")
    connection.set("a", 1)
    info = connection.info()
    assert info["maxmemory"] == 375 * 1024 * 1024, "P1 is 6000 MB over 16"
    assert info["maxmemory_policy"] == "allkeys-lru"

    client.begin_delete(GROUP, "life").result()
    with pytest.raises(ResourceNotFoundError):
        client.get(GROUP, "life")
    with pytest.raises(redis.ConnectionError):
        connection.ping()


def test_deleting_what_is_not_there_is_no_error(caches: Caches) -> None:
    caches.client.redis.begin_delete(GROUP, "never-made").result()


def test_create_answers_creating_and_finishes_without_being_polled(cloud: Cloud, caches: Caches) -> None:
    group = f"/subscriptions/{cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}"
    path = f"{group}/providers/Microsoft.Cache/redis/alone"
    answer = cloud.arm("PUT", path, body())
    assert answer.status_code == 201
    assert answer.json()["properties"]["provisioningState"] == "Creating"
    assert set(answer.json()["properties"]["accessKeys"]) == {"primaryKey", "secondaryKey"}
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Azure-AsyncOperation"].startswith(cloud.env["ARM_ENDPOINT"])
    deadline = time.monotonic() + 30
    while caches.client.redis.get(GROUP, "alone").provisioning_state != "Succeeded":
        assert time.monotonic() < deadline
    # Both ways of polling agree, also long after.
    assert cloud.arm("GET", answer.headers["Azure-AsyncOperation"]).json()["status"] == "Succeeded"
    assert cloud.arm("GET", answer.headers["Location"]).json()["name"] == "alone"


def test_update_changes_redis_at_once(caches: Caches) -> None:
    caches.make(upd={})
    client = caches.client.redis
    connection = caches.connect("upd")
    assert connection.info("memory")["maxmemory_policy"] == "volatile-lru"
    client.begin_update(
        GROUP, "upd", {"properties": {"redisConfiguration": {"maxmemory-policy": "noeviction"}}}
    ).result()
    assert connection.info("memory")["maxmemory_policy"] == "noeviction"
    scaled = client.begin_update(GROUP, "upd", {"properties": {"sku": body(sku="P2")["properties"]["sku"]}}).result()
    assert scaled.sku.capacity == 2
    assert connection.info("memory")["maxmemory"] == 13000 * 1024 * 1024 // 16
    client.begin_update(GROUP, "upd", {"properties": {"enableNonSslPort": True}}).result()
    plain = redis.Redis(
        host=client.get(GROUP, "upd").host_name, port=6379, password=client.list_keys(GROUP, "upd").primary_key
    )
    assert plain.ping()
    plain.close()
    shown = client.get(GROUP, "upd")
    assert shown.instances[0].non_ssl_port == 13000


def test_keyspace_notifications_arrive_when_they_are_switched_on(caches: Caches) -> None:
    caches.make(notify={"redisConfiguration": {"notify-keyspace-events": "KA"}})
    connection = caches.connect("notify")
    subscriber = connection.pubsub()
    subscriber.psubscribe("__keyspace@*__:*")
    assert subscriber.get_message(timeout=5)["type"] == "psubscribe"
    connection.set("hello", "x")
    assert subscriber.get_message(timeout=5)["channel"] == b"__keyspace@0__:hello"
    subscriber.close()


@pytest.mark.parametrize(
    ("words", "blocked"),
    [
        (("CONFIG", "GET", "*"), True),
        (("DEBUG", "SLEEP", "0"), True),
        (("ACL", "LIST"), True),
        (("BGSAVE",), True),
        (("REPLICAOF", "NO", "ONE"), True),
        (("PSYNC", "?", "-1"), True),
        (("SHUTDOWN",), True),
        (("MODULE", "LIST"), True),
        (("CLUSTER", "RESET"), True),
        (("LOCALAZURE.CLIENTPAUSE", "6.2"), True),
        (("INFO",), False),
        (("CLIENT", "LIST"), False),
        (("CLIENT", "ID"), False),
        (("SCAN", "0"), False),
        (("RANDOMKEY",), False),
        (("SWAPDB", "1", "2"), False),
        (("SLOWLOG", "GET"), False),
    ],
)
def test_commands_that_azure_blocks_are_blocked_and_others_are_not(
    caches: Caches, words: tuple[str, ...], blocked: bool
) -> None:
    if not hasattr(caches, "blocked"):
        caches.make(blocked={})
        caches.blocked = caches.connect("blocked")  # type: ignore[attr-defined]
    connection = caches.blocked  # type: ignore[attr-defined]
    if blocked:
        with pytest.raises(redis.exceptions.NoPermissionError):
            connection.execute_command(*words)
    else:
        connection.execute_command(*words)


def test_tls_is_verified(caches: Caches) -> None:
    caches.make(tls={})
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        caches.connect("tls", ssl_ca_certs=None).ping()
    with pytest.raises(redis.ConnectionError):
        caches.connect("tls", ssl=False, ssl_ca_certs=None).ping()
    assert caches.connect("tls").ping()
    # The node port that instances[] shows is there too.
    port = caches.client.redis.get(GROUP, "tls").instances[0].ssl_port
    assert port == 15000
    assert caches.connect("tls", port=port).ping()


def test_wrong_secret_and_missing_token_are_refused(cloud: Cloud) -> None:
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        cloud.credential(secret="wrong").get_token(f"{cloud.env['ARM_ENDPOINT']}/.default")
    answer = cloud.arm("GET", "/subscriptions", headers={"Authorization": "Bearer any"})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "InvalidAuthenticationToken"
    assert answer.headers["WWW-Authenticate"].startswith(f'Bearer authorization_uri="{cloud.env["ARM_ENDPOINT"]}/')


def test_paths_are_matched_in_any_case(cloud: Cloud, caches: Caches) -> None:
    caches.make(case={})
    subscription = cloud.env["ARM_SUBSCRIPTION_ID"]
    for path in (
        f"/subscriptions/{subscription}/resourceGroups/{GROUP}/providers/Microsoft.Cache/redis/case",
        f"/SUBSCRIPTIONS/{subscription.upper()}/resourcegroups/{GROUP.upper()}/providers/MICROSOFT.CACHE/Redis/CASE",
        f"//subscriptions//{subscription}/resourceGroups/{GROUP}/providers/Microsoft.Cache/redis/case",
    ):
        assert cloud.arm("GET", path).json()["name"] == "case"


def test_resource_groups(cloud: Cloud) -> None:
    path = f"/subscriptions/{cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/rg-other"
    assert cloud.arm("HEAD", path).status_code == 404
    assert cloud.arm("PUT", path, {"location": "westus", "tags": {"a": "b"}}).status_code == 201
    assert cloud.arm("HEAD", path).status_code == 204
    assert cloud.arm("GET", path).json()["tags"] == {"a": "b"}
    gone = cloud.arm("DELETE", path)
    assert gone.status_code == 202
    deadline = time.monotonic() + 20
    while cloud.arm("GET", gone.headers["Location"]).status_code == 202:
        assert time.monotonic() < deadline
    assert cloud.arm("GET", path).json()["error"]["code"] == "ResourceGroupNotFound"


def test_what_is_not_modelled_says_so(cloud: Cloud, caches: Caches) -> None:
    subscription = cloud.env["ARM_SUBSCRIPTION_ID"]
    group = f"/subscriptions/{subscription}/resourceGroups/{GROUP}"
    for path in (
        f"{group}/providers/Microsoft.Network/virtualNetworks/v",
        f"{group}/providers/Microsoft.Cache/nothing/x",
    ):
        answer = cloud.arm("PUT", path, {})
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "NotImplemented")
    assert cloud.arm("GET", "/nowhere").json()["error"]["code"] == "NotFound"
    old = cloud.arm("GET", f"{group}/providers/Microsoft.Cache/redis", api_version="2016-04-01")
    assert (old.status_code, old.json()["error"]["code"]) == (400, "NoRegisteredProviderFound")
    caches.make(shardless={})
    error = refused(
        lambda: caches.client.redis.begin_update(GROUP, "shardless", {"properties": {"shardCount": 2}}).result()
    )
    assert (error.status, error.code) == (501, "NotImplemented")


def test_request_log_holds_no_secret(cloud: Cloud, caches: Caches) -> None:
    caches.make(logged={})
    keys = caches.client.redis.list_keys(GROUP, "logged")
    token = cloud.credential().get_token(f"{cloud.env['ARM_ENDPOINT']}/.default").token
    cloud.arm("GET", f"/subscriptions?api-version=2022-12-01&sig={'s' * 20}")
    for log in (cloud.home / "logs").iterdir():
        text = log.read_text()
        for secret in (keys.primary_key, keys.secondary_key, token, cloud.env["ARM_CLIENT_SECRET"], "s" * 20):
            assert secret not in text, f"a secret in {log.name}"
    assert "/listKeys" in (cloud.home / "logs" / "requests.jsonl").read_text()


def test_durations_can_be_set_while_it_runs(own_cloud: Callable[..., Cloud]) -> None:
    cloud = own_cloud("home", "--durations", "real")
    caches = Caches(cloud)
    path = f"/subscriptions/{cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}/providers/Microsoft.Cache/redis/"
    slow = cloud.arm("PUT", f"{path}slow", body())
    assert slow.headers["Retry-After"] == "15", "half an hour is not polled every second"
    (cloud.home / "settings.json").write_text(json.dumps({"durations": {"create": 2.5}}))
    started = time.monotonic()
    caches.make(timed={})
    assert 2.5 <= time.monotonic() - started < 20
    assert caches.client.redis.get(GROUP, "slow").provisioning_state == "Creating"
    caches.close()
