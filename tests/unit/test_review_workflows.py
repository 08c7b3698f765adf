"""The workflows: the least rights, nothing that moves under them, nothing of a pull request that is run as code."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.local_cloud import REPOSITORY
from tests.support.workflow import WORKFLOWS, Runner, step, workflow

_FILES = sorted(path.name for path in WORKFLOWS.glob("*.yml"))
_PINNED = re.compile(r"^\s*(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
_AZURE = [REPOSITORY / "azure-pipelines.yml", *sorted((REPOSITORY / ".azure-pipelines").glob("*.yml"))]


def jobs(name: str) -> dict[str, dict[str, Any]]:
    return dict(workflow(name)["jobs"])


def test_the_workflows_are_there() -> None:
    assert _FILES == ["ci.yml", "review.yml", "stage.yml"]


@pytest.mark.parametrize("name", _FILES)
def test_every_action_is_pinned_by_its_whole_commit_with_its_version_beside_it(name: str) -> None:
    lines = [line for line in (WORKFLOWS / name).read_text().splitlines() if "uses:" in line]

    assert lines
    assert [line for line in lines if not _PINNED.match(line)] == []


@pytest.mark.parametrize("name", _FILES)
def test_nothing_is_permitted_but_what_a_job_asks_for(name: str) -> None:
    assert workflow(name)["permissions"] == {}
    assert all("permissions" in job for job in jobs(name).values())


def test_permissions_are_the_least() -> None:
    rights = {name: {job: body["permissions"] for job, body in jobs(name).items()} for name in _FILES}
    read, sign_in = {"contents": "read"}, {"contents": "read", "id-token": "write"}

    assert rights == {
        "ci.yml": {"lint": read, "test": read, "all-green": {}},
        "review.yml": {"find": read, "review": {**sign_in, "pull-requests": "write"}, "reviewed": {}},
        "stage.yml": {"find": read, "stage": sign_in, "delete": sign_in},
    }


@pytest.mark.parametrize("name", _FILES)
def test_no_secret_is_stored(name: str) -> None:
    text = (WORKFLOWS / name).read_text()

    assert "secrets." not in text
    assert "pull_request_target" not in text


@pytest.mark.parametrize("name", _FILES)
def test_no_expression_stands_in_a_shell_step(name: str) -> None:
    """What a pull request names (a stack, a folder) comes as a variable: put into the text it would be run."""
    runs = [s["run"] for job in jobs(name).values() for s in job["steps"] if "run" in s]

    assert runs
    assert [run for run in runs if "${{" in run] == []


@pytest.mark.parametrize("name", _FILES)
def test_a_checkout_leaves_no_token_behind(name: str) -> None:
    checkouts = [
        s for job in jobs(name).values() for s in job["steps"] if str(s.get("uses", "")).startswith("actions/checkout@")
    ]

    assert checkouts
    assert all(s["with"]["persist-credentials"] is False for s in checkouts)


@pytest.mark.parametrize("name", _FILES)
def test_every_job_ends_some_time(name: str) -> None:
    assert all(0 < job["timeout-minutes"] <= 350 for job in jobs(name).values())


def test_review_and_stage_are_usable_by_reference() -> None:
    review, stage = workflow("review.yml")["on"], workflow("stage.yml")["on"]

    assert set(review) == {"pull_request", "workflow_call"}
    assert set(stage) == {"push", "workflow_call"}
    assert stage["push"]["branches"] == ["main"]
    assert stage["push"]["paths"] == ["**/Pulumi.*.yaml", "!**/Pulumi.dev.yaml"]
    assert set(review["workflow_call"]["inputs"]) < set(stage["workflow_call"]["inputs"])


def test_every_update_waits_for_an_approval_and_deletions_for_two() -> None:
    taking = jobs("stage.yml")
    updating = {n for n, job in taking.items() if any("pulumi up" in s.get("run", "") for s in job["steps"])}

    assert updating == {"stage", "delete"}
    assert taking["stage"]["environment"] == "${{ inputs.environment || 'redismove' }}"
    assert taking["delete"]["environment"] == "${{ inputs.environment-delete || 'redismove-delete' }}"
    assert taking["delete"]["needs"] == ["find", "stage"]
    assert step(taking["stage"], "Take the stage")["if"] == "env.DELETES == 'false'"
    assert "--without-deletions" in step(taking["stage"], "Review once more")["run"]


@pytest.mark.parametrize("job", ["stage", "delete"])
def test_every_update_is_reviewed_just_before_with_the_same_policies(job: str) -> None:
    names = [s["name"] for s in jobs("stage.yml")[job]["steps"]]
    up = step(jobs("stage.yml")[job], "Take the stage")["run"]

    assert names[-2:] == ["Review once more", "Take the stage"]
    assert "--policy-pack policies" in up
    assert "--skip-preview" not in up


def test_only_the_review_writes_to_the_pull_request() -> None:
    posting = [
        (name, job, s["name"])
        for name in _FILES
        for job, body in jobs(name).items()
        for s in body["steps"]
        if "--post" in s.get("run", "") or "GITHUB_TOKEN" in s.get("env", {})
    ]

    assert posting == [("review.yml", "review", "Review")]


@pytest.mark.parametrize(
    ("find", "review", "stacks", "passes"),
    [
        ("success", "success", '["prod"]', True),
        ("success", "skipped", "[]", True),
        ("success", "skipped", '["prod"]', False),
        ("success", "failure", '["prod"]', False),
        ("success", "cancelled", '["prod"]', False),
        ("failure", "skipped", "", False),
        ("cancelled", "skipped", "[]", False),
    ],
)
def test_the_check_to_require_is_green_for_what_was_reviewed_alone(
    tmp_path: Path, find: str, review: str, stacks: str, passes: bool
) -> None:
    runner = Runner(tmp_path, {"PATH": "/usr/bin:/bin"}, tmp_path)

    done = runner.run(jobs("review.yml")["reviewed"], "Look at the results", FIND=find, REVIEW=review, STACKS=stacks)

    assert (done.returncode == 0) is passes


def test_actionlint_finds_nothing() -> None:
    """Brought by `go install github.com/rhysd/actionlint/cmd/actionlint`; continuous integration always runs it."""
    actionlint = shutil.which("actionlint")
    if actionlint is None:
        pytest.skip("actionlint is not on PATH")
    done = subprocess.run(
        [actionlint, *map(str, sorted(WORKFLOWS.glob("*.yml")))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout


# ------------------------------------------------------------------------------------------------- Azure Pipelines


def _everything(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key), item
            yield from _everything(item)
    elif isinstance(value, list):
        for item in value:
            yield from _everything(item)


def azure(name: str) -> Any:
    return yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", _AZURE, ids=lambda path: path.name)
def test_a_template_that_is_used_is_there_with_its_parameters(path: Path) -> None:
    uses: list[tuple[Path, set[str]]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "template" in value:
                uses.append((path.parent / value["template"], set(value.get("parameters", {}))))
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(yaml.safe_load(path.read_text(encoding="utf-8")))
    for template, given in uses:
        declared = yaml.safe_load(template.read_text(encoding="utf-8"))["parameters"]
        needed = {one["name"] for one in declared if "default" not in one}
        assert needed <= given <= {one["name"] for one in declared}, template


def test_in_azure_every_update_waits_for_an_approval_and_deletions_for_two() -> None:
    stages = {stage["stage"]: stage for stage in azure(".azure-pipelines/move.yml")["stages"]}
    updating = {
        (name, value["environment"])
        for name, stage in stages.items()
        for _, value in _everything({"jobs": [{"": job} for entry in stage["jobs"] for job in _jobs(entry)]})
        if isinstance(value, dict) and "environment" in value and "pulumi up" in str(value)
    }

    assert list(stages) == ["Find", "Review", "Stage", "Delete"]
    assert updating == {
        ("Stage", "${{ parameters.environment }}"),
        ("Delete", "${{ parameters.environmentDelete }}"),
    }
    assert stages["Delete"]["dependsOn"] == ["Find", "Stage"]


def _jobs(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The jobs of an entry that may be a loop over stacks."""
    (key, value) = next(iter(entry.items()))
    return value if key.startswith("${{") else [entry]


@pytest.mark.parametrize("path", _AZURE, ids=lambda path: path.name)
def test_in_azure_no_secret_is_stored(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert "servicePrincipalKey" not in text
    assert "CLIENT_SECRET" not in text
    assert text.count("System.AccessToken") == (1 if path.name == "run.yml" else 0)
