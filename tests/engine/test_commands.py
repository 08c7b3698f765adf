"""The commands beside `pulumi`: status, plan, resume, verify."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    told = _redismove(move, "plan")
    assert told.ok, told
    _tells_the_plan(told.output, json.loads(plan.output))

    resume = _redismove(move, "resume")
    assert resume.ok, resume
    assert "nothing to clear" in resume.output


def _tells_the_plan(text: str, plan: dict[str, Any]) -> None:
    """What the text says is what the data says: reasons, cost with its source, time, what is noticed and lost."""
    for option in plan["methods"]:
        part = text.split(f"{option['method']}  ", 1)[1].split("\n\n", 1)[0]
        assert part.startswith("open" if option["open"] else "closed")
        for reason in option["reasons"]:
            wanted = f"found {reason['found']}, allowed {reason['allowed']}; {reason['cure']} [{reason['rule']}]"
            assert wanted in part
        if option["open"]:
            price = option["estimate"]["egressPrice"]
            assert f"{price['usdPerGb']:g} USD/GB (read {price['read']}: {price['source']}" in part
            assert "minutes and the soak; prepare 30 to 40" in part
            assert all(notice in part for notice in option["notices"])
            assert f"may be lost: {option['lost']}" in part
    assert [option["method"] for option in plan["methods"] if option["recommended"]] == ["geo-replication"]
    assert text.count("recommended: ") == 1


def test_the_plan_names_the_caches_that_could_be_the_target(new_move: Callable[..., Move]) -> None:
    move = new_move(keys=20, seed={"shards": 2})
    others: dict[str, dict[str, object]] = {
        "fits": {"location": "westeurope", "shards": 2},
        "whole": {"location": "westeurope"},
        "near": {"location": "eastus", "shards": 2},
        "small": {"location": "westeurope", "sku": "C1"},
    }
    for name, options in others.items():
        where: dict[str, object] = {"resource-group": "rg-others", **options}
        move.cloud.seed(f"{move.source_name}-{name}", keys=0, **where)
    move.go_to("adopt")

    plan = _redismove(move, "plan", "--json")

    assert plan.ok, plan
    caches = {cache["name"].rsplit("-", 1)[-1]: cache for cache in json.loads(plan.output)["compatibleCaches"]}
    assert move.source_name not in {cache["name"] for cache in caches.values()}
    assert caches["fits"]["compatible"]
    assert caches["fits"]["location"] == "westeurope"
    rules = {name: {reason["rule"] for reason in cache["reasons"]} for name, cache in caches.items()}
    assert "RM-G05" in rules["whole"]
    assert rules["near"] == {"RM-T08"}
    assert "RM-G01" in rules["small"]
    text = _redismove(move, "plan")
    assert "caches that exist already" in text.output


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
