"""Carrying keys: whatever type, encoding and pair of versions, the target holds the same afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from redismove.dataplane.carry import Carrier
from redismove.dataplane.connect import Server
from redismove.dataplane.errors import CannotCarry, OutOfMemory, ReadOnlyServer
from redismove.dataplane.payload import decode
from redismove.dataplane.verify import verify
from tests.support.datasets import every_type, fill, stream_with_groups
from tests.support.redis_servers import redis_cluster, redis_server

pytestmark = pytest.mark.redis
PAIRS = [
    ("7.0", "7.0"),
    ("6.2", "7.0"),
    ("7.0", "6.2"),
    ("6.2", "6.2"),
    ("7.0", "valkey"),
    ("valkey", "7.0"),
    ("valkey", "6.2"),
]


def keys_of(server: Server, database: int = 0) -> list[bytes]:
    return [key for node in server.nodes for batch in server.scan(node, database) for key in batch]


@pytest.mark.parametrize(("kind", "other"), PAIRS)
@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
def test_every_type_arrives_exactly(
    opened: Callable[[str, int], Server], kind: str, other: str, in_parts: bool
) -> None:
    source, target = opened(kind, 0), opened(other, 1)
    fill(source.connection(), every_type())
    fill(target.connection(), [("SADD", "plain", "another type"), ("SET", "hash3", "x", "PX", 50_000)])
    carrier = Carrier(source, target, big_value_bytes=0 if in_parts else 1 << 30)
    keys = keys_of(source)
    report = carrier.carry(0, keys, probe=in_parts)
    assert report.carried == report.keys == len(keys)
    assert report.in_parts == (len(keys) if in_parts else 0)
    assert report.by_type == (
        len(keys) if not in_parts and (kind, other) in {("7.0", "6.2"), ("valkey", "7.0"), ("valkey", "6.2")} else 0
    )
    outcome = verify(source, target)
    assert outcome.equal, outcome.to_json()
    assert outcome.counts["compared"] == len(keys)


def test_a_thousand_keys_by_type_are_a_handful_of_round_trips(
    opened: Callable[[str, int], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hold that goes back to an older server carries what is left by type: not one key after the other."""
    source, target = opened("7.0", 0), opened("6.2", 1)
    kinds = [("SET",), ("SET", "EX", 1000), ("HSET", "field"), ("RPUSH",), ("ZADD", 1)]
    commands: list[tuple[str | int, ...]] = []
    for number in range(1000):
        name, *more = kinds[number % 5]
        value = f"value {number}"
        commands.append((name, f"k{number}", *((value, *more) if name == "SET" else (*more, value))))
    fill(source.connection(), commands)
    fill(target.connection(), [("SET", "k0", "had an expiry", "EX", 100), ("RPUSH", "k1", "was a list")])
    carrier = Carrier(source, target)
    carrier.expect(20)
    carrier.by_type = True
    sent: list[int] = []
    execute = target.execute
    monkeypatch.setattr(
        target, "execute", lambda commands, *rest, **named: sent.append(1) or execute(commands, *rest, **named)
    )

    report = carrier.carry(0, [f"k{number}".encode() for number in range(1000)])

    assert report.by_type == 1000
    assert len(sent) <= 2
    assert verify(source, target).equal


@pytest.mark.parametrize("kind", ["7.0", "6.2", "valkey"])
def test_a_payload_reads_as_the_commands_of_its_type_do(opened: Callable[[str, int], Server], kind: str) -> None:
    """The decoder is what everything else is judged by, so the server itself judges the decoder."""
    server = opened(kind, 0)
    connection = server.connection()
    fill(connection, every_type())
    for key in keys_of(server):
        value = decode(connection.call("DUMP", key))
        assert value.kind == connection.call("TYPE", key).decode()
        if value.kind == "string":
            assert value.string == connection.call("GET", key)
        elif value.kind == "list":
            assert value.items == connection.call("LRANGE", key, 0, -1)
        elif value.kind == "set":
            assert sorted(value.items) == sorted(connection.call("SMEMBERS", key))
        elif value.kind == "zset":
            flat = connection.call("ZRANGE", key, 0, -1, "WITHSCORES")
            assert dict(value.scores) == {m: float(s) for m, s in zip(flat[::2], flat[1::2], strict=True)}
        elif value.kind == "hash":
            flat = connection.call("HGETALL", key)
            assert dict(value.fields) == dict(zip(flat[::2], flat[1::2], strict=True))
        else:
            assert value.stream is not None
            shown = [[b"%d-%d" % entry_id, pairs] for entry_id, pairs in value.stream.entries]
            assert shown == connection.call("XRANGE", key, "-", "+")
    value = decode(connection.call("DUMP", "groups"))
    assert value.stream is not None
    readers = next(group for group in value.stream.groups if group.name == b"readers")
    assert sorted(readers.pending) == [(1, 1), (3, 1)]
    assert sorted(readers.consumers) == [b"first", b"idle"]
    assert (value.stream.last_id, readers.last_id) == ((9, 9), (3, 1))


def test_what_the_source_lacks_is_deleted_and_nothing_else(source: Server, target: Server) -> None:
    fill(target.connection(), [("SET", "gone", 1), ("SET", "other", 2)])
    report = Carrier(source, target).carry(0, [b"gone", b"never"])
    assert (report.carried, report.deleted) == (0, 2)
    assert keys_of(target) == [b"other"]


@pytest.mark.parametrize("kind", ["6.2", "7.0"])
@pytest.mark.parametrize("other", ["6.2", "7.0"])
def test_an_expiry_arrives_to_the_millisecond_and_a_passed_one_deletes(
    opened: Callable[[str, int], Server], kind: str, other: str
) -> None:
    source, target = opened(kind, 0), opened(other, 1)
    at_ms = int(time.time() * 1000) + 60_000
    fill(source.connection(), [("SET", "k", "v"), ("PEXPIREAT", "k", at_ms), ("SET", "stays", "v")])
    fill(target.connection(), [("SET", "stays", "v", "PX", 1000)])
    Carrier(source, target).carry(0, [b"k", b"stays"])
    remaining_ms = target.connection().call("PTTL", "k")
    assert abs(int(time.time() * 1000) + remaining_ms - at_ms) <= 5
    assert target.connection().call("PTTL", "stays") == -1
    # A key with 1 ms left: whether it is read before or after its end, it must never become permanent.
    for _ in range(50):
        fill(source.connection(), [("SET", "short", "v", "PX", 1)])
        Carrier(source, target).carry(0, [b"short"])
        assert target.connection().call("PTTL", "short") in (-2, 0, 1)


def test_a_half_written_value_is_never_seen_and_a_leftover_part_goes_by_itself(source: Server, target: Server) -> None:
    fill(source.connection(), [("RPUSH", "list", *range(20_000))])
    fill(target.connection(), [("RPUSH", "list", "old")])
    seen = set()
    execute = target.execute

    def watching(*args: object, **kwargs: object) -> object:
        seen.add(target.connection().call("LLEN", "list"))
        return execute(*args, **kwargs)  # type: ignore[arg-type]

    target.execute = watching  # type: ignore[method-assign,assignment]
    Carrier(source, target, big_value_bytes=0).carry(0, [b"list"], probe=True)
    assert seen <= {1, 20_000}
    assert keys_of(target) == [b"list"]


def test_a_stream_that_was_read_meanwhile_is_put_right(source: Server, target: Server) -> None:
    fill(source.connection(), stream_with_groups(b"s"))
    Carrier(source, target).carry(0, [b"s"])
    fill(
        source.connection(),
        [("XACK", "s", "readers", "3-1"), ("XREADGROUP", "GROUP", "others", "c", "STREAMS", "s", ">")],
    )
    assert not verify(source, target).equal
    Carrier(source, target).carry(0, [b"s"])
    assert verify(source, target).equal


def test_hash_fields_that_expire_arrive_or_are_refused_but_never_lose_their_expiry(
    opened: Callable[[str, int], Server],
) -> None:
    source, same, older = opened("valkey", 0), opened("valkey", 1), opened("7.0", 0)
    fill(source.connection(), [("HSET", "h", "a", 1, "b", 2), ("HPEXPIREAT", "h", 4_000_000_000_000, "FIELDS", 1, "b")])
    for big_value_bytes in (0, 1 << 30):
        same.connection().call("FLUSHALL")
        Carrier(source, same, big_value_bytes=big_value_bytes).carry(0, [b"h"], probe=True)
        assert same.connection().call("HPEXPIRETIME", "h", "FIELDS", 2, "a", "b") == [-1, 4_000_000_000_000]
        assert verify(source, same).equal
    with pytest.raises(CannotCarry, match="expiry of their own"):
        Carrier(source, older).carry(0, [b"h"])


def test_refusals_are_named_and_carrying_again_goes_on(source: Server) -> None:
    fill(source.connection(), [("SET", f"k{number}", "x" * 50_000) for number in range(100)])
    with redis_server(options=["--maxmemory", "2mb"]) as full, Server.open(full.address) as target:
        carrier = Carrier(source, target)
        with pytest.raises(OutOfMemory, match="scale it up"):
            carrier.carry(0, keys_of(source))
        target.connection().call("CONFIG", "SET", "maxmemory", 0)
        carrier.carry(0, keys_of(source))
        assert verify(source, target).equal
    with redis_server(options=["--replicaof", "127.0.0.1", "1"]) as replica, Server.open(replica.address) as target:
        carrier = Carrier(source, target)
        with pytest.raises(ReadOnlyServer, match="read-only"):
            carrier.carry(0, [b"k1"])


def test_clusters_of_different_size_and_single_servers(source: Server) -> None:
    fill(source.connection(), [*every_type("a"), *every_type("b")])
    with (
        redis_cluster(3) as three,
        redis_cluster(2, "6.2") as two,
        Server.open(three.address) as newer,
        Server.open(two.address) as older,
    ):
        for one, other in ((source, newer), (newer, older), (older, newer)):
            keys = keys_of(one)
            carrier = Carrier(one, other, big_value_bytes=100_000)
            carrier.carry(0, keys, probe=True)
            report = verify(one, other)
            assert report.equal, report.to_json()
            assert report.counts["compared"] == len(keys_of(source))


def test_a_failover_in_the_middle_loses_nothing(source: Server) -> None:
    fill(source.connection(), [("SET", f"k{number}", number) for number in range(2000)])
    with redis_cluster(3, replicas=1) as cluster, Server.open(cluster.address) as target:
        keys = keys_of(source)
        carrier = Carrier(source, target)
        carrier.carry(0, keys[:1000])
        with cluster.replicas[1].connect() as replica:
            assert replica.call("CLUSTER", "FAILOVER", "TAKEOVER") == b"OK"
        carrier.carry(0, keys[1000:])
        # Asynchronous replication may lose what the old primary took alone: all of it is compared, then repaired.
        carrier.carry(0, keys)
        assert verify(source, target).equal
