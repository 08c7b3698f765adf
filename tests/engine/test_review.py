"""A pull request that changes a stage, from the push to the update: git, the workflows' own steps, the real engine."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from redismove.rules import RULES
from tests.support import forge as forges
from tests.support.forge import Forge
from tests.support.golden import assert_golden
from tests.support.local_cloud import LocalCloud
from tests.support.move import Move
from tests.support.previews import without_held
from tests.support.workflow import Runner, workflow

pytestmark = pytest.mark.engine

STACK = "prod"
_NUMBER = 70
"""Part of the caches' names; the golden files say "orders-eus" in place of "orders70-eus"."""


class Project:
    """A team's repository with one stack's configuration, its remote, and pull requests into it."""

    def __init__(self, folder: Path, move: Move) -> None:
        self.folder = folder
        self.remote = folder / "remote.git"
        self.clone = folder / "clone"
        self.move = move
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", self.remote], check=True, timeout=30
        )
        subprocess.run(
            ["git", "clone", "--quiet", self.remote, self.clone], check=True, timeout=30, capture_output=True
        )
        self.git("switch", "--quiet", "--orphan", "main")
        shutil.copy(move.stack.folder / f"Pulumi.{STACK}.yaml", self.clone)
        self._commit("replicate")

    def git(self, *words: str) -> str:
        """Run git in the clone, as somebody whose own configuration does not matter."""
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=self.clone, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    def _commit(self, stage: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"prod: {stage}")
        self.git("push", "--quiet", "--force", "origin", "HEAD")

    def propose(self, stage: str) -> None:
        """Push a branch that asks for *stage*."""
        self.git("switch", "--quiet", "--force-create", f"take-{stage}", "main")
        path = self.clone / f"Pulumi.{STACK}.yaml"
        lines = [line for line in path.read_text().splitlines() if "redismove:stage:" not in line]
        path.write_text("\n".join([*lines, f"  redismove:stage: {stage}"]) + "\n")
        self._commit(stage)

    def merge(self, stage: str) -> None:
        """Merge a branch into main, and push it."""
        self.git("switch", "--quiet", "main")
        self.git("merge", "--quiet", "--no-ff", "--message", f"merge {stage}", f"take-{stage}")
        self.git("push", "--quiet", "origin", "main")

    def runner(self, name: str, stubs: Path, *, stage: str = "") -> Runner:
        """
        Return a runner with what a workflow's checkouts leave: the configuration, beside it the program.

        With *stage* the configuration is the merge that a platform makes to test a pull request, else main.
        """
        workspace = self.folder / name
        configuration = workspace / "configuration"
        subprocess.run(
            ["git", "clone", "--quiet", "--branch", "main", self.remote, configuration],
            check=True,
            timeout=30,
            capture_output=True,
        )
        if stage:
            identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
            subprocess.run(
                ["git", *identity, "merge", "--quiet", "--no-ff", "-m", "test", f"origin/take-{stage}"],
                cwd=configuration,
                check=True,
                timeout=30,
                capture_output=True,
            )
        (workspace / "program").symlink_to(self.move.stack.folder)
        return Runner(workspace, self.move.stack.environment, stubs)


@pytest.fixture
def move(cloud: LocalCloud, tmp_path: Path) -> Move:
    return Move.new(cloud, tmp_path / "program", _NUMBER, keys=200, seed={}, config={"name": STACK})


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """`make setup` has been run: this repository's own tools are used."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    (folder / "make").write_text('#!/bin/sh\n[ "$*" = setup ]\n')
    (folder / "make").chmod(0o755)
    return folder


@pytest.fixture
def forge() -> Iterator[Forge]:
    with forges.running() as running:
        yield running


def _as_golden(text: str, move: Move) -> str:
    shown = text.replace(move.source_name, "orders-eus").replace(move.target_name, "orders-wus2")
    return without_held(shown)


def _environment(move: Move, config: str = "") -> dict[str, str]:
    """What the jobs declare by expressions: the stack, and the team's variables."""
    names = ("PULUMI_BACKEND_URL", "ARM_CLIENT_ID", "ARM_TENANT_ID", "ARM_SUBSCRIPTION_ID")
    theirs = {name: move.stack.environment[name] for name in names}
    return {"STACK": STACK, "FOLDER": ".", "POLICY_PACK_CONFIG": config, **theirs}


def _review(project: Project, forge: Forge, stubs: Path, name: str, stage: str) -> subprocess.CompletedProcess[str]:
    """Run the shell steps of the review's workflow for a pull request that asks for *stage*."""
    runner = project.runner(name, stubs, stage=stage)
    event = runner.temporary / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7}}))
    jobs = workflow("review.yml")["jobs"]
    found = runner.run(jobs["find"], "Find the stacks")
    assert found.returncode == 0, found.stderr
    assert runner.outputs["review"] == f'["{STACK}"]'
    environment = _environment(project.move)
    ready = runner.run(jobs["review"], "Set up", **environment)
    assert ready.returncode == 0, ready.stderr
    runner.environment |= {
        "GITHUB_API_URL": forge.url,
        "GITHUB_REPOSITORY": forges.REPOSITORY,
        "GITHUB_EVENT_PATH": str(event),
    }
    return runner.run(jobs["review"], "Review", GITHUB_TOKEN=forges.TOKEN, **environment)


@pytest.mark.timeout(420)
def test_a_pull_request_is_refused_without_evidence_passes_with_it_and_is_taken_when_merged(
    move: Move, forge: Forge, stubs: Path, tmp_path: Path
) -> None:
    def everything() -> object:
        return move.arm_get(move.source_name), move.arm_get(move.target_name), move.stack.state()

    move.go_to("adopt", "prepare", "replicate")
    project = Project(tmp_path / "team", move)
    before = everything()

    project.propose("unlink")
    refused = _review(project, forge, stubs, "first", "unlink")
    assert refused.returncode == 1, refused.stderr
    assert "[RM-L05]" in refused.stderr
    (comment,) = forge.comments
    assert "**RM-L05** evidence is there before anything that takes away" in comment["body"]
    assert_golden(_as_golden(comment["body"], move), "review/pull-request-without-evidence.md")
    assert everything() == before, "the review changed something"

    project.propose("verify")
    project.merge("verify")
    move.go_to("verify")
    before = everything()

    project.propose("unlink")
    allowed = _review(project, forge, stubs, "second", "unlink")
    assert allowed.returncode == 0, allowed.stderr
    (comment,) = forge.comments
    assert_golden(_as_golden(comment["body"], move), "review/pull-request-with-evidence.md")
    assert everything() == before, "the review changed something"

    _merged(project, stubs)


def _merged(project: Project, stubs: Path) -> None:
    """Merge the change and run the shell steps of the stage's workflow: what deletes is taken by its own job alone."""
    move, jobs = project.move, workflow("stage.yml")["jobs"]
    (rule,) = [rule for rule in RULES if rule.id == "RM-L01"]
    pushed = project.git("rev-parse", "main")
    project.merge("unlink")
    runner = project.runner("push", stubs)
    (runner.workspace / "configuration" / "pack.json").write_text(json.dumps({rule.name: "disabled"}))

    found = runner.run(jobs["find"], "Find the stacks", BEFORE=pushed)
    assert found.returncode == 0, found.stderr
    assert (runner.outputs["stage"], runner.outputs["delete"]) == (f'["{STACK}"]', f'["{STACK}"]')
    assert runner.run(jobs["stage"], "Set up", DELETES="true", **_environment(move)).returncode == 0

    # As if it had not been found to delete anything, and with a rule switched off: both are refused by name.
    refused = runner.run(jobs["stage"], "Review once more", DELETES="false", **_environment(move, "pack.json"))
    assert refused.returncode == 1, refused.stderr
    assert f'policy "{rule.name}" in pack.json: found level "disabled", allowed "mandatory"' in refused.stderr
    assert "found a deletion, allowed none in this run" in refused.stderr
    assert move.link.exists

    taken = runner.run(jobs["delete"], "Take the stage", **_environment(move))
    assert taken.returncode == 0, f"{taken.stdout}{taken.stderr}"
    assert not move.link.exists
