"""Bringing Azurite: by the lock file, once, and without it everything else still works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain import azurite, places

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache, PATH and this clone's tools out of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin-not")
    monkeypatch.setattr(places, "TOOLS_BIN", tmp_path / "clone" / ".tools" / "bin")
    (tmp_path / "path").mkdir()


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], None]:
    """Give a maker of programs on PATH."""

    def make(name: str, script: str) -> None:
        path = tmp_path / "path" / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    return make


NPM = """
echo "$@" >> ../npm-was-asked
mkdir -p node_modules/.bin && touch node_modules/.bin/azurite-blob
"""


def test_it_is_installed_by_the_lock_file_and_once(tmp_path: Path, program: Callable[[str, str], None]) -> None:
    program("node", "echo v20.1.0")
    program("npm", NPM)

    said = azurite.ensure()
    assert azurite.ensure() == said == f"Azurite {azurite.version()} on Node.js 20.1.0"

    asked = (tmp_path / "cache" / "redismove" / "npm-was-asked").read_text().splitlines()
    assert len(asked) == 1
    assert asked[0].startswith("ci ")
    assert "--ignore-scripts" in asked[0]
    link = tmp_path / "clone" / ".tools" / "bin" / "azurite-blob"
    assert link.resolve().is_file()
    assert (link.resolve().parents[2] / "package-lock.json").is_file()


@pytest.mark.parametrize(
    ("node", "npm", "says"),
    [
        (None, None, "No node and npm is on PATH"),
        ("echo v20.1.0", None, "No npm is on PATH"),
        ("echo v16.20.2", NPM, "is version v16.20.2, older than 18"),
        ("exit 1", NPM, "is version unknown, older than 18"),
        ("echo v18.0.0", "exit 7", "could not be installed: npm ended with exit code 7"),
    ],
)
def test_its_absence_is_said_with_its_cure_and_stops_nothing(
    program: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    node: str | None,
    npm: str | None,
    says: str,
) -> None:
    for name, script in (("node", node), ("npm", npm)):
        if script is not None:
            program(name, script)

    assert azurite.ensure() == "no Azurite (only METHOD=rdb needs it)"

    said = capsys.readouterr().out
    assert says in said
    assert "METHOD=rdb will not run on the local Azure; all else does" in said
    assert "apt-get install nodejs npm" in said


def test_the_lock_file_fits_the_manifest_and_names_no_registry() -> None:
    lock = json.loads((ROOT / "tools" / "azurite" / "package-lock.json").read_text(encoding="utf-8"))

    assert lock["packages"]["node_modules/azurite"]["version"] == azurite.version()
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []
    without = [name for name, entry in lock["packages"].items() if name and "integrity" not in entry]
    assert without == [], "every package has its hash"
