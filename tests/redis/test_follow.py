"""Following: what is written while it copies and afterwards arrives, what goes unseen is noticed, the end is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from redismove.dataplane import mirror_pursuit
from redismove.dataplane.connect import Command, Server
from redismove.dataplane.errors import OutOfMemory
from redismove.dataplane.mirror import copy_and_follow
from redismove.dataplane.mirror_report import CannotCatchUp, FollowProgress, FollowRefused, FollowStopped, StopRequest
from redismove.dataplane.throttle import Limits
from redismove.dataplane.verify import verify
from tests.support.datasets import every_type, fill, stream_with_groups
from tests.support.following import following
from tests.support.redis_servers import redis_cluster, redis_server

pytestmark = pytest.mark.redis


@pytest.fixture
def source(source: Server) -> Iterator[Server]:
    """An empty Redis 7.0 that notifies everything."""
    source.connection().call("CONFIG", "SET", "notify-keyspace-events", "KA")
    yield source
    source.forget_broken()
    source.connection().call("CONFIG", "SET", "notify-keyspace-events", "")


def assert_equal(source: Server, target: Server) -> None:
    for server in (source, target):
        server.forget_broken()
        server.refresh_nodes()
    outcome = verify(source, target)
    assert outcome.equal, outcome.to_json()


@contextmanager
def writing(server: Server, *, every_s: float = 0.0005) -> Iterator[Callable[[], int]]:
    """Writes and deletes over two databases in a thread; gives the number so far."""
    over, count = threading.Event(), 0

    def write() -> None:
        nonlocal count
        with Server.open(server.address) as mine:
            connections = [mine.new_connection(), mine.new_connection(database=11)]
            while not over.wait(every_s):
                number = count % 997
                for connection in connections:
                    connection.pipeline(
                        [
                            ("SET", f"written:{number}", count),
                            ("DEL", f"written:{(number * 7) % 997}"),
                            ("RENAME", f"written:{(number * 3) % 997}", f"renamed:{number % 50}"),
                            ("SET", f"short:{number % 50}", count, "PX", 30 + number % 100),
                            ("HINCRBY", f"hash:{number % 10}", f"f{number}", 1),
                            ("MOVE", f"renamed:{number % 50}", 11 - connection.database),
                        ]
                    )
                count += 1
            for connection in connections:
                connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: count
    finally:
        over.set()
        thread.join()


def many(count: int) -> list[Command]:
    return [("SET", f"key:{number}", f"value {number}") for number in range(count)]


def test_what_is_written_while_it_copies_and_afterwards_arrives(source: Server, target: Server, tmp_path: Path) -> None:
    fill(source.connection(), [*every_type(), *many(3000)])
    fill(source.connection(database=11), [*every_type("b"), *many(100)])
    with writing(source) as written, following(source.address, target.address, limits={"keys_per_s": 4000}) as run:
        run.wait(lambda: any(at.phase == "copy" and at.scanned for at in run.seen), "the bulk copy")
        run.wait(lambda: run.seen[-1].phase == "follow" and run.seen[-1].caught_up, "caught up once")
        before = written()
        run.wait(lambda: written() > before + 50, "more writes")
        assert run.seen[-1].changes_per_s > 0
    with following(source.address, target.address, remove_extra=True, until_caught_up=True) as run:
        report = run.wait_for_end()
    assert report.exact
    assert report.lag_keys == 0
    assert_equal(source, target)


def test_a_follower_that_goes_on_is_exact_as_soon_as_the_writes_stop(source: Server, target: Server) -> None:
    fill(source.connection(), many(2000))
    with following(source.address, target.address) as run:
        for _ in range(2):
            with writing(source) as written:
                run.wait(lambda: written() > 300, "writes")
            run.wait_until_caught_up()
            assert_equal(source, target)
        assert run.seen[-1].comparisons == 0, "nothing was missed, so nothing was compared again"


@pytest.mark.parametrize("command", [("FLUSHDB",), ("FLUSHALL",), ("SWAPDB", 0, 11)])
def test_what_is_not_notified_is_found(source: Server, target: Server, command: tuple[Any, ...]) -> None:
    fill(source.connection(), many(500))
    fill(source.connection(database=11), many(20))
    with following(source.address, target.address) as run:
        run.wait_until_caught_up()
        source.connection(database=0).call(*command)
        run.wait_until_caught_up()
        assert_equal(source, target)
        assert run.seen[-1].comparisons == 1


def test_what_reading_does_to_a_stream_is_carried(source: Server, target: Server) -> None:
    connection = source.connection(database=0)
    fill(connection, [*stream_with_groups(b"s"), ("XGROUP", "CREATE", "s", "more", "0")])
    fill(connection, [("XGROUP", "CREATECONSUMER", "s", "more", f"c{number}") for number in range(2)])
    with following(source.address, target.address) as run:
        run.wait_until_caught_up()
        for number in range(2):
            read = connection.call("XREADGROUP", "GROUP", "more", f"c{number}", "COUNT", 1, "STREAMS", "s", ">")
            run.wait_until_caught_up()
            assert_equal(source, target)
            if read:
                connection.call("XACK", "s", "more", read[0][1][0][0])
            run.wait_until_caught_up()
            assert_equal(source, target)
        assert run.seen[-1].comparisons == 0


def test_lost_notifications_are_noticed(source: Server, target: Server) -> None:
    fill(source.connection(), many(2000))
    with following(source.address, target.address) as run:
        run.wait_until_caught_up()
        with writing(source) as written:
            run.wait(lambda: written() > 100, "writes")
            with source.new_connection() as other:
                assert other.call("CLIENT", "KILL", "TYPE", "pubsub") == 1
            run.wait(lambda: written() > 300, "writes")
        run.wait_until_caught_up()
        assert run.seen[-1].comparisons >= 1
        assert_equal(source, target)


def test_forgotten_counters_are_noticed(source: Server, target: Server) -> None:
    fill(source.connection(), many(200))
    connection = source.connection(database=0)
    with following(source.address, target.address) as run:
        run.wait_until_caught_up()
        connection.call("FLUSHALL")
        run.wait_until_caught_up()
        fill(connection, [("SET", "last", 1)])
        run.wait_until_caught_up()
        # As many flushes as before: without the other counter nothing would be seen.
        connection.pipeline([("CONFIG", "RESETSTAT"), ("FLUSHALL",)])
        run.wait_until_caught_up()
        assert_equal(source, target)


@pytest.mark.parametrize("at", ["copy", "follow"])
def test_killed_it_goes_on_and_finds_what_it_missed(source: Server, target: Server, tmp_path: Path, at: str) -> None:
    fill(source.connection(), many(4000))
    checkpoint = tmp_path / "follow"
    options: dict[str, Any] = {"checkpoint": checkpoint, "limits": {"keys_per_s": 2500}}
    with following(source.address, target.address, **options) as run:
        run.wait(lambda: run.seen and run.seen[-1].phase == at, at)
        if at == "copy":
            run.wait((tmp_path / "follow.copy").exists, "the first checkpoint of the copy")
    assert (tmp_path / "follow.copy").exists() == (at == "copy")
    connection = source.connection(database=0)
    fill(connection, [("DEL", "key:1", "key:3999"), ("SET", "key:2", "new"), ("RENAME", "key:3", "other")])
    with following(source.address, target.address, checkpoint=checkpoint, until_caught_up=True) as run:
        report = run.wait_for_end()
    assert report.resumed
    assert report.exact
    assert report.comparisons == 1
    assert (report.bulk is None) == (at == "follow")
    assert report.bulk is None or 0 < report.bulk.scanned < 4000, "not from the start"
    assert_equal(source, target)


def test_without_notifications_it_compares_until_nothing_is_left(source: Server, target: Server) -> None:
    source.connection(database=0).call("CONFIG", "SET", "notify-keyspace-events", "Kg$")
    fill(source.connection(), [*every_type(), *many(1000)])
    with following(source.address, target.address) as run:
        with writing(source) as written:
            run.wait(lambda: run.seen and run.seen[-1].comparisons >= 2, "two comparisons")
            assert run.seen[-1].phase == "passes"
            assert written()
        connection = source.connection(database=0)
        run.wait_until_caught_up()
        assert_equal(source, target)
        fill(connection, [("DEL", "key:1"), ("SET", "key:2", "x"), *stream_with_groups(b"stream")])
        run.wait_until_caught_up()
        assert_equal(source, target)
    with following(source.address, target.address, remove_extra=True, until_caught_up=True) as run:
        report = run.wait_for_end()
        assert report.exact
        assert not report.followed
        assert any('notifies "Kg$' in notice or "notifies" in notice for notice in report.notices)


def test_notifications_are_switched_on_and_put_back_also_after_a_kill(
    source: Server, target: Server, tmp_path: Path
) -> None:
    connection = source.connection(database=0)
    connection.call("CONFIG", "SET", "notify-keyspace-events", "Ex")
    before = connection.call("CONFIG", "GET", "notify-keyspace-events")[1]
    fill(connection, many(100))
    checkpoint = tmp_path / "c"
    with following(source.address, target.address, checkpoint=checkpoint, enable_notifications=True) as run:
        run.wait_until_caught_up()
        assert run.seen[-1].phase == "follow"
        assert connection.call("CONFIG", "GET", "notify-keyspace-events")[1] != before
    report = copy_and_follow(source.address, target.address, checkpoint=checkpoint, until_caught_up=True)
    assert report.exact
    assert connection.call("CONFIG", "GET", "notify-keyspace-events")[1] == before


def test_switched_off_in_the_middle_it_compares_and_switched_on_it_follows_again(
    source: Server, target: Server
) -> None:
    connection = source.connection(database=0)
    fill(connection, many(100))
    with following(source.address, target.address) as run:
        run.wait_until_caught_up()
        connection.call("CONFIG", "SET", "notify-keyspace-events", "")
        fill(connection, [("SET", "unseen", 1)])
        run.wait(lambda: run.seen[-1].phase == "passes", "comparing")
        run.wait_until_caught_up()
        assert_equal(source, target)
        connection.call("CONFIG", "SET", "notify-keyspace-events", "KA")
        run.wait(lambda: run.seen[-1].phase == "follow", "following again")
        fill(connection, [("SET", "seen", 1)])
        run.wait_until_caught_up()
        assert_equal(source, target)


def test_a_source_that_is_said_to_notify_and_does_not(target: Server) -> None:
    """CONFIG is refused, as on Azure, and what the operator says is wrong."""
    with redis_server(options=["--rename-command", "CONFIG", ""]) as server, Server.open(server.address) as source:
        fill(source.connection(), many(100))
        with following(source.address, target.address, notify_keyspace_events="KA") as run:
            run.wait_until_caught_up()
            fill(source.connection(), [("SET", "unseen", 1)])
            run.wait(lambda: run.seen[-1].phase == "passes", "comparing")
            run.wait_until_caught_up()
            assert_equal(source, target)


def test_where_config_is_refused_it_compares_unless_it_is_told(target: Server) -> None:
    options = ["--rename-command", "CONFIG", "", "--notify-keyspace-events", "KA"]
    with redis_server(options=options) as server, Server.open(server.address) as source:
        fill(source.connection(), many(100))
        report = copy_and_follow(source.address, target.address, until_caught_up=True)
        assert report.exact
        assert not report.followed
        assert "does not say what it notifies" in report.notices[0]
        report = copy_and_follow(
            source.address, target.address, until_caught_up=True, remove_extra=True, notify_keyspace_events="KA"
        )
        assert report.exact
        assert report.followed
        with pytest.raises(FollowStopped, match="does not allow CONFIG"):
            copy_and_follow(source.address, target.address, remove_extra=True, enable_notifications=True)


def test_keys_of_the_target_go_only_when_that_is_said(source: Server, target: Server) -> None:
    fill(source.connection(), many(10))
    fill(target.connection(), [("SET", "theirs", 1)])
    with pytest.raises(FollowRefused, match=r"has 1 keys already.*--remove-extra"):
        copy_and_follow(source.address, target.address, until_caught_up=True)
    assert target.databases() == {0: 1}
    assert copy_and_follow(source.address, target.address, until_caught_up=True, remove_extra=True).exact
    assert_equal(source, target)


def test_it_says_why_it_cannot_catch_up_with_both_numbers(source: Server, target: Server) -> None:
    fill(source.connection(), many(200))
    with writing(source), pytest.raises(FollowStopped) as caught:
        copy_and_follow(
            source.address,
            target.address,
            until_caught_up=True,
            give_up_after_s=2,
            limits=Limits(keys_per_s=100),
        )
    assert isinstance(caught.value.cause, CannotCatchUp)
    text = str(caught.value)
    for said in (r"changes/s come and", "keys/s are carried (limited to 100", "keys were copied and", "begins anew"):
        assert said in text
    source.connection(database=0).call("CONFIG", "SET", "notify-keyspace-events", "")
    with writing(source), pytest.raises(FollowStopped, match=r"without notifications: each comparison of .* keys/s"):
        copy_and_follow(source.address, target.address, until_caught_up=True, give_up_after_s=1, remove_extra=True)


def test_more_marks_than_may_be_kept_are_dropped_and_compared(
    source: Server, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_pursuit, "MOST_MARKS", 100)
    fill(source.connection(), many(1000))
    stop, phases = StopRequest(), []

    def watch(at: FollowProgress) -> None:
        phases.append(at.phase)
        if at.phase == "copy" and phases.count("copy") == 1:
            fill(source.connection(database=0), [("SET", f"key:{n}", "new") for n in range(0, 1000, 3)])

    report = copy_and_follow(source.address, target.address, until_caught_up=True, on_progress=watch, stop=stop)
    assert report.exact
    assert report.comparisons == 1
    assert "more than 100 changed keys were waiting" in report.reasons
    assert_equal(source, target)


def test_stopped_it_says_how_far_behind_it_is(source: Server, target: Server) -> None:
    fill(source.connection(), many(500))
    stop = StopRequest()

    def watch(at: FollowProgress) -> None:
        if at.phase == "follow":
            stop.set()

    report = copy_and_follow(source.address, target.address, on_progress=watch, stop=stop)
    assert report.stopped
    assert report.caught_up
    assert "nothing is left" in report.summary()
    assert_equal(source, target)


def test_a_source_that_is_gone_for_a_while_is_waited_for(target: Server) -> None:
    with redis_server(options=["--notify-keyspace-events", "KA"]) as server, Server.open(server.address) as source:
        fill(source.connection(), many(300))
        with following(server.address, target.address) as run:
            run.wait_until_caught_up()
            server.kill()
            run.wait(lambda: not run.pipe.poll(1.5), "it notices")
            with (
                redis_server(options=["--notify-keyspace-events", "KA"], port=server.port) as again,
                Server.open(again.address) as fresh,
            ):
                fill(fresh.connection(), many(50))
                run.wait_until_caught_up()
                assert_equal(fresh, target)


def test_a_full_target_ends_it_in_one_sentence(source: Server, tmp_path: Path) -> None:
    fill(source.connection(), many(100))
    with redis_server() as small, Server.open(small.address) as target:
        filled = threading.Event()

        def watch(at: FollowProgress) -> None:
            if at.phase == "follow" and not filled.is_set():
                filled.set()
                target.connection().call("CONFIG", "SET", "maxmemory", 1)
                fill(source.connection(database=0), [("SET", "one more", 1)])

        checkpoint = tmp_path / "c"
        said = rf"out of memory.*100 keys were copied and \d+ changed keys carried.*checkpoint {checkpoint} compares"
        with pytest.raises(FollowStopped, match=said) as caught:
            copy_and_follow(source.address, target.address, on_progress=watch, checkpoint=checkpoint)
        assert isinstance(caught.value.cause, OutOfMemory)
        target.connection().call("CONFIG", "SET", "maxmemory", 0)
        assert copy_and_follow(source.address, target.address, checkpoint=checkpoint, until_caught_up=True).exact
        assert_equal(source, target)


def test_a_cluster_that_fails_over_while_it_is_followed(target: Server) -> None:
    with (
        redis_cluster(3, replicas=1, options=["--notify-keyspace-events", "KA"]) as cluster,
        Server.open(cluster.address) as source,
    ):
        keys = [b"key:%d" % number for number in range(1000)]
        assert set(source.execute([(key, ("SET", key, 1)) for key in keys])) == {b"OK"}
        with following(cluster.nodes[1].address, target.address, workers=1) as run:
            run.wait_until_caught_up()
            assert set(source.execute([(key, ("SET", key, 2)) for key in keys[::2]])) == {b"OK"}
            for server in cluster.nodes:
                with server.connect() as connection:
                    assert connection.call("WAIT", 1, 5000) == 1
            with cluster.replicas[0].connect() as replica:
                assert replica.call("CLUSTER", "FAILOVER", "TAKEOVER") == b"OK"
            cluster.nodes[0].kill()
            source.forget_broken()
            assert set(source.execute([(key, ("SET", key, 3)) for key in keys[::3]])) == {b"OK"}
            run.wait_until_caught_up(deadline_s=60)
            assert run.seen[-1].comparisons >= 1
            assert_equal(source, target)


def test_a_database_that_the_target_lacks_is_never_taken_for_another(source: Server) -> None:
    fill(source.connection(), many(20))
    seen = threading.Event()

    def watch(at: FollowProgress) -> None:
        if at.phase == "follow" and not seen.is_set():
            seen.set()
            fill(source.connection(database=3), [("SET", "key:1", "of database 3")])

    with redis_cluster(2) as cluster, Server.open(cluster.address) as target:
        with pytest.raises(FollowStopped, match=r"has no database 3.* 1 keys.*; use a target with that database"):
            copy_and_follow(source.address, cluster.address, on_progress=watch)
        assert target.execute([(b"key:1", ("GET", b"key:1"))]) == [b"value 1"]
    # The other way round: what only the target has, in a database that a clustered source lacks, is removed.
    with (
        redis_cluster(2, options=["--notify-keyspace-events", "KA"]) as cluster,
        redis_server() as single,
        Server.open(cluster.address) as clustered,
        Server.open(single.address) as target,
    ):
        clustered.execute([(b"key:1", ("SET", b"key:1", "clustered"))])
        fill(target.connection(database=3), [("SET", "key:1", "not theirs")])
        options: dict[str, Any] = {"until_caught_up": True, "remove_extra": True, "workers": 1}
        assert copy_and_follow(cluster.address, single.address, **options).exact
        assert target.databases() == {0: 1}


def test_lag_is_measured(source: Server, target: Server) -> None:
    fill(source.connection(), many(10))
    seen: list[FollowProgress] = []
    stop = StopRequest()
    begun = time.monotonic()

    def watch(at: FollowProgress) -> None:
        seen.append(at)
        if at.phase == "follow" and at.caught_up and len(source.connection(database=0).pipeline([("PING",)])):
            if not any(item.lag_keys for item in seen):
                limits.keys_per_s = 50
                fill(source.connection(database=0), many(200))
            elif time.monotonic() - begun > 20 or at.lag_keys == 0:
                stop.set()

    limits = Limits()
    copy_and_follow(source.address, target.address, limits=limits, on_progress=watch, stop=stop)
    behind = [item for item in seen if item.lag_keys]
    assert behind
    assert max(item.lag_keys for item in behind) > 100
    assert max(item.lag_s for item in behind) > 1.0
    assert any(item.slowed_by == "its limits" for item in behind)
