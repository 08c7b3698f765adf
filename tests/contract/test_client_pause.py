"""CLIENT PAUSE as in Redis 6.0, Azure's version, and as in 6.2, by three switches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from .conftest import GROUP, Caches, Cloud, command

UNKNOWN_FORM = "Unknown subcommand or wrong number of arguments for 'PAUSE'"


def test_in_6_0_a_pause_holds_everybody_and_has_no_other_form(caches: Caches) -> None:
    caches.make(pause60={})
    connection = caches.connect("pause60")
    for words in (("PAUSE", "100", "WRITE"), ("pause", "100", "ALL"), ("PAUSE",)):
        with pytest.raises(redis.ResponseError, match=UNKNOWN_FORM):
            connection.execute_command("CLIENT", *words)
    with pytest.raises(redis.ResponseError, match="Unknown subcommand or wrong number of arguments for 'UNPAUSE'"):
        connection.execute_command("CLIENT", "UNPAUSE")
    reader = caches.connect("pause60")
    reader.ping()
    started = time.monotonic()
    assert connection.execute_command("CLIENT", "PAUSE", "400") in (True, b"OK")
    reader.get("a")
    assert time.monotonic() - started >= 0.35, "reads wait too"


def assert_pause_of_6_2(connection: redis.Redis, other: redis.Redis) -> None:
    other.ping()
    assert connection.execute_command("CLIENT", "PAUSE", "20000", "WRITE") in (True, b"OK")
    try:
        assert connection.get("a") is None, "reads go on"
        other.connection_pool.disconnect()
        with pytest.raises(redis.TimeoutError):
            other.set("a", 1)
    finally:
        connection.execute_command("CLIENT", "UNPAUSE")
    assert other.set("a", 2)


@pytest.mark.parametrize("shards", [0, 2])
def test_a_cache_of_version_6_2_pauses_writes_alone(caches: Caches, shards: int) -> None:
    name = f"pause62-{shards}"
    caches.make(**{name: {"redisVersion": "6.2"} | ({"shardCount": shards} if shards else {})})
    assert caches.client.redis.get(GROUP, name).redis_version == "6.2"
    for instance in caches.client.redis.get(GROUP, name).instances:
        connection = caches.connect(name, port=instance.ssl_port)
        # "a" belongs to the last shard.
        if instance.shard_id in (None, shards - 1):
            assert_pause_of_6_2(connection, caches.connect(name, port=instance.ssl_port, socket_timeout=0.3))
        else:
            assert connection.execute_command("CLIENT", "PAUSE", "100", "WRITE") in (True, b"OK")
            connection.execute_command("CLIENT", "UNPAUSE")


def test_the_switch_of_a_home_and_of_a_seeded_cache(own_cloud: Callable[..., Cloud]) -> None:
    cloud = own_cloud("home", "--client-pause", "6.2")
    caches = Caches(cloud)
    caches.make(default={})
    command(cloud.home, "seed", "seeded", "--keys", "0", "--client-pause", "6.0", "--resource-group", GROUP)
    assert caches.client.redis.get(GROUP, "default").redis_version == "6.2"
    assert caches.client.redis.get(GROUP, "seeded").redis_version == "6.0"
    connection = caches.connect("default")
    assert_pause_of_6_2(connection, caches.connect("default", socket_timeout=0.3))
    with pytest.raises(redis.ResponseError, match=UNKNOWN_FORM):
        caches.connect("seeded").execute_command("CLIENT", "PAUSE", "100", "WRITE")

    change_settings(cloud, client_pause_by_cache={"seeded": "6.2"})
    deadline = time.monotonic() + 10
    while caches.client.redis.get(GROUP, "seeded").redis_version != "6.2":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert_pause_of_6_2(caches.connect("seeded"), caches.connect("seeded", socket_timeout=0.3))
    caches.close()


def change_settings(cloud: Cloud, **changes: Any) -> None:
    file = cloud.home / "settings.json"
    settings = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(settings | changes))
