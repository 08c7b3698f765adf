"""Which stacks a change in git touches."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from redismove.review import changed
from redismove.review.changed import Touched
from redismove.review.verdict import ReviewError


class Repository:
    """A git repository in a folder of its own, which knows nothing of its user's configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=self.folder, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        """Write these files (double underscore for a dot, triple for a slash) and commit; return the commit."""
        for name, text in files.items():
            path = self.folder / name.replace("___", "/").replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "x")
        return self.git("rev-parse", "HEAD")


def config(stage: str, method: str = "geo-replication") -> str:
    return f"config:\n  redismove:method: {method}\n  redismove:stage: {stage}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "orders")
    made.commit(Pulumi__yaml="name: redismove\n", Pulumi__a__yaml=config("verify"), Pulumi__b__yaml=config("adopt"))
    return made


def touched(repository: Repository, reference: str = "HEAD^", **more: object) -> Touched:
    return changed.since(reference, repository.folder, **more)  # type: ignore[arg-type]


def test_a_stack_whose_configuration_changed_is_reviewed_and_taken(repository: Repository) -> None:
    repository.commit(Pulumi__b__yaml=config("prepare"))

    assert touched(repository) == Touched(review=("b",), stage=("b",), delete=())


def test_a_change_of_the_program_reviews_every_stack_and_takes_none(repository: Repository) -> None:
    repository.commit(policies___pack__py="x = 1\n")

    assert touched(repository) == Touched(review=("a", "b"), stage=(), delete=())


def test_a_change_of_anything_else_touches_no_stack(repository: Repository) -> None:
    repository.commit(docs___page__md="text\n", README__md="text\n")

    assert touched(repository) == Touched(review=(), stage=(), delete=())


def test_a_removed_configuration_is_no_stack_to_review(repository: Repository) -> None:
    (repository.folder / "Pulumi.a.yaml").unlink()
    repository.commit()

    assert touched(repository) == Touched(review=(), stage=(), delete=())


def test_a_stack_can_be_left_out(repository: Repository) -> None:
    repository.commit(Pulumi__a__yaml=config("unlink"), Pulumi__b__yaml=config("prepare"))

    assert touched(repository, without=["a"]) == Touched(review=("b",), stage=("b",), delete=())


@pytest.mark.parametrize(
    ("before", "after", "method", "deletes"),
    [
        ("verify", "unlink", "geo-replication", True),
        ("unlink", "unlink", "geo-replication", True),
        ("retire", "cleanup", "copy", True),
        ("replicate", "prepare", "geo-replication", True),
        ("prepare", "adopt", "geo-replication", True),
        ("verify", "adopt", "geo-replication", True),
        ("unlink", "replicate", "geo-replication", False),
        ("unlink", "cutover", "geo-replication", False),
        ("adopt", "prepare", "geo-replication", False),
        ("verify", "nonsense", "geo-replication", True),
    ],
)
def test_what_takes_something_away_is_known_by_its_stages(
    repository: Repository, before: str, after: str, method: str, deletes: bool
) -> None:
    repository.commit(Pulumi__a__yaml=config(before, method))
    repository.commit(Pulumi__a__yaml=f"{config(after, method)}  redismove:soakHours: 1\n")

    assert touched(repository).delete == (("a",) if deletes else ())


def test_a_new_stack_takes_nothing_away(repository: Repository) -> None:
    repository.commit(Pulumi__new__yaml=config("adopt"))

    assert touched(repository) == Touched(review=("new",), stage=("new",), delete=())


def test_a_project_below_the_repositorys_folder_is_compared_alone(repository: Repository) -> None:
    repository.commit(moves___Pulumi__yaml="name: redismove\n", moves___Pulumi__c__yaml=config("adopt"))
    repository.commit(moves___Pulumi__c__yaml=config("prepare"), Pulumi__a__yaml=config("unlink"))

    found = changed.since("HEAD^", repository.folder / "moves")

    assert found == Touched(review=("c",), stage=("c",), delete=())


@pytest.mark.parametrize("reference", ["0" * 40, "no-such-branch", "--output=x", ""])
def test_a_commit_that_git_does_not_know_is_one_sentence(repository: Repository, reference: str) -> None:
    with pytest.raises(ReviewError, match=r"^git diff in orders: .*fetch-depth") as caught:
        touched(repository, reference)

    assert "\n" not in str(caught.value)
    assert not (repository.folder / "x").exists()


@pytest.mark.parametrize("text", ["config: [", "[]", "config: 7"])
def test_a_configuration_that_is_none_is_one_sentence(repository: Repository, text: str) -> None:
    repository.commit(Pulumi__a__yaml=text)

    with pytest.raises(ReviewError, match=r"^Pulumi\.a\.yaml: found no configuration"):
        touched(repository)
