"""The application-side client: it follows, it holds, it repeats what surely was not executed and nothing else."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError as Lost

from redismove.application import CannotFollow, EndpointRedis, follow_endpoint
from redismove.endpoint import Endpoint, EndpointWatcher
from tests.support.cutover import World, world
from tests.support.redis_servers import make_tls

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two caches for all tests of this file."""
    with world(tmp_path_factory.mktemp("application")) as here:
        yield here


@pytest.fixture
def here(shared: World) -> World:
    """The two caches, empty, and an Endpoint that names the source."""
    shared.endpoint.path.unlink(missing_ok=True)
    shared.endpoint.put(shared.source.entry)
    for cache in (shared.source, shared.target):
        cache.command("FLUSHALL")
    return shared


class Asked:
    """Credentials as an application fetches them, counted."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.times = 0

    def __call__(self, resource_id: str) -> tuple[str | None, str]:
        self.times += 1
        cache = self.here.source if resource_id.endswith("source") else self.here.target
        return None, cache.keys["Primary"]


@pytest.fixture
def asked(here: World) -> Asked:
    """What the client asks for credentials."""
    return Asked(here)


@pytest.fixture
def client(here: World, asked: Asked) -> Iterator[EndpointRedis]:
    """A client of ours."""
    with follow_endpoint(here.endpoint.path, asked, decode_responses=True, poll_s=0, patience_s=5) as made:
        yield made


def test_it_is_used_like_redis_py(client: EndpointRedis) -> None:
    assert client.set("a", "1", ex=100) is True
    assert client.incr("a") == 2
    assert client.hset("h", mapping={"f": "v"}) == 1
    assert client.hgetall("h") == {"f": "v"}
    assert list(client.scan_iter()) != []
    assert client.zadd("z", {"m": 1.5}) == 1
    assert client.zrange("z", 0, -1, withscores=True) == [("m", 1.5)]
    with client.pipeline() as pipeline:
        assert pipeline.set("b", "1").incr("b").get("b").execute() == [True, 2, "2"]
    assert client.register_script("return redis.call('GET', KEYS[1])")(keys=["b"]) == "2"


def test_after_the_switch_it_uses_the_other_cache(here: World, client: EndpointRedis) -> None:
    client.set("where", "source")
    here.endpoint.switch(here.target.entry)
    client.set("where", "target")

    assert here.source.command("GET", "where") == b"source"
    assert here.target.command("GET", "where") == b"target"


def test_while_the_endpoint_says_hold_a_command_waits(here: World, client: EndpointRedis) -> None:
    client.ping()
    here.endpoint.hold(10_000)
    answers: list[float] = []

    def write() -> None:
        client.set("held", "1")
        answers.append(time.monotonic())

    threading.Event().wait(0.01)  # longer than it may believe the old document
    writer = threading.Thread(target=write)
    writer.start()
    writer.join(0.1)
    assert answers == []
    assert here.source.command("EXISTS", "held") == 0
    here.endpoint.switch(here.target.entry)
    writer.join(5)

    assert here.source.command("EXISTS", "held") == 0
    assert here.target.command("GET", "held") == b"1"


def test_a_hold_that_nobody_ends_is_waited_for_once(here: World, client: EndpointRedis) -> None:
    here.endpoint.hold(50)

    assert client.set("a", "1") is True
    assert here.source.command("GET", "a") == b"1"


def test_new_keys_are_fetched_when_the_old_one_is_refused(here: World, client: EndpointRedis, asked: Asked) -> None:
    client.set("a", "1")
    here.source.regenerate("Primary")
    here.source.command("CLIENT", "KILL", "USER", "default")

    assert client.incr("a") == 2
    assert asked.times == 2


def test_the_credentials_of_the_announced_cache_are_fetched_before_they_are_needed(
    here: World, client: EndpointRedis, asked: Asked
) -> None:
    client.ping()
    here.endpoint.announce(here.target.entry)
    deadline = time.monotonic() + 5
    while client._prepared is None:
        client.ping()
        assert time.monotonic() < deadline
    assert asked.times == 2

    here.endpoint.switch(here.target.entry)
    client.set("a", "1")

    assert here.target.command("GET", "a") == b"1"
    assert asked.times == 2


def test_an_announced_cache_that_cannot_be_reached_harms_nobody(here: World, client: EndpointRedis) -> None:
    here.endpoint.announce(dataclasses.replace(here.target.entry, port=1))

    assert client.set("a", "1") is True
    here.endpoint.switch(here.target.entry)
    assert client.set("a", "2") is True
    assert here.target.command("GET", "a") == b"2"


def test_a_cache_that_cannot_be_reached_is_tried_until_the_endpoint_moves_on(
    here: World, client: EndpointRedis
) -> None:
    client.set("a", "1")
    here.source.regenerate("Primary")
    here.source.regenerate("Primary")
    password = here.source.keys["Primary"]
    here.source.command("CLIENT", "KILL", "USER", "default")
    here.source.command("ACL", "SETUSER", "default", "off")
    threading.Timer(0.1, lambda: here.endpoint.switch(here.target.entry)).start()
    try:
        assert client.set("a", "2") is True
        assert here.target.command("GET", "a") == b"2"
    finally:
        here.source.command("ACL", "SETUSER", "default", "on", f">{password}")


def blocked_then_cut(here: World, run: threading.Thread) -> None:
    """Start *run*, whose command waits at the server, and cut its connection."""
    run.start()
    deadline = time.monotonic() + 5
    while b"blocked_clients:1" not in here.source.command("INFO", "clients"):
        assert time.monotonic() < deadline
    here.source.command("CLIENT", "KILL", "USER", "default")
    run.join(10)


@pytest.mark.parametrize("repeatable", [False, True])
def test_only_what_was_named_repeatable_is_repeated_when_its_outcome_is_unknown(
    here: World, asked: Asked, repeatable: bool
) -> None:
    with follow_endpoint(
        here.endpoint.path, asked, patience_s=5, repeatable=["BLPOP"] if repeatable else ["GET"]
    ) as client:
        outcome: list[object] = []

        def take() -> None:
            try:
                outcome.append(client.blpop(["list"], timeout=0 if not repeatable else 5))
            except redis.RedisError as error:
                outcome.append(error)

        taker = threading.Thread(target=take)
        if repeatable:
            # Pushed only after the cut: the first try cannot have taken it.
            pusher = threading.Timer(0.5, lambda: here.source.command("RPUSH", "list", "x"))
            pusher.start()
            blocked_then_cut(here, taker)
            pusher.join()
            assert outcome == [(b"list", b"x")]
        else:
            blocked_then_cut(here, taker)
            assert isinstance(outcome[0], Lost)


def test_a_pipeline_of_unknown_outcome_is_not_repeated(here: World, client: EndpointRedis) -> None:
    client.set("n", "0")
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(client.pipeline(transaction=False).incr("n").blpop(["list"], timeout=0).execute())
        except redis.RedisError as error:
            outcome.append(error)

    blocked_then_cut(here, threading.Thread(target=run))

    assert isinstance(outcome[0], Lost)
    assert here.source.command("GET", "n") == b"1"


def test_a_refused_write_goes_on_when_the_endpoint_names_a_cache_that_takes_it(
    here: World, client: EndpointRedis
) -> None:
    here.source.command("REPLICAOF", "127.0.0.1", 1)
    threading.Timer(0.1, lambda: here.endpoint.switch(here.target.entry)).start()
    try:
        assert client.set("a", "1") is True
        assert here.target.command("GET", "a") == b"1"
    finally:
        here.source.command("REPLICAOF", "NO", "ONE")


def cut(here: World, key: str | None = None) -> None:
    """Cut the client's connections; with *key* also change it, as a fence does."""
    if key:
        here.source.regenerate("Primary")
    here.source.command("CLIENT", "KILL", "USER", "default")


def test_a_new_key_of_the_cache_that_was_left_is_not_used(here: World) -> None:
    client: EndpointRedis

    def ask(resource_id: str) -> tuple[str | None, str]:
        if resource_id.endswith("source") and refused:
            # As for an application that stood still here: the switch was made before there was a new key.
            if here.endpoint.read().role == "source":
                here.endpoint.switch(here.target.entry)
            return None, here.source.keys["Primary"]
        return None, (here.source if resource_id.endswith("source") else here.target).keys["Primary"]

    refused = False
    with follow_endpoint(here.endpoint.path, ask, patience_s=5) as client:
        client.set("where", "source")
        refused = True
        cut(here, "Primary")
        client.set("where", "target")

    assert here.source.command("GET", "where") == b"source"
    assert here.target.command("GET", "where") == b"target"


def test_a_new_connection_is_used_only_if_the_endpoint_still_names_its_cache(here: World, asked: Asked) -> None:
    # It believes an old document for a minute, and its login is as good as before (as with Entra).
    with follow_endpoint(here.endpoint.path, asked, poll_s=60) as client:
        client.set("where", "source")
        here.endpoint.switch(here.target.entry)
        cut(here)
        client.set("where", "target")

    assert here.source.command("GET", "where") == b"source"
    assert here.target.command("GET", "where") == b"target"


def test_a_command_is_not_sent_on_a_connection_that_was_closed_meanwhile(
    here: World, client: EndpointRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set("n", "0")
    look = EndpointWatcher.current_at_last

    def look_slowly(watcher: EndpointWatcher) -> Endpoint:
        # As for a thread that stood still between the two questions.
        if here.endpoint.read().role == "source":
            here.endpoint.switch(here.target.entry)
            here.target.command("SET", "n", "10")
            document = dataclasses.replace(look(watcher), entry=here.source.entry)
            cut(here, "Primary")
            return document
        return look(watcher)

    monkeypatch.setattr(EndpointWatcher, "current_at_last", look_slowly)

    assert client.incr("n") == 11
    assert here.source.command("GET", "n") == b"0"


def test_a_command_is_not_sent_into_a_hold_that_began_meanwhile(here: World, asked: Asked) -> None:
    with follow_endpoint(here.endpoint.path, asked, patience_s=5, poll_s=0.002) as client:
        client.set("n", "0")
        current, looked = client._current, threading.Event()

        def hold_after_the_first_look() -> object:
            found = current()
            if not looked.is_set():
                looked.set()
                here.endpoint.hold(10_000)
                threading.Event().wait(0.01)  # longer than it may believe the old document
            return found

        client._current = hold_after_the_first_look  # type: ignore[assignment, method-assign]
        answers: list[object] = []
        writer = threading.Thread(target=lambda: answers.append(client.incr("n")))
        writer.start()
        writer.join(0.1)
        assert answers == []
        assert here.source.command("GET", "n") == b"0"
        here.endpoint.switch(here.target.entry)
        writer.join(5)
        assert answers == [1]
        assert here.target.command("GET", "n") == b"1"


def test_a_pipeline_that_a_cluster_lost_in_part_is_not_repeated(tmp_path: Path) -> None:
    with world(tmp_path, clustered=True) as here:
        keys = {here.source.admin_of(key): key for key in (b"a", b"b", b"c", b"d", b"e", b"f")}
        assert len(keys) == 3
        with follow_endpoint(here.endpoint.path, Asked(here), patience_s=5) as client:
            for key in keys.values():
                client.set(key, 0)
            outcome: list[object] = []

            def run() -> None:
                pipeline = client.pipeline(transaction=False)
                for key in keys.values():
                    pipeline.incr(key)
                try:
                    outcome.append(pipeline.blpop([b"list{%b}" % keys[0]], timeout=0).execute())
                except redis.RedisError as error:
                    outcome.append(error)

            blocked_then_cut(here, threading.Thread(target=run))

            assert isinstance(outcome[0], Lost)
            assert not outcome[0].surely_not_executed  # type: ignore[attr-defined]
            assert [here.source.admins[node].call("GET", key) for node, key in keys.items()] == [b"1"] * 3


def test_patience_has_an_end(here: World, asked: Asked) -> None:
    here.source.command("REPLICAOF", "127.0.0.1", 1)
    try:
        with (
            follow_endpoint(here.endpoint.path, asked, patience_s=0.1) as client,
            pytest.raises(redis.exceptions.ReadOnlyError),
        ):
            client.set("a", "1")
    finally:
        here.source.command("REPLICAOF", "NO", "ONE")


def test_what_cannot_span_two_caches_is_refused_by_name(client: EndpointRedis) -> None:
    with pytest.raises(CannotFollow, match="WATCH"):
        client.execute_command("WATCH", "a")
    with pytest.raises(CannotFollow, match="WATCH"):
        client.pipeline().execute_command("WATCH", "a")


def test_databases_and_tls_are_kept_across_the_switch(tmp_path: Path) -> None:
    tls = make_tls(tmp_path / "tls")
    with (
        world(tmp_path, tls=tls) as here,
        follow_endpoint(here.endpoint.path, Asked(here), poll_s=0, db=1, ssl_ca_certs=str(tls.authority)) as client,
    ):
        client.set("a", "source")
        here.endpoint.switch(here.target.entry)
        client.set("a", "target")

        assert here.source.command("GET", "a", database=1) == b"source"
        assert here.target.command("GET", "a", database=1) == b"target"


def test_idle_connections_to_the_old_cache_are_closed(here: World, client: EndpointRedis) -> None:
    client.ping()
    here.endpoint.switch(here.target.entry)
    deadline = time.monotonic() + 5
    while True:
        client.ping()
        users = [line for line in here.source.command("CLIENT", "LIST").splitlines() if b"user=default" in line]
        if not users:
            break
        assert time.monotonic() < deadline
