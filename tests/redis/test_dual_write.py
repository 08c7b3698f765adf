"""The synchronous dual-write client on real servers: what it promises, thing by thing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import TimeoutError as TookTooLong
from redis.exceptions import WatchError

from redismove.dual_write import (
    CommandRefused,
    DualWriteRedis,
    IterationLost,
    RedisKeyEndpointStore,
    SecondWriteFailed,
)
from redismove.endpoint import EndpointMissing, EndpointMoved
from tests.support.dual_write import PASSWORD, Caches, caches, clustered_caches, credentials, entry, quick
from tests.support.redis_servers import ROOT, RedisProcess, make_tls, redis_server, start_redis

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caches]:
    """Two servers for all tests of this file."""
    with caches(tmp_path_factory.mktemp("dual-write")) as made:
        yield made


@pytest.fixture
def here(shared: Caches) -> Iterator[Caches]:
    """The two servers, empty, and an Endpoint that names the old one."""
    shared.reset()
    yield shared
    for proxy in shared.proxies:
        proxy.restore()
    shared.stack.close()


def until(condition: Any, what: str, deadline_s: float = 10.0) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


# -- modes ----------------------------------------------------------------------------------------------------------


def test_it_is_a_redis_client_and_without_dual_write_it_writes_one_cache(here: Caches) -> None:
    client = here.client(decode_responses=True)
    client.set("a", "1", ex=100)

    assert isinstance(client, redis.Redis)
    assert client.get("a") == "1"
    assert here.command(1, "DBSIZE") == 0
    assert client.stats().to_dict()["mode"] == "off"
    assert PASSWORD not in repr(client)


def test_running_clients_are_switched_by_the_endpoint(here: Caches) -> None:
    client = here.client(decode_responses=True)
    client.set("a", "old")
    here.mode("write-both")
    client.set("b", "both")
    assert client.drain()
    assert (here.command(1, "GET", "a"), here.command(1, "GET", "b")) == (None, b"both")
    here.command(1, "SET", "b", "of the new one")
    assert client.get("b") == "both", "the old one is read"
    here.mode("read-new")
    assert client.get("b") == "of the new one"
    here.mode("write-both")
    assert client.get("b") == "both"
    here.mode("off")
    client.set("c", "old again")
    client.close()

    assert here.command(1, "EXISTS", "c") == 0


@pytest.mark.parametrize(
    "write",
    [
        lambda r: r.set("k", 1, ex=1000),
        lambda r: r.set("k", 1, px=50),
        lambda r: (r.set("k", 1), r.expire("k", 1000)),
        lambda r: (r.set("k", 1, ex=1000), r.set("k", 2, keepttl=True), r.persist("k")),
        lambda r: [r.incr("k") for _ in range(5)],
        lambda r: (r.incrbyfloat("k", 0.1), r.append("k", "1"), r.setrange("k", 10, "x")),
        lambda r: (r.sadd("k", *range(500)), r.spop("k", 200), r.srandmember("k")),
        lambda r: (r.rpush("k", *range(9)), r.lpop("k"), r.lmove("k", "l", "LEFT", "RIGHT"), r.rename("l", "m")),
        lambda r: (r.rpush("k", 1), r.blpop(["k", "l"], timeout=1), r.blmpop(0.01, 1, "k", direction="LEFT")),
        lambda r: (r.zadd("k", {"a": 0.1, "b": 1e300}), r.zincrby("k", 0.2, "a"), r.zpopmax("k")),
        lambda r: (r.hset("k", mapping={"a": 1, "b": "x" * 100}), r.hincrbyfloat("k", "a", 0.3), r.hdel("k", "b")),
        lambda r: (r.xadd("k", {"a": 1}), r.xgroup_create("k", "g", 0), r.xreadgroup("g", "c", {"k": ">"})),
        lambda r: (r.geoadd("k", (13.3, 38.1, "x")), r.georadius("k", 13, 38, 100, store="d")),
        lambda r: (r.pfadd("k", *range(99)), r.pfcount("k")),
        lambda r: (r.mset({"k": 1, "l": 2}), r.copy("k", "m"), r.bitop("AND", "n", "k", "l"), r.delete("l")),
        lambda r: (r.rpush("k", 3, 1, 2), r.sort("k", store="sorted")),
        lambda r: r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")(["k"], [4]),
        lambda r: r.pipeline().set("k", 1).incr("k").lpush("l", 1, 2).execute(),
        lambda r: r.pipeline(transaction=False).set("k", 1).get("k").hset("h", "f", 1).execute(),
        lambda r: r.restore("k", 0, r.dump("other") or b"", replace=True) if r.set("other", 1) else None,
    ],
)  # fmt: skip
def test_after_any_write_both_caches_are_equal(here: Caches, write: Any) -> None:
    client = here.client()
    here.mode("write-both")
    write(client)
    assert client.drain()
    report = here.compare()

    assert report.equal, report.first_differences
    assert client.stats().marked > 0


@pytest.mark.parametrize("kinds", [("6.2", "7.0"), ("7.0", "6.2"), ("6.2", "6.2"), ("7.0", "valkey")])
def test_other_versions_on_either_side(tmp_path: Path, kinds: tuple[str, str]) -> None:
    """To an older server values are written by their type; a stream is left to the cut-over, and says so."""
    with caches(tmp_path, kinds) as here:
        here.mode("write-both")
        client = here.client(settings=quick(drain_s=0.1))
        client.set("string", "x", px=90_000)
        client.set("soon", "x", px=5_000)
        client.rpush("list", *range(2500))
        client.sadd("set", *range(20))
        client.zadd("zset", {"a": 0.1, "b": float("-inf"), "c": 1e300})
        client.hset("hash", mapping={"a": 1, "b": 2})
        client.set("gone", 1)
        client.delete("gone")
        assert client.drain()
        report = here.compare()
        assert report.equal, report.first_differences
        client.xadd("stream", {"a": 1})
        older = kinds == ("7.0", "6.2")

        assert client.drain(0.2) is not older
        if older:
            assert "a stream that the second cache's version refuses" in client.stats().refusal


def test_what_watch_relies_on(tmp_path: Path) -> None:
    """Each way in which a key is carried is seen by others who watch it; removing what is not there would not be."""
    for kind in ("6.2", "7.0", "valkey"):
        with redis_server(kind) as server, server.connect() as one, server.connect() as other:
            one.call("SET", "source", "x")
            payload = one.call("DUMP", "source")
            past = 1_000_000_000_000
            ways = {
                "restore": [("RESTORE", "k", 0, payload, "REPLACE")],
                "restore expired": [("RESTORE", "k", 0, payload, "REPLACE"), ("PEXPIREAT", "k", past)],
                "removed": [("SET", "k", ""), ("UNLINK", "k")],
                "by type": [("UNLINK", "k"), ("RPUSH", "k", 1)],
            }
            blind = {"unlink": [("UNLINK", "k")], "absttl": [("RESTORE", "k", past, payload, "REPLACE", "ABSTTL")]}
            for name, commands in {**ways, **blind}.items():
                one.call("DEL", "k")
                one.call("WATCH", "k")
                other.pipeline([("MULTI",), *commands, ("EXEC",)])
                replies = one.pipeline([("MULTI",), ("PING",), ("EXEC",)])

                assert (replies[-1] is None) is (name in ways), (kind, name)


# -- what a client reads of its own ---------------------------------------------------------------------------------


def test_what_is_not_carried_yet_is_read_where_it_was_written(here: Caches) -> None:
    client = here.client(decode_responses=True, settings=quick(wait_s=0))
    here.mode("read-new")
    client.set("a", "1")
    client.rpush("l", 1)
    assert client.drain()
    here.proxies[1].stall()
    client.set("a", "2")

    assert client.get("a") == "2"
    assert client.mget("a", "b") == ["2", None]
    assert client.dbsize() == 2, "what looks at everything waits for nothing either"
    here.proxies[1].restore()
    assert client.drain()
    here.command(1, "SET", "a", "of the new one")
    assert client.get("a") == "of the new one"


def test_a_write_waits_for_the_new_cache_while_it_is_read(here: Caches) -> None:
    writer, reader = here.client(decode_responses=True), here.client(decode_responses=True)
    here.mode("read-new")
    for number in range(50):
        writer.set("a", number)
        assert reader.get("a") == str(number)


def test_reads_fall_back_to_the_old_cache_while_the_new_one_fails(here: Caches) -> None:
    client = here.client(decode_responses=True, socket_timeout=0.2)
    here.mode("read-new")
    client.set("a", "1")
    assert client.drain()
    here.proxies[1].cut()
    assert client.get("a") == "1"
    here.proxies[1].restore()
    here.command(1, "SET", "a", "of the new one")

    until(lambda: client.get("a") == "of the new one", "the new cache is read again")


def test_an_iteration_goes_on_where_it_began(here: Caches) -> None:
    client = here.client(decode_responses=True)
    here.mode("write-both")
    keys = {f"k{number}" for number in range(50)}
    for key in keys:
        client.set(key, 1)
    client.hset("hash", mapping=dict.fromkeys(keys, 1))
    assert client.drain()
    cursor, found = client.scan(0, count=5)
    assert cursor != 0
    here.mode("read-new")
    while cursor:
        cursor, more = client.scan(cursor, count=5)
        found += more
    assert set(found) == keys | {"hash"}
    assert set(client.scan_iter(count=7)) == keys | {"hash"}
    assert {field for field, _ in client.hscan_iter("hash", count=5)} == keys
    cursor, _ = client.scan(0, count=5)
    here.mode("off")

    with pytest.raises(IterationLost, match="was begun on the target, which is not in use any more"):
        client.scan(cursor)


# -- when a side fails ----------------------------------------------------------------------------------------------


def test_the_old_cache_decides_and_failed_second_writes_wait_and_are_counted(here: Caches) -> None:
    client = here.client(settings=quick(wait_s=0.05))
    here.mode("write-both")
    client.set("before", 1)
    assert client.drain()
    here.proxies[1].cut()
    for number in range(20):
        assert client.incr("n") == number + 1
        client.rpush("l", number)
    until(lambda: client.stats().second_failing, "the failure is told")
    stats = client.stats()
    assert (stats.pending, stats.marked, stats.carried) == (2, 41, 1)
    assert "ConnectionError" in stats.second_failing
    assert not client.drain(0.05)
    here.proxies[1].restore()
    assert client.drain()

    assert here.compare().equal
    assert (client.stats().pending, client.stats().second_failing) == (0, "")


def test_an_application_may_ask_to_be_told(here: Caches) -> None:
    client = here.client(settings=quick(when_second_fails="raise", wait_s=1.0))
    here.mode("write-both")
    client.set("a", 1)
    here.proxies[1].cut()
    with pytest.raises(
        SecondWriteFailed, match=r"^INCRBY was done by 127.0.0.1 and is not on 127.0.0.1 yet \(.+\); it"
    ):
        client.incr("a")
    with pytest.raises(SecondWriteFailed, match="GETDEL, SET was done"):
        client.pipeline().set("b", 1).getdel("b").execute()
    here.proxies[1].restore()
    assert client.drain()

    assert client.get("a") == b"2"
    assert here.compare().equal


def test_who_asked_to_be_told_is_told_when_the_queue_is_full(here: Caches) -> None:
    client = here.client(settings=quick(when_second_fails="raise", wait_s=0.1, max_pending_keys=1))
    here.mode("write-both")
    here.proxies[1].cut()
    for key in ("a", "b"):
        with pytest.raises(SecondWriteFailed, match="SET was done"):
            client.set(key, 1)
    here.proxies[1].restore()
    assert client.drain()
    assert here.compare().equal


def test_what_the_old_cache_refuses_has_not_happened(here: Caches) -> None:
    client = here.client()
    here.mode("write-both")
    client.set("a", "text")
    with pytest.raises(redis.ResponseError, match="not an integer"):
        client.incr("a")
    here.proxies[0].cut()
    with pytest.raises(Lost):
        here.client(patience_s=0.05).set("a", "2")
    here.proxies[0].restore()
    assert client.drain()

    assert here.command(1, "GET", "a") == b"text"


def test_a_write_that_was_run_and_never_answered_reaches_the_new_cache(here: Caches) -> None:
    client = here.client(socket_timeout=0.2)
    here.mode("write-both")
    client.set("n", 1)
    for send in (lambda: client.incr("n"), lambda: client.pipeline().incr("n").set("m", 1).execute()):
        client.get("n")  # connected: else it is the login that is not answered, and nothing was sent
        here.proxies[0].swallow()
        with pytest.raises(TookTooLong):
            send()
        here.proxies[0].restore()
    here.proxies[0].cut()
    here.proxies[0].restore()
    assert client.drain()

    assert here.command(0, "GET", "n") == b"3"
    assert here.compare().equal


def test_a_write_of_unknown_outcome_is_looked_at_again_later(here: Caches) -> None:
    """The server may run it after this client has given up, and after it has carried what was there then."""
    client = here.client(socket_timeout=0.2, settings=quick(settle_s=1.0))
    here.mode("write-both")
    client.set("n", 1)
    assert client.drain()
    here.proxies[0].swallow()
    with pytest.raises(TookTooLong):
        client.incr("n")
    here.proxies[0].cut()
    here.proxies[0].restore()
    until(lambda: here.command(1, "GET", "n") == b"2", "it is carried at once")
    here.command(0, "SET", "n", "ran later")
    assert client.drain()

    assert here.command(1, "GET", "n") == b"ran later"


def test_a_queue_that_overflows_is_made_good_by_comparing(here: Caches) -> None:
    client = here.client(settings=quick(max_pending_keys=5))
    here.mode("write-both")
    client.set("k1", 0)
    assert client.drain()
    here.proxies[1].cut()
    for number in range(30):
        client.set(f"k{number}", number, ex=1000)
    client.delete("k1")
    stats = client.stats()
    assert (stats.pending, stats.gap, stats.gaps) == (5, True, 1)
    assert stats.overflowed >= 25
    here.proxies[1].restore()
    assert client.drain()

    assert here.compare().equal
    assert client.stats().sweeps == 1


def test_a_new_cache_that_comes_back_empty_is_filled_again(tmp_path: Path) -> None:
    with caches(tmp_path) as here:
        here.mode("write-both")
        client = here.client()
        for number in range(300):
            client.set(f"k{number}", number, ex=1000)
        assert client.drain()
        port = here.new.port
        here.new.kill()
        client.set("meanwhile", 1)
        here.processes[1] = start_redis(password=PASSWORD, port=port)
        here.stack.callback(here.processes[1].stop)
        client.set("after", 1)
        assert client.drain()

        assert here.compare().equal
        assert here.command(1, "DBSIZE") == 302
        assert client.stats().gaps == 1


def test_what_the_new_cache_has_no_memory_for_waits(here: Caches) -> None:
    client = here.client()
    here.mode("write-both")
    client.set("small", 1)
    assert client.drain()
    here.command(1, "CONFIG", "SET", "maxmemory", "1")
    try:
        client.set("big", "x" * 1000)
        client.delete("small")
        until(lambda: "maxmemory" in client.stats().refusal, "the reason is told")
    finally:
        here.command(1, "CONFIG", "SET", "maxmemory", "0")
    assert client.drain()
    assert here.compare().equal


def test_a_sweep_can_be_asked_for(here: Caches) -> None:
    """What other clients wrote, and what was there before, is carried too then."""
    here.command(0, "SET", "before", "1")
    here.command(1, "SET", "stranger", "1")
    here.command(0, "SET", "expires", "1", "PX", 100_000)
    here.command(1, "SET", "expires", "1", "PX", 200_000)
    here.mode("write-both")
    client = here.client()
    client.reconcile()
    assert client.drain()

    assert here.compare().equal
    assert client.stats().swept == 3


# -- transactions, scripts, blocking, pub/sub -----------------------------------------------------------------------


def test_transactions_that_watch_are_the_old_caches(here: Caches) -> None:
    client = here.client(decode_responses=True)
    here.mode("read-new")
    client.set("n", 5)

    def double(pipeline: Any) -> None:
        value = int(pipeline.get("n"))
        pipeline.multi()
        pipeline.set("n", value * 2).incr("n")

    assert client.transaction(double, "n") == [True, 11]
    with client.pipeline() as pipeline:
        pipeline.watch("n")
        pipeline.incr("side")
        here.command(0, "SET", "n", 1)
        pipeline.multi()
        pipeline.incr("n")
        with pytest.raises(WatchError, match="Watched variable changed"):
            pipeline.execute()
    client.set("n", 1)
    assert client.drain()
    assert here.compare().equal
    assert here.command(1, "GET", "side") == b"1"


def test_a_pipeline_that_only_reads_goes_where_reads_go(here: Caches) -> None:
    client = here.client(decode_responses=True)
    here.mode("read-new")
    client.mset({"a": 1, "b": 2})
    assert client.drain()
    here.command(1, "SET", "a", "of the new one")

    assert client.pipeline().get("a").get("b").execute() == ["of the new one", "2"]
    assert client.pipeline().get("a").set("b", 3).execute() == ["1", True]
    assert client.pipeline().execute() == []
    with client.pipeline(transaction=False) as pipeline:
        pipeline.get("a").incr("a")
        pipeline.lpush("a", 1)
        replies = pipeline.execute(raise_on_error=False)
    assert replies[:2] == ["1", 2]
    assert isinstance(replies[2], redis.ResponseError)
    assert len(pipeline) == 0


def test_scripts_and_locks_work_in_pipelines_and_without(here: Caches) -> None:
    client = here.client(decode_responses=True)
    here.mode("read-new")
    count = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert count(keys=["n"], args=[2]) == 2
    pipeline = client.pipeline()
    count(keys=["n"], args=[3], client=pipeline)
    assert pipeline.execute() == [5]
    with client.lock("lock", timeout=10) as lock:
        assert lock.owned()
        assert not client.lock("lock", timeout=10).acquire(blocking=False)
    assert client.drain()
    assert here.compare().equal


def test_messages_are_the_old_caches(here: Caches) -> None:
    client = here.client(decode_responses=True)
    here.mode("read-new")
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("channel")
        pubsub.get_message(timeout=1)
        assert client.publish("channel", "hello") == 1
        until(lambda: _heard(pubsub), "the message comes")


def _heard(pubsub: Any) -> bool:
    message = pubsub.get_message(timeout=0.1)
    return message is not None and message["data"] == "hello"


def test_what_is_not_possible_is_refused_by_name_in_every_mode(here: Caches) -> None:
    client = here.client()
    for mode in ("off", "write-both"):
        here.mode(mode)
        for call in (
            client.flushdb,
            client.flushall,
            client.monitor,
            client.client,
            lambda: client.eval("return 1", 0),
            lambda: client.register_script("redis.call('SET', 'literal', 1)"),
            lambda: client.pipeline().register_script("redis.call('SET', 'literal', 1)"),
            lambda: client.config_set("maxmemory", 0),
            lambda: client.swapdb(0, 1),
            lambda: client.json().set("k", "$", 1),
            lambda: client.execute_command("WATCH", "k"),
            lambda: client.pipeline().move("k", 1),
            lambda: client.pipeline().pipeline(),
            lambda: client.pipeline().scan(0),
            lambda: DualWriteRedis.from_url("redis://x"),
            lambda: DualWriteRedis.from_pool(None),
        ):
            with pytest.raises(CommandRefused):
                call()
    assert here.command(0, "DBSIZE") == 0


def test_flushdb_by_consent_empties_both(here: Caches) -> None:
    client = here.client(settings=quick(allow_flush=True))
    here.mode("write-both")
    for number in range(50):
        client.set(f"k{number}", 1)
    assert client.drain()
    client.flushdb()
    client.set("after", 1)
    assert client.drain()

    assert (here.command(0, "DBSIZE"), here.command(1, "DBSIZE")) == (1, 1)


# -- the cut-over ---------------------------------------------------------------------------------------------------


def test_while_the_endpoint_says_hold_nothing_is_carried_and_after_the_switch_nothing_ever(here: Caches) -> None:
    client = here.client(decode_responses=True)
    here.mode("write-both")
    here.proxies[1].cut()
    client.set("a", "1")
    here.endpoint.hold(60_000)
    here.proxies[1].restore()
    writer = threading.Thread(target=lambda: client.set("held", "1"))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive(), "a write waits while the Endpoint says hold"
    assert here.command(1, "DBSIZE") == 0
    here.endpoint.switch(here.entries[1])
    writer.join(5)
    client.set("a", "2")
    here.command(0, "SET", "a", "stray")

    assert (here.command(1, "GET", "held"), here.command(0, "EXISTS", "held")) == (b"1", 0)
    assert client.get("a") == "2"
    assert client.drain()
    assert here.command(1, "GET", "a") == b"2"
    assert client.stats().mode == "off"


def test_a_hold_that_is_taken_back_goes_on(here: Caches) -> None:
    client = here.client(decode_responses=True)
    here.mode("write-both")
    here.proxies[1].cut()
    client.set("a", "1")
    here.endpoint.hold(60_000)
    here.proxies[1].restore()
    here.endpoint.open()

    assert client.drain()
    assert here.compare().equal


def test_watching_through_a_cut_over_ends_in_a_watch_error(here: Caches) -> None:
    client = here.client(decode_responses=True)
    here.mode("write-both")
    client.set("n", 1)
    assert client.drain()
    tries: list[int] = []

    def increment(pipeline: Any) -> None:
        value = int(pipeline.get("n"))
        if not tries:
            here.endpoint.switch(here.entries[1])
        tries.append(value)
        pipeline.multi()
        pipeline.set("n", value + 1)

    assert client.transaction(increment, "n") == [True]
    assert len(tries) == 2
    assert (here.command(0, "GET", "n"), here.command(1, "GET", "n")) == (b"1", b"2")


# -- where it runs --------------------------------------------------------------------------------------------------


def test_other_databases_encodings_and_callbacks(here: Caches) -> None:
    client = here.client(db=3)
    here.mode("read-new")
    client.set_response_callback("GET", lambda reply, **_: reply and reply.decode().upper())
    client.set(b"\xff\x00", "x")
    client.set(7, 8.5)
    client.set(memoryview(b"view"), b"x")
    assert client.drain()
    assert here.command(1, "GET", b"\xff\x00", database=3) == b"x"
    assert client.get(7) == "8.5"
    assert here.compare().equal
    client.set_response_callback("GET", lambda reply, **_: "other")
    assert client.get(7) == "other"


def test_a_forked_process_has_a_queue_of_its_own(here: Caches) -> None:
    client = here.client()
    here.mode("write-both")
    client.set("parent", 1)
    assert client.drain()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            client.set("child", 1)
            code = 0 if client.drain(10) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    client.set("parent again", 1)
    assert client.drain()

    assert here.compare().equal
    assert here.command(1, "DBSIZE") == 3


def test_a_program_that_ends_without_closing_still_carries_what_it_wrote(here: Caches) -> None:
    here.mode("write-both")
    program = (
        "import sys\n"
        "from redismove.dual_write import DualWriteRedis\n"
        f"client = DualWriteRedis({str(here.endpoint.path)!r}, lambda _: (None, {PASSWORD!r}))\n"
        "for number in range(200):\n"
        "    client.set(f'k{number}', number)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})

    assert here.command(1, "DBSIZE") == 200
    assert here.compare().equal


def test_a_client_that_is_forgotten_carries_what_it_wrote(here: Caches) -> None:
    here.mode("write-both")
    client = DualWriteRedis(here.endpoint, credentials, settings=quick(), poll_s=0)
    client.mset({f"k{number}": number for number in range(100)})
    del client

    until(lambda: here.command(1, "DBSIZE") == 100, "all is carried")


def test_big_values_rest_between_two_carries(here: Caches) -> None:
    client = here.client(settings=quick(carry_mb_per_s=4.0))
    here.mode("write-both")
    client.set("big", "x" * 400_000)
    assert client.drain()
    for number in range(20):
        client.setrange("big", number, "y")
        client.set("small", number)
    assert client.drain()

    assert here.compare().equal
    assert client.stats().carried < 20, "many writes of a big value are few carries"


def test_over_tls(tmp_path: Path) -> None:
    tls = make_tls(tmp_path / "tls")
    servers: list[RedisProcess] = []
    try:
        servers += [start_redis(password=PASSWORD, tls=tls) for _ in range(2)]
        here = Caches(servers, [], [], _file(tmp_path))
        roles = ("source", "target")
        here.entries = [
            type(made)(**{**vars(made), "tls": True})
            for made in (entry(role, server.port) for role, server in zip(roles, servers, strict=True))  # type: ignore[arg-type]
        ]
        here.endpoint.put(here.entries[0])
        here.mode("read-new")
        with here.client(ssl_ca_certs=str(tls.authority)) as client:
            client.hset("h", mapping={"a": 1})
            assert client.drain()
            assert client.hgetall("h") == {b"a": b"1"}
        assert here.compare().equal
    finally:
        for server in servers:
            server.stop()


def _file(folder: Path) -> Any:
    from redismove.endpoint import FileEndpointStore

    return FileEndpointStore(folder / "endpoint.json")


@pytest.mark.parametrize("shards", [(0, 3), (3, 0)])
def test_clusters(tmp_path: Path, shards: tuple[int, int]) -> None:
    with clustered_caches(tmp_path, *shards) as here:
        here.mode("write-both")
        client = here.client(decode_responses=True)
        for number in range(100):
            client.set(f"k{number}", number, ex=1000)
        client.delete("k7")
        client.incr("k8")
        with client.pipeline(transaction=False) as pipeline:
            assert pipeline.set("p", 1).incr("p").rpush("l", 1).execute() == [True, 2, 1]
        assert client.eval("return redis.call('INCR', KEYS[1])", 1, "p") == 3
        assert client.drain()
        here.mode("read-new")
        assert (client.get("k8"), client.get("p"), client.dbsize()) == ("9", "3", 101)
        assert set(client.scan_iter(match="k*")) == {f"k{number}" for number in range(100)} - {"k7"}
        if shards[1]:
            with pytest.raises(CommandRefused, match="SCAN is not possible"):
                client.scan(0)
        else:
            with pytest.raises(CommandRefused, match="WATCH"):
                client.pipeline().watch("p")
        client.reconcile()
        assert client.drain()

        report = here.compare()
        assert report.equal, report.first_differences


# -- where the document is ------------------------------------------------------------------------------------------


def test_the_document_may_be_a_key(here: Caches) -> None:
    with redis_server() as elsewhere, redis.Redis(port=elsewhere.port) as plain:
        store = RedisKeyEndpointStore(plain, "endpoint")
        with pytest.raises(EndpointMissing, match="at key 'endpoint'"):
            store.read()
        store.put(here.entries[0])
        with DualWriteRedis(store, credentials, settings=quick(), poll_s=0.05) as client:
            client.set("a", 1)
            store.set_dual_write("write-both", here.entries[1])
            until(lambda: client.stats().mode == "write-both", "the change is seen")
            client.set("b", 1)
            assert client.drain()
        stale = store.read()
        store.hold(5)
        with pytest.raises(EndpointMoved, match="generation 3, expected 2"):
            store.replace(stale, expected_generation=2)

    assert (here.command(1, "EXISTS", "a"), here.command(1, "EXISTS", "b")) == (0, 1)
