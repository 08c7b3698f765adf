"""The commands beside `pulumi`: status, plan, resume, verify."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.move import Move
from tests.support.stack import Result

pytestmark = pytest.mark.engine


def _redismove(move: Move, *words: str, folder: Path | None = None) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "redismove.cli.main", *words],
        cwd=folder or move.stack.folder,
        env={**move.stack.environment, "PYTHONPATH": str(move.stack.folder)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    return Result(done.returncode, done.stdout or done.stderr)


def test_status_plan_and_resume_tell_where_a_move_stands(new_move: Callable[..., Move]) -> None:
    move = new_move(keys=50)
    move.go_to("adopt")

    status = _redismove(move, "status", "--json")
    assert status.ok, status
    assert json.loads(status.output) == move.stack.outputs()

    plan = _redismove(move, "plan", "--json")
    assert plan.ok, plan
    methods = {option["method"]: option for option in json.loads(plan.output)["methods"]}
    assert set(methods) == {"geo-replication", "new-cache", "rdb", "dual-write", "copy"}
    assert methods["geo-replication"]["open"] is True
    assert methods["geo-replication"]["reasons"] == []
    assert all(reason["rule"].startswith("RM-") for option in methods.values() for reason in option["reasons"])
    assert _redismove(move, "plan").ok

    resume = _redismove(move, "resume")
    assert resume.ok, resume
    assert "nothing to clear" in resume.output


def test_a_lock_of_a_living_update_is_not_removed(new_move: Callable[..., Move]) -> None:
    move = new_move(keys=10)
    move.stack.configure(stage="adopt")
    running = move.stack.start("up", "-y", "--skip-preview")
    locks = move.stack.folder / "backend" / ".pulumi" / "locks"
    try:
        while running.poll() is None and not list(locks.rglob("*.json")):
            pass
        refused = _redismove(move, "resume")
        second = move.stack.up()
    finally:
        running.communicate(timeout=120)

    if refused.ok:
        pytest.skip("the update had ended before it was looked at")
    assert "still running" in refused.output, refused
    assert second.ok or "currently locked" in second.output, second


def test_a_folder_without_a_project_is_one_sentence(new_move: Callable[..., Move], tmp_path: Path) -> None:
    done = _redismove(new_move(keys=10), "status", folder=tmp_path)

    assert done.exit_status == 2
    assert done.output.startswith("error: ")
    assert "Pulumi.yaml" in done.output
    assert "Traceback" not in done.output
