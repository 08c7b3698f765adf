"""
Random commands of several clients on two real servers, one of which fails and comes back.

What must hold: no read ever returns an older value than its own client had written, and when the queues are drained
both servers are equal.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.exceptions import RedisError

from redismove.dual_write import AsyncDualWriteRedis, DualWriteRedis
from tests.support.dual_write import Caches, caches, quick

pytestmark = pytest.mark.redis

CLIENTS = 3
COMMANDS = 60


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caches]:
    """Two servers for all examples."""
    with caches(tmp_path_factory.mktemp("properties")) as made:
        yield made


Commands = Callable[[Any, random.Random], Any]

MIXED: tuple[Commands, ...] = (
    lambda r, d: r.set(_key(d, "s"), d.randrange(99), px=d.choice([None, 400, 90_000])),
    lambda r, d: r.execute_command("SETNX", _key(d, "s"), d.randrange(99)),
    lambda r, d: r.execute_command("GETSET", _key(d, "s"), d.randrange(99)),
    lambda r, d: r.getdel(_key(d, "s")),
    lambda r, d: r.getex(_key(d, "s"), px=60_000),
    lambda r, d: r.append(_key(d, "s"), "x"),
    lambda r, d: r.setrange(_key(d, "s"), d.randrange(4), "yy"),
    lambda r, d: r.mset({_key(d, "s"): 1, _key(d, "s"): 2}),
    lambda r, d: r.delete(_key(d, d.choice("slhzt"))),
    lambda r, d: r.expire(_key(d, d.choice("slhzt")), d.choice([1, 100])),
    lambda r, d: r.persist(_key(d, d.choice("slhzt"))),
    lambda r, d: r.rename(_key(d, "l"), _key(d, "l")),
    lambda r, d: r.copy(_key(d, "z"), _key(d, "z"), replace=True),
    lambda r, d: r.lpush(_key(d, "l"), d.randrange(99)),
    lambda r, d: r.rpop(_key(d, "l")),
    lambda r, d: r.execute_command("RPOPLPUSH", _key(d, "l"), _key(d, "l")),
    lambda r, d: r.blpop([_key(d, "l")], timeout=0.01),
    lambda r, d: r.ltrim(_key(d, "l"), 0, 5),
    lambda r, d: r.sadd(_key(d, "t"), d.randrange(9)),
    lambda r, d: r.spop(_key(d, "t")),
    lambda r, d: r.sinterstore(_key(d, "t"), [_key(d, "t"), _key(d, "t")]),
    lambda r, d: r.smove(_key(d, "t"), _key(d, "t"), d.randrange(9)),
    lambda r, d: r.sort(_key(d, "l"), alpha=True, store=_key(d, "l")),
    lambda r, d: r.hincrby(_key(d, "h"), d.choice("abc"), 1),
    lambda r, d: r.hincrbyfloat(_key(d, "h"), d.choice("def"), 0.5),
    lambda r, d: r.hdel(_key(d, "h"), d.choice("abc")),
    lambda r, d: r.zadd(_key(d, "z"), {d.choice("abc"): d.random()}),
    lambda r, d: r.zincrby(_key(d, "z"), d.random(), d.choice("abc")),
    lambda r, d: r.zpopmin(_key(d, "z")),
    lambda r, d: r.zunionstore(_key(d, "z"), [_key(d, "z"), _key(d, "z")]),
    lambda r, d: r.pfadd(_key(d, "p"), d.randrange(99)),
    lambda r, d: r.pfcount(_key(d, "p")),
    lambda r, d: r.xadd("mixed:x", {"a": d.randrange(9)}, maxlen=9),
    lambda r, d: r.xgroup_create("mixed:x", d.choice("gh"), mkstream=True),
    lambda r, d: r.xreadgroup(d.choice("gh"), d.choice("cd"), {"mixed:x": ">"}, count=1),
    lambda r, d: r.xtrim("mixed:x", maxlen=3),
    lambda r, d: r.eval(
        "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('INCR', KEYS[1])", 1, _key(d, "s"), d.randrange(9)
    ),
    lambda r, d: r.pipeline().incr("mixed:n").expire("mixed:n", 100).lpush(_key(d, "l"), 1).execute(),
    lambda r, d: r.pipeline(transaction=False).set(_key(d, "s"), 3).get(_key(d, "s")).spop(_key(d, "t")).execute(),
)


def _key(draw: random.Random, kind: str) -> str:
    return f"mixed:{kind}{draw.randrange(2)}"


class Own:
    """
    What one client knows of its own writes: values that only it writes, and counters that only grow.

    A write that ended in an error may have happened, or may happen yet.
    """

    def __init__(self, number: int) -> None:
        self.keys = [f"own:{number}:{index}" for index in range(3)]
        self.allowed: dict[str, set[str | None]] = {key: {None} for key in self.keys}
        self.grown: dict[str, int] = {}
        self.value = 0
        self.older: list[str] = []
        self.reads = 0
        self.failures = 0

    def writes(self, key: str, value: str | None) -> None:
        """A write begins."""
        self.allowed[key].add(value)

    def wrote(self, key: str, value: str | None) -> None:
        """It was acknowledged."""
        self.allowed[key] = {value}

    def read(self, key: str, found: str | None) -> None:
        """A read was answered."""
        self.reads += 1
        if found not in self.allowed[key]:
            self.older.append(f"{key}: {found!r}, allowed {self.allowed[key]}")

    def grew(self, key: str, size: int) -> None:
        """An acknowledged write made a counter this big."""
        self.grown[key] = max(size, self.grown.get(key, 0))

    def counted(self, key: str, found: Any) -> None:
        """A counter was read."""
        self.reads += 1
        if int(found or 0) < self.grown.get(key, 0):
            self.older.append(f"{key}: {found!r}, had made it {self.grown[key]}")


GROWING: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "grow:counter": (lambda r: r.incr("grow:counter"), lambda r: r.get("grow:counter")),
    "grow:list": (lambda r: r.rpush("grow:list", "x"), lambda r: r.llen("grow:list")),
    "grow:string": (lambda r: r.append("grow:string", "x"), lambda r: r.strlen("grow:string")),
    "grow:hash": (lambda r: r.hincrby("grow:hash", "f", 1), lambda r: r.hget("grow:hash", "f")),
    "grow:zset": (lambda r: r.zincrby("grow:zset", 1, "m"), lambda r: r.zscore("grow:zset", "m")),
}


async def one_command(client: Any, own: Own, draw: random.Random, await_: Callable[[Any], Awaitable[Any]]) -> None:
    """One random command of a client; *await_* makes both kinds of client alike."""
    what = draw.random()
    key = draw.choice(own.keys)
    if what < 0.25:
        own.value += 1
        value = str(own.value)
        own.writes(key, value)
        how = draw.randrange(4)
        if how == 0:
            await await_(client.set(key, value))
        elif how == 1:
            await await_(client.execute_command("SETEX", key, 1000, value))
        elif how == 2:
            await await_(client.pipeline().set(key, value).expire(key, 1000).execute())
        else:
            await await_(client.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, key, value))
        own.wrote(key, value)
    elif what < 0.3:
        own.writes(key, None)
        await await_(client.delete(key))
        own.wrote(key, None)
    elif what < 0.5:
        if draw.random() < 0.8:
            own.read(key, await await_(client.get(key)))
        else:
            for name, found in zip(own.keys, await await_(client.mget(own.keys)), strict=True):
                own.read(name, found)
    elif what < 0.75:
        name = draw.choice(list(GROWING))
        grow, look = GROWING[name]
        if draw.random() < 0.5:
            own.grew(name, int(await await_(grow(client))))
        else:
            own.counted(name, await await_(look(client)))
    else:
        await await_(draw.choice(MIXED)(client, draw))


def faults_of(faults: list[str]) -> dict[int, str]:
    """When what happens, in commands of the first client; the old cache is away for two commands at a time."""
    every = COMMANDS // (len(faults) + 1)
    when: dict[int, str] = {}
    for number, fault in enumerate(faults, 1):
        when[every * number] = fault
        if fault in ("cut old", "swallow old"):
            when[every * number + 2] = "restore old"
    return when


FAULTS = st.lists(
    st.sampled_from(
        [
            *("cut new", "cut new", "stall new", "cut old", "swallow old", "restore", "restore"),
            *("read-new", "read-new", "write-both"),
        ]
    ),
    min_size=3,
    max_size=8,
)
EXAMPLES = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # threads do not run the same way twice
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def happen(here: Caches, fault: str) -> None:
    """Let something happen to the caches, or to the mode."""
    match fault:
        case "cut new":
            here.proxies[1].cut()
        case "stall new":
            here.proxies[1].stall()
        case "cut old":
            here.proxies[0].cut()
        case "swallow old":
            here.proxies[0].swallow()
        case "restore old":
            here.proxies[0].restore()
        case "restore":
            for proxy in here.proxies:
                proxy.restore()
        case mode:
            here.mode(mode)


def judge(here: Caches, owns: list[Own], stats: list[Any]) -> None:
    """Look at what came of it."""
    assert [line for own in owns for line in own.older] == []
    report = here.compare()
    assert report.equal, (report.summary(), report.first_differences, stats)
    assert sum(own.reads for own in owns) > 0


@EXAMPLES
@given(st.integers(0, 2**32), FAULTS)
def test_threads(here: Caches, seed: int, faults: list[str]) -> None:
    here.reset()
    here.mode("write-both")
    when = faults_of(faults)
    options = {"decode_responses": True, "patience_s": 0.1, "socket_timeout": 0.25}
    clients = [
        DualWriteRedis(
            here.endpoint, _credentials, settings=quick(timeout_s=0.25, retry_read_s=0.5), poll_s=0, **options
        )
    ]
    clients += [
        DualWriteRedis(
            here.endpoint,
            _credentials,
            settings=quick(timeout_s=0.25, retry_read_s=0.5, wait_s=0.05),
            poll_s=0,
            **options,
        )
        for _ in range(CLIENTS - 1)
    ]
    owns = [Own(number) for number in range(CLIENTS)]
    failures: list[BaseException] = []

    async def at_once(result: Any) -> Any:
        return result

    def run(number: int) -> None:
        draw = random.Random(seed + number)
        try:
            for step in range(COMMANDS):
                if number == 0 and step in when:
                    happen(here, when[step])
                try:
                    with contextlib.suppress(StopIteration):
                        one_command(clients[number], owns[number], draw, at_once).send(None)
                except (RedisError, OSError):
                    owns[number].failures += 1
        except BaseException as error:  # noqa: BLE001  told by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        happen(here, "restore")
        drained = [client.drain(20) for client in clients]
        stats = [client.stats() for client in clients]
        assert drained == [True] * CLIENTS, stats
        judge(here, owns, stats)
    finally:
        happen(here, "restore")
        for client in clients:
            client.close()


@EXAMPLES
@given(st.integers(0, 2**32), FAULTS)
def test_coroutines(here: Caches, seed: int, faults: list[str]) -> None:
    here.reset()
    here.mode("write-both")
    when = faults_of(faults)

    async def main() -> None:
        options = {"decode_responses": True, "patience_s": 0.1, "socket_timeout": 0.25, "poll_s": 0.0}
        clients = [
            AsyncDualWriteRedis(
                here.endpoint, _credentials, settings=quick(timeout_s=0.25, retry_read_s=0.5, **more), **options
            )
            for more in ({}, {"wait_s": 0.05}, {"wait_s": 0.05})
        ]
        owns = [Own(number) for number in range(CLIENTS)]

        async def wait(result: Any) -> Any:
            return await result

        async def run(number: int) -> None:
            draw = random.Random(seed + number)
            for step in range(COMMANDS):
                if number == 0 and step in when:
                    happen(here, when[step])
                try:
                    await one_command(clients[number], owns[number], draw, wait)
                except (RedisError, OSError):
                    owns[number].failures += 1

        try:
            await asyncio.gather(*(run(number) for number in range(CLIENTS)))
            happen(here, "restore")
            drained = [await client.drain(20) for client in clients]
            stats = [client.stats() for client in clients]
            assert drained == [True] * CLIENTS, stats
            judge(here, owns, stats)
        finally:
            happen(here, "restore")
            for client in clients:
                await client.aclose()

    asyncio.run(main())


def _credentials(_: str) -> tuple[str | None, str]:
    return None, "secret-of-the-tests"


def test_the_watch_would_see_an_older_value(tmp_path: Path) -> None:
    """What judges the reads can fail: a value of before is told."""
    own = Own(1)
    own.writes(own.keys[0], "1")
    own.wrote(own.keys[0], "1")
    own.read(own.keys[0], None)
    own.grew("grow:list", 5)
    own.counted("grow:list", 4)

    assert len(own.older) == 2
