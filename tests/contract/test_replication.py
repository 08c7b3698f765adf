"""A link is real replication: plain and clustered, through redis-py's single and cluster clients."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from azure.core.exceptions import ResourceNotFoundError
from redis.crc import key_slot

from .conftest import GROUP, Caches, Cloud


def eventually(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


@pytest.mark.parametrize("shards", [0, 3])
def test_link_copies_follows_and_leaves_the_data(caches: Caches, shards: int) -> None:
    clustered = shards > 0
    primary, secondary = f"repl-a{shards}", f"repl-b{shards}"
    shape = {"shardCount": shards} if shards else {}
    caches.make(**{primary: shape, secondary: shape | {"location": "westus2"}})
    source, target = caches.connect(primary, clustered=clustered), caches.connect(secondary, clustered=clustered)
    for number in range(300):
        source.set(f"key:{number}", number)
    source.set("gone", "soon", px=60_000)
    target.set("old data of the target", 1)

    link = caches.link(primary, secondary)

    assert (link.provisioning_state, link.server_role) == ("Succeeded", "Secondary")
    mirror = caches.client.linked_server.get(GROUP, secondary, primary)
    assert (mirror.server_role, mirror.linked_redis_cache_location) == ("Primary", "East US")
    assert mirror.primary_host_name == caches.client.redis.get(GROUP, primary).host_name
    for name, other in ((primary, secondary), (secondary, primary)):
        shown = caches.client.redis.get(GROUP, name)
        assert shown.provisioning_state == "Succeeded"
        assert [entry.id.rpartition("/")[2] for entry in shown.linked_servers] == [other]

    target = caches.connect(secondary, clustered=clustered)
    assert all(target.get(f"key:{number}") == str(number).encode() for number in range(300))
    assert target.get("old data of the target") is None
    assert 0 < target.pttl("gone") <= 60_000
    with pytest.raises(redis.ReadOnlyError):
        target.set("key:1", "written to the secondary")
    source.set("later", "followed")
    eventually(lambda: target.get("later") == b"followed")
    # The secondary shows its own nodes, never the primary's: what is read there is the secondary's data.
    if clustered:
        host = caches.client.redis.get(GROUP, secondary).host_name
        assert {node.host for node in target.get_nodes()} == {host}
        assert len(target.get_primaries()) == shards

    caches.unlink(primary, secondary)

    for name, other in ((primary, secondary), (secondary, primary)):
        with pytest.raises(ResourceNotFoundError):
            caches.client.linked_server.get(GROUP, name, other)
        shown = caches.client.redis.get(GROUP, name)
        assert (shown.provisioning_state, shown.linked_servers) == ("Succeeded", [])
    target = caches.connect(secondary, clustered=clustered)
    assert all(target.get(f"key:{number}") == str(number).encode() for number in range(300))
    assert target.set("key:1", "ours now")
    assert source.get("key:1") == b"1"
    source.set("after", "not followed")
    assert target.get("after") is None
    # And again: linking erases the target and fills it anew.
    caches.link(primary, secondary)
    target = caches.connect(secondary, clustered=clustered)
    assert target.get("key:1") == b"1"
    assert target.get("after") == b"not followed"
    caches.unlink(primary, secondary)


def test_shard_of_a_linked_secondary_behaves_as_a_cluster_node(caches: Caches) -> None:
    caches.make(**{"face-a": {"shardCount": 2}, "face-b": {"shardCount": 2, "location": "westus2"}})
    before = caches.connect("face-b", port=15000)
    wanted = {
        "slots": before.execute_command("CLUSTER SLOTS"),
        "enabled": before.info("cluster")["cluster_enabled"],
    }
    caches.connect("face-a", clustered=True).set("foo", "bar")
    caches.link("face-a", "face-b")
    try:
        node = caches.connect("face-b", port=15000)
        assert node.execute_command("CLUSTER SLOTS") == wanted["slots"], "same nodes, ids and slots as before the link"
        assert node.info("cluster")["cluster_enabled"] == wanted["enabled"] == 1
        assert node.execute_command("CLUSTER KEYSLOT", "foo") == key_slot(b"foo") == 12182
        with pytest.raises(redis.exceptions.MovedError, match=r"12182 127\.\d+\.\d+\.\d+:15001"):
            node.get("foo")
        with pytest.raises(redis.exceptions.ClusterCrossSlotError):
            node.mget("foo", "b")
        with pytest.raises(redis.ResponseError, match="SELECT is not allowed in cluster mode"):
            node.execute_command("SELECT", 1)
        assert node.get("{foo}" if key_slot(b"{foo}") < 8192 else "b") is None
        other = caches.connect("face-b", port=15001)
        assert other.get("foo") == b"bar"
        assert other.info("replication")["role"] == "slave"
        assert other.dbsize() == 1
        with pytest.raises(redis.exceptions.NoPermissionError):
            other.execute_command("REPLICAOF", "NO", "ONE")
    finally:
        caches.unlink("face-a", "face-b")


def test_cluster_is_reached_by_its_ssl_port_and_spreads_keys(caches: Caches) -> None:
    caches.make(spread={"shardCount": 3, "enableNonSslPort": True})
    shown = caches.client.redis.get(GROUP, "spread")
    assert [(entry.ssl_port, entry.non_ssl_port, entry.shard_id) for entry in shown.instances] == [
        (15000, 13000, 0),
        (15001, 13001, 1),
        (15002, 13002, 2),
    ]
    cluster = caches.connect("spread", clustered=True)
    for number in range(300):
        cluster.set(f"key:{number}", number)
    sizes = [caches.connect("spread", port=entry.ssl_port).dbsize() for entry in shown.instances]
    assert sum(sizes) == 300
    assert min(sizes) > 50
    plain = caches.connect("spread", clustered=True, ssl=False, ssl_ca_certs=None, port=6379)
    assert plain.get("key:7") == b"7"
    assert {node.port for node in plain.get_nodes()} == {13000, 13001, 13002}
    with pytest.raises(redis.ResponseError, match="SELECT is not allowed in cluster mode"):
        caches.connect("spread").execute_command("SELECT", 1)


@pytest.mark.parametrize("updated", ["full-a", "full-b"])
def test_update_of_either_linked_cache_synchronises_everything_anew(
    cloud: Cloud, own_link: Caches, updated: str
) -> None:
    source = own_link.connect("full-a")
    before = source.info("stats")["sync_full"]
    own_link.client.redis.begin_update(GROUP, updated, {"tags": {"changed": updated}}).result()
    assert source.info("stats")["sync_full"] == before + 1
    source.set("after the update", updated)
    eventually(lambda: own_link.connect("full-b").get("after the update") == updated.encode())


@pytest.fixture(scope="module")
def own_link(caches: Caches) -> Any:
    caches.make(**{"full-a": {}, "full-b": {"location": "westus2"}})
    caches.link("full-a", "full-b")
    yield caches
    caches.unlink("full-a", "full-b")


def test_keys_are_each_cache_s_own_and_the_link_survives_their_rotation(own_link: Caches) -> None:
    client = own_link.client.redis
    keys = {name: client.list_keys(GROUP, name).primary_key for name in ("full-a", "full-b")}
    assert keys["full-a"] != keys["full-b"]
    for kind in ("Primary", "Secondary"):
        client.regenerate_key(GROUP, "full-a", {"keyType": kind})
    own_link.connect("full-a").set("still", "linked")
    eventually(lambda: own_link.connect("full-b").get("still") == b"linked")


def test_a_secondary_answers_with_errors_until_it_is_synchronised(own_link: Caches, cloud: Cloud) -> None:
    # The primary is stopped, so that the secondary cannot synchronise.
    source = own_link.connect("full-a")
    secondary = own_link.connect("full-b")
    assert secondary.ping()
    pid = source.info("server")["process_id"]
    source.close()
    os.kill(pid, signal.SIGSTOP)
    try:
        kill_link(cloud, own_link)
        eventually(lambda: not answers(secondary))
        with pytest.raises(redis.ResponseError, match="Link with MASTER is down"):
            secondary.get("a")
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: answers(secondary))


def answers(connection: redis.Redis) -> bool:
    try:
        connection.get("a")
    except redis.ResponseError:
        return False
    return True


def kill_link(cloud: Cloud, caches: Caches) -> None:
    """Cut the secondary's connection to its primary, as the administrator that the local Azure has."""
    config = json.loads((cloud.home / "config.json").read_text())
    admin = redis.Redis(
        host=caches.client.redis.get(GROUP, "full-b").host_name,
        port=6380,
        username="_admin",
        password=config["redis_admin_secret"],
        ssl=True,
        ssl_ca_certs=cloud.ca,
    )
    admin.execute_command("CLIENT", "KILL", "TYPE", "master")
    admin.close()
