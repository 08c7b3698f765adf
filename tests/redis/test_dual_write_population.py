"""How much of the source the target has, on real servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redismove.dataplane.connect import Server
from redismove.dataplane.population import population
from redismove.steps.evidence import measured
from tests.support.redis_servers import redis_cluster

pytestmark = pytest.mark.redis


@pytest.fixture(params=["7.0", "6.2"])
def source(request: pytest.FixtureRequest, opened: Callable[[str, int], Server]) -> Server:
    """An empty source of either version."""
    return opened(request.param, 0)


def fill(server: Server, *commands: tuple[object, ...], database: int = 0) -> None:
    """Run commands, none of which may fail."""
    connection = server.connection(database=database)
    for command in commands:
        connection.call(*command)  # type: ignore[arg-type]


def test_keys_are_counted_by_what_the_target_has_of_them(source: Server, target: Server) -> None:
    for server in (source, target):
        fill(server, ("SET", "equal", 1), ("SET", "other", server.address.port))
    at_ms = source.now_ms() + 7_200_000
    for server in (source, target):
        fill(server, ("SET", "session", "x"), ("PEXPIREAT", "session", at_ms))
    fill(source, ("RPUSH", "list", 1), ("SET", "short", 1, "PX", 90_000), ("SET", "long", 1, "PX", 3_570_000))
    fill(source, ("SET", "in another database", 1), database=2)
    fill(target, ("SET", "stranger", 1), ("SET", "long", 1, "PX", 1_800_000))
    found = population(source, target, clock=lambda: 1000.0)

    assert (found.total_keys, found.keys, found.equal, found.missing, found.different) == (7, 7, 2, 3, 2)
    assert (found.without_expiry, found.lacking_without_expiry) == (4, 3)
    assert found.lacking_by_minute == {1: 1, 59: 1}
    assert 7_190 < found.longest_expiry_s <= 7_200
    assert 3_560 < found.longest_lacking_expiry_s <= 3_570
    assert found.enough_at_s() is None
    assert found.enough_at_s(required_share=4 / 7) == 1000 + 3600
    assert found.enough_at_s(required_share=2 / 7) == 1000


def test_keys_that_have_expired_are_no_live_keys(old: Server, target: Server) -> None:
    fill(old, ("DEBUG", "SET-ACTIVE-EXPIRE", 0), ("SET", "gone", 1, "PX", 1), ("SET", "here", 1))
    fill(target, ("SET", "here", 1))
    try:
        while old.connection().call("EXISTS", "gone"):
            pass
        found = population(old, target)
    finally:
        fill(old, ("DEBUG", "SET-ACTIVE-EXPIRE", 1))

    assert (found.keys, found.equal) == (1, 1)


def test_a_sample_is_enough_where_there_are_many(source: Server, target: Server) -> None:
    source.connection().pipeline([("SET", f"k{number}", "x") for number in range(2000)])
    target.connection().pipeline([("SET", f"k{number}", "x") for number in range(1000)])
    told: list[tuple[int, int]] = []
    found = population(
        source, target, sample_keys=300, on_progress=lambda done, expected: told.append((done, expected))
    )

    assert (found.sampled, found.total_keys) == (True, 2000)
    assert 250 <= found.keys <= 300
    assert abs(found.share - 0.5) < 0.2
    assert told[-1] == (found.keys, 300)
    assert not population(source, target, sample_keys=2000).sampled


def test_a_cluster_is_counted_whole(target: Server) -> None:
    with redis_cluster(3) as cluster, Server.open(cluster.address) as source:
        for number in range(60):
            key = f"k{number}".encode()
            source.execute([(key, ("SET", key, "x", "PX", 100_000))])
            if number % 2:
                fill(target, ("SET", key, "x", "PX", 100_000))
        found = population(source, target, depth="keys")
        drawn = population(source, target, sample_keys=30, depth="keys")

    assert (found.keys, found.missing, found.without_expiry) == (60, 30, 0)
    assert drawn.sampled
    assert 20 <= drawn.keys <= 32


def test_the_evidence_measures_the_day_on_which_it_is_enough(source: Server, target: Server) -> None:
    week_s = 7 * 86400
    for server in (source, target):
        fill(server, ("SET", "settings", 1))
    fill(source, ("SET", "session", 1, "EX", week_s), ("SET", "short", 1, "EX", 60))
    before = measured(source, target, depth="keys")

    assert (before.keys, before.missing, before.share) == (3, 2, 1 / 3)
    assert week_s <= before.enough_at_s - before.measured_at_s <= week_s + 60
    assert "it will be 100.00% by" in before.words
    fill(source, ("SET", "never", 1))
    assert measured(source, target, depth="full").enough_at_s == -1
    fill(target, ("SET", "never", 1), ("DEL", "short"), ("SET", "session", 1, "EX", week_s))
    fill(source, ("SET", "session", 1, "EX", week_s), ("DEL", "short"))
    at_ms = source.now_ms() + 1000 * week_s
    for server in (source, target):
        fill(server, ("PEXPIREAT", "session", at_ms))
    after = measured(source, target, depth="full")
    assert (after.share, after.enough_at_s) == (1.0, after.measured_at_s)
    assert "that is enough" in after.words
