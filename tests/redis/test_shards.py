"""Copying a cluster by tasks on Dask: a worker that dies loses its task to another one, and no key."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from redismove.dataplane.connect import Server
from redismove.dataplane.verify import verify
from tests.support.redis_servers import RedisCluster, free_port, redis_cluster

pytestmark = pytest.mark.redis
ROOT = Path(__file__).resolve().parents[2]
KEYS = 9000


def until(condition: Callable[[], object], what: str, deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)


@contextmanager
def program(*arguments: str, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program of ours or of Dask's, ended with the block."""
    with out.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def copy_command(source: RedisCluster, target: RedisCluster, checkpoint: Path, *more: str) -> list[str]:
    options = ["--checkpoint", str(checkpoint), "--keys-per-s", "2500", "--json", *more]
    return ["-m", "redismove.cli.main", "copy", source.url, target.url, *options]


def fill_cluster(source: Server) -> None:
    commands = [(b"key:%d" % number, ("SET", b"key:%d" % number, number)) for number in range(KEYS)]
    assert set(source.execute(commands)) == {b"OK"}


def assert_all_there(source: Server, target_cluster: RedisCluster) -> None:
    with Server.open(target_cluster.address) as target:
        outcome = verify(source, target)
        assert outcome.equal, outcome.to_json()
        assert target.databases() == {0: KEYS}


def checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("c.*") if path.suffix != ".new")


def test_a_worker_process_that_is_killed_loses_no_key(tmp_path: Path) -> None:
    with redis_cluster(3) as three, redis_cluster(5) as five, Server.open(three.address) as source:
        fill_cluster(source)
        out = tmp_path / "out"
        with program(*copy_command(three, five, tmp_path / "c", "--workers", "2"), out=out) as running:
            until(lambda: checkpoints(tmp_path) or running.poll() is not None, "a shard's first checkpoint")
            workers = [pid for pid in _children(running.pid) if b"spawn_main" in _command_line(pid)]
            assert len(workers) == 2, out.read_text()
            os.kill(workers[0], signal.SIGKILL)
            assert running.wait(120) == 0, out.read_text()
        report = json.loads(out.read_text().splitlines()[-1])
        assert report["copied"] >= KEYS / 3, "what the dead worker did is not in its successor's report"
        assert checkpoints(tmp_path) == []
        assert_all_there(source, five)


@pytest.mark.slow
def test_a_scheduler_elsewhere_and_a_worker_that_dies(tmp_path: Path) -> None:
    port = free_port()
    where = f"tcp://127.0.0.1:{port}"
    scheduler = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = ["-m", "distributed.cli.dask_worker", where, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    with (
        redis_cluster(3) as three,
        redis_cluster(2) as two,
        Server.open(three.address) as source,
        program(*scheduler, out=tmp_path / "scheduler"),
        program(*worker, out=tmp_path / "worker1") as first,
        program(*worker, out=tmp_path / "worker2"),
    ):
        fill_cluster(source)
        logs = [tmp_path / "worker1", tmp_path / "worker2"]
        until(lambda: all("Registered to" in log.read_text() for log in logs), "the workers know their scheduler")
        out = tmp_path / "out"
        command = copy_command(three, two, tmp_path / "c", "--scheduler", where)
        with program(*command, out=out) as running:
            until(lambda: checkpoints(tmp_path) or running.poll() is not None, "a shard's first checkpoint")
            first.kill()
            assert running.wait(120) == 0, out.read_text()
        assert checkpoints(tmp_path) == []
        assert_all_there(source, two)
        # A client that is killed leaves tasks that nobody waits for: they end by themselves, and a new client goes on.
        with Server.open(two.address) as target:
            for node in target.nodes:
                target.connection(node).call("FLUSHALL")
        with program(*command, out=out) as running:
            until(lambda: checkpoints(tmp_path) or running.poll() is not None, "a shard's first checkpoint")
        kept = [path.read_text() for path in checkpoints(tmp_path)]
        assert kept
        until(lambda: _still(lambda: [path.read_text() for path in checkpoints(tmp_path)]), "the tasks have ended")
        with Server.open(two.address) as target:
            assert sum(target.databases().values()) < KEYS
        assert subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=False).returncode == 0
        assert_all_there(source, two)


@pytest.mark.slow
def test_a_follow_shares_its_bulk_copy_among_processes(tmp_path: Path) -> None:
    options = ["--notify-keyspace-events", "KA"]
    with (
        redis_cluster(3, password="p1", options=options) as three,
        redis_cluster(2, password="p2") as two,
        Server.open(three.address) as source,
    ):
        fill_cluster(source)
        command = copy_command(three, two, tmp_path / "c", "--follow", "--until-caught-up", "--workers", "2")
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["exact"]
        assert report["followed"]
        assert report["bulk"]["copied"] == KEYS
        assert_all_there(source, two)


def test_no_scheduler_there_is_one_sentence(tmp_path: Path) -> None:
    with redis_cluster(1) as one:
        for where in (f"tcp://127.0.0.1:{free_port()}", "nonsense"):
            done = subprocess.run(
                [sys.executable, *copy_command(one, one, tmp_path / "c", "--scheduler", where)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 2
            assert done.stderr.startswith(f"No Dask scheduler answers at {where}")
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def _still(state: Callable[[], object]) -> bool:
    """What *state* gives does not change for a while that is longer than the time between two checkpoints."""
    before, deadline = state(), time.monotonic() + 2.0
    while time.monotonic() < deadline:
        if state() != before:
            return False
        time.sleep(0.1)
    return True


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""
