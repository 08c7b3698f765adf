"""Kills, restarts, several homes, seeding: what the local Azure knew it knows again, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from localazure.home import Home
from localazure.launcher import running_pid

from .conftest import GROUP, Caches, Cloud, body, command


def runs(pid: int) -> bool:
    """A process that ended, and that nobody waited for, does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def redis_pids(home: Path) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            if f"{home}/redis/" in title and runs(int(entry.name)):
                found.add(int(entry.name))
    return found


def eventually(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def kill_server(cloud: Cloud) -> None:
    pid = cloud.server_pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: running_pid(Home(cloud.home)) is None)


def test_a_killed_server_knows_everything_again_and_keeps_the_same_redis_servers(
    own_cloud: Callable[..., Cloud],
) -> None:
    cloud = own_cloud()
    caches = Caches(cloud)
    caches.make(**{"kept": {}, "kept-shards": {"shardCount": 2}, "kept-b": {"location": "westus2"}})
    caches.client.firewall_rules.create_or_update(
        GROUP, "kept", "office", {"properties": {"startIP": "1.2.3.4", "endIP": "1.2.3.4"}}
    )
    caches.link("kept", "kept-b")
    connection = caches.connect("kept")
    connection.set("a", 1)
    caches.connect("kept-shards", clustered=True).set("b", 2)
    before = caches.client.redis.get(GROUP, "kept").as_dict()
    keys = caches.client.redis.list_keys(GROUP, "kept").as_dict()
    run_id = connection.info("server")["run_id"]
    pids = redis_pids(cloud.home)
    assert len(pids) == 4

    kill_server(cloud)
    assert connection.get("a") == b"1", "data does not depend on the ARM server"
    command(cloud.home, "start")

    assert redis_pids(cloud.home) == pids
    assert connection.info("server")["run_id"] == run_id
    assert caches.client.redis.get(GROUP, "kept").as_dict() == before
    assert caches.client.redis.list_keys(GROUP, "kept").as_dict() == keys
    assert caches.client.firewall_rules.get(GROUP, "kept", "office").start_ip == "1.2.3.4"
    assert caches.client.linked_server.get(GROUP, "kept", "kept-b").provisioning_state == "Succeeded"
    assert caches.connect("kept-shards", clustered=True).get("b") == b"2"
    # A token of before is still good, and the port is the same: clients go on.
    caches.unlink("kept", "kept-b")
    assert caches.connect("kept-b").set("x", 1)
    caches.close()


@pytest.mark.parametrize("shards", [0, 2])
def test_operations_under_way_finish_after_a_kill(own_cloud: Callable[..., Cloud], shards: int) -> None:
    cloud = own_cloud()
    caches = Caches(cloud)
    shape = {"shardCount": shards} if shards else {}
    client = caches.client
    client.redis.begin_create(GROUP, "a", body(**shape), polling=False)
    client.redis.begin_create(GROUP, "b", body(location="westus2", **shape), polling=False)
    kill_server(cloud)
    command(cloud.home, "start")
    wait_idle(caches, "a", "b")
    caches.connect("a", clustered=bool(shards)).set("key", "value")

    client.linked_server.begin_create(GROUP, "a", "b", caches.link_body("b"), polling=False)
    kill_server(cloud)
    command(cloud.home, "start")
    wait_idle(caches, "a", "b")
    assert client.linked_server.get(GROUP, "a", "b").provisioning_state == "Succeeded"
    target = caches.connect("b", clustered=bool(shards))
    assert target.get("key") == b"value"
    with pytest.raises(redis.ReadOnlyError):
        target.set("key", "other")

    client.linked_server.begin_delete(GROUP, "a", "b", polling=False)
    kill_server(cloud)
    command(cloud.home, "start")
    wait_idle(caches, "a", "b")
    target = caches.connect("b", clustered=bool(shards))
    assert target.get("key") == b"value"
    assert target.set("key", "other")

    client.redis.begin_delete(GROUP, "b", polling=False)
    kill_server(cloud)
    command(cloud.home, "start")
    eventually(lambda: [cache.name for cache in client.redis.list_by_subscription()] == ["a"])
    caches.close()


def wait_idle(caches: Caches, *names: str) -> None:
    eventually(
        lambda: all(caches.client.redis.get(GROUP, name).provisioning_state == "Succeeded" for name in names), 60
    )


@pytest.mark.parametrize("shards", [0, 2])
def test_a_killed_redis_server_comes_back_with_its_data(own_cloud: Callable[..., Cloud], shards: int) -> None:
    cloud = own_cloud()
    caches = Caches(cloud)
    caches.make(dies={"shardCount": shards} if shards else {})
    connection = caches.connect("dies", clustered=bool(shards))
    for number in range(500):
        connection.set(f"key:{number}", number)
    for pid in redis_pids(cloud.home):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(redis_pids(cloud.home)) == max(shards, 1))
    eventually(lambda: _all_there(caches, clustered=bool(shards)))
    caches.close()


def _all_there(caches: Caches, *, clustered: bool) -> bool:
    try:
        connection = caches.connect("dies", clustered=clustered)
        return all(connection.get(f"key:{number}") == str(number).encode() for number in range(500))
    except (redis.RedisError, redis.exceptions.RedisClusterException):
        return False


def test_stop_leaves_no_process_and_start_brings_the_data_back(own_cloud: Callable[..., Cloud]) -> None:
    cloud = own_cloud()
    caches = Caches(cloud)
    caches.make(stays={}, shards={"shardCount": 2})
    caches.connect("stays", db=3).set("a", "x" * 100_000)
    caches.connect("shards", clustered=True).set("b", 2)
    server = cloud.server_pid
    command(cloud.home, "stop")
    assert redis_pids(cloud.home) == set()
    assert not runs(server)
    assert "was not running" in command(cloud.home, "stop").stdout
    command(cloud.home, "start")
    assert caches.connect("stays", db=3).get("a") == b"x" * 100_000
    assert caches.connect("shards", clustered=True).get("b") == b"2"
    # Stopping also ends what a killed server left.
    kill_server(cloud)
    assert "but 3 redis-servers do" in command(cloud.home, "status", check=False).stdout
    command(cloud.home, "stop")
    assert redis_pids(cloud.home) == set()
    caches.close()


def test_two_homes_side_by_side(own_cloud: Callable[..., Cloud]) -> None:
    first, second = own_cloud("one"), own_cloud("two")
    assert first.env["ARM_ENDPOINT"] != second.env["ARM_ENDPOINT"]
    one, two = Caches(first), Caches(second)
    one.make(same={})
    two.make(same={})
    one.connect("same").set("whose", "first")
    two.connect("same").set("whose", "second")
    assert one.connect("same").get("whose") == b"first"
    assert one.client.redis.get(GROUP, "same").host_name != two.client.redis.get(GROUP, "same").host_name
    token = first.credential().get_token(f"{first.env['ARM_ENDPOINT']}/.default").token
    answer = second.arm("GET", "/subscriptions", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401, "a token of another home is no token"
    one.close()
    two.close()


def test_start_says_when_it_runs_already_and_why_it_cannot(own_cloud: Callable[..., Cloud], tmp_path: Path) -> None:
    cloud = own_cloud()
    again = command(cloud.home, "start")
    assert "already runs" in again.stdout
    assert len(again.stdout.splitlines()) == 1
    for words, says in (
        (("start", "--client-pause", "7.0"), "client_pause"),
        (("start", "--durations", "quick"), "durations"),
        (("seed", "x_y"), "InvalidRequestBody"),
        (("seed", "x", "--sku", "Z9"), "is not a size"),
        (("seed", "x", "--sku", "C1", "--shards", "2"), "shardCount"),
        (("seed", "x", "--location", "nowhere"), "LocationNotAvailable"),
    ):
        done = command(cloud.home, *words, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
    for words in (("stop",), ("env",), ("seed", "x")):
        done = command(tmp_path / "none", *words, check=False)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "redismove local start" in done.stderr or "nothing to stop" in done.stderr


def test_seed_fills_a_cache_with_every_type(cloud: Cloud, caches: Caches) -> None:
    line = command(
        cloud.home, "seed", "seed1", "--keys", "3000", "--notify", "KEA", "--resource-group", GROUP, "--databases", "5"
    ).stdout
    assert "holds 3000 keys" in line
    connection, third = caches.connect("seed1"), caches.connect("seed1", db=3)
    assert connection.dbsize() + third.dbsize() == 3000
    assert min(connection.dbsize(), third.dbsize()) > 300
    types = {connection.type(key) for key in connection.scan_iter(count=1000)}
    assert types == {b"string", b"hash", b"list", b"set", b"zset", b"stream"}
    expiries = [connection.pttl(key) for key in list(connection.scan_iter(count=1000))[:300]]
    assert any(ttl > 0 for ttl in expiries)
    assert any(ttl == -1 for ttl in expiries)
    stream = next(key for key in connection.scan_iter(match="stream:*", count=1000))
    assert connection.xpending(stream, "workers")["pending"] > 0
    assert any(b"\x00\xff\r\n" in key for key in connection.scan_iter(match="binary:*", count=1000))
    assert max(connection.memory_usage(key) for key in connection.scan_iter(match="*:0002499*", count=10000)) > 100_000
    with pytest.raises(redis.ResponseError, match="out of range"):
        caches.connect("seed1", db=5).ping()
    exists = command(cloud.home, "seed", "seed1", "--resource-group", GROUP, check=False)
    assert "exists" in exists.stderr

    command(cloud.home, "seed", "seed2", "--keys", "3000", "--resource-group", GROUP, "--shards", "2")
    cluster = caches.connect("seed2", clustered=True)
    assert cluster.dbsize(target_nodes="all") == 3000
    same = [key for key in connection.scan_iter(count=1000) if cluster.type(key) == connection.type(key)]
    assert len(same) == connection.dbsize(), "the same number makes the same keys"
