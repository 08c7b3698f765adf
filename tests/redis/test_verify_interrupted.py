"""A verification that is disturbed says so in one sentence, signs nothing, and goes on from its checkpoint."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from redismove.cli.verify import verify as verify_command
from redismove.dataplane.compiled import NATIVE_VARIABLE
from redismove.dataplane.connect import Command, Connection, Server
from redismove.dataplane.errors import ConnectionLost, ConnectionRefused, ServerNotReady, ServerTimeout
from redismove.dataplane.population import population
from redismove.dataplane.verify import Progress, native, verify
from tests.support.datasets import every_type, fill
from tests.support.redis_servers import ROOT, RedisProcess, make_tls, need, redis_cluster, redis_server, start_redis

pytestmark = pytest.mark.redis

KEYS = 60_000


def small(keys: int = KEYS) -> list[Command]:
    """Small strings, every tenth with an expiry."""
    return [
        ("SET", f"k{number}", f"value {number}", *(("EXAT", 4_000_000_000) if number % 10 == 0 else ()))
        for number in range(keys)
    ]


@pytest.fixture(params=["native", "python"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The compiled loop, and the Python path alone."""
    if request.param == "python":
        monkeypatch.setenv(NATIVE_VARIABLE, "0")
    native.library.cache_clear()
    yield request.param
    monkeypatch.undo()
    native.library.cache_clear()


@contextmanager
def disturbed(monkeypatch: pytest.MonkeyPatch, disturb: Callable[[], None], engine: str = "native") -> Iterator[None]:
    """While the block runs, *disturb* once, some way into the comparison."""
    turns = 0
    where, name, after = (Connection, "_receive", 200) if engine == "python" else (native.Loop, "_check", 10)
    original = getattr(where, name)

    def counted(self: object, *arguments: object) -> object:
        nonlocal turns
        turns += 1
        if turns == after:
            disturb()
        return original(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(native, "TICK_S", 0.002)
        patched.setattr(where, name, counted)
        yield
    assert turns >= after, "it was over before it could be disturbed"


def again(dead: RedisProcess, *options: str) -> RedisProcess:
    """The same server once more: same port, same data."""
    return start_redis(dead.kind, port=dead.port, options=("--dir", str(dead.folder), *options))


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_dies_is_one_sentence_and_no_answer(
    side: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verify"
    with redis_server() as one, redis_server() as other:
        for process in (one, other):
            with process.connect() as connection:
                fill(connection, small())
                connection.call("SAVE")
        with other.connect() as connection:
            connection.call("SET", "k7", "other")
            connection.call("SAVE")
        dying = one if side == "source" else other
        with (
            Server.open(one.address) as source,
            Server.open(other.address) as target,
            disturbed(monkeypatch, dying.kill, engine),
            pytest.raises((ConnectionLost, ServerTimeout)) as caught,
        ):
            verify(source, target, checkpoint=path)
        sentence = str(caught.value)
        assert f"127.0.0.1:{dying.port}" in sentence
        assert re.search(r"got to [\d,]+ of about 120,000 keys", sentence)
        assert str(path) in sentence
        assert "\n" not in sentence
        assert sentence.count(". ") == 0
        back = again(dying)
        try:
            with Server.open(one.address) as source, Server.open(other.address) as target:
                report = verify(source, target, checkpoint=path)
                assert not report.equal
                assert (report.counts["compared"], report.counts["value"]) == (KEYS, 1)
                assert any("restarted" in note for note in report.notes), "what was compared may be gone"
                assert report.signature == verify(source, target).signature
        finally:
            back.stop()
        assert not path.exists()


def test_after_a_cut_line_it_goes_on_where_it_was(
    source: Server, target: Server, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verify"
    for server in (source, target):
        fill(server.connection(), small())
        server.connection().call("CONFIG", "RESETSTAT")

    def cut() -> None:
        with Connection(source.address) as other:
            other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    with (
        disturbed(monkeypatch, cut, engine),
        Server.open(source.address) as first,
        Server.open(target.address) as second,
        pytest.raises(ConnectionLost, match=str(source.address.port)),
    ):
        verify(first, second, checkpoint=path)
    kept = json.loads(path.read_text())["data"]
    assert kept["compared"]["0"] > 0
    with Server.open(source.address) as first, Server.open(target.address) as second:
        report = verify(first, second, checkpoint=path)
        assert report.equal
        assert not report.notes
        assert report.counts["compared"] == KEYS
        assert report.signature == verify(first, second).signature


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Run the command; exit status, output, and what was said about errors."""
    app = typer.Typer()
    app.command()(verify_command)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr.strip()


def test_what_keeps_the_command_from_an_answer_is_one_sentence(source: Server, tmp_path: Path) -> None:
    fill(source.connection(), small(100))
    mine = source.address.url
    (tmp_path / "other").mkdir()
    files = make_tls(tmp_path / "other", names=("elsewhere.example",), addresses=("127.0.0.2",))
    with redis_server(password="right") as locked, redis_server(tls=files) as named:
        cases = [
            (f"redis://:wrong@127.0.0.1:{locked.port}", "refused the login"),
            (f"redis://127.0.0.1:{locked.port}", "refused the login"),
            (f"rediss://127.0.0.1:{named.port}", "certificate that is not accepted for 127.0.0.1"),
            ("redis://127.0.0.1:1", "refused the connection"),
        ]
        for url, words in cases:
            for pair in ((mine, url), (url, mine)):
                status, output, said = invoke(*pair, "--ca-file", str(files.authority))
                assert (status, output) == (2, ""), said
                assert words in said
                assert len(said.splitlines()) == 1
                assert "wrong@" not in said


def test_a_server_that_still_loads_is_no_empty_one(source: Server) -> None:
    fill(source.connection(), small(3000))
    with redis_server() as first:
        with first.connect() as connection:
            fill(connection, small(3000))
            connection.call("SAVE")
        first.kill()
        command = [need("7.0"), "--bind", "127.0.0.1", "--port", str(first.port), "--dir", str(first.folder)]
        # Without the second it is silent until 2 MB are loaded.
        command += ["--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"]
        loading = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while True:
                status, output, said = invoke(source.address.url, first.url)
                assert (status, output) == (2, "")
                if "LOADING" in said or time.monotonic() > deadline:
                    break
        finally:
            loading.kill()
            loading.wait(10)
        assert "is not ready (LOADING" in said
        assert len(said.splitlines()) == 1


def test_a_failover_in_the_middle_is_noticed_and_everything_compared_again(
    target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_cluster(3, replicas=1) as cluster, Server.open(cluster.address) as source:
        commands = [(str(command[1]).encode(), command) for command in small(20_000)]
        for server in (source, target):
            for start in range(0, len(commands), 5000):
                server.execute(commands[start : start + 5000])
        for process, replica in zip(cluster.nodes, cluster.replicas, strict=True):
            with process.connect() as primary, replica.connect() as follower:
                assert primary.call("WAIT", 1, 5000) == 1
                # What was acknowledged and had not reached the replica when its primary died is lost.
                if process is cluster.nodes[0]:
                    lost = next(key for batch in source.scan(source.nodes[0]) for key in batch)
                    assert follower.call("READONLY") == b"OK"

        def fail_over() -> None:
            with cluster.replicas[0].connect() as replica:
                assert replica.call("CLUSTER", "FAILOVER", "TAKEOVER") == b"OK"
                cluster.nodes[0].kill()
                replica.call("DEL", lost)

        with disturbed(monkeypatch, fail_over):
            report = verify(source, target)
        assert any("failover" in note for note in report.notes)
        assert report.complete
        assert not report.equal, "it answered for the primary that is gone"
        assert report.counts["compared"] == 20_000
        assert report.counts["only_in_target"] == 1
        assert report.first_differences[0].key == lost
        target.execute([(lost, ("DEL", lost))])
        assert verify(source, target).equal


def test_nobody_waits_for_ever_for_a_cluster(target: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redismove.dataplane.verify.run._RECOVER_WITHIN_S", 1.0)
    with redis_cluster(2) as cluster, Server.open(cluster.address) as source:
        commands = [(str(command[1]).encode(), command) for command in small(20_000)]
        for server in (source, target):
            server.execute(commands)
        with (
            disturbed(monkeypatch, cluster.nodes[1].kill),
            pytest.raises((ConnectionLost, ConnectionRefused, ServerNotReady), match="of about 40,000 keys"),
        ):
            verify(source, target)


# -- stopped at any moment ------------------------------------------------------------------------------------------

RUN = """
import sys
import typer
from redismove.cli.verify import verify
from redismove.dataplane.verify import run
run._CHECKPOINT_S = 0.01
app = typer.Typer()
app.command()(verify)
print("begins", flush=True)
app()
"""


def test_stopped_at_twenty_moments_it_finds_what_it_would_have_found(
    source: Server, target: Server, tmp_path: Path
) -> None:
    keys = 200_000
    for server in (source, target):
        fill(server.connection(), [*every_type(), *small(keys)])
    fill(target.connection(), [("SET", "k7", "other"), ("DEL", "k8"), ("SET", "more", 1), ("PERSIST", "k10")])
    reference = verify(source, target)
    assert reference.different >= 4
    rng = random.Random(6)
    path = tmp_path / "verify"
    stops, answers = 0, 0
    command = [sys.executable, "-c", RUN, source.address.url, target.address.url, "--json", "--checkpoint", str(path)]
    while stops < 20 or not answers:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        how = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
        try:
            # After twenty stops it may end.
            process.wait(rng.uniform(0.02, 0.5) if stops < 20 else 60)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
        output, said = process.communicate(timeout=60)
        if output:
            # It had answered; the signal may have come between the answer and the end.
            answers += 1
            report = json.loads(output)
            assert process.returncode in (1, 130, -how)
            assert report["counts"] == reference.counts
            assert report["signature"] == reference.signature
            assert not path.exists()
            continue
        stops += 1
        assert "Traceback" not in said
        # 130 or the signal itself: asked to end before the comparison had begun.
        assert process.returncode == -how or (how != signal.SIGKILL and process.returncode in (2, 130)), said


# -- while it is written --------------------------------------------------------------------------------------------


def test_under_traffic_only_what_differed_is_read_again_and_it_ends(source: Server, target: Server) -> None:
    """A writer whose writes reach the target a moment later, as a replica's do."""
    keys = 100_000
    for server in (source, target):
        fill(server.connection(), small(keys))
    fill(target.connection(), [("SET", "wrong", 1)])
    over = threading.Event()
    written = [0]

    def write() -> None:
        rng = random.Random(1)
        with Connection(source.address) as here, Connection(target.address) as there:
            while not over.is_set():
                commands: list[Command] = []
                for _ in range(20):
                    key = f"k{rng.randrange(keys)}"
                    commands.append(rng.choice([("SET", key, rng.random()), ("DEL", key), ("APPEND", key, "x")]))
                here.pipeline(commands)
                over.wait(0.005)
                there.pipeline(commands)
                written[0] += len(commands)

    looks: list[Progress] = []
    thread = threading.Thread(target=write)
    thread.start()
    try:
        with Server.open(source.address) as one, Server.open(target.address) as other:
            report = verify(one, other, rounds=12, on_progress=looks.append)
            assert {item.key: item.kind for item in report.first_differences} == {b"wrong": "only_in_target"}
            fill(target.connection(), [("DEL", "wrong")])
            quick = verify(one, other, rounds=12, on_progress=looks.append)
            assert quick.equal
    finally:
        over.set()
        thread.join(30)
    assert written[0] > 100
    assert all(look.compared < keys / 20 for look in looks if look.round > 1), "later rounds read everything again"
    with Server.open(source.address) as one, Server.open(target.address) as other:
        assert verify(one, other).equal


# -- while applications write to both -------------------------------------------------------------------------------


def test_the_command_says_how_much_the_target_has_and_until_when(source: Server, target: Server) -> None:
    for server in (source, target):
        fill(server.connection(), [("SET", f"both{number}", 1) for number in range(90)])
    fill(source.connection(), [("SET", f"session{number}", 1, "EX", 7 * 86400) for number in range(10)])
    status, output, _ = invoke(source.address.url, target.address.url, "--json", "--populated", "0.95")
    assert status == 1
    found = json.loads(output)["population"]
    assert (found["share"], found["missing"], found["requiredShare"]) == (0.9, 10, 0.95)
    week_s = 7 * 86400
    assert week_s - 5 <= found["longestLackingExpirySeconds"] <= week_s
    assert found["enoughAt"] == pytest.approx(found["measuredAt"] + week_s, abs=120)
    status, output, _ = invoke(source.address.url, target.address.url, "--populated", "1")
    assert "90.00% of 100 live keys are on the target as on the source" in output
    assert re.search(r"it will be 100.00% by \d{4}-\d\d-\d\d \d\d:\d\d UTC at the latest", output)
    assert population(source, target).summary() in output
