"""A local Azure of its own for a test: started on free ports in its own folder, and ended whatever happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_EXPORT = re.compile(r"^export ([A-Z_0-9]+)=(.*)$")


@dataclass
class LocalCloud:
    """One home of the local Azure and the environment that points every client at it."""

    home: Path
    environment: dict[str, str]

    @classmethod
    def start(cls, home: Path, *options: str) -> LocalCloud:
        """Start a local Azure in *home*; *options* go to `redismove local start`."""
        cloud = cls(home, {**os.environ})
        try:
            cloud.local("start", *options)
            cloud.environment = {**os.environ, **cloud._exported()}
        except BaseException:
            cloud.stop()
            raise
        return cloud

    def _exported(self) -> dict[str, str]:
        import shlex

        lines = self.local("env").splitlines()
        pairs = [match.groups() for match in map(_EXPORT.match, lines) if match]
        values = {name: "".join(shlex.split(value)) for name, value in pairs if name != "PATH"}
        path = subprocess.run(
            ["bash", "-c", self.local("env") + '\nprintf %s "$PATH"'], capture_output=True, text=True, check=True
        ).stdout
        return {**values, "PATH": path}

    def local(self, command: str, *options: str, timeout_s: float = 180.0) -> str:
        """Run `redismove local COMMAND --home HOME OPTIONS`; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "redismove.cli.local", command, "--home", str(self.home), *options],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"redismove local {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def seed(self, name: str, *, keys: int, **options: object) -> None:
        """Make cache *name* as somebody would have in the portal, with *keys* keys."""
        words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "redismove.cli.local",
                "seed",
                name,
                "--home",
                str(self.home),
                "--keys",
                str(keys),
                *words,
            ],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"redismove local seed {name}: {done.stdout}{done.stderr}"

    def stop(self) -> None:
        """End it and every process it started."""
        subprocess.run(
            [sys.executable, "-m", "redismove.cli.local", "stop", "--home", str(self.home)],
            cwd=REPOSITORY,
            capture_output=True,
            timeout=120,
        )
