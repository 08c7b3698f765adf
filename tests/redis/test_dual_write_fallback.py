"""Reading a linked pair: from the secondary, and from the primary while that one cannot answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError

from redismove.dual_write import AsyncReadFallbackRedis, CommandRefused, ReadFallbackRedis
from tests.support.dual_write import PASSWORD
from tests.support.redis_servers import RedisProcess, start_redis

pytestmark = pytest.mark.redis


class Linked:
    """A primary and its secondary, whose synchronisation can be held up."""

    def __init__(self) -> None:
        self.primary = start_redis(password=PASSWORD, options=["--repl-diskless-sync-delay", "0"])
        # Without stale data a secondary answers nothing while it synchronises, as a geo-secondary does.
        self.secondary = start_redis(password=PASSWORD, options=["--replica-serve-stale-data", "no"])
        self.link(self.primary.port)
        self.until_synchronised()

    def link(self, port: int) -> None:
        """Make the secondary follow a port; 1 is nobody's: it synchronises for ever."""
        with self.secondary.connect() as connection:
            connection.call("REPLICAOF", "127.0.0.1", port)

    def until_synchronised(self) -> None:
        """Wait until the secondary has all that the primary has."""
        with self.primary.connect() as primary, self.secondary.connect() as secondary:
            deadline = time.monotonic() + 20
            while True:
                theirs = secondary.call("INFO", "replication")
                lines = primary.call("INFO", "replication").splitlines()
                mine = next(line for line in lines if b"repl_offset" in line).split(b":")[1]
                if b"master_link_status:up" in theirs and b"slave_repl_offset:" + mine in theirs:
                    return
                assert time.monotonic() < deadline, theirs
                time.sleep(0.01)

    def tell_apart(self) -> None:
        """Make the secondary's answer to GET who another one than the primary's."""
        with self.primary.connect() as connection:
            connection.call("SET", "who", "both")
        self.until_synchronised()
        with self.secondary.connect() as connection:
            connection.call("CONFIG", "SET", "replica-read-only", "no")
            connection.call("SET", "who", "secondary")
            connection.call("CONFIG", "SET", "replica-read-only", "yes")

    def stop(self) -> None:
        """End both."""
        for server in (self.primary, self.secondary):
            server.stop()


@pytest.fixture(scope="module")
def linked() -> Iterator[Linked]:
    """A linked pair for all tests of this file."""
    made = Linked()
    try:
        yield made
    finally:
        made.stop()


def plain(server: RedisProcess) -> redis.Redis:
    """redis-py's own client, without retries."""
    retry = redis.retry.Retry(NoBackoff(), 0)
    return redis.Redis(port=server.port, password=PASSWORD, decode_responses=True, retry=retry, socket_timeout=1)


def plain_async(server: RedisProcess) -> redis.asyncio.Redis:
    """The same on asyncio."""
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    return redis.asyncio.Redis(
        port=server.port, password=PASSWORD, decode_responses=True, retry=retry, socket_timeout=1
    )


def test_reads_are_the_secondarys_until_it_synchronises_and_again_after(linked: Linked) -> None:
    linked.tell_apart()
    with ReadFallbackRedis(plain(linked.primary), plain(linked.secondary), rest_s=0.05) as client:
        assert isinstance(client, redis.Redis)
        assert client.get("who") == "secondary"
        assert client.mget("who", "nothing") == ["secondary", None]
        linked.link(1)
        with pytest.raises(ResponseError, match="MASTER is down"):
            plain(linked.secondary).get("who")
        assert client.get("who") == "both"
        assert client.pipeline().get("who").get("who").execute() == ["both", "both"]
        assert "MasterDownError" in client.counters.last_error
        assert (client.counters.fallen_back, client.counters.primary) == (1, 1), "then it is left alone for a while"
        linked.link(linked.primary.port)
        linked.until_synchronised()
        linked.tell_apart()
        deadline = time.monotonic() + 5
        while client.get("who") != "secondary":
            assert time.monotonic() < deadline
        assert client.pipeline().get("who").execute() == ["secondary"]


def test_everything_but_reads_is_the_primarys(linked: Linked) -> None:
    linked.tell_apart()
    with ReadFallbackRedis(plain(linked.primary), plain(linked.secondary)) as client:
        client.set("written", 1)
        assert client.pipeline().get("who").incr("written").execute() == ["both", 2]
        assert client.register_script("return redis.call('GET', KEYS[1])")(keys=["who"]) == "both"
        with client.lock("lock", timeout=5):
            pass
        assert set(client.scan_iter()) >= {"who", "written"}
        with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe("channel")
            pubsub.get_message(timeout=1)
            assert client.publish("channel", "x") == 1
        with pytest.raises(CommandRefused, match=r"use primary\.pipeline\(\)"):
            client.pipeline().watch("who")
        assert len(client.pipeline().get("who")) == 1


def test_a_mistake_of_the_applications_is_told_by_the_primary_and_rests_nobody(linked: Linked) -> None:
    linked.tell_apart()
    with ReadFallbackRedis(plain(linked.primary), plain(linked.secondary)) as client:
        client.rpush("list", 1)
        linked.until_synchronised()
        with pytest.raises(ResponseError, match="wrong kind of value"):
            client.get("list")
        with pytest.raises(ResponseError, match="wrong kind of value"):
            client.pipeline().get("list").execute()
        assert client.get("who") == "secondary"


def test_a_secondary_that_cannot_be_reached_is_no_error(linked: Linked) -> None:
    with (
        redis.Redis(port=1, retry=redis.retry.Retry(NoBackoff(), 0)) as nobody,
        ReadFallbackRedis(plain(linked.primary), nobody) as client,
    ):
        client.set("a", 1)
        assert client.get("a") == "1"
        assert "ConnectionError" in client.counters.last_error
        client.primary = nobody
        with pytest.raises(Lost):
            client.get("a")


def test_on_asyncio(linked: Linked) -> None:
    async def main() -> None:
        async with AsyncReadFallbackRedis(
            plain_async(linked.primary), plain_async(linked.secondary), rest_s=0.05
        ) as client:
            assert isinstance(client, redis.asyncio.Redis)
            assert await client.get("who") == "secondary"
            assert await client.pipeline().get("who").execute() == ["secondary"]
            assert await client.pipeline().get("who").set("written", 1).execute() == ["both", True]
            linked.link(1)
            assert await client.get("who") == "both"
            assert await client.pipeline().get("who").execute() == ["both"]
            assert client.counters.fallen_back == 1
            async with client.lock("lock", timeout=5):
                pass
            with pytest.raises(CommandRefused):
                client.pipeline().watch("who")
            assert {key async for key in client.scan_iter()} >= {"who", "written"}

    linked.tell_apart()
    try:
        asyncio.run(main())
    finally:
        linked.link(linked.primary.port)
        linked.until_synchronised()
