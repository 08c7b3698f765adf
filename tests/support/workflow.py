"""A workflow's shell steps, run on this machine as a runner would."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.local_cloud import REPOSITORY

WORKFLOWS = REPOSITORY / ".github" / "workflows"
_LIMIT_S = 280.0


def workflow(name: str) -> dict[str, Any]:
    """Return a workflow of this repository; the key `on` is a string again, as everybody but YAML 1.1 reads it."""
    document: dict[Any, Any] = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in document.items()}


def step(job: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the step of that name."""
    found: dict[str, Any] = next(s for s in job["steps"] if s.get("name") == name)
    return found


@dataclass
class Runner:
    """
    The folder, files and environment of one job.

    *stubs* is a folder of commands that stand before all others, for what a test does not want to run.
    """

    workspace: Path
    environment: dict[str, str]
    stubs: Path
    path: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.temporary = self.workspace / "_temp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        for name in ("output", "path", "summary"):
            (self.temporary / name).write_text("")

    def run(self, job: dict[str, Any], name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """
        Run the step *name* of *job* with `bash -e`, in its folder.

        *environment* gives each variable that job and step declare by an expression; one that is missing fails here.
        """
        found = step(job, name)
        declared = {**job.get("env", {}), **found.get("env", {})}
        literal = {key: str(value) for key, value in declared.items() if "${{" not in str(value)}
        missing = set(declared) - set(literal) - set(environment)
        assert not missing, f"step {name}: no value for {missing}"
        folder = str(found.get("working-directory", ".")).replace("${{ inputs.folder || '.' }}", ".")
        path = [str(self.stubs), *reversed(self.path), self.environment["PATH"]]
        done = subprocess.run(
            ["bash", "-e", "-c", found["run"]],
            cwd=self.workspace / folder,
            env={
                **self.environment,
                **literal,
                **environment,
                "PATH": os.pathsep.join(path),
                "GITHUB_WORKSPACE": str(self.workspace),
                "GITHUB_OUTPUT": str(self.temporary / "output"),
                "GITHUB_PATH": str(self.temporary / "path"),
                "GITHUB_STEP_SUMMARY": str(self.temporary / "summary"),
                "RUNNER_TEMP": str(self.temporary),
            },
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        self.path += [
            line for line in (self.temporary / "path").read_text().splitlines() if line and line not in self.path
        ]
        return done

    @property
    def outputs(self) -> dict[str, str]:
        """What the steps wrote to GITHUB_OUTPUT so far; the last one counts."""
        lines = (self.temporary / "output").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line)
