"""
Random writes, deletes, expiries, renames, moves, flushes, swaps, reads of streams' groups, lost notifications and kills
of the copier, on real servers: whenever the follower says that it has caught up, a full comparison finds nothing.

Small by default; REDISMOVE_FOLLOW_EXAMPLES and REDISMOVE_FOLLOW_STEPS make it bigger (25 and 50 take some minutes).
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from redismove.dataplane.connect import Command, Server
from redismove.dataplane.verify import verify
from tests.support.following import Following, start_following

pytestmark = pytest.mark.redis

EXAMPLES = int(os.environ.get("REDISMOVE_FOLLOW_EXAMPLES", "12"))
STEPS = int(os.environ.get("REDISMOVE_FOLLOW_STEPS", "25"))

DATABASES = st.sampled_from([0, 1, 11])
KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"", b"\x00\r\n\xff", b"__:k", b"stream", b"other stream"])
STREAMS = st.sampled_from([b"stream", b"other stream"])
TEXT = st.one_of(st.binary(max_size=40), st.integers(-(2**40), 2**40).map(lambda n: b"%d" % n), st.just(b"z" * 3000))
STREAM_ID = st.tuples(st.integers(1, 60), st.integers(0, 3)).map(lambda pair: b"%d-%d" % pair)
GROUP = st.sampled_from([b"g", b"h"])
CONSUMER = st.sampled_from([b"c", b"d"])


@st.composite
def writes(draw: st.DrawFn) -> Command:
    """One command that may change something; refusals (another type, a key that is not there) are fine."""
    key, other = draw(KEYS), draw(KEYS)
    some = st.lists(TEXT, min_size=1, max_size=5)
    options: list[st.SearchStrategy[Any]] = [
        st.tuples(st.just("SET"), st.just(key), TEXT),
        st.tuples(st.just("SET"), st.just(key), TEXT, st.just("PX"), st.integers(1, 300)),
        st.tuples(st.just("SET"), st.just(key), TEXT, st.just("PX"), st.integers(10**6, 10**9)),
        some.map(lambda items: ("RPUSH", key, *items)),
        some.map(lambda items: ("SADD", key, *items)),
        st.tuples(st.just("HSET"), st.just(key), TEXT, TEXT, TEXT, TEXT),
        st.tuples(st.just("ZADD"), st.just(key), st.floats(allow_nan=False).map(lambda n: repr(n).encode()), TEXT),
        st.tuples(st.just("APPEND"), st.just(key), TEXT),
        st.tuples(st.just("DEL"), st.just(key)),
        st.tuples(st.just("UNLINK"), st.just(key), st.just(other)),
        st.tuples(st.just("GETDEL"), st.just(key)),
        st.tuples(st.just("LPOP"), st.just(key)),
        st.tuples(st.just("PEXPIRE"), st.just(key), st.integers(-5, 200)),
        st.tuples(st.just("PEXPIRE"), st.just(key), st.integers(10**6, 10**9)),
        st.tuples(st.just("PERSIST"), st.just(key)),
        st.tuples(st.just("RENAME"), st.just(key), st.just(other)),
        st.tuples(st.just("MOVE"), st.just(key), DATABASES),
        st.tuples(st.just("COPY"), st.just(key), st.just(other), st.just("DB"), DATABASES, st.just("REPLACE")),
        st.tuples(
            st.just("EVAL"), st.just("redis.call('SET', KEYS[1], 'x') return redis.call('DEL', KEYS[2])"),
            st.just(2), st.just(key), st.just(other),
        ),
    ]  # fmt: skip
    return draw(st.one_of(options))


@st.composite
def stream_commands(draw: st.DrawFn) -> Command:
    """What happens to streams with groups; reading from them is not notified."""
    key = draw(STREAMS)
    return draw(
        st.one_of(
            st.tuples(st.just("XADD"), st.just(key), st.just("*"), TEXT, TEXT),
            st.tuples(st.just("XDEL"), st.just(key), STREAM_ID),
            st.tuples(st.just("XTRIM"), st.just(key), st.just("MAXLEN"), st.integers(0, 5)),
            st.tuples(st.just("XGROUP"), st.just("CREATE"), st.just(key), GROUP, st.just("0"), st.just("MKSTREAM")),
            st.tuples(GROUP, CONSUMER).map(lambda p: ("XREADGROUP", "GROUP", *p, "COUNT", 2, "STREAMS", key, ">")),
            st.tuples(GROUP, CONSUMER).map(lambda p: ("XAUTOCLAIM", key, *p, 0, "0")),
            st.tuples(st.just("XACK?"), st.just(key), GROUP, CONSUMER),
        )
    )


class Followed(RuleBasedStateMachine):
    """A source that is used, a target that follows, and everything that can go wrong in between."""

    source: Server
    target: Server
    rng = random.Random(5)

    @initialize(keys=st.integers(0, 800))
    def begin(self, keys: int) -> None:
        for server in (self.source, self.target):
            server.forget_broken()
            server.connection(database=0).call("FLUSHALL")
        self.source.connection().pipeline([("SET", f"key:{number}", number) for number in range(keys)])
        self.folder = tempfile.TemporaryDirectory(prefix="follow-")
        self.running: Following = self.start()

    def start(self) -> Following:
        return start_following(
            self.source.address,
            self.target.address,
            checkpoint=Path(self.folder.name) / "checkpoint",
            limits=self.rng.choice([{"keys_per_s": 3000}, {}]),  # the compiled loop compares where there is no bound
        )

    def goes_on(self, wait: Callable[[], None]) -> None:
        """Wait; where its connections were cut while it began, it has said so in one sentence: run it again."""
        try:
            wait()
        except AssertionError:
            began = any(progress.phase != "copy" for progress in self.running.seen)
            if began or "The connection to" not in (self.running.error or ""):
                raise
            self.kill()
            wait()

    def caught_up(self) -> None:
        self.goes_on(lambda: self.running.wait_until_caught_up(deadline_s=60))

    def run(self, database: int, commands: list[Command]) -> None:
        connection = self.source.connection(database=database)
        for command in commands:
            if command[0] != "XACK?":
                connection.pipeline([command])
                continue
            (pending,) = connection.pipeline([("XPENDING", *command[1:3], "-", "+", 1, command[3])])
            if isinstance(pending, list) and pending:
                connection.pipeline([("XACK", *command[1:3], pending[0][0])])

    @rule(database=DATABASES, commands=st.lists(writes(), min_size=1, max_size=12))
    def write(self, database: int, commands: list[Command]) -> None:
        self.run(database, commands)

    @rule(database=DATABASES, commands=st.lists(stream_commands(), min_size=1, max_size=8))
    def use_streams(self, database: int, commands: list[Command]) -> None:
        self.run(database, commands)

    @rule(database=DATABASES, group=GROUP, consumer=CONSUMER, acknowledge=st.booleans(), look=st.booleans())
    def read_from_a_group(self, database: int, group: bytes, consumer: bytes, acknowledge: bool, look: bool) -> None:
        """Nothing of it is notified once the stream and its group are carried."""
        key = b"read by groups"
        self.run(database, [("XADD", key, "*", "f", "v"), ("XGROUP", "CREATE", key, group, "0")])
        self.caught_up()
        self.run(database, [("XREADGROUP", "GROUP", group, consumer, "COUNT", 1, "STREAMS", key, ">")])
        if acknowledge:
            self.run(database, [("XACK?", key, group, consumer)])
        if look:  # before something else makes it compare everything
            self.settle()

    @rule(database=DATABASES, first=st.integers(0, 700))
    def write_many(self, database: int, first: int) -> None:
        value = self.rng.randbytes(30)
        self.run(database, [("MSET", *(x for number in range(first, first + 100) for x in (f"key:{number}", value)))])

    @rule(database=DATABASES, asynchronous=st.booleans())
    def flush_one(self, database: int, asynchronous: bool) -> None:
        self.run(database, [("FLUSHDB", "ASYNC") if asynchronous else ("FLUSHDB",)])

    @rule()
    def flush_all(self) -> None:
        self.run(0, [("FLUSHALL",)])

    @rule(one=DATABASES, other=DATABASES)
    def swap(self, one: int, other: int) -> None:
        self.run(0, [("SWAPDB", one, other)])

    @rule()
    def forget_counters(self) -> None:
        self.run(0, [("CONFIG", "RESETSTAT")])

    @rule()
    def lose_notifications(self) -> None:
        with self.source.new_connection() as other:
            other.call("CLIENT", "KILL", "TYPE", "pubsub")

    @rule()
    def cut_every_connection(self) -> None:
        for server in (self.source, self.target):
            with server.new_connection() as other:
                other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            for connection in server.own_connections():
                connection.close()
            server.forget_broken()

    @rule()
    def kill(self) -> None:
        self.running.kill()
        self.running = self.start()

    @rule(phase=st.sampled_from(["copy", "compare", "follow"]))
    def kill_in(self, phase: str) -> None:

        def reached() -> bool:
            return bool(self.running.seen) and self.running.seen[-1].phase in (phase, "follow")

        self.goes_on(lambda: self.running.wait(reached, f"{phase} or follow"))
        self.kill()

    @rule()
    def change_the_target(self) -> None:
        """Somebody restarts or flushes the target: what it lost comes again."""
        self.goes_on(lambda: self.running.wait(lambda: bool(self.running.seen), "a beginning"))
        self.target.connection(database=0).call("FLUSHDB")

    @rule()
    def settle(self) -> None:
        self.caught_up()
        outcome = verify(self.source, self.target)
        note(f"{self.running.seen[-1]}")
        assert outcome.equal, outcome.to_json()

    def teardown(self) -> None:
        if hasattr(self, "running"):
            try:
                self.settle()
            finally:
                self.running.kill()
                self.folder.cleanup()


@pytest.mark.timeout(0 if EXAMPLES > 12 else 240)
@pytest.mark.parametrize(("kind", "other"), [("7.0", "7.0"), pytest.param("6.2", "7.0", marks=pytest.mark.slow)])
def test_caught_up_means_equal(opened: Callable[[str, int], Server], kind: str, other: str) -> None:
    source, target = opened(kind, 0), opened(other, 1)
    source.connection().call("CONFIG", "SET", "notify-keyspace-events", "KA")
    try:
        machine = type("Followed", (Followed,), {"source": source, "target": target})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    finally:
        source.forget_broken()
        source.connection().call("CONFIG", "SET", "notify-keyspace-events", "")
