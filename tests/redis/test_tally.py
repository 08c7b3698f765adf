"""A cut-over whose loss is announced: nothing is carried, and the count is the loss, to the key."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from redismove.application import EndpointRedis, follow_endpoint
from redismove.dataplane.connect import Server
from redismove.dataplane.cutover import CutoverLimits
from redismove.dataplane.tally import CountingCutOver
from tests.support.cutover import Cache, World, world

pytestmark = pytest.mark.redis


class Writer:
    """An application that sets one new key after another, and remembers those that were acknowledged."""

    def __init__(self, here: World) -> None:
        def credentials(resource_id: str) -> tuple[str | None, str]:
            found = json.loads((here.folder / "credentials.json").read_text())[resource_id]
            return found["username"], found["password"]

        self.written: list[bytes] = []
        self._client: EndpointRedis = follow_endpoint(here.folder / "endpoint.json", credentials)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        for number in itertools.count():
            if self._over.wait(0.002):
                return
            key = b"written:%d" % number
            if self._client.set(key, number):
                self.written.append(key)

    def wait_for(self, count: int) -> None:
        for _ in range(5_000):
            if len(self.written) >= count:
                return
            self._over.wait(0.002)
        raise AssertionError(f"only {len(self.written)} keys were written")

    def stop(self) -> list[bytes]:
        self._over.set()
        self._thread.join()
        self._client.close()
        return self.written


def _set(cache: Cache, **values: Any) -> None:
    for key, value in values.items():
        cache.admins[cache.admin_of(key.encode())].call("SET", key, value)


def _lacking(cache: Cache, keys: list[bytes]) -> int:
    with Server.open(cache.address) as server:
        return sum(1 - int(there) for there in server.execute([(key, ("EXISTS", key)) for key in keys]))


@pytest.mark.parametrize("clustered", [False, True])
def test_the_count_is_exactly_what_a_live_application_loses(tmp_path: Path, clustered: bool) -> None:
    with world(tmp_path, clustered=clustered) as here:
        equal = {f"equal{number}": number for number in range(300)}
        _set(here.source, **equal, older=2, only=1, becomes_equal="new")
        _set(here.target, **equal, older=1, extra=1, becomes_equal="old")
        writer = Writer(here)
        writer.wait_for(50)
        _set(here.source, becomes_equal="old")

        report = here.cut(CountingCutOver, limits=CutoverLimits(total_s=60, hold_ms=5_000))

        writer.wait_for(len(writer.written) + 50)
        lost = _lacking(here.target, writer.stop())
        assert lost >= 50
        assert report.in_hold["differences"] == lost + 3, "what the writer lost, and the keys older, only and extra"
        assert report.keys_repaired == 0
        assert here.endpoint.read().entry == here.target.entry
        with Server.open(here.target.address) as server:
            assert server.execute([(b"older", ("GET", "older"))]) == [b"1"]
            assert server.execute([(b"extra", ("GET", "extra"))]) == [b"1"], "nothing is written to the target"


def test_without_notifications_everything_is_counted_inside_the_hold(tmp_path: Path) -> None:
    with world(tmp_path, notify="") as here:
        _set(here.source, a=1, b=2, c=3)
        _set(here.target, a=1)

        report = here.cut(CountingCutOver)

        assert report.in_hold["differences"] == 2
        assert report.in_hold["first_differences"] == ["db0 b'b'", "db0 b'c'"]
        assert _lacking(here.target, [b"a", b"b", b"c"]) == 2


def test_a_stream_whose_group_moved_on_unseen_is_counted(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        for cache in (here.source, here.target):
            cache.command("XADD", "stream", "1-0", "a", "1")
            cache.command("XGROUP", "CREATE", "stream", "readers", "0")
        here.source.command("XREADGROUP", "GROUP", "readers", "one", "STREAMS", "stream", ">")

        report = here.cut(CountingCutOver)

        assert report.in_hold["first_differences"] == ["db0 b'stream'"]
