"""Brings Azurite, the storage emulator that holds the blobs of the local Azure; only the method `rdb` needs it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

from toolchain.console import Problem, output_of, run, say
from toolchain.places import REPOSITORY, find_program, link, make_once

#: Azurite of the lock file runs on it; so do the packages it is made of.
OLDEST_NODE = 18
PROGRAM = "azurite-blob"

_MANIFEST = REPOSITORY / "tools" / "azurite"
_CURE = (
    "install Node.js 18 or later with npm (Debian, Ubuntu: `apt-get install nodejs npm`; Fedora: "
    "`dnf install nodejs`), so that `node --version` and `npm --version` answer, then `make setup`"
)


def ensure() -> str:
    """Put `azurite-blob` into `.tools/bin`, from npm by the lock file, kept in the cache of tools.

    Nothing but the method `rdb` on the local Azure needs it, so that its absence is said and stops nothing.

    Returns:
        What is used, or what would mend its absence, in one line.
    """
    try:
        return _bring()
    except Problem as problem:
        say(f"Azurite is not there, and METHOD=rdb will not run on the local Azure; all else does. {problem}")
        return "no Azurite (only METHOD=rdb needs it)"


def version() -> str:
    """Read the version that the manifest asks for."""
    return str(json.loads((_MANIFEST / "package.json").read_text(encoding="utf-8"))["dependencies"]["azurite"])


def _bring() -> str:
    node, npm = find_program("node"), find_program("npm")
    if node is None or npm is None:
        missing = " and ".join(name for name, found in (("node", node), ("npm", npm)) if found is None)
        raise Problem(f"No {missing} is on PATH", _CURE)
    answer = output_of([node, "--version"]) or ""
    found = re.match(r"v(\d+)\.", answer)
    if found is None or int(found.group(1)) < OLDEST_NODE:
        raise Problem(f"{node} is version {answer.strip() or 'unknown'}, older than {OLDEST_NODE}", _CURE)
    # Another lock file is another folder: two clones of different age do not disturb each other.
    lock = hashlib.sha256((_MANIFEST / "package-lock.json").read_bytes()).hexdigest()[:8]
    folder = make_once(f"azurite-{version()}-{lock}", lambda partial: _install(npm, partial))
    link(PROGRAM, folder / "node_modules" / ".bin" / PROGRAM)
    return f"Azurite {version()} on Node.js {answer.strip().removeprefix('v')}"


def _install(npm: Path, folder: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy2(_MANIFEST / name, folder / name)
    run(
        [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"],
        what="The packages of Azurite could not be installed",
        cure=_CURE,
        title="Bringing Azurite and its packages from npm (180 MB on disk)",
        cwd=folder,
    )
