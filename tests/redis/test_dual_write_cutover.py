"""Dual-write ends in the cut-over that every method has: applications that write through it lose nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from redismove.dataplane.connect import Server
from redismove.dataplane.verify import verify
from redismove.dual_write import DualWriteRedis
from tests.support.cutover import World, world
from tests.support.dual_write import quick

pytestmark = pytest.mark.redis


class Application:
    """A process of the application: it counts, and remembers what was acknowledged."""

    def __init__(self, here: World, number: int) -> None:
        self.here = here
        self.number = number
        self.counted = 0
        self.unknown = 0
        self.written: dict[str, str] = {}
        self.stop = threading.Event()
        self.client = DualWriteRedis(here.endpoint, self.credentials, settings=quick(), decode_responses=True)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def credentials(self, resource_id: str) -> tuple[str | None, str]:
        """What an application asks Azure for."""
        cache = self.here.source if resource_id.endswith("source") else self.here.target
        return None, cache.keys["Primary"]

    def run(self) -> None:
        """Write until told to stop."""
        while not self.stop.is_set():
            key, value = f"app:{self.number}:{self.counted % 20}", str(self.counted)
            try:
                self.client.incr(f"count:{self.number}")
                self.counted += 1
                self.client.set(key, value, ex=1000)
                self.written[key] = value
                self.client.incr("count:all")
            except RedisError:
                self.unknown += 1
                self.written.pop(key, None)

    def wait_for(self, more: int) -> None:
        """Let it write so much more."""
        until = self.counted + more
        for _ in range(2000):
            if self.counted >= until:
                return
            self.stop.wait(0.005)
        raise AssertionError(f"application {self.number} is stuck at {self.counted}")

    def end(self) -> None:
        """Stop writing, and close."""
        self.stop.set()
        self.thread.join(30)
        self.client.close()


@pytest.mark.parametrize("mode", ["write-both", "read-new"])
def test_nothing_is_lost_through_the_cut_over(tmp_path: Path, mode: Any) -> None:
    with world(tmp_path) as here:
        here.fill(500)
        here.endpoint.set_dual_write("write-both", here.target.entry)
        applications = [Application(here, number) for number in range(3)]
        try:
            for application in applications:
                application.wait_for(30)
            here.endpoint.set_dual_write(mode)
            applications[0].wait_for(10)
            report = here.cut()
            assert report.in_hold.get("differences", 0) == 0
            for application in applications:
                application.wait_for(30)
        finally:
            for application in applications:
                application.end()

        assert here.endpoint.read().dual_write is None
        assert here.endpoint.read().role == "target"
        for application in applications:
            found = int(here.target.command("GET", f"count:{application.number}"))
            assert application.counted <= found <= application.counted + application.unknown
            for key, value in application.written.items():
                assert here.target.command("GET", key) == value.encode(), key
        assert here.target.command("DBSIZE") >= 250
        for application in applications:
            assert application.client.stats().pending == 0


def test_what_the_clients_have_carried_is_left_alone_by_the_cut_over(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.endpoint.set_dual_write("write-both", here.target.entry)
        applications = [Application(here, number) for number in range(2)]
        try:
            for application in applications:
                application.wait_for(50)
        finally:
            for application in applications:
                application.end()
        with Server.open(here.source.address) as source, Server.open(here.target.address) as target:
            assert verify(source, target).equal
        report = here.cut()

    assert report.keys_repaired == 0
