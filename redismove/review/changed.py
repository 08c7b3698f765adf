"""Which stacks a change in git touches, and what it asks of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from redismove import stages
from redismove.review.verdict import ReviewError
from redismove.settings import NAMESPACE

_STACK_FILE: Final = re.compile(r"Pulumi\.([A-Za-z0-9._-]{1,100})\.yaml")
_PROGRAM: Final = re.compile(r"(Pulumi\.yaml|__main__\.py|requirements[^/]*\.txt|(components|policies|redismove)/.+)")
_DELETING: Final = (stages.UNLINK, stages.CLEANUP)
_GIT_LIMIT_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Touched:
    """
    Stacks by name, sorted.

    `review`: their configuration or the program changed. `stage`: their configuration changed, so that an update is
    due. `delete`: of these, the ones whose new stage takes a link or a cache away.
    """

    review: tuple[str, ...]
    stage: tuple[str, ...]
    delete: tuple[str, ...]


def since(reference: str, folder: Path, *, without: Collection[str] = ()) -> Touched:
    """
    Compare the commit *reference* with the present one, in the project in *folder*.

    *without* names stacks to leave out.

    Raises:
        ReviewError: git cannot tell.
    """
    changed = _git(folder, "diff", "--name-only", "-z", "--relative", "--end-of-options", reference, "HEAD", "--")
    paths = [path for path in changed.split("\0") if path]
    there = {name for path in folder.glob("Pulumi.*.yaml") if (name := _stack(path.name))} - set(without)
    configured = {name for path in paths if (name := _stack(path))} & there
    review = there if any(_PROGRAM.fullmatch(path) for path in paths) else configured
    delete = {name for name in configured if _takes_away(reference, folder, name)}
    return Touched(review=tuple(sorted(review)), stage=tuple(sorted(configured)), delete=tuple(sorted(delete)))


def _stack(path: str) -> str:
    match = _STACK_FILE.fullmatch(path)
    return match[1] if match else ""


def _takes_away(reference: str, folder: Path, stack: str) -> bool:
    """
    Whether the stage that is asked for deletes a link or a cache, as far as the configuration tells.

    What the stack really is at only a preview knows; a run that may delete nothing asks that again.
    """
    path = f"Pulumi.{stack}.yaml"
    method, stage = _asked((folder / path).read_text(encoding="utf-8"), path)
    if stage in _DELETING:
        return True
    try:
        before = _asked(_git(folder, "show", "--end-of-options", f"{reference}:./{path}"), path)
    except ReviewError:
        return False  # a new stack has nothing yet
    if any(stage not in stages.way(method) for method, stage in (before, (method, stage))):
        return True
    had, has = stages.declaration(*before), stages.declaration(method, stage)
    return (
        (had.source and not has.source) or (had.target and not has.target) or (had.replication and not has.replication)
    )


def _asked(text: str, path: str) -> tuple[str, str]:
    """Return method and stage that a stack's configuration asks for, the project's defaults where it says nothing."""
    try:
        document: Any = yaml.safe_load(text)
        config = ({} if document is None else document).get("config") or {}
        method = str(config.get(f"{NAMESPACE}:method", stages.GEO_REPLICATION))
        stage = str(config.get(f"{NAMESPACE}:stage", stages.ADOPT))
    except (yaml.YAMLError, AttributeError):
        raise ReviewError(
            f"{path}: found no configuration of a stack, allowed YAML with `config`; correct it"
        ) from None
    return (method if method in stages.METHODS else stages.GEO_REPLICATION), stage


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=_GIT_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReviewError(f"git: found {type(error).__name__}, allowed an answer; install git") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ReviewError(
            f"git {words[0]} in {folder.name}: {said}; fetch the commit that is compared with (fetch-depth in the "
            "workflow), and name it with --changed-since"
        )
    return done.stdout
