"""The copy as a job: ordered by a permit on the target, able to go on, and no danger to anything else."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from redismove.dataplane.connect import Server, ServerAddress
from redismove.dataplane.copy import copy
from redismove.dataplane.copy_job import (
    PERMIT_KEY,
    JobRefused,
    Journal,
    Order,
    Permit,
    PermitWithdrawn,
    Place,
    is_final,
    run_job,
)
from redismove.dataplane.errors import AuthenticationFailed
from redismove.dataplane.verify import verify
from tests.support.datasets import every_type, fill
from tests.support.redis_servers import make_tls, redis_server

pytestmark = pytest.mark.redis
ROOT = Path(__file__).resolve().parents[2]
_WRITING = ("set", "del", "hset", "expire", "pexpire", "restore", "eval", "unlink", "flushall", "rpush", "sadd", "zadd")


def order(source: Server, target: Server, **changes: Any) -> Order:
    made = Order("1.000", _place("/source", source.address), _place("/target", target.address))
    return dataclasses.replace(made, **changes)


def _place(cache_id: str, address: ServerAddress) -> Place:
    return Place(cache_id, address.host, address.port, address.tls, clustered=False)


def run(asked: Order, source: Server, target: Server, **options: Any) -> tuple[Journal, list[Mapping[str, Any]]]:
    told: list[Mapping[str, Any]] = []
    journal = run_job(asked, source.address, target.address, tell=told.append, permit_wait_s=0.0, **options)
    return journal, told


def writes(server: Server) -> dict[str, int]:
    stats = server.info("commandstats")
    return {
        name: int(stats[f"cmdstat_{name}"].split(",")[0].removeprefix("calls="))
        for name in _WRITING
        if f"cmdstat_{name}" in stats
    }


def signature(server: Server) -> str:
    with Server.open(server.address) as again:
        return verify(server, again, depth="full").signature


def test_it_copies_what_the_copy_inside_copies_and_only_reads_the_source(
    source: Server, target: Server, opened: Callable[[str, int], Server]
) -> None:
    for database in (0, 4):
        fill(
            source.connection(database=database),
            [*every_type(str(database)), *[("SET", f"k{n}", n) for n in range(500)]],
        )
    before = signature(source), writes(source), source.databases()
    asked = order(source, target)
    assert Permit(target).grant(asked.terms)

    journal, told = run(asked, source, target)

    inside = copy(source, opened("7.0", 2))
    assert (journal.keys_read, journal.keys_written) == (inside.scanned - inside.gone, inside.copied)
    assert journal.report["databases"] == inside.to_json()["databases"]
    assert (journal.done, journal.runs) == (True, 1)
    assert journal.started_at_s <= journal.finished_at_s
    assert told[-1]["event"] == "done"
    assert (signature(source), writes(source), source.databases()) == before, "the source is only read"
    found = Permit(target).read()
    assert found is not None
    assert found[1] == journal
    assert Permit(target).withdraw()
    assert signature(target) == before[0]


def test_started_again_after_the_end_it_writes_nothing(source: Server, target: Server) -> None:
    fill(source.connection(), [("SET", "a", "1")])
    asked = order(source, target)
    Permit(target).grant(asked.terms)
    run(asked, source, target)
    fill(target.connection(), [("SET", "a", "of an application")])

    journal, told = run(asked, source, target)

    assert (journal.done, journal.runs) == (True, 1)
    assert told[-1]["message"] == "the copy was complete before"
    assert target.connection().call("GET", "a") == b"of an application"


@pytest.mark.parametrize("granted", ["none", "another attempt", "withdrawn"])
def test_without_its_own_permit_it_writes_nothing(source: Server, target: Server, granted: str) -> None:
    fill(source.connection(), [("SET", "a", "1")])
    asked = order(source, target)
    if granted == "another attempt":
        Permit(target).grant(dataclasses.replace(asked.terms, attempt="2.000"))
    elif granted == "withdrawn":
        Permit(target).grant(asked.terms)
        assert Permit(target).withdraw()
        assert not Permit(target).withdraw()

    with pytest.raises(PermitWithdrawn, match="no permit for attempt") as refused:
        run(asked, source, target)

    assert not is_final(refused.value)
    assert target.connection().call("EXISTS", "a") == 0


def test_it_refuses_what_is_not_the_target_it_was_ordered_to_fill(source: Server, target: Server) -> None:
    fill(source.connection(), [("SET", "a", "1")])
    asked = order(source, target)
    Permit(target).grant(dataclasses.replace(asked.terms, target_id="/another"))
    with pytest.raises(JobRefused, match="made out for the copy of /source to /another") as refused:
        run(asked, source, target)
    assert is_final(refused.value)

    with pytest.raises(JobRefused, match="the same servers behind both"):
        run(asked, source, source)

    # Both hold a permit: whoever wrote it took one for the other.
    Permit(target).withdraw()
    Permit(target).grant(asked.terms)
    Permit(source).grant(asked.terms)
    with pytest.raises(JobRefused, match="mixed up"):
        run(asked, source, target)
    assert target.connection().call("EXISTS", "a") == 0


def test_a_permit_of_another_attempt_forgets_what_the_first_had_done(source: Server, target: Server) -> None:
    fill(source.connection(), [("SET", "a", "1")])
    asked = order(source, target)
    permit = Permit(target)
    permit.grant(asked.terms)
    run(asked, source, target)
    assert not permit.grant(asked.terms), "the same attempt again changes nothing"
    found = permit.read()
    assert found is not None
    assert found[1].done

    second = dataclasses.replace(asked, attempt="2.000")
    assert permit.grant(second.terms)

    found = permit.read()
    assert found == (second.terms, Journal(), None)
    assert run(second, source, target)[0].done


def test_a_permit_that_is_taken_away_stops_the_copy_and_is_not_brought_back(source: Server, target: Server) -> None:
    fill(source.connection(), [("SET", f"k{number}", "x" * 50) for number in range(4000)])
    asked = order(source, target, keys_per_s=500.0)
    permit = Permit(target)
    permit.grant(asked.terms)

    def take_away() -> None:
        deadline = time.monotonic() + 20
        with Server.open(target.address) as other:
            while other.databases().get(0, 0) < 300 and time.monotonic() < deadline:
                time.sleep(0.02)
            Permit(other).withdraw()

    thread = threading.Thread(target=take_away)
    thread.start()
    with pytest.raises(PermitWithdrawn, match="stopped where it was"):
        run(asked, source, target)
    thread.join()

    assert target.connection().call("EXISTS", PERMIT_KEY) == 0
    assert target.databases()[0] < 4000


def test_killed_it_goes_on_from_the_checkpoint_on_the_target(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    with (
        redis_server("7.0", tls=tls, password="one") as first,
        redis_server("7.0", tls=tls, password="two") as second,
        Server.open(first.address) as source,
        Server.open(second.address) as target,
    ):
        fill(source.connection(), [("SET", f"k{number}", "x" * 50) for number in range(6000)])
        asked = order(source, target, keys_per_s=1500.0)
        Permit(target).grant(asked.terms)
        started = _start(asked, source, target)
        deadline = time.monotonic() + 60
        while True:
            found = Permit(target).read()
            assert found is not None
            if found[1].keys_written > 1500 and found[2] and '"cursor": "0"' not in found[2]:
                break
            assert time.monotonic() < deadline
            assert started.poll() is None, started.communicate()
            time.sleep(0.02)
        started.send_signal(signal.SIGKILL)
        started.communicate()

        again = _start(asked, source, target)
        output, _ = again.communicate(timeout=60)
        assert again.returncode == 0, output
        lines = [json.loads(line) for line in output.splitlines()]
        assert lines[-1]["event"] == "done"
        assert lines[-1]["resumed"] is True
        assert lines[-1]["copied"] < 5500, "the second run did not begin anew"
        found = Permit(target).read()
        assert found is not None
        assert (found[1].done, found[1].runs) == (True, 2)
        assert found[1].keys_written >= found[1].keys_read >= 6000
        Permit(target).withdraw()
        assert signature(source) == signature(target)


def test_the_command_tells_what_it_cannot_do_in_one_line_without_secrets(source: Server, target: Server) -> None:
    environment = {**os.environ, "REDISMOVE_COPY_JOB": "{"}
    done = subprocess.run(
        [sys.executable, "-m", "redismove.cli.copy_job"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (done.returncode, told["event"], told["final"]) == (2, "failed", True)
    assert "Traceback" not in done.stderr

    assert is_final(AuthenticationFailed("x"))
    assert Order.from_text(order(source, target).to_text()) == order(source, target)
    assert "password" not in order(source, target).to_text()


def _start(asked: Order, source: Server, target: Server) -> subprocess.Popen[str]:
    """The job as its container runs it."""
    passwords = {
        name: server.address.password.reveal() if server.address.password else ""
        for name, server in (("REDISMOVE_SOURCE_PASSWORD", source), ("REDISMOVE_TARGET_PASSWORD", target))
    }
    return subprocess.Popen(
        [sys.executable, "-m", "redismove.cli.copy_job"],
        cwd=ROOT,
        env={
            **os.environ,
            **passwords,
            "REDISMOVE_COPY_JOB": asked.to_text(),
            "SSL_CERT_FILE": source.address.ca_file or "",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
