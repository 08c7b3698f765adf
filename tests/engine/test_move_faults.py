"""A move goes on after what a cloud does now and then, or says in one sentence why not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from redismove.azure.session import Session
from tests.support.local_cloud import LocalCloud
from tests.support.move import Move

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local Azure that takes faults on request."""
    running = LocalCloud.start(tmp_path_factory.mktemp("azure"), "--admin")
    try:
        yield running
    finally:
        running.stop()


def _ask(move: Move, method: str, fault: dict[str, object] | None = None) -> None:
    with move.azure():
        session = Session.from_environment()
        token = session.credential.get_token(f"{session.endpoint}/.default").token
        answer = requests.request(
            method,
            f"{session.endpoint}/_local/faults",
            json=fault,
            headers={"Authorization": f"Bearer {token}"},
            verify=move.cloud.environment["REQUESTS_CA_BUNDLE"],
            timeout=30,
        )
    assert answer.ok, answer.text


def _link_path(move: Move) -> str:
    return f"redis/{move.source_name}/linkedServers/{move.target_name}$"


# What happens to a request, and whether the same update gets over it by itself.
FAULTS: dict[str, tuple[str, dict[str, object], bool]] = {
    "throttled while reading": ("GET", {"kind": "status", "status": 429, "retry_after_s": 1, "count": 2}, True),
    "an error while reading": ("GET", {"kind": "status", "status": 503, "count": 2}, True),
    "busy when the link is made": ("PUT", {"kind": "status", "status": 409, "count": 2}, True),
    "an error when the link is made": ("PUT", {"kind": "status", "status": 500, "count": 1}, False),
    "a link made whose answer was lost": ("PUT", {"kind": "cut", "applied": True, "count": 1}, False),
    "a link that fails": ("PUT", {"kind": "operation", "outcome": "fail", "count": 1}, False),
}


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_link_is_made_in_the_end(new_move: NewMove) -> None:
    move = new_move(keys=20)
    move.go_to("adopt", "prepare")
    for name, (method, fault, by_itself) in FAULTS.items():
        path = f"redis/{move.source_name}$" if method == "GET" else _link_path(move)
        _ask(move, "POST", {"method": method, "path": path, **fault})

        first = move.stack.stage("replicate")
        _ask(move, "DELETE")

        assert "Traceback" not in first.output, f"{name}: {first}"
        if by_itself:
            assert first.ok, f"{name}: {first}"
        if move.link.provisioning_state == "Failed":
            told = move.stack.up()
            assert "[RM-G23]" in told.output, f"{name}: {told}"
            move.go_to("prepare", "replicate")
        again = move.stack.up()
        assert again.ok, f"{name}: {again}"
        assert move.link.exists, name
        assert move.link.provisioning_state == "Succeeded", name
        move.go_to("prepare")


@pytest.mark.timeout(420)
def test_a_deletion_whose_answer_is_lost_or_that_is_refused_is_done_in_the_end(new_move: NewMove) -> None:
    move = new_move(keys=20)
    move.go_to("adopt", "prepare", "replicate", "verify")
    for fault in (
        {"kind": "status", "status": 409, "count": 1},
        {"kind": "cut", "applied": True, "count": 1},
    ):
        _ask(move, "POST", {"method": "DELETE", "path": _link_path(move), **fault})
        first = move.stack.stage("unlink")
        assert "Traceback" not in first.output, first
        _ask(move, "DELETE")
        if not first.ok:
            again = move.stack.up()
            assert again.ok, again
        assert not move.link.exists
        move.go_to("replicate", "verify")


@pytest.mark.timeout(420)
def test_an_operation_that_never_ends_can_be_killed_and_taken_up_again(new_move: NewMove) -> None:
    move = new_move(keys=20, settleMinutes="0.05")
    move.go_to("adopt", "prepare")
    _ask(move, "POST", {"method": "PUT", "path": _link_path(move), "kind": "operation", "outcome": "never"})
    move.stack.configure(stage="replicate")
    process = move.stack.start("up", "-y", "--skip-preview")
    deadline = time.monotonic() + 60
    while not move.link.exists and time.monotonic() < deadline:
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    resumed = subprocess.run(
        [sys.executable, "-m", "redismove.cli.main", "resume", "--stack", "dev"],
        cwd=move.stack.folder,
        env=move.stack.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert resumed.returncode == 0, resumed.stderr

    still = move.stack.up()
    assert not still.ok
    assert "a management operation is still running" in still.output, still
    _ask(move, "DELETE")
    move.stack.configure(settleMinutes="5")
    again = move.stack.up()
    assert again.ok, again
    assert move.link.exists


@pytest.mark.timeout(420)
def test_what_somebody_does_by_hand_in_between_is_seen(new_move: NewMove) -> None:
    move = new_move(keys=20)
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink")
    with move.azure() as caches:
        caches.regenerate_key(move.cache_id(move.source_name), "Primary")
    move.go_to("cutover")
    with move.azure():
        Session.from_environment().redis.redis.begin_delete("rg-orders", move.target_name).result(60)

    refused = move.stack.stage("retire")

    assert not refused.ok
    assert "[RM-L04]" in refused.output, refused
    assert "Traceback" not in refused.output, refused
    assert move.source is not None
