"""Brings a redis-server that speaks TLS."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from toolchain.console import Problem, output_of, run, say, step
from toolchain.places import cache_folder, find_program, link, make_once

#: `CLIENT PAUSE ... WRITE`, which the cut-over is built on, came with it.
OLDEST = (6, 2)
TOOLS = ("redis-server", "redis-cli", "redis-benchmark", "redis-check-rdb", "redis-check-aof")

_PACKAGES = ("redis-server", "redis-tools")
_CURE = (
    "install redis-server 6.2 or later with TLS (Debian, Ubuntu: `apt-get install redis-server`; Fedora: "
    "`dnf install redis`), so that `redis-server --version` answers, then `make setup`"
)

#: A program of Debian's package, started with the libraries that this machine lacks.
_WRAPPER = """#!/bin/sh
# Made by `make setup`: the program needs libraries that this machine lacks; they lie beside it.
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH="$here/../lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/../libexec/${0##*/}" "$@"
"""


def ensure() -> str:
    """Put redis-server and redis-cli into `.tools/bin`: from PATH, or Debian's packages unpacked in the cache.

    Returns:
        What is used, in one line.

    Raises:
        Problem: there is none, and none could be brought.
    """
    found = find_program("redis-server")
    if found is not None:
        reason = why_unfit(found)
        if reason is None:
            for tool in TOOLS:
                if beside := find_program(tool):
                    link(tool, beside)
            return f"redis-server {version_of(found)} at {found}"
        say(f"{found} is not used: {reason}.")
    folder = make_once(
        "redis",
        _unpack_debian_packages,
        find=_find_unpacked,
        final_name=lambda made: f"redis-{version_of(made / 'bin' / 'redis-server')}",
    )
    for tool in TOOLS:
        link(tool, folder / "bin" / tool)
    return f"redis-server {version_of(folder / 'bin' / 'redis-server')} of Debian's package, unpacked at {folder}"


def version_of(server: Path) -> str | None:
    """Ask a redis-server for its version; None where it does not run."""
    found = re.search(r"v=(\d+\.\d+\.\d+)", output_of([server, "--version"]) or "")
    return found.group(1) if found else None


def why_unfit(server: Path) -> str | None:
    """Say why a redis-server cannot be used here, or None where it can."""
    version = version_of(server)
    if version is None:
        return "it does not start"
    if tuple(int(part) for part in version.split("."))[:2] < OLDEST:
        return f"version {version} is older than {OLDEST[0]}.{OLDEST[1]}"
    # A server without TLS stops at the first of these lines, one with TLS at the second: neither starts to serve.
    complaint = output_of([server, "-"], stdin="tls-port 0\nnot-a-directive\n") or ""
    if "'not-a-directive'" not in complaint:
        return f"version {version} was built without TLS"
    return None


def _find_unpacked() -> Path | None:
    for folder in sorted(cache_folder().glob("redis-[0-9]*"), reverse=True):
        if why_unfit(folder / "bin" / "redis-server") is None:
            return folder
    return None


def _unpack_debian_packages(folder: Path) -> None:
    if find_program("apt-get") is None or find_program("dpkg-deb") is None:
        raise Problem("No redis-server with TLS is on PATH, and there is no apt-get here to fetch one with", _CURE)
    with step("Bringing redis-server from Debian's packages (1.5 MB), without installing it"):
        _fetch_and_arrange(folder)
    reason = why_unfit(folder / "bin" / "redis-server")
    if reason is not None:
        raise Problem(f"The redis-server of this system's packages cannot be used: {reason}", _CURE)


def _fetch_and_arrange(folder: Path) -> None:
    scratch = folder / "scratch"
    tree = scratch / "tree"
    tree.mkdir(parents=True)
    options = _fetch(scratch, list(_PACKAGES), [])
    _extract(scratch, tree)
    programs, libraries = folder / "libexec", folder / "lib"
    missing = _missing_libraries(tree / "usr/bin/redis-server", libraries)
    if missing:
        _fetch(scratch, _library_packages(scratch), options)
        _extract(scratch, tree)
        libraries.mkdir()
        for library in (tree / "usr/lib").rglob("*.so*"):
            shutil.copy2(library, libraries / library.name, follow_symlinks=False)
        missing = _missing_libraries(tree / "usr/bin/redis-server", libraries)
        if missing:
            raise Problem(f"Debian's redis-server needs {', '.join(missing)}, which could not be brought", _CURE)
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    if libraries.is_dir():
        shutil.copytree(tree / "usr/bin", programs, symlinks=True)
        for tool in TOOLS:
            (bin_folder / tool).write_text(_WRAPPER, encoding="utf-8")
            (bin_folder / tool).chmod(0o755)
    else:
        shutil.copytree(tree / "usr/bin", bin_folder, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(scratch)


def _fetch(scratch: Path, packages: list[str], options: list[str]) -> list[str]:
    """Download packages into `scratch`; gives the options of apt-get that worked."""
    what = f"The packages {', '.join(packages)} could not be fetched"
    try:
        run(["apt-get", *options, "download", *packages], what=what, cure=_CURE, cwd=scratch)
    except Problem:
        if options:
            raise
        # The system's lists are missing or stale. Lists of our own need no root.
        say("    apt-get does not know these packages as they are now; fetching its lists, for this once")
        state = scratch / "apt"
        (state / "lists" / "partial").mkdir(parents=True)
        (state / "cache" / "archives" / "partial").mkdir(parents=True)
        options = [
            "-o",
            f"Dir::State::Lists={state / 'lists'}",
            "-o",
            f"Dir::Cache={state / 'cache'}",
            "-o",
            "Debug::NoLocking=1",
            "-o",
            "APT::Sandbox::User=",
        ]
        run(["apt-get", *options, "update"], what="The lists of apt-get could not be fetched", cure=_CURE, cwd=scratch)
        run(["apt-get", *options, "download", *packages], what=what, cure=_CURE, cwd=scratch)
    return options


def _extract(scratch: Path, tree: Path) -> None:
    for package in sorted(scratch.glob("*.deb")):
        run(["dpkg-deb", "--extract", package, tree], what=f"{package.name} could not be unpacked", cure=_CURE)
        package.rename(package.with_suffix(".unpacked"))


def _library_packages(scratch: Path) -> list[str]:
    """Name the library packages that the fetched ones depend on, without those that are installed."""
    names: list[str] = []
    for package in sorted(scratch.glob("*.unpacked")):
        depends = run(["dpkg-deb", "--field", package, "Depends"], what=f"{package.name} could not be read", cure=_CURE)
        names += re.findall(r"(?:^|,)\s*(lib[a-z0-9.+-]+)", depends)
    return [name for name in dict.fromkeys(names) if not _is_installed(name)]


def _is_installed(package: str) -> bool:
    return "install ok installed" in (output_of(["dpkg-query", "-W", "-f=${Status}", package]) or "")


def _missing_libraries(program: Path, libraries: Path) -> list[str]:
    path = [f"LD_LIBRARY_PATH={libraries}"] if libraries.is_dir() else []
    answer = output_of(["env", *path, "ldd", program]) or ""
    return re.findall(r"(?m)^\s*(\S+) => not found", answer)
