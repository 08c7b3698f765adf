"""The cut-over on real servers, with an application that writes all the while: nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redismove.dataplane.connect import Server
from redismove.dataplane.cutover import (
    CutOver,
    CutoverEvent,
    CutoverGaveUp,
    CutoverLimits,
    CutoverRefused,
    CutoverReport,
    finish_fence,
)
from redismove.dataplane.fence import KeyName, foreign_clients
from redismove.dataplane.hold import pause_in_force
from redismove.dataplane.verify import differences
from tests.support.cutover import Cache, World, world
from tests.support.redis_servers import ROOT, make_tls

pytestmark = pytest.mark.redis


def assert_nothing_lost(result: dict[str, Any], *, switches: int) -> None:
    assert result["findings"] == []
    assert result["lost"] == 0
    assert result["switches"] == switches
    assert len(result["gap_ms"]) == switches
    assert result["keys_checked"] > 100
    assert result["acknowledged"] > 300
    # What cannot be said must stay the exception, or "0 lost" says nothing.
    assert result["keys_not_checked"] < result["keys_checked"] * 0.1


def assert_closed(cache: Cache) -> None:
    """Nobody but the service is left on a cache."""
    for admin in cache.admins:
        assert foreign_clients(admin, ()) == []


def assert_as_before(here: World) -> None:
    document = here.endpoint.read()
    assert (document.state, document.phase, document.role, document.next) == ("open", "settled", "source", None)


def there_and_back(
    here: World, mode: str, *, rate: int = 500, **options: Any
) -> tuple[list[CutoverReport], dict[str, Any]]:
    here.fill(1500)
    here.fill(200, here.target, prefix="only-on-the-target")
    writers = here.writers(mode, rate=rate)
    reports = []
    for back in (False, True):
        writers.wait_for(250, more=True)
        reports.append(here.cut(back=back, **options))
        assert_closed(here.target if back else here.source)
    writers.wait_for(250, more=True)
    return reports, writers.stop()


@pytest.mark.parametrize(
    ("source", "hold_method", "mode"),
    [
        ("6.2", "pause-write", "plain"),
        ("6.2", "fence", "ours"),
        ("7.0", "pause-write", "ours"),
        ("7.0", "fence", "plain"),
    ],
)
def test_nothing_is_lost_there_and_back(tmp_path: Path, source: str, hold_method: str, mode: str) -> None:
    with world(tmp_path, source=source, target="7.0") as here:
        reports, result = there_and_back(here, mode, hold_method=hold_method)

        assert_nothing_lost(result, switches=2)
        for report in reports:
            assert report.method == hold_method
            assert report.clean
            assert report.keys_changed
            assert report.evidence["keys"] > 1500
            assert report.not_possible == []
            assert report.attempts == 1
        # 300 keys of the source's 1500 in each of two databases were missing, and 200 were the target's own.
        assert reports[0].keys_repaired >= 1700
        if mode == "ours":
            assert result["client_errors"] == 0, "our client holds by itself"
        else:
            assert result["client_errors"] <= 40, "at most one for a connection and a switch"


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two clusters of three primaries; they take seconds to start, so their tests share them."""
    with world(tmp_path_factory.mktemp("clusters"), clustered=True) as here:
        yield here


@pytest.mark.parametrize(("hold_method", "mode"), [("pause-write", "plain"), ("fence", "ours")])
def test_nothing_is_lost_between_clusters_of_three(clusters: World, hold_method: str, mode: str) -> None:
    for admin in (*clusters.source.admins, *clusters.target.admins):
        admin.call("FLUSHALL")

    reports, result = there_and_back(clusters, mode, hold_method=hold_method)

    assert_nothing_lost(result, switches=2)
    assert all(report.clean and report.method == hold_method for report in reports)
    if mode == "ours":
        assert result["client_errors"] == 0


@pytest.mark.parametrize(
    ("clustered", "tls", "hold_method", "mode"),
    [
        (False, False, "pause-write", "ours"),
        (False, False, "fence", "ours"),
        (False, True, "pause-write", "ours"),
        (True, False, "pause-write", "ours"),
        (True, False, "fence", "plain"),
        (False, False, "pause-write", "plain"),
    ],
)
def test_nothing_is_lost_of_an_application_that_stands_still_through_it(
    tmp_path: Path, clustered: bool, tls: bool, hold_method: str, mode: str
) -> None:
    with world(tmp_path, clustered=clustered, tls=make_tls(tmp_path / "tls") if tls else None) as here:
        here.fill(300)
        writers = here.writers(mode, rate=3000)

        def stop_before_the_hold(event: CutoverEvent) -> None:
            if event.step == "drain":
                writers.stand_still()

        for back in (False, True) * 4:
            writers.wait_for(600, more=True)
            report = here.cut(back=back, hold_method=hold_method, on_event=stop_before_the_hold)
            writers.go_on()
            assert report.clean
        writers.wait_for(600, more=True)
        result = writers.stop()

        assert_nothing_lost(result, switches=8)
        if mode == "ours":
            # Stopped between its last look and the wire: of unknown outcome, and said so. An ordinary client has 160.
            assert result["client_errors"] <= 24


def test_nothing_is_lost_at_5000_writes_a_second(tmp_path: Path) -> None:
    with world(tmp_path, source="6.2") as here:
        here.fill(1500)
        writers = here.writers(rate=5000)
        writers.wait_for(1500)
        report = here.cut()
        writers.wait_for(1500, more=True)
        result = writers.stop()

        assert_nothing_lost(result, switches=1)
        assert report.clean
        assert report.notifications > 100


@pytest.mark.parametrize("hold_method", ["pause-write", "fence"])
def test_nothing_is_lost_over_tls(tmp_path: Path, hold_method: str) -> None:
    with world(tmp_path, tls=make_tls(tmp_path / "tls")) as here:
        reports, result = there_and_back(here, "ours" if hold_method == "fence" else "plain", hold_method=hold_method)

        assert_nothing_lost(result, switches=2)
        assert all(report.clean for report in reports)


def test_a_source_that_notifies_nothing_is_compared_inside_the_hold(tmp_path: Path) -> None:
    with world(tmp_path, source="6.2", notify="") as here:
        here.fill(1500)
        writers = here.writers()
        writers.wait_for(250)
        report = here.cut()
        writers.wait_for(250, more=True)
        result = writers.stop()

        assert_nothing_lost(result, switches=1)
        assert report.in_hold["keys"] > 1500
        assert report.in_hold["differences"] == 0
        assert any("could not be followed" in sentence for sentence in report.not_possible)
        forecast = next(event for event in here.events if event.step == "forecast")
        held = next(index for index, event in enumerate(here.events) if event.step == "hold")
        assert here.events.index(forecast) < held, "said before anybody is held"
        assert forecast.numbers["keys"] > 1500


def test_a_source_that_notifies_nothing_and_would_hold_too_long_is_left_alone(tmp_path: Path) -> None:
    with world(tmp_path, notify="Kg") as here:
        here.fill(1500)
        limits = CutoverLimits(hold_with_compare_s=0.0001)

        with pytest.raises(CutoverGaveUp, match="notify-keyspace-events KA"):
            here.cut(limits=limits)

        assert_as_before(here)


class _DuringTheHold(CutOver):
    """Does something inside the hold, before it is proven that nothing changed."""

    action: Callable[[CutOver], None]

    def settle(self) -> None:
        super().settle()
        type(self).action(self)


def at_event(here: World, step: str, action: Callable[[], object]) -> Callable[[CutoverEvent], None]:
    """Return an `on_event` that does *action* once, when *step* is first told."""
    done: list[bool] = []

    def told(event: CutoverEvent) -> None:
        here.events.append(event)
        if event.step == step and not done:
            done.append(True)
            action()

    return told


def assert_equal(here: World) -> None:
    with Server.open(here.source.address) as source, Server.open(here.target.address) as target:
        assert list(differences(source, target)) == []


@pytest.mark.parametrize(
    "command", [("FLUSHALL",), ("FLUSHDB",), ("SWAPDB", 0, 1), ("EVAL", "return redis.call('FLUSHALL')", 0)]
)
def test_a_flush_while_following_is_seen_and_repaired(tmp_path: Path, command: tuple[Any, ...]) -> None:
    """It is not notified: the counters tell."""
    with world(tmp_path) as here:
        here.fill(600)
        # After the pass has compared the keys: without a second one the target would keep them.
        told = at_event(here, "repair", lambda: here.source.command(*command))

        report = here.cut(on_event=told)

        assert report.repair_passes == 2
        assert report.clean
        assert_equal(here)


def test_a_flush_inside_the_hold_ends_it_and_another_attempt_carries_it_over(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(600)
        times: list[int] = []

        class Flushed(_DuringTheHold):
            @staticmethod
            def action(run: CutOver) -> None:
                if not times:
                    times.append(1)
                    here.source.command("CLIENT", "UNPAUSE")  # somebody else's, by hand
                    here.source.command("FLUSHALL")

        report = here.cut(Flushed)

        assert report.attempts == 2
        assert report.clean
        assert_equal(here)


@pytest.mark.parametrize("hold_method", ["pause-write", "fence"])
def test_a_lost_subscription_means_subscribing_and_comparing_again(tmp_path: Path, hold_method: str) -> None:
    with world(tmp_path) as here:
        here.fill(600)

        def cut_and_write() -> None:
            here.source.command("CLIENT", "KILL", "TYPE", "pubsub")
            here.source.command("SET", "k:0", "written while nobody followed")
            here.source.command("DEL", "k:1")

        report = here.cut(on_event=at_event(here, "repair", cut_and_write), hold_method=hold_method)

        assert report.repair_passes == 2
        assert here.target.command("GET", "k:0") == b"written while nobody followed"
        assert here.target.command("EXISTS", "k:1") == 0


def test_a_subscription_lost_inside_the_hold_ends_the_hold(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(600)
        times: list[int] = []

        class Lost(_DuringTheHold):
            @staticmethod
            def action(run: CutOver) -> None:
                if not times:
                    times.append(1)
                    here.source.command("CLIENT", "KILL", "TYPE", "pubsub")
                    run.pursuit.marker()

        report = here.cut(Lost)

        assert report.attempts == 2
        assert any(event.step == "again" for event in here.events)


def test_reading_a_streams_group_is_carried_though_it_is_not_notified(tmp_path: Path) -> None:
    with world(tmp_path, source="6.2") as here:
        for number in range(1, 6):
            here.source.command("XADD", "orders", f"{number}-1", "n", number)
        here.source.command("XGROUP", "CREATE", "orders", "workers", "0")
        here.source.command("XREADGROUP", "GROUP", "workers", "a", "COUNT", 1, "STREAMS", "orders", ">")

        def read_on() -> None:
            here.source.command("XREADGROUP", "GROUP", "workers", "a", "COUNT", 2, "STREAMS", "orders", ">")
            here.source.command("XACK", "orders", "workers", "1-1", "2-1")

        report = here.cut(on_event=at_event(here, "hold", read_on))

        assert report.streams_for_hold == 1
        rest = here.target.command("XREADGROUP", "GROUP", "workers", "a", "STREAMS", "orders", ">")
        assert [entry for entry, _ in rest[0][1]] == [b"4-1", b"5-1"], "nothing is delivered twice"
        pending = here.target.command("XPENDING", "orders", "workers", "-", "+", 10)
        assert [row[0] for row in pending][:1] == [b"3-1"]


@pytest.mark.parametrize("mode", ["plain", "ours"])
def test_too_little_time_before_the_hold_changes_nothing(tmp_path: Path, mode: str) -> None:
    with world(tmp_path) as here:
        here.fill(3000)
        writers = here.writers(mode)
        writers.wait_for(100)
        keys = here.source.keys

        with pytest.raises(CutoverGaveUp, match=r"nothing was switched: comparing .* did not end in time.* as before"):
            here.cut(limits=CutoverLimits(total_s=0.01))

        assert_as_before(here)
        assert here.source.keys == keys
        writers.wait_for(100, more=True)
        result = writers.stop()
        assert_nothing_lost({**result, "acknowledged": 301, "keys_checked": 101}, switches=0)
        assert result["client_errors"] == 0


def test_a_hold_that_takes_too_long_is_taken_back(tmp_path: Path) -> None:
    class Slow(CutOver):
        def settle(self) -> None:
            super().settle()
            time.sleep(0.1)  # slower than its limit

    with world(tmp_path) as here:
        here.fill(600)
        writers = here.writers("ours")
        writers.wait_for(100)

        with pytest.raises(CutoverGaveUp, match=r"the hold took 1\d\d ms, allowed are 100 ms"):
            here.cut(Slow, limits=CutoverLimits(hold_ms=100, attempts=2))

        assert_as_before(here)
        with Server.open(here.source.address) as source:
            assert not pause_in_force(source.new_connection())
        writers.wait_for(100, more=True)
        result = writers.stop()
        assert result["lost"] == 0
        assert result["client_errors"] == 0


def test_a_fence_that_takes_too_long_opens_the_source_again_with_its_new_keys(tmp_path: Path) -> None:
    class SlowKeys(CutOver):
        def change_keys(self) -> None:
            super().change_keys()
            time.sleep(0.1)  # slower than its limit

    with world(tmp_path) as here:
        here.fill(600)
        writers = here.writers("ours")
        writers.wait_for(100)

        with pytest.raises(CutoverGaveUp, match="its access keys are new"):
            here.cut(SlowKeys, limits=CutoverLimits(fence_hold_ms=100), hold_method="fence")

        assert_as_before(here)
        writers.wait_for(100, more=True)
        result = writers.stop()
        assert result["lost"] == 0
        assert result["client_errors"] == 0


def test_a_service_that_is_slow_to_change_keys_holds_nobody_for_the_unused_one(tmp_path: Path) -> None:
    slow_s = 0.2

    class SlowKeys:
        def __init__(self) -> None:
            self.changed: list[tuple[str, str]] = []

        def current(self) -> dict[str, str]:
            return here.source.current()

        def regenerate(self, name: KeyName) -> str:
            self.changed.append((name, here.endpoint.read().state))
            time.sleep(slow_s)
            return here.source.regenerate(name)

    with world(tmp_path) as here:
        here.fill(600)
        writers = here.writers(rate=2000)
        writers.wait_for(600)
        keys = SlowKeys()
        report = here.cut(keys=keys, hold_method="fence")
        writers.wait_for(300, more=True)
        result = writers.stop()

        assert_nothing_lost(result, switches=1)
        assert keys.changed == [("Secondary", "hold"), ("Primary", "hold")], "no application may fetch a new one"
        assert report.hold_ms < 2 * slow_s * 1000 < report.announced_ms
        # Who is logged in writes on while a key is changed: some hundred keys, carried over meanwhile.
        assert report.left_for_hold < 100


@pytest.mark.parametrize(
    ("step", "hold_method"),
    [
        ("settle", "pause-write"),  # held, not switched
        ("switch", "pause-write"),  # the pause is long by now
        ("fence", "pause-write"),  # switched, nobody is cut
        ("release", "pause-write"),  # fenced, the pause goes on
        ("settle", "fence"),  # closed, not switched
        ("fence", "fence"),  # switched
    ],
)
def test_killed_and_run_again_nothing_is_lost(tmp_path: Path, step: str, hold_method: str) -> None:
    with world(tmp_path) as here:
        here.fill(600)
        writers = here.writers()
        writers.wait_for(250)
        killed = subprocess.run(
            [sys.executable, "-m", "tests.support.cutover_killed", str(tmp_path), step, hold_method],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert killed.returncode == -9, killed.stderr
        switched = step in ("fence", "release")
        assert here.endpoint.read().phase == ("fencing" if switched else "settled")
        assert here.endpoint.read().state == ("open" if switched else "hold")

        report = here.cut(hold_method=hold_method)

        assert report.resumed == switched
        assert report.not_possible == []
        document = here.endpoint.read()
        assert (document.state, document.phase, document.role) == ("open", "settled", "target")
        assert_closed(here.source)
        writers.wait_for(250, more=True)
        assert_nothing_lost(writers.stop(), switches=1)


def test_reading_of_groups_alone_is_not_taken_for_a_source_that_notifies_nothing(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(300)
        here.source.command("XGROUP", "CREATE", "x", "g", "0", "MKSTREAM")
        here.source.command("XGROUP", "CREATECONSUMER", "x", "g", "c")
        here.source.command("XADD", "x", "1-1", "f", "v")

        def read_and_write_later(event: CutoverEvent) -> None:
            if event.step == "follow":
                here.source.command("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", "x", ">")
                threading.Timer(0.3, lambda: here.source.command("SET", "later", "v")).start()

        report = here.cut(on_event=read_and_write_later)

        assert report.not_possible == []
        assert report.clean
        assert here.target.command("GET", "later") == b"v"
        assert here.target.command("XPENDING", "x", "g")[0] == 1


@pytest.mark.parametrize("hold_method", ["pause-write", "fence"])
def test_killed_at_any_moment_and_run_again_nothing_is_lost(tmp_path: Path, hold_method: str) -> None:
    moments = random.Random(7)
    with world(tmp_path) as here:
        here.fill(3000)
        writers = here.writers(rate=1000)
        writers.wait_for(300)
        for number in range(8):
            back = bool(number % 2)
            running = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.support.cutover_killed", str(tmp_path), "never", hold_method),
                    *(["back"] if back else []),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert running.stdout is not None
            running.stdout.readline()
            time.sleep(moments.random() * 0.3)
            running.kill()
            running.communicate()

            here.cut(back=back, hold_method=hold_method)

            assert here.endpoint.read().role == ("source" if back else "target")
            writers.wait_for(100, more=True)
        assert_nothing_lost(writers.stop(), switches=8)


def test_a_fence_finished_after_the_pause_ran_out_says_so(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.endpoint.switch(here.target.entry)

        report = finish_fence(here.source.address, here.target.address, endpoint=here.endpoint, keys=here.source)

        assert report.resumed
        assert any("the pause had run out" in sentence for sentence in report.not_possible)
        assert here.endpoint.read().phase == "settled"


def test_a_finished_cut_over_run_again_does_nothing(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.cut()
        before, keys = here.endpoint.read(), here.source.keys

        report = here.cut()

        assert report.resumed
        assert here.endpoint.read() == before
        assert here.source.keys == keys


def test_without_keys_to_change_a_pause_still_works_and_says_what_it_cannot(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(600)
        writers = here.writers()
        writers.wait_for(250)
        report = here.cut(keys=None)
        writers.wait_for(250, more=True)
        result = writers.stop()

        assert_nothing_lost({**result, "acknowledged": 501}, switches=1)
        assert not report.keys_changed
        assert any("no access key could be changed" in sentence for sentence in report.not_possible)
        with pytest.raises(CutoverRefused, match="can only be held by changing its access keys"):
            here.cut(keys=None, back=True, hold_method="fence")


def test_a_new_cache_takes_the_applications_and_no_key(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(600)

        report = here.cut(carry=False)

        assert here.endpoint.read().role == "target"
        assert here.target.command("DBSIZE") == 0
        assert report.keys_compared == 0
        assert_closed(here.source)


@pytest.mark.parametrize(
    ("permissions", "sentence"),
    [
        (("-client|kill",), "connections cannot be cut"),
        (("-client|pause",), "cannot be held by a pause"),
    ],
)
def test_what_the_service_does_not_allow_is_refused_before_anything_is_begun(
    tmp_path: Path, permissions: tuple[str, ...], sentence: str
) -> None:
    with world(tmp_path) as here:
        here.source.command("ACL", "SETUSER", "default", *permissions)

        with pytest.raises(CutoverRefused, match=sentence):
            here.cut(hold_method="pause-write")

        assert here.endpoint.read().generation == 1


def test_a_server_without_a_pause_of_writes_is_held_by_the_fence(tmp_path: Path) -> None:
    """As Redis 6.0 is, which knows CLIENT PAUSE without a mode only."""
    with world(tmp_path) as here:
        here.source.command("ACL", "SETUSER", "default", "-client|pause", "-client|unpause")

        assert here.cut().method == "fence"


def test_a_key_that_expires_while_the_source_is_closed_is_not_taken_for_a_write(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(60)
        here.source.command("SET", "short", "lived", "PX", 150)

        class Expired(_DuringTheHold):
            @staticmethod
            def action(run: CutOver) -> None:
                deadline = time.monotonic() + 5
                while here.source.command("EXISTS", "short"):
                    assert time.monotonic() < deadline

        report = here.cut(Expired, hold_method="fence")

        assert report.clean
        assert here.target.command("EXISTS", "short") == 0


def test_a_write_to_the_closed_source_ends_the_hold(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(60)

        class Written(_DuringTheHold):
            @staticmethod
            def action(run: CutOver) -> None:
                here.source.command("SET", "k:0", "by somebody who got in")

        with pytest.raises(CutoverGaveUp, match="1 keys were written to the source after it was closed"):
            here.cut(Written, hold_method="fence")

        assert_as_before(here)


def test_a_replica_is_not_a_target(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.target.command("REPLICAOF", "127.0.0.1", 1)

        with pytest.raises(CutoverRefused, match="only a primary takes writes"):
            here.cut()


def test_no_secret_is_told(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.fill(60)
        old = [*here.source.keys.values(), *here.target.keys.values()]
        report = here.cut()

        told = repr(here.events) + repr(report) + repr(report.to_dict()) + here.endpoint.path.read_text()
        for secret in [*old, *here.source.keys.values()]:
            assert secret not in told
