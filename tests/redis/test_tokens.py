"""Entra tokens that end in the middle: connections log in again before, and nothing is missed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from redismove.dataplane import mirror
from redismove.dataplane.connect import Server
from redismove.dataplane.copy import CopyStopped, Engine, copy
from redismove.dataplane.errors import AuthenticationFailed, ConnectionLost
from redismove.dataplane.mirror import copy_and_follow
from redismove.dataplane.mirror_report import FollowProgress, StopRequest
from redismove.dataplane.throttle import Limits
from redismove.dataplane.verify import verify
from redismove.errors import RedismoveError
from tests.support.datasets import fill
from tests.support.redis_servers import RedisProcess, redis_server
from tests.support.token_gate import TokenGate, token_gate

pytestmark = pytest.mark.redis


@contextmanager
def caches(*, lives_s: float) -> Iterator[tuple[RedisProcess, TokenGate, RedisProcess, TokenGate]]:
    """Two servers, each with its own tokens."""
    with (
        redis_server(options=["--notify-keyspace-events", "KA"]) as one,
        redis_server() as two,
        token_gate(one, lives_s=lives_s) as source,
        token_gate(two, lives_s=lives_s) as target,
    ):
        yield one, source, two, target


def fill_with(server: RedisProcess, keys: int) -> None:
    rng = random.Random(3)
    with server.connect() as connection:
        fill(connection, [("SET", f"key:{number}", rng.randbytes(60)) for number in range(keys)])


def assert_equal(one: RedisProcess, two: RedisProcess) -> None:
    with Server.open(one.address) as source, Server.open(two.address) as target:
        outcome = verify(source, target)
        assert outcome.equal, outcome.to_json()


@pytest.mark.parametrize("engine", ["native", "python"])
def test_a_copy_outlives_its_tokens(engine: Engine) -> None:
    with caches(lives_s=2.0) as (one, source, two, target):
        fill_with(one, 15_000)
        with Server.open(source.address()) as here, Server.open(target.address()) as there:
            report = copy(here, there, engine=engine, limits=Limits(keys_per_s=3000))
            assert report.duration_s > 4.5
            # Also what was not used for long is usable: its connection is made anew.
            assert there.connection().call("PING") == b"PONG"
        assert source.issued >= 3
        assert target.issued >= 3
        assert_equal(one, two)


def test_without_knowing_the_end_it_is_cut_off(tmp_path: Path) -> None:
    """The gate does cut: this is what the others would be without logging in again."""
    with caches(lives_s=1.5) as (one, source, _, target):
        fill_with(one, 12_000)
        with (
            Server.open(source.address(end_is_known=False)) as here,
            Server.open(target.address(end_is_known=False)) as there,
            pytest.raises(CopyStopped) as caught,
        ):
            copy(here, there, limits=Limits(keys_per_s=3000), checkpoint=tmp_path / "c")
        assert isinstance(caught.value.cause, ConnectionLost)
        assert source.cut + target.cut > 0


def test_a_follow_outlives_its_tokens_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "LOOK_EVERY_S", 0.05)  # it looks often enough for tokens that live an hour
    with caches(lives_s=2.5) as (one, source, two, target):
        fill_with(one, 500)
        over, stop = threading.Event(), StopRequest()

        def write() -> None:
            with one.connect() as connection:
                number = 0
                while not over.wait(0.002):
                    connection.call("SET", f"key:{number % 700}", number)
                    number += 1

        thread = threading.Thread(target=write)
        thread.start()
        begun = time.monotonic()

        def watch(_: FollowProgress) -> None:
            if time.monotonic() - begun > 6 and not over.is_set():
                over.set()
                thread.join()
                stop.set()

        try:
            report = copy_and_follow(source.address(), target.address(), on_progress=watch, stop=stop)
        finally:
            over.set()
            thread.join()
        assert report.exact
        assert report.comparisons == 0, report.reasons
        assert source.issued >= 3
        assert source.renewed >= 3
        assert_equal(one, two)


def test_a_verification_outlives_its_tokens() -> None:
    with caches(lives_s=1.0) as (one, source, two, target):
        fill_with(one, 60_000)
        fill_with(two, 60_000)
        with Server.open(source.address()) as here, Server.open(target.address()) as there:
            deadline = time.monotonic() + 30
            begun = source.issued
            while source.issued < begun + 3:  # a quick machine compares several times in one token's life
                assert time.monotonic() < deadline
                report = verify(here, there)
                assert report.equal, report.to_json()
                assert report.counts["compared"] == 60_000


def test_a_token_that_cannot_be_had_is_one_sentence() -> None:
    def token() -> str:
        raise RedismoveError("signing in to Azure: the sign-in was refused; sign in with `az login`")

    with redis_server(password="x") as server:
        from redismove.dataplane.connect import Secret

        with pytest.raises(AuthenticationFailed, match=r"there is no token to log in with \(signing in to Azure.*az"):
            Server.open(server.address.with_password(Secret(token)))
