"""The asynchronous dual-write client on real servers: the twin of `test_dual_write`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError, WatchError
from redis.exceptions import TimeoutError as TookTooLong

from redismove.dual_write import (
    AsyncDualWriteRedis,
    CommandRefused,
    IterationLost,
    RedisKeyEndpointStore,
    SecondWriteFailed,
)
from redismove.dual_write.aio_follow import AsyncWatcher
from redismove.endpoint import Endpoint
from tests.support.dual_write import PASSWORD, Caches, caches, clustered_caches, quick
from tests.support.redis_servers import make_tls, redis_server, start_redis

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


async def until(condition: Callable[[], Any], what: str, deadline_s: float = 10.0) -> None:
    """Wait for something that happens in another task."""
    deadline = time.monotonic() + deadline_s
    while True:
        found = condition()
        if await found if asyncio.iscoroutine(found) else found:
            return
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)


def with_client(here: Caches, test: Callable[[AsyncDualWriteRedis], Awaitable[None]], **options: Any) -> None:
    """Run a test with a client that is closed after it."""

    async def main() -> None:
        async with here.async_client(**options) as client:
            await test(client)

    asyncio.run(main())


def test_running_clients_are_switched_by_the_endpoint(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        assert isinstance(client, redis.asyncio.Redis)
        assert await client is client
        await client.set("a", "old")
        here.mode("write-both")
        await client.set("b", "both", ex=100)
        assert await client.drain()
        assert (here.command(1, "GET", "a"), here.command(1, "GET", "b")) == (None, b"both")
        here.command(1, "SET", "b", "of the new one")
        assert await client.get("b") == "both", "the old one is read"
        here.mode("read-new")
        assert await client.get("b") == "of the new one"
        here.mode("off")
        await client.set("c", "old again")
        assert await client.drain()

    with_client(here, test, decode_responses=True)
    assert here.command(1, "EXISTS", "c") == 0


def test_after_writes_of_every_kind_both_caches_are_equal(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("write-both")
        await client.set("k", 1, px=50)
        await client.incr("n")
        await client.sadd("s", *range(500))
        await client.spop("s", 200)
        await client.rpush("l", *range(9))
        assert await client.blpop(["nothing", "l"], timeout=1) == (b"l", b"0")
        await client.lmove("l", "m", "LEFT", "RIGHT")
        await client.zadd("z", {"a": 0.1})
        await client.hset("h", mapping={"a": 1})
        await client.xadd("x", {"a": 1})
        await client.xgroup_create("x", "g", 0)
        await client.xreadgroup("g", "c", {"x": ">"})
        await client.rename("m", "moved")
        await client.pipeline().set("p", 1).incr("p").expire("p", 100).execute()
        await client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")(keys=["n"], args=[4])
        assert await client.drain()

    with_client(here, test)
    report = here.compare()
    assert report.equal, report.first_differences


def test_what_is_not_carried_yet_is_read_where_it_was_written(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("read-new")
        await client.set("a", "1")
        assert await client.drain()
        here.proxies[1].stall()
        await client.set("a", "2")
        assert await client.get("a") == "2"
        assert await client.mget("a", "b") == ["2", None]
        assert await client.dbsize() == 1
        here.proxies[1].restore()
        assert await client.drain()
        here.command(1, "SET", "a", "of the new one")
        assert await client.get("a") == "of the new one"

    with_client(here, test, decode_responses=True, settings=quick(wait_s=0))


def test_reads_fall_back_to_the_old_cache_while_the_new_one_fails(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("read-new")
        await client.set("a", "1")
        assert await client.drain()
        here.proxies[1].cut()
        assert await client.get("a") == "1"
        here.proxies[1].restore()
        here.command(1, "SET", "a", "of the new one")

        async def found() -> bool:
            return bool(await client.get("a") == "of the new one")

        await until(found, "the new cache is read again")

    with_client(here, test, decode_responses=True, socket_timeout=0.2)


def test_an_iteration_goes_on_where_it_began(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("write-both")
        keys = {f"k{number}" for number in range(50)}
        await client.mset(dict.fromkeys(keys, 1))
        await client.hset("hash", mapping=dict.fromkeys(keys, 1))
        assert await client.drain()
        cursor, found = await client.scan(0, count=5)
        here.mode("read-new")
        while cursor:
            cursor, more = await client.scan(cursor, count=5)
            found += more
        assert set(found) == keys | {"hash"}
        assert {key async for key in client.scan_iter(count=7)} == keys | {"hash"}
        assert {field async for field, _ in client.hscan_iter("hash", count=5)} == keys
        cursor, _ = await client.scan(0, count=5)
        here.mode("off")
        with pytest.raises(IterationLost):
            await client.scan(cursor)

    with_client(here, test, decode_responses=True)


def test_failed_second_writes_wait_and_the_application_may_ask_to_be_told(here: Caches) -> None:
    async def quiet(client: AsyncDualWriteRedis) -> None:
        here.mode("write-both")
        here.proxies[1].cut()
        for number in range(20):
            assert await client.incr("n") == number + 1
        await until(lambda: client.stats().second_failing, "the failure is told")
        assert client.stats().pending == 1
        assert not await client.drain(0.05)
        here.proxies[1].restore()
        assert await client.drain()

    async def told(client: AsyncDualWriteRedis) -> None:
        here.proxies[1].cut()
        with pytest.raises(SecondWriteFailed, match="INCRBY was done by"):
            await client.incr("n")
        with pytest.raises(ResponseError, match="not an integer"):
            await client.execute_command("INCRBY", "n", "x")
        here.proxies[1].restore()
        assert await client.drain()

    with_client(here, quiet)
    with_client(here, told, settings=quick(when_second_fails="raise", wait_s=0.2))
    assert here.compare().equal
    assert here.command(1, "GET", "n") == b"21"


def test_a_write_that_was_run_and_never_answered_reaches_the_new_cache(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("write-both")
        await client.set("n", 1)
        here.proxies[0].swallow()
        with pytest.raises(TookTooLong):
            await client.incr("n")
        here.proxies[0].restore()
        here.proxies[0].cut()
        here.proxies[0].restore()
        await client.get("n")
        here.proxies[0].swallow()
        waiting = asyncio.ensure_future(client.incr("n"))
        await until(lambda: here.command(0, "GET", "n") == b"3", "it is run")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        here.proxies[0].restore()
        here.proxies[0].cut()
        here.proxies[0].restore()
        assert await client.drain()

    with_client(here, test, socket_timeout=0.5)
    assert here.command(1, "GET", "n") == b"3"


def test_an_unreachable_old_cache_is_waited_for_and_then_told(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.proxies[0].cut()
        with pytest.raises(Lost):
            await client.set("a", 1)
        late = asyncio.ensure_future(client.set("b", 1))
        await asyncio.sleep(0)
        here.proxies[0].restore()
        assert await late

    with_client(here, test, patience_s=0.2)


def test_a_queue_that_overflows_is_made_good_by_comparing(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("write-both")
        here.proxies[1].cut()
        for number in range(30):
            await client.set(f"k{number}", number)
        assert client.stats().gap
        here.proxies[1].restore()
        assert await client.drain()
        here.command(0, "SET", "by somebody else", 1)
        await client.reconcile()
        assert await client.drain()
        assert client.stats().sweeps == 2

    with_client(here, test, settings=quick(max_pending_keys=5))
    assert here.compare().equal


def test_transactions_that_watch_are_the_old_caches(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("read-new")
        await client.set("n", 5)

        async def double(pipeline: Any) -> None:
            value = int(await pipeline.get("n"))
            pipeline.multi()
            pipeline.set("n", value * 2).incr("n")

        assert await client.transaction(double, "n") == [True, 11]
        async with client.pipeline() as pipeline:
            await pipeline.watch("n")
            await pipeline.incr("side")
            here.command(0, "SET", "n", 1)
            pipeline.multi()
            pipeline.incr("n")
            with pytest.raises(WatchError):
                await pipeline.execute()
        await client.set("n", 1)
        async with client.lock("lock", timeout=10) as lock:
            assert await lock.owned()
        assert await client.drain()
        here.command(1, "SET", "n", "of the new one")
        assert await client.pipeline().get("n").execute() == ["of the new one"]
        assert await client.pipeline().get("n").incr("n").execute() == ["1", 2]

        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe("channel")
            await pubsub.get_message(timeout=1)
            assert await client.publish("channel", "hello") == 1

            async def heard() -> bool:
                message = await pubsub.get_message(timeout=0.1)
                return message is not None and message["data"] == "hello"

            await until(heard, "the message comes")

    with_client(here, test, decode_responses=True)


def test_what_is_not_possible_is_refused_by_name(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        for call in (client.flushdb, lambda: client.eval("return 1", 0), lambda: client.config_set("a", 0)):
            with pytest.raises(CommandRefused):
                await call()
        for call in (
            client.monitor,
            client.client,
            lambda: client.register_script("redis.call('SET', 'literal', 1)"),
            lambda: client.pipeline().register_script("redis.call('SET', 'literal', 1)"),
            lambda: client.pipeline().move("k", 1),
            lambda: client.pipeline().pipeline(),
            lambda: client.pipeline().scan(0),
            lambda: AsyncDualWriteRedis.from_url("redis://x"),
            lambda: AsyncDualWriteRedis.from_pool(None),
        ):
            with pytest.raises(CommandRefused):
                call()

    with_client(here, test)


def test_through_a_cut_over(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("write-both")
        here.proxies[1].cut()
        await client.set("a", "1")
        here.endpoint.hold(60_000)
        here.proxies[1].restore()
        held = asyncio.ensure_future(client.set("held", "1"))
        await asyncio.sleep(0.1)
        assert not held.done(), "a write waits while the Endpoint says hold"
        assert here.command(1, "DBSIZE") == 0
        here.endpoint.switch(here.entries[1])
        await held
        await client.set("a", "2")
        here.command(0, "SET", "a", "stray")
        assert await client.get("a") == "2"
        assert await client.drain()
        assert client.endpoint.role == "target"

    with_client(here, test, decode_responses=True)
    assert (here.command(1, "GET", "held"), here.command(0, "EXISTS", "held")) == (b"1", 0)
    assert here.command(1, "GET", "a") == b"2"


def test_watching_through_a_cut_over_ends_in_a_watch_error(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        await client.set("n", 1)
        here.command(1, "SET", "n", 1)
        tries: list[int] = []

        async def increment(pipeline: Any) -> None:
            value = int(await pipeline.get("n"))
            if not tries:
                here.endpoint.switch(here.entries[1])
            tries.append(value)
            pipeline.multi()
            pipeline.set("n", value + 1)

        assert await client.transaction(increment, "n") == [True]
        assert len(tries) == 2

    with_client(here, test)
    assert (here.command(0, "GET", "n"), here.command(1, "GET", "n")) == (b"1", b"2")


def test_closing_carries_what_is_left(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("write-both")
        client.set_response_callback("GET", lambda reply, **_: "called")
        await client.mset({f"k{number}": number for number in range(200)})
        assert await client.get("k1") == "called"

    with_client(here, test, db=2)
    assert here.command(1, "DBSIZE", database=2) == 200


def test_flushdb_by_consent_empties_both(here: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        here.mode("write-both")
        await client.mset({f"k{number}": 1 for number in range(20)})
        assert await client.drain()
        await client.flushdb()
        assert await client.drain()

    with_client(here, test, settings=quick(allow_flush=True))
    assert here.command(1, "DBSIZE") == 0


def test_a_cluster(tmp_path: Path) -> None:
    with clustered_caches(tmp_path, 3, 3) as here:

        async def test(client: AsyncDualWriteRedis) -> None:
            here.mode("write-both")
            for number in range(60):
                await client.set(f"k{number}", number, ex=1000)
            await client.delete("k7")
            async with client.pipeline(transaction=False) as pipeline:
                assert await pipeline.set("p", 1).incr("p").execute() == [True, 2]
            assert await client.eval("return redis.call('INCR', KEYS[1])", 1, "p") == 3
            assert await client.drain()
            here.mode("read-new")
            assert (await client.get("k8"), await client.get("p"), await client.dbsize()) == ("8", "3", 60)
            assert {key async for key in client.scan_iter(match="k*")} == {f"k{n}" for n in range(60)} - {"k7"}
            with pytest.raises(CommandRefused, match="SCAN is not possible"):
                await client.scan(0)
            with pytest.raises(CommandRefused, match="WATCH"):
                client.pipeline().watch("p")

        with_client(here, test, decode_responses=True)
        report = here.compare()
        assert report.equal, report.first_differences


def test_over_tls(tmp_path: Path) -> None:
    tls = make_tls(tmp_path / "tls")
    with caches(tmp_path) as plain:
        servers = [start_redis(password=PASSWORD, tls=tls) for _ in range(2)]
        try:
            entries = [
                type(made)(**{**vars(made), "port": server.port, "tls": True})
                for made, server in zip(plain.entries, servers, strict=True)
            ]
            here = Caches(servers, [], entries, plain.endpoint)
            here.endpoint.path.unlink()
            here.endpoint.put(entries[0])
            here.mode("read-new")

            async def test(client: AsyncDualWriteRedis) -> None:
                await client.hset("h", mapping={"a": 1})
                assert await client.drain()
                assert await client.hgetall("h") == {b"a": b"1"}

            with_client(here, test, ssl_ca_certs=str(tls.authority))
            assert here.compare().equal
        finally:
            for server in servers:
                server.stop()


def test_the_document_may_be_a_key_and_credentials_a_coroutine(here: Caches) -> None:
    async def fetched(_resource_id: str) -> tuple[str | None, str]:
        return None, PASSWORD

    async def main(store: RedisKeyEndpointStore) -> None:
        async with AsyncDualWriteRedis(store, fetched, settings=quick(), poll_s=0.05) as client:
            await client.set("a", 1)
            store.set_dual_write("write-both", here.entries[1])

            async def seen() -> bool:
                await client.get("a")
                return client.stats().mode == "write-both"

            await until(seen, "the change is seen")
            await client.set("b", 1)
            assert await client.drain()

    with redis_server() as elsewhere, redis.Redis(port=elsewhere.port) as plain:
        store = RedisKeyEndpointStore(plain, "endpoint")
        store.put(here.entries[0])
        asyncio.run(main(store))
    assert (here.command(1, "EXISTS", "a"), here.command(1, "EXISTS", "b")) == (0, 1)


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Caches]:
    """Two servers without a proxy, which would learn late that one has closed a connection."""
    with clustered_caches(tmp_path, 0, 0) as made:
        yield made


def test_a_new_connection_is_used_only_if_the_endpoint_still_names_its_cache(direct: Caches) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        await client.set("where", "old")
        direct.endpoint.switch(direct.entries[1])
        direct.command(0, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await client.set("where", "new")

    with_client(direct, test, poll_s=60)  # it believes an old document for so long, and its login is as good as before
    assert (direct.command(0, "GET", "where"), direct.command(1, "GET", "where")) == (b"old", b"new")


def test_a_command_is_not_sent_on_a_connection_that_was_closed_meanwhile(
    direct: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = AsyncWatcher.known_at_last

    def look_slowly(watcher: AsyncWatcher) -> Endpoint:
        # As for a loop that stood still between the two questions.
        document = look(watcher)
        if document.entry == direct.entries[0] and direct.command(0, "GET", "n") is not None:
            direct.endpoint.switch(direct.entries[1])
            direct.command(1, "SET", "n", "10")
            direct.command(0, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return document

    async def test(client: AsyncDualWriteRedis) -> None:
        await client.set("n", 0)
        assert await client.incr("n") == 11

    monkeypatch.setattr(AsyncWatcher, "known_at_last", look_slowly)
    with_client(direct, test)
    assert direct.command(0, "GET", "n") == b"0"


def test_a_closed_connection_to_a_cluster_is_opened_again(tmp_path: Path) -> None:
    async def test(client: AsyncDualWriteRedis) -> None:
        await client.set("n", 0)
        here.command(0, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await client.incr("n") == 1

    with clustered_caches(tmp_path, 1, 1) as here:
        with_client(here, test, patience_s=5)
