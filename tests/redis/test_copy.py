"""The copy: exact by either engine, able to go on, bounded, and honest about what stops it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from redismove.cli.copy import copy as copy_command
from redismove.dataplane import pump as pump_module
from redismove.dataplane import throttle as throttle_module
from redismove.dataplane.compiled import NATIVE_VARIABLE
from redismove.dataplane.connect import Server
from redismove.dataplane.copy import CopyProgress, CopyStopped, Engine, copy
from redismove.dataplane.errors import AuthenticationFailed, CannotCarry, ConnectionLost, OutOfMemory, ReadOnlyServer
from redismove.dataplane.throttle import Limits, LimitsInvalid, SourceGuard, SourceReading, Throttle, judge
from redismove.dataplane.verify import verify
from tests.support.datasets import every_type, fill
from tests.support.redis_servers import make_tls, redis_cluster, redis_server

pytestmark = pytest.mark.redis
ENGINES: list[Engine] = ["native", "python"]
ROOT = Path(__file__).resolve().parents[2]


def many(count: int, *, size: int = 30) -> list[tuple[object, ...]]:
    rng = random.Random(1)
    return [
        ("SET", f"key:{number}", rng.randbytes(size), *(("PX", 10_000_000 + number) if number % 3 == 0 else ()))
        for number in range(count)
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("kind", "other"), [("7.0", "7.0"), ("6.2", "7.0"), ("7.0", "6.2"), ("valkey", "6.2"), ("7.0", "valkey")]
)
def test_all_databases_and_types_arrive(
    opened: Callable[[str, int], Server], kind: str, other: str, engine: Engine
) -> None:
    source, target = opened(kind, 0), opened(other, 1)
    for database in (0, 3, 12):
        fill(source.connection(database=database), [*every_type(str(database)), *many(1500)])
    fill(target.connection(database=0), [("SET", "kept", "yes")])
    report = copy(source, target, engine=engine)
    expected = sum(source.databases().values())
    assert report.engine == engine
    assert report.scanned == report.copied == expected
    assert report.databases == source.databases()
    by_type = (kind, other) in {("7.0", "6.2"), ("valkey", "6.2")}
    assert report.by_type == (expected if by_type else 0)
    assert any("refuses the payloads" in notice for notice in report.notices) == by_type
    assert target.connection(database=0).call("DEL", "kept") == 1, "what the target had besides stays"
    outcome = verify(source, target)
    assert outcome.equal, outcome.to_json()


@pytest.mark.parametrize("engine", ENGINES)
def test_clusters_on_either_side(source: Server, engine: Engine) -> None:
    fill(source.connection(), [*every_type(), *many(3000)])
    with (
        redis_cluster(3) as three,
        redis_cluster(2) as two,
        Server.open(three.address) as middle,
        Server.open(two.address) as last,
    ):
        for one, other in ((source, middle), (middle, last)):
            report = copy(one, other, engine=engine)
            assert report.scanned == report.copied == 3034
            assert verify(one, other).equal
        target_count = sum(last.databases().values())
        assert target_count == 3034


@pytest.mark.parametrize("engine", ENGINES)
def test_big_values_go_in_parts(source: Server, target: Server, engine: Engine) -> None:
    fill(source.connection(), [*every_type(), *many(200)])
    report = copy(source, target, engine=engine, big_value_bytes=5000)
    assert report.in_parts > 3
    assert verify(source, target).equal
    assert verify(source, target, big_value_bytes=5000).equal


def test_the_engines_verify_alike(source: Server, target: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(source.connection(), [*every_type(), *many(5000)])
    copy(source, target)
    fill(
        target.connection(),
        [("SETRANGE", "key:77", 3, "\x01"), ("DEL", "key:78"), ("SET", "more", 1), ("PERSIST", "key:3")],
    )
    native = verify(source, target).to_json()
    monkeypatch.setenv(NATIVE_VARIABLE, "0")
    pump_module.library.cache_clear()
    try:
        assert pump_module.library() is None
        python = verify(source, target).to_json()
    finally:
        monkeypatch.undo()
        pump_module.library.cache_clear()
    for volatile in ("duration_s", "keys_per_s"):
        del native[volatile], python[volatile]
    assert native == python
    assert native["counts"]["value"] == native["counts"]["only_in_source"] == native["counts"]["only_in_target"] == 1
    assert native["counts"]["expiry"] == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_limit_holds_and_can_be_changed_while_it_runs(source: Server, target: Server, engine: Engine) -> None:
    fill(source.connection(), many(12_000))
    limits = Limits(keys_per_s=4000)
    seen: list[CopyProgress] = []

    def watch(progress: CopyProgress) -> None:
        seen.append(progress)
        if progress.elapsed_s > 1.5:
            limits.keys_per_s = None

    report = copy(source, target, engine=engine, limits=limits, on_progress=watch)
    early = [progress for progress in seen if 0.5 < progress.elapsed_s < 1.4]
    assert early
    for progress in early:
        assert progress.scanned <= 4000 * progress.elapsed_s + 1200, "SCAN may be a batch ahead"
        assert progress.copied <= 4000 * progress.elapsed_s + 500
    assert any(progress.slowed_by == "its limits" for progress in early)
    assert report.copied == 12_000
    assert report.duration_s < 3.0, "without a limit the rest takes no time"


def test_limits_come_from_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    limits = Limits(file=path)
    assert not limits.refresh()
    path.write_text('{"keys_per_s": 100, "source_cpu_share": null}')
    assert limits.refresh()
    assert (limits.keys_per_s, limits.source_cpu_share) == (100, None)
    assert not limits.refresh()
    for text, said in (
        ("{", "not a JSON object"),
        ('{"keys": 1}', "unknown limits keys"),
        ('{"mb_per_s": -1}', "above 0"),
    ):
        path.write_text(text)
        os.utime(path, ns=(time.time_ns(), time.time_ns()))
        with pytest.raises(LimitsInvalid, match=said):
            limits.refresh()


def test_the_guard_judges_what_it_is_told() -> None:
    calm = SourceReading(latency_ms=1, others_per_s=5000, cpu_share=0.5, memory_share=0.5, evicted=0)
    limits = Limits()
    assert judge(calm, limits) is None
    for change, said in (
        ({"latency_ms": 30.0}, "latency 30.0 ms"),
        ({"memory_share": 0.97}, "memory 97%"),
        ({"evicted": 5}, "evicted 5 keys"),
        ({"cpu_share": 0.95}, "CPU 95%"),
    ):
        assert said in str(judge(SourceReading(**{**vars(calm), **change}), limits))
    alone = SourceReading(latency_ms=1, others_per_s=0, cpu_share=1.0, memory_share=0.5, evicted=0)
    assert judge(alone, limits) is None, "a busy CPU hurts nobody where nobody is"
    throttle = Throttle(limits)
    assert throttle.rate(100) is None
    throttle.note("slow", 100_000)
    assert throttle.rate(100) == 50_000
    throttle.note("slow", 50_000)
    assert throttle.rate(100) == 25_000
    throttle.note(None, 25_000)
    assert throttle.rate(100) == 31_250


@pytest.mark.parametrize(
    ("base_ms", "pings_ms", "beyond_ms"),
    [
        (80.0, [115.0, 81.0, 80.5], 0.5),  # the first met a SCAN of ours
        (80.0, [130.0, 125.0, 140.0], 45.0),
        (80.0, [79.0, 79.0, 79.0], 0.0),
        (0.1, [30.1], 30.0),
    ],
)
def test_a_scan_of_our_own_over_a_long_line_is_not_taken_for_a_suffering_source(
    monkeypatch: pytest.MonkeyPatch, base_ms: float, pings_ms: list[float], beyond_ms: float
) -> None:
    answers = iter(pings_ms)
    monkeypatch.setattr(throttle_module, "_ping_ms", lambda _: next(answers))

    assert throttle_module.latency_beyond_ms(None, base_ms) == pytest.approx(beyond_ms)  # type: ignore[arg-type]
    assert next(answers, None) is None


def test_the_guard_tells_our_own_commands_from_those_of_others(source: Server) -> None:
    """Even where the copy's own count is far behind, as over a long line: then it would slow down for itself."""
    commands: list[tuple[object, ...]] = [("SET", f"key:{number}", "value") for number in range(1000)]
    with source.new_connection(source.nodes[0]) as others:
        others.pipeline(commands)
        guard = SourceGuard(source, source.nodes[0])
        try:
            seen: list[float] = []
            for word in ("DUMP", "SET", "PTTL"):
                deadline = time.monotonic() + 20
                readings = 0
                while readings < 2 and time.monotonic() < deadline:  # the first may hold what came before this word
                    others.pipeline([(word, *rest[: 2 if word == "SET" else 1]) for _, *rest in commands])
                    if (reading := guard.take()) is not None:
                        readings += 1
                        last = reading.others_per_s
                assert readings == 2
                seen.append(last)
        finally:
            guard.close()
    assert seen[0] == seen[2] == 0
    assert seen[1] > 1000


@pytest.mark.parametrize("engine", ENGINES)
def test_it_goes_on_from_its_checkpoint_after_sigkill(
    source: Server, target: Server, tmp_path: Path, engine: Engine
) -> None:
    fill(source.connection(), many(30_000))
    checkpoint = tmp_path / "copy.checkpoint"
    script = (
        "import sys; from pathlib import Path; from redismove.dataplane.connect import *;"
        "from redismove.dataplane.copy import copy; from redismove.dataplane.throttle import Limits;"
        "s, t = (Server.open(ServerAddress.from_url(u)) for u in sys.argv[1:3]);"
        "copy(s, t, checkpoint=Path(sys.argv[3]), engine=sys.argv[4], limits=Limits(keys_per_s=8000))"
    )
    command = [sys.executable, "-c", script, source.address.url, target.address.url, str(checkpoint), engine]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 30
    while not (checkpoint.exists() and json.loads(checkpoint.read_text())["data"]["parts"]):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    cursors = [row["cursor"] for row in json.loads(checkpoint.read_text())["data"]["parts"].values()]
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert cursors != ["0"]
    report = copy(source, target, checkpoint=checkpoint, engine=engine)
    assert report.resumed
    assert 0 < report.scanned < 30_000, "not from the start"
    assert not checkpoint.exists()
    outcome = verify(source, target)
    assert outcome.equal, outcome.to_json()
    assert source.databases() == {0: 30_000}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_stops_it_is_one_sentence_with_how_far_it_got(source: Server, tmp_path: Path, engine: Engine) -> None:
    fill(source.connection(), many(3000, size=2000))
    checkpoint = tmp_path / "c"
    with redis_server(options=["--maxmemory", "4mb"]) as full, Server.open(full.address) as target:
        with pytest.raises(CopyStopped, match=r"out of memory.*of about 3,000 keys were copied.*checkpoint") as caught:
            copy(source, target, engine=engine, checkpoint=checkpoint)
        assert isinstance(caught.value.cause, OutOfMemory)
        target.connection().call("CONFIG", "SET", "maxmemory", 0)
        copy(source, target, engine=engine, checkpoint=checkpoint)
        assert verify(source, target).equal
    with redis_server(options=["--replicaof", "127.0.0.1", "1"]) as replica, Server.open(replica.address) as target:
        with pytest.raises(CopyStopped, match="begins anew") as caught:
            copy(source, target, engine=engine)
        assert isinstance(caught.value.cause, ReadOnlyServer)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cut_line_is_noticed_and_gone_on_from(source: Server, tmp_path: Path, engine: Engine) -> None:
    fill(source.connection(), many(20_000))
    checkpoint = tmp_path / "c"
    with redis_server() as server, Server.open(server.address) as target:
        cut = threading.Event()

        def watch(progress: CopyProgress) -> None:
            if progress.copied > 2000 and not cut.is_set():
                cut.set()
                with server.connect() as other:
                    other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        with pytest.raises(CopyStopped, match="ended") as caught:
            copy(
                source,
                target,
                engine=engine,
                checkpoint=checkpoint,
                limits=Limits(keys_per_s=10_000),
                on_progress=watch,
            )
        assert isinstance(caught.value.cause, ConnectionLost)
        with Server.open(server.address) as again:
            report = copy(source, again, engine=engine, checkpoint=checkpoint)
            assert report.resumed
            assert verify(source, again).equal


def test_databases_that_the_target_lacks_are_said_before_anything_is_copied(source: Server) -> None:
    fill(source.connection(database=2), [("SET", "k", 1)])
    fill(source.connection(database=0), [("SET", "k", 1)])
    with redis_cluster(2) as cluster, Server.open(cluster.address) as target:
        with pytest.raises(CopyStopped, match="1 keys in database 2") as caught:
            copy(source, target)
        assert isinstance(caught.value.cause, CannotCarry)
        assert target.databases() == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failover_in_the_middle_of_a_copy(engine: Engine) -> None:
    with (
        redis_cluster(3, replicas=1) as cluster,
        redis_server() as single,
        Server.open(cluster.address) as source,
        Server.open(single.address) as target,
    ):
        commands = [(b"key:%d" % number, ("SET", b"key:%d" % number, number)) for number in range(20_000)]
        assert set(source.execute(commands)) == {b"OK"}
        for server, replica in zip(cluster.nodes, cluster.replicas, strict=True):
            with server.connect() as connection:
                assert connection.call("WAIT", 1, 5000) == 1, replica.output()
        over = threading.Event()

        def watch(progress: CopyProgress) -> None:
            if progress.copied > 2000 and not over.is_set():
                over.set()
                with cluster.replicas[0].connect() as replica:
                    assert replica.call("CLUSTER", "FAILOVER", "TAKEOVER") == b"OK"
                cluster.nodes[0].kill()

        copy(source, target, engine=engine, limits=Limits(keys_per_s=8000), on_progress=watch)
        assert over.is_set()
        source.forget_broken()
        source.refresh_nodes()
        assert verify(source, target).equal
        assert target.databases() == {0: 20_000}


def test_tls_on_both_sides(tmp_path: Path) -> None:
    files = make_tls(tmp_path)
    with (
        redis_server(tls=files, password="one") as one,
        redis_server(tls=files, password="two") as two,
        Server.open(one.address) as source,
        Server.open(two.address) as target,
    ):
        fill(source.connection(), [*every_type(), *many(20_000)])
        report = copy(source, target, engine="native")
        assert report.copied == 20_034
        assert verify(source, target).equal


def test_what_tls_has_decrypted_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Room ends inside the last record, and the rest of that is only in the TLS layer: no poll tells of it.
    monkeypatch.setattr(pump_module.Pump, "receive_bytes", 1000)
    files = make_tls(tmp_path)
    with (
        redis_server(tls=files) as one,
        redis_server(tls=files) as two,
        Server.open(one.address, timeout_s=3) as source,
        Server.open(two.address, timeout_s=3) as target,
    ):
        for size in (131_100, 140_000, 145_000):
            fill(source.connection(), [("SET", "key", random.Random(size).randbytes(size))])
            assert copy(source, target, engine="native").copied == 1
            assert target.connection().call("STRLEN", "key") == size


def test_the_command_copies_and_says_what_it_did(source: Server, target: Server) -> None:
    app = typer.Typer()
    app.command()(copy_command)
    fill(source.connection(), many(500))
    runner = CliRunner()
    result = runner.invoke(app, [source.address.url, target.address.url, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["copied"] == 500
    result = runner.invoke(app, [source.address.url, target.address.url])
    assert "copied 500 keys" in result.stdout
    with redis_server(password="right") as locked:
        url = f"redis://:wrong@127.0.0.1:{locked.port}"
        result = runner.invoke(app, [source.address.url, url])
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1
        assert "refused the login" in result.stderr
        assert "wrong" not in result.stderr.lower().replace("wrongpass", "")
        with pytest.raises(AuthenticationFailed):
            Server.open(locked.address.with_password("wrong"))
