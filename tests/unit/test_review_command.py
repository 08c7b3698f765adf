"""`redismove review` on its way to the engine: options, errors, and what it writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from redismove import stages
from redismove.cli import review as command
from redismove.cli.main import app
from redismove.cli.stack import StackError, StackView
from redismove.errors import RedismoveError
from redismove.review.preview import Preview
from redismove.settings import read as settings_of
from redismove.steps.survey import Recorded, Survey
from tests.support import moves
from tests.support.previews import judged_by_all, recorded


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["review", *words])


class View:
    """A stack that is there, with facts instead of clouds."""

    name = "prod"

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self.stage = stage

    def survey(self) -> Survey:
        move = moves.move(self.stage)
        config = {
            "source": '{"resourceGroup": "rg", "name": "orders-east"}',
            "target": '{"resourceGroup": "rg", "name": "orders-west", "location": "westus2"}',
            "stage": self.stage,
        }
        return Survey(
            move=move,
            settings=settings_of(config),
            recorded=Recorded(),
            move_id="",
            endpoint_file=self.folder / "endpoint.json",
            project_folder=self.folder,
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "PulumiPolicy.yaml").write_text("runtime: python\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def previewed(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path | None]]:
    """A stack whose preview takes verify to unlink; returns with which pack and configuration it was previewed."""
    asked: list[tuple[Path, Path | None]] = []

    def preview(_view: object, pack: Path, config: Path | None) -> Preview:
        asked.append((pack, config))
        return judged_by_all(recorded("unlink"), moves.move(stages.UNLINK))

    monkeypatch.setattr(StackView, "open", lambda name="", folder=None: View(project, stages.UNLINK))
    monkeypatch.setattr(command, "_preview", preview)
    return asked


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--post", "gitlab"), '--post: found "gitlab", allowed github or azure'),
        (("--stack", "a", "--changed-since", "HEAD^"), "--stack and --changed-since: found both"),
        (("--list",), "--list and --except: found no --changed-since"),
        (("--except", "dev"), "--list and --except: found no --changed-since"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    done = run(*words)

    assert isinstance(done.exception, RedismoveError)
    assert str(done.exception).startswith(sentence)


def test_allowed_ends_with_0_and_prints_the_comment(previewed: list[tuple[Path, Path | None]], project: Path) -> None:
    done = run("--stack", "prod")

    assert done.exit_code == 0
    assert done.stdout.startswith("<!-- redismove review of stack prod -->\n## redismove: stack `prod`, `verify` to")
    assert previewed == [(project / "policies", None)]


def test_refused_ends_with_1_and_says_why(previewed: list[object], project: Path) -> None:
    (project / "pack.json").write_text('{"all": "disabled"}')

    done = run("--stack", "prod", "--policy-pack-config", "pack.json", "--comment-file", "c.md")

    assert done.exit_code == 1
    assert done.stdout == ""
    assert 'policy "all" in pack.json: found level "disabled", allowed "mandatory"' in done.stderr
    assert "**Refused:** 1 refusal." in (project / "c.md").read_text()


def test_deletions_are_refused_where_none_may_be(previewed: list[object]) -> None:
    done = run("--stack", "prod", "--without-deletions")

    assert done.exit_code == 1
    assert 'the link "orders-east"-"orders-west" is removed' in done.stderr


def test_values_for_programs_are_the_whole_output(previewed: list[object]) -> None:
    done = run("--stack", "prod", "--json")

    assert json.loads(done.stdout)["changes"][0]["destroys"] is True


@pytest.mark.parametrize("comment", [(), ("--comment-file", "c.md")])
def test_an_error_ends_with_2_in_one_sentence_and_is_a_comment_too(
    project: Path, monkeypatch: pytest.MonkeyPatch, comment: tuple[str, ...]
) -> None:
    def refuse(name: str = "", folder: Path | None = None) -> StackView:
        raise StackError(f"stack {name}: no stack named '{name}' found")

    monkeypatch.setattr(StackView, "open", refuse)

    done = run("--stack", "prod", *comment)

    assert done.exit_code == 2
    assert done.stderr == "error: stack prod: no stack named 'prod' found\n"
    text = (project / "c.md").read_text() if comment else done.stdout
    assert "could not be reviewed" in text
    assert "no stack named 'prod' found" in text


def test_a_missing_policy_pack_ends_with_2(previewed: list[object], project: Path) -> None:
    done = run("--stack", "prod", "--policy-pack", "no-such-folder")

    assert done.exit_code == 2
    assert "policy pack no-such-folder: found no PulumiPolicy.yaml" in done.stderr
    assert previewed == []


def test_a_folder_without_a_project_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    done = run("--stack", "prod")

    assert done.exit_code == 2
    assert "found no Pulumi.yaml" in done.stderr
    assert "Traceback" not in done.output


def test_a_comment_file_that_cannot_be_written_is_one_sentence(previewed: list[object]) -> None:
    done = run("--stack", "prod", "--comment-file", "no-such-folder/c.md")

    assert isinstance(done.exception, RedismoveError)
    assert str(done.exception).startswith("--comment-file no-such-folder/c.md: ")


def test_a_comment_that_cannot_be_posted_ends_with_2_and_is_written_all_the_same(
    previewed: list[object], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)

    done = run("--stack", "prod", "--post", "github", "--comment-file", "c.md")

    assert done.exit_code == 2
    assert "error: --post github: found no GITHUB_REPOSITORY" in done.stderr
    assert "**Allowed.**" in (project / "c.md").read_text()


def test_every_stack_that_differs_is_reviewed_and_the_worst_counts(
    previewed: list[object], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _commit(project, a="adopt", b="adopt", dev="adopt")
    _commit(project, a="prepare", b="prepare", dev="prepare")

    listed = run("--changed-since", "HEAD^", "--except", "dev", "--list")
    done = run("--changed-since", "HEAD^", "--except", "dev")
    view = View(project, stages.UNLINK)

    def only_a(name: str = "", folder: Path | None = None) -> View:
        if name != "a":
            raise StackError(f"stack {name}: not there")
        return view

    monkeypatch.setattr(StackView, "open", only_a)
    worst = run("--changed-since", "HEAD^", "--except", "dev", "--json")

    assert listed.stdout == 'review=["a", "b"]\nstage=["a", "b"]\ndelete=[]\n'
    assert (done.exit_code, done.stdout.count("**Allowed.**")) == (0, 2)
    assert worst.exit_code == 2
    assert [one["allowed"] for one in json.loads(worst.stdout)] == [True, False]


def test_nothing_that_differs_is_allowed(previewed: list[object], project: Path) -> None:
    _commit(project, a="adopt")
    _commit(project)

    done = run("--changed-since", "HEAD^")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "no stack to review" in done.stderr


def _commit(project: Path, **stage_by_stack: str) -> None:
    for stack, stage in stage_by_stack.items():
        (project / f"Pulumi.{stack}.yaml").write_text(f"config:\n  redismove:stage: {stage}\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    for words in (
        ("init", "--quiet"),
        ("add", "--all", "--", "Pulumi.*.yaml"),
        ("commit", "--quiet", "--allow-empty", "-m", "x"),
    ):
        subprocess.run(["git", *identity, *words], cwd=project, check=True, timeout=30, capture_output=True)
