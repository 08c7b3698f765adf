"""A copy that is killed, and servers that are killed under it: nothing is lost, and the source is only read."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from redismove.dataplane.connect import Connection, Server, ServerAddress, parse_info
from redismove.dataplane.copy import CopyProgress, Engine, copy
from redismove.dataplane.throttle import Limits
from redismove.dataplane.verify import verify
from tests.support.datasets import every_type, fill
from tests.support.redis_servers import RedisCluster, redis_cluster, redis_server

pytestmark = pytest.mark.redis

_PROCESSES = multiprocessing.get_context("forkserver")
READS = {
    *("auth", "hello", "client|id", "cluster|slots", "cluster|info", "info", "ping", "select", "time", "dbsize"),
    *("scan", "dump", "pttl", "pexpiretime", "memory|usage", "type", "object|encoding", "debug"),
}
"""All that a copy may ever send to its source."""


def _copy(source: ServerAddress, target: ServerAddress, checkpoint: Path, engine: Engine, keys_per_s: float) -> None:
    with Server.open(source) as here, Server.open(target) as there:
        copy(here, there, checkpoint=checkpoint, engine=engine, limits=Limits(keys_per_s=keys_per_s))


def state_of(connection: Connection) -> tuple[object, ...]:
    """A digest of all that a server holds, and what counts its changes."""
    info = parse_info(connection.call("INFO", "persistence"))
    digest = connection.call("DEBUG", "DIGEST")
    return digest, info["rdb_changes_since_last_save"], connection.call("DBSIZE")


def commands_of(connection: Connection) -> set[str]:
    """The commands that a server was sent since its counters were reset."""
    stats = parse_info(connection.call("INFO", "commandstats"))
    return {name.removeprefix("cmdstat_") for name in stats} - {"config|resetstat"}


def _kill_and_go_on(folder: Path, kills: int, keys: int) -> None:
    with (
        redis_server(options=["--enable-debug-command", "yes"]) as one,
        redis_server() as two,
        Server.open(one.address) as source,
        Server.open(two.address) as target,
    ):
        rng = random.Random(11)
        for database in (0, 3, 12):
            values = [("SET", f"key:{number}", rng.randbytes(40), "PX", 10**8 + number) for number in range(keys)]
            fill(source.connection(database=database), [*every_type(str(database)), *values])
        source.connection().call("CONFIG", "RESETSTAT")
        before = state_of(source.connection())
        checkpoint = folder / "checkpoint"
        killed = 0
        while killed < kills:
            engine = ("native", "python")[killed % 2]
            process = _PROCESSES.Process(
                target=_copy, args=(one.address, two.address, checkpoint, engine, 4000.0), daemon=True
            )
            process.start()
            process.join(rng.uniform(0.05, 2.5))
            if process.exitcode is None:
                process.kill()
                process.join(10)
                killed += 1
            else:  # it was through before its turn: from the start
                assert process.exitcode == 0
                target.connection().call("FLUSHALL")
        copy(source, target, checkpoint=checkpoint)
        assert commands_of(source.connection()) <= READS
        assert state_of(source.connection()) == before
        outcome = verify(source, target)
        assert outcome.equal, outcome.to_json()
        assert target.databases() == source.databases()


def test_killed_some_times_nothing_is_lost_and_the_source_is_only_read(tmp_path: Path) -> None:
    _kill_and_go_on(tmp_path, kills=4, keys=2000)


@pytest.mark.slow
def test_killed_at_50_random_moments_nothing_is_lost_and_the_source_is_only_read(tmp_path: Path) -> None:
    _kill_and_go_on(tmp_path, kills=50, keys=40_000)


@contextmanager
def clusters() -> Iterator[tuple[RedisCluster, RedisCluster, Server, Server]]:
    """Three shards with 20,000 keys, and five without any; each shard has a replica."""
    with (
        redis_cluster(3, replicas=1) as three,
        redis_cluster(5, replicas=1) as five,
        Server.open(three.address) as source,
        Server.open(five.address) as target,
    ):
        commands = [(b"key:%d" % number, ("SET", b"key:%d" % number, number)) for number in range(20_000)]
        assert set(source.execute(commands)) == {b"OK"}
        for server in three.nodes:
            with server.connect() as connection:
                assert connection.call("WAIT", 1, 5000) == 1
        yield three, five, source, target


def fail_over(cluster: RedisCluster, number: int) -> None:
    """The primary dies, its replica takes over; what was not replicated is gone."""
    cluster.nodes[number].kill()
    with cluster.replicas[number].connect() as replica:
        assert replica.call("CLUSTER", "FAILOVER", "TAKEOVER") == b"OK"


def once_copied(keys: int, then: Callable[[], None]) -> tuple[Callable[[CopyProgress], None], threading.Event]:
    """A progress callback that does something once so many keys are copied."""
    over = threading.Event()

    def watch(progress: CopyProgress) -> None:
        if progress.copied > keys and not over.is_set():
            over.set()
            then()

    return watch, over


@pytest.mark.parametrize("engine", ["native", pytest.param("python", marks=pytest.mark.slow)])
def test_three_shards_to_five_with_a_failover_on_each_side(engine: Engine) -> None:
    with clusters() as (three, five, source, target):

        def both() -> None:
            fail_over(three, 1)
            fail_over(five, 2)

        watch, over = once_copied(4000, both)
        report = copy(source, target, engine=engine, limits=Limits(keys_per_s=10_000), on_progress=watch)
        assert over.is_set()
        assert any("everything is scanned again" in notice for notice in report.notices), report.notices
        for server in (source, target):
            server.forget_broken()
            server.refresh_nodes()
        outcome = verify(source, target)
        assert outcome.equal, outcome.to_json()
        assert sum(target.databases().values()) == 20_000


def test_a_slot_that_moves_under_the_copy_takes_no_key_with_it() -> None:
    """From the primary that is scanned last to the one that was scanned first: its keys are met by nobody."""
    with redis_cluster(2) as two, redis_server() as single, Server.open(two.address) as source:
        commands = [(b"key:%d" % number, ("SET", b"key:%d" % number, number)) for number in range(6000)]
        assert set(source.execute(commands)) == {b"OK"}
        first, last = (server.connect() for server in two.nodes)
        slot = 16383
        with Server.open(single.address) as target:
            in_slot = b"{%s}" % _name_in(slot)
            assert source.execute([(in_slot, ("SET", in_slot, "here"))]) == [b"OK"]

            def move() -> None:
                ids = [connection.call("CLUSTER", "MYID") for connection in (first, last)]
                first.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[1])
                last.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[0])
                keys = last.call("CLUSTER", "GETKEYSINSLOT", slot, 1000)
                last.call("MIGRATE", "127.0.0.1", two.nodes[0].port, "", 0, 5000, "KEYS", *keys)
                for connection in (first, last):
                    connection.call("CLUSTER", "SETSLOT", slot, "NODE", ids[0])

            watch, over = once_copied(4000, move)
            report = copy(source, target, limits=Limits(keys_per_s=8000), on_progress=watch)
            assert over.is_set()
            assert "slots of the source were moved: everything is scanned again" in report.notices
            source.refresh_nodes()
            outcome = verify(source, target)
            assert outcome.equal, outcome.to_json()
        first.close()
        last.close()


def _name_in(slot: int) -> bytes:
    from redismove.dataplane.slots import slot_of

    return next(b"%d" % number for number in range(1_000_000) if slot_of(b"%d" % number) == slot)


def test_a_target_that_was_another_process_is_copied_from_the_start(source: Server, tmp_path: Path) -> None:
    fill(source.connection(), [("SET", f"key:{number}", number) for number in range(6000)])
    checkpoint = tmp_path / "checkpoint"
    with redis_server() as server:
        process = _PROCESSES.Process(
            target=_copy, args=(source.address, server.address, checkpoint, "native", 2000.0), daemon=True
        )
        process.start()
        deadline = time.monotonic() + 30
        while not checkpoint.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.join(10)
        server.kill()
        with redis_server(port=server.port) as again, Server.open(again.address) as target:
            report = copy(source, target, checkpoint=checkpoint)
            assert report.scanned == 6000
            assert any("another process" in notice for notice in report.notices)
            assert verify(source, target).equal
