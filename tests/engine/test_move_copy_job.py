"""The bulk copy as a job near the source: a container group that stage replicate declares and waits for."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from redismove.azure.session import Session
from redismove.dataplane.copy_job import Journal, Permit
from tests.support.application import Application
from tests.support.move import GROUP, Move, unchanged

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]
_T = TypeVar("_T")
JOB = {"where": "container-group", "image": "registry.example/redismove:1"}


def _groups(move: Move) -> list[Any]:
    """The container groups as ARM shows them, with instance views."""
    with move.azure():
        client = Session.from_environment().containers.container_groups
        return [client.get(GROUP, group.name) for group in client.list_by_resource_group(GROUP) if _is_of(move, group)]


def _is_of(move: Move, group: Any) -> bool:
    gate = next(r for r in move.stack.state()["deployment"]["resources"] if r["urn"].endswith("::gate"))
    return bool((group.tags or {}).get("redismove-move") == gate["outputs"]["moveId"])


def _journal(move: Move) -> Journal | None:
    with move.connect(move.target_name) as target:
        found = Permit(target).read()
        return found[1] if found is not None else None


def _carried(move: Move) -> dict[str, Any]:
    resources = move.stack.state()["deployment"]["resources"]
    return next(dict(r["outputs"]["carried"]) for r in resources if r["urn"].endswith("::bulk-copy"))


def _access_keys(move: Move) -> list[str]:
    with move.azure() as caches:
        return [key for name in (move.source_name, move.target_name) for key in caches.access_keys(move.cache_id(name))]


def _until(ask: Callable[[], _T], done: Callable[[_T], bool], deadline_s: float = 60.0) -> _T:
    end = time.monotonic() + deadline_s
    while not done(answer := ask()):
        assert time.monotonic() < end, f"still {answer} after {deadline_s} s"
        time.sleep(0.05)
    return answer


@pytest.mark.timeout(300)
def test_a_job_copies_while_an_application_writes_and_nothing_is_lost(new_move: NewMove) -> None:
    move = new_move(keys=2100, method="copy", copyJob=JOB, copy={"keysPerSecond": 300})
    move.go_to("adopt", "prepare")
    source_keys = _access_keys(move)
    application = Application.start(move, rate=50)
    try:
        copied = move.stack.stage("replicate")
        assert copied.ok, copied
        assert "of about 2," in copied.output, f"no progress was shown: {copied}"
        assert "copied 2," in copied.output, copied

        (group,) = _groups(move)
        assert (group.location, group.restart_policy) == ("eastus", "OnFailure")
        view = group.containers[0].instance_view
        assert (view.current_state.state, view.current_state.exit_code, view.restart_count) == ("Terminated", 0, 0)
        named = {v.name: (v.value, v.secure_value) for v in group.containers[0].environment_variables}
        assert named["REDISMOVE_SOURCE_PASSWORD"] == named["REDISMOVE_TARGET_PASSWORD"] == (None, None)
        carried = _carried(move)
        assert carried["keys_written"] >= carried["keys_read"] >= 2100
        assert unchanged(move.stack.up("--expect-no-changes"))
        shown = json.dumps(move.stack.state()) + copied.output
        stored = "".join(path.read_text() for path in (move.stack.folder / "backend").rglob("*.json"))
        assert not [key for key in source_keys if key in shown or key in stored], "an access key in plain text"

        move.go_to("verify")
        assert _groups(move) == []
        assert _journal(move) is None
        assert not list((move.cloud.home / "containers").rglob("log"))
        move.go_to("cutover")
        checked = application.finish()
    finally:
        application.kill()
    assert checked["lost"] == 0, checked
    assert checked["acknowledged"] > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_job_and_killed_update_go_on_where_they_were(new_move: NewMove) -> None:
    move = new_move(keys=8000, method="copy", copyJob=JOB, copy={"keysPerSecond": 400})
    move.go_to("adopt", "prepare")
    application = Application.start(move, rate=100)
    try:
        move.stack.configure(stage="replicate")
        update = move.stack.start("up", "-y", "--skip-preview", "--suppress-outputs")
        _until(lambda: _journal(move), lambda journal: journal is not None and journal.keys_written > 800)
        os.killpg(update.pid, signal.SIGKILL)
        update.communicate(timeout=60)
        before = _journal(move)
        assert before is not None
        later = _until(lambda: _journal(move), lambda journal: journal.keys_written > before.keys_written)
        assert (later.runs, later.done) == (1, False), "the job goes on though nobody waits"

        # The job is killed as well: its container group starts it again.
        (pid,) = _job_processes(move)
        os.kill(pid, signal.SIGKILL)
        _until(lambda: _journal(move), lambda journal: journal is not None and journal.runs == 2)
        resumed = move.resume()
        assert resumed.returncode == 0, resumed

        copied = move.stack.stage("replicate")
        assert copied.ok, copied
        assert "in 2 runs" in copied.output, copied
        (group,) = _groups(move)
        assert group.containers[0].instance_view.restart_count == 1
        journal = _journal(move)
        assert journal is not None
        assert journal.report["resumed"] is True
        assert journal.report["copied"] < 8000, "it began anew"

        # Back and forward again: another attempt, a new group, and the old permit is worth nothing.
        first = group.name
        move.go_to("prepare")
        assert _groups(move) == []
        move.stack.configure(copy={"keysPerSecond": 4000})
        move.go_to("replicate")
        (group,) = _groups(move)
        assert group.name != first
        move.go_to("verify", "cutover")
        checked = application.finish()
    finally:
        application.kill()
    assert checked["lost"] == 0, checked


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_job_cannot_do_is_told_in_one_sentence_and_mended_by_the_next_update(new_move: NewMove) -> None:
    move = new_move(keys=200, method="copy", copyJob=JOB)
    move.go_to("adopt", "prepare")
    move.stack.configure(copyJob={"cpu": 5})
    refused = move.stack.stage("replicate")
    assert "[RM-C05]" in refused.output, refused
    move.stack.configure(copyJob={"cpu": 1})

    # Both keys change while the job is on its way: it cannot log in, and the next update gives it the new ones.
    move.stack.configure(copy={"keysPerSecond": 20})
    update = move.stack.start("up", "-y", "--skip-preview", "--suppress-outputs")
    _until(lambda: _journal(move), lambda journal: journal is not None and journal.runs == 1)
    with move.azure() as caches:
        for which in ("Primary", "Secondary"):
            caches.regenerate_key(move.cache_id(move.source_name), which)
    for pid in _job_processes(move):
        os.kill(pid, signal.SIGKILL)
    output, _ = update.communicate(timeout=120)
    assert update.returncode != 0, output
    assert "refused the login" in output, output
    assert "Traceback" not in output, output

    move.stack.configure(copy={"keysPerSecond": 4000})
    move.go_to("replicate", "verify")

    assert _groups(move) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_group_that_a_killed_update_made_is_taken_over(new_move: NewMove) -> None:
    move = new_move(keys=200, method="copy", copyJob=JOB)
    move.go_to("adopt", "prepare")
    settings = move.cloud.home / "settings.json"
    settings.write_text(json.dumps({"durations": {"container_group": 8}}))
    try:
        move.stack.configure(stage="replicate")
        update = move.stack.start("up", "-y", "--skip-preview", "--suppress-outputs")
        _until(lambda: _groups(move), lambda groups: len(groups) == 1)
        os.killpg(update.pid, signal.SIGKILL)
        update.communicate(timeout=60)
    finally:
        settings.write_text("{}")
    resumed = move.resume()
    assert resumed.returncode == 0, resumed
    assert not any(r["urn"].endswith("::copy-job-group") for r in move.stack.state()["deployment"]["resources"])

    move.go_to("replicate")

    (group,) = _groups(move)
    assert group.containers[0].instance_view.restart_count == 0
    assert unchanged(move.stack.up("--expect-no-changes"))
    move.go_to("verify")
    assert _groups(move) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_group_that_somebody_deleted_is_made_again_by_a_refresh(new_move: NewMove) -> None:
    move = new_move(keys=1500, method="copy", copyJob=JOB, copy={"keysPerSecond": 100})
    move.go_to("adopt", "prepare")
    move.stack.configure(stage="replicate")
    update = move.stack.start("up", "-y", "--skip-preview", "--suppress-outputs")
    _until(lambda: _journal(move), lambda journal: journal is not None and journal.keys_written > 100)
    (group,) = _groups(move)
    with move.azure():
        Session.from_environment().containers.container_groups.begin_delete(GROUP, group.name).result()
    output, _ = update.communicate(timeout=120)
    assert update.returncode != 0, output
    assert "pulumi up --refresh" in output, output
    move.stack.configure(copy={"keysPerSecond": 4000})

    again = move.stack.up("--refresh")

    assert again.ok, again
    journal = _journal(move)
    assert journal is not None
    assert (journal.done, journal.runs, journal.report["resumed"]) == (True, 2, True)
    move.go_to("verify")


def _job_processes(move: Move) -> list[int]:
    needle = f"LOCALAZURE_CONTAINER={move.cloud.home}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            ours = needle in environ.read_bytes()
            command = (environ.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if ours and b"copy_job" in command and not command.startswith(b"/bin/sh"):
            found.append(int(environ.parent.name))
    return found
