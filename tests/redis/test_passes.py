"""One comparison of everything: the compiled loop and Python find the same, and say how far they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redismove.dataplane.carry import Carrier
from redismove.dataplane.connect import Server
from redismove.dataplane.passes import compare_all
from redismove.dataplane.verify.compare import Pair
from redismove.dataplane.verify.native import library
from tests.support.datasets import every_type, fill
from tests.support.redis_servers import redis_cluster

pytestmark = pytest.mark.redis


def found_in(pair: Pair, *, native: bool) -> tuple[set[tuple[int, bytes]], int, int]:
    different: set[tuple[int, bytes]] = set()
    looked_at = 0

    def looked(database: int, count: int, keys: list[bytes]) -> None:
        nonlocal looked_at
        looked_at += count
        different.update((database, key) for key in keys)

    compared = compare_all(pair, looked, native=native)
    return different, compared, looked_at


@pytest.mark.parametrize(("kind", "other"), [("6.2", "7.0"), ("7.0", "6.2"), ("7.0", "valkey")])
def test_both_ways_find_the_same(opened: Callable[[str, int], Server], kind: str, other: str) -> None:
    assert library() is not None
    source, target = opened(kind, 0), opened(other, 1)
    for database in (0, 3):
        connection = source.connection(database=database)
        fill(connection, every_type())
        fill(connection, [("SET", f"k{number}", number) for number in range(3000)])
        keys = [key for batch in source.scan(source.nodes[0], database) for key in batch]
        Carrier(source, target).carry(database, keys)
    damaged = target.connection(database=3)
    fill(
        damaged,
        [("SET", "k1", "another"), ("DEL", "k2"), ("EXPIRE", "k3", 50), ("SET", "only here", 1), ("DEL", "k4")],
    )
    fill(damaged, [("SADD", "k4", "another type")])
    pair = Pair.of(source, target)

    different, compared, looked_at = found_in(pair, native=True)

    assert different == {(3, key) for key in (b"k1", b"k2", b"k3", b"k4", b"only here")}
    assert found_in(pair, native=False) == (different, compared, looked_at)
    assert looked_at == 2 * compared


def test_a_database_that_one_side_lacks_and_clusters(source: Server) -> None:
    fill(source.connection(), [("SET", f"k{number}", number) for number in range(300)])
    fill(source.connection(database=2), [("SET", "in two", 1)])
    with redis_cluster(3) as cluster, Server.open(cluster.address) as target:
        Carrier(source, target).carry(0, [b"k%d" % number for number in range(299)])
        pair = Pair.of(source, target)

        different, *counts = found_in(pair, native=True)

        assert different == {(0, b"k299"), (2, b"in two")}
        assert found_in(pair, native=False) == (different, *counts)
