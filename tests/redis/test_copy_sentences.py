"""What stops `redismove copy`: one sentence with how far it got and how to go on, and exit status 2; signals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redismove.cli.main import app
from redismove.dataplane.connect import Server
from redismove.dataplane.verify import verify
from tests.support.datasets import fill
from tests.support.redis_servers import RedisProcess, make_tls, redis_server

pytestmark = pytest.mark.redis
ROOT = Path(__file__).resolve().parents[2]


def refused(*arguments: str) -> str:
    """Run `redismove copy`; return the sentence that ended it."""
    result = CliRunner().invoke(app, ["copy", *arguments])
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    *notices, sentence = result.stderr.strip().splitlines()
    assert not any("Traceback" in line for line in notices)
    return sentence


@pytest.fixture
def filled(source: Server) -> Server:
    """A source with 12,000 keys."""
    fill(source.connection(), [("SET", f"key:{number}", "v" * 300) for number in range(12_000)])
    return source


@contextmanager
def in_a_while(condition: Callable[[], bool], then: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread once a condition holds."""
    over = threading.Event()

    def wait() -> None:
        while not over.wait(0.01):
            if condition():
                then()
                return

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


MODES = pytest.mark.parametrize("mode", [(), ("--follow", "--until-caught-up")], ids=["copy", "follow"])


@MODES
def test_a_cut_line(filled: Server, tmp_path: Path, mode: tuple[str, ...]) -> None:
    checkpoint = tmp_path / "c"
    with redis_server() as server, Server.open(server.address) as target:

        def cut() -> None:
            with target.new_connection() as other:
                other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        urls = (filled.address.url, server.url, "--checkpoint", str(checkpoint))
        with in_a_while(lambda: target.databases().get(0, 0) > 3000, cut):
            sentence = refused(*urls, "--keys-per-s", "6000", *mode)
        assert f"The connection to 127.0.0.1:{server.port} ended (the server closed it)" in sentence
        assert "of about 12,000 keys were copied" in sentence
        assert sentence.endswith(f"the same command with the checkpoint {checkpoint} goes on from there.")
        assert CliRunner().invoke(app, ["copy", *urls, *mode]).exit_code == 0
        target.forget_broken()
        with Server.open(server.address) as again:
            assert verify(filled, again).equal


@MODES
def test_a_target_that_answers_oom(filled: Server, mode: tuple[str, ...]) -> None:
    with redis_server(options=["--maxmemory", "4mb"]) as server:
        sentence = refused(filled.address.url, server.url, *mode)
        assert "is out of memory (maxmemory reached) and refused RESTORE; scale it up or free memory" in sentence
        assert "of about 12,000 keys were copied; the same command begins anew (give a checkpoint file" in sentence


@MODES
def test_a_wrong_password(filled: Server, mode: tuple[str, ...]) -> None:
    with redis_server(password="right") as server:
        sentence = refused(filled.address.url, f"redis://:wr0ng@127.0.0.1:{server.port}", *mode)
        assert "refused the login" in sentence
        assert "give the current access key" in sentence
        assert "wr0ng" not in sentence


@MODES
def test_a_certificate_of_another_name(filled: Server, tmp_path: Path, mode: tuple[str, ...]) -> None:
    files = make_tls(tmp_path, names=["elsewhere.example"], addresses=["127.0.0.9"])
    with redis_server(tls=files) as server:
        sentence = refused(filled.address.url, server.url, "--ca-file", str(files.authority), *mode)
        assert "showed a certificate that is not accepted for 127.0.0.1" in sentence
        assert "use the name it was made for" in sentence


@MODES
def test_a_target_that_is_read_only(filled: Server, mode: tuple[str, ...]) -> None:
    with redis_server(options=["--replicaof", "127.0.0.1", "1"]) as server:
        sentence = refused(filled.address.url, server.url, *mode)
        assert "is read-only (a replica or a linked secondary) and refused RESTORE; unlink it or name its" in sentence
        assert "0 of about 12,000 keys were copied" in sentence


@MODES
@pytest.mark.parametrize(("command", "side"), [("DUMP", "source"), ("SCAN", "source"), ("RESTORE", "target")])
def test_an_unknown_command(source: Server, command: str, side: str, mode: tuple[str, ...]) -> None:
    with redis_server(options=["--rename-command", command, ""]) as server:
        urls = [source.address.url, server.url]
        where = source
        if side == "source":
            urls.reverse()
            with server.connect() as connection:
                fill(connection, [("SET", f"key:{number}", 1) for number in range(200)])
        else:
            fill(where.connection(), [("SET", f"key:{number}", 1) for number in range(200)])
        sentence = refused(*urls, *mode)
        assert f"127.0.0.1:{server.port} does not allow {command}; use a user that may run it" in sentence
        assert "0 of about 200 keys were copied" in sentence


def test_a_big_key_that_changes_its_type_each_time_it_is_read(source: Server, target: Server, tmp_path: Path) -> None:
    connection = source.connection()
    fill(connection, [("RPUSH", "big", *(b"%d" % number * 9000 for number in range(1000, 1100))) for _ in range(10)])
    fill(connection, [("SET", f"key:{number}", 1) for number in range(500)])
    over = threading.Event()

    def flip() -> None:
        with source.new_connection() as mine:
            while not over.is_set():
                mine.pipeline([("RENAME", "big", "aside"), ("SET", "big", "x"), ("RENAME", "aside", "big")])

    thread = threading.Thread(target=flip)
    thread.start()
    arguments = [source.address.url, target.address.url, "--checkpoint", str(tmp_path / "c")]
    try:
        result = CliRunner().invoke(app, ["copy", *arguments])
    finally:
        over.set()
        thread.join()
    if result.exit_code:  # it is met either while its parts are read, or between two looks
        assert result.exit_code == 2
        sentence = result.stderr.strip().splitlines()[-1]
        assert "changed its type each time it was read" in sentence or "keys changed each time" in sentence
    assert CliRunner().invoke(app, ["copy", *arguments]).exit_code == 0
    target.connection().call("DEL", "aside")
    assert verify(source, target).equal


# -- following, as its user sees it ------------------------------------------------------------------------------------


def follow_command(source: Server, target: RedisProcess, *more: str) -> list[str]:
    return [sys.executable, "-m", "redismove.cli.main", "copy", source.address.url, target.url, "--follow", *more]


def test_a_follow_tells_json_lines_and_ends_well_when_asked_to(filled: Server, tmp_path: Path) -> None:
    filled.connection().call("CONFIG", "SET", "notify-keyspace-events", "KA")
    with redis_server() as target:
        command = follow_command(filled, target, "--json", "--checkpoint", str(tmp_path / "c"))
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            for text in process.stderr:
                told = json.loads(text)
                if told["phase"] == "follow" and told["caught_up"]:
                    break
            assert told["progress"] == "follow"
            assert (told["lag_keys"], told["lag_s"]) == (0, 0.0)
            assert {"changes_per_s", "keys_per_s", "caught_up_at_s", "comparisons"} <= told.keys()
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=20)
        finally:
            process.kill()
            process.wait(10)
        assert process.returncode == 0
        report = json.loads(out)
        assert report["exact"]
        assert report["stopped"]
        assert report["bulk"]["copied"] == 12_000
        again = subprocess.run(
            follow_command(filled, target, "--until-caught-up", "--checkpoint", str(tmp_path / "c")),
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert again.returncode == 0, again.stderr
        assert again.stdout.endswith("caught up: nothing is left\n")
        assert "everything is compared again" in again.stderr
    filled.connection().call("CONFIG", "SET", "notify-keyspace-events", "")


def test_a_follow_shows_a_live_bar_on_a_terminal(source: Server) -> None:
    source.connection().call("CONFIG", "SET", "notify-keyspace-events", "KA")
    mine, theirs = pty.openpty()
    with redis_server() as target:
        wide = {**os.environ, "COLUMNS": "150"}
        command = follow_command(source, target)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs, env=wide)
        try:
            seen, deadline = b"", time.monotonic() + 30
            while b"caught up" not in seen:
                assert time.monotonic() < deadline, seen
                if select.select([mine], [], [], 0.2)[0]:
                    seen += os.read(mine, 65536)
            assert b"following, 0 keys and 0.00 s behind" in seen
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait(10)
            os.close(mine)
            os.close(theirs)
    source.connection().call("CONFIG", "SET", "notify-keyspace-events", "")


def test_what_belongs_to_following_is_refused_without_it(source: Server, target: Server) -> None:
    result = CliRunner().invoke(app, ["copy", source.address.url, target.address.url, "--until-caught-up"])
    assert result.exit_code == 2
    assert "--follow alone" in " ".join(result.stderr.split())
