"""Brings the Pulumi command line and its Python language host."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from toolchain import go
from toolchain.console import Problem, output_of, run, say, step
from toolchain.places import (
    REPOSITORY,
    TOOLS_BIN,
    VENV,
    cache_folder,
    copy,
    find_program,
    link,
    make_once,
    write_program,
)

#: What is brought, and the oldest that is taken from PATH: the Python SDK of the lock file is made for it.
VERSION = "3.259.0"

DOWNLOADS = "https://get.pulumi.com/releases/sdk"
#: How long the downloads may take to answer before they count as out of reach.
REACHABLE_WITHIN_S = 5.0

LANGUAGE_HOST = "pulumi-language-python"
EXECUTOR = "pulumi-language-python-exec"
DYNAMIC_PROVIDER = "pulumi-resource-pulumi-python"

#: Name of the cache's folder for what was built here.
_BUILT = f"pulumi-{VERSION}"
_MODULE = Path(__file__).with_name("pulumi_module")
_ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def ensure() -> str:
    """Put `pulumi` and what it needs for Python programs into `.tools/bin`.

    Taken in this order: an installation on PATH that is recent enough, the official archive, a build from the Go
    module; to the last one our own language host is added.

    Returns:
        What is used, in one line.

    Raises:
        Problem: none of the three ways worked.
    """
    official = find_installed() or find_or_download_archive()
    if official is not None:
        for name, program in official.items():
            link(name, program)
        return f"Pulumi {version_of(official['pulumi'])} at {official['pulumi']}"

    folder = make_once(_BUILT, build) / "bin"
    # The engine looks for its plugins beside its own file. A link would lead it to the cache, away from ours.
    copy("pulumi", folder / "pulumi")
    link(EXECUTOR, folder / EXECUTOR)
    _write_own_host()
    return f"Pulumi {VERSION} built from its Go module, with the language host of this repository"


def find_installed() -> dict[str, Path] | None:
    """Find an installation on PATH that is recent enough, and has the Python language host.

    Returns:
        The programs by name, or None.
    """
    found = find_program("pulumi")
    if found is None:
        return None
    version = version_of(found)
    if version is None or not _as_numbers(VERSION) <= _as_numbers(version) < (4,):
        say(f"Pulumi {version or 'of unknown version'} at {found} is not used: {VERSION} or a later 3.x is needed.")
        return None
    programs = {"pulumi": found.resolve()}
    for name in (LANGUAGE_HOST, EXECUTOR, DYNAMIC_PROVIDER):
        beside = programs["pulumi"].parent / name
        place = beside if beside.is_file() else find_program(name)
        if place is None:
            say(f"Pulumi {version} at {found} is not used: {name}, which comes with it, is missing there.")
            return None
        programs[name] = place
    return programs


def version_of(pulumi: Path) -> str | None:
    """Ask a Pulumi command line for its version."""
    answer = output_of([pulumi, "version"]) or ""
    found = re.search(r"(?m)^v?(\d+\.\d+\.\d+)", answer)
    return found.group(1) if found else None


def build(folder: Path) -> None:
    """Build the command line from its Go module into `folder/bin`.

    The versions and checksums of every module are in `pulumi_module`.

    Raises:
        Problem: Go, or a module, could not be had.
    """
    cure = (
        "install Pulumi (https://www.pulumi.com/docs/install/), or let `go` reach a module proxy (GOPROXY), "
        "then `make setup`"
    )
    scratch = folder / "scratch"
    shutil.copytree(_MODULE, scratch / "module")
    tool = go.find_or_bring(scratch)
    variables = {"CGO_ENABLED": "0", "GOWORK": "off", **tool.variables}
    what = "The Pulumi command line could not be built from its Go module"
    version_flag = f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
    run(
        [
            tool.program,
            "build",
            "-v",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            f"-s -w {version_flag}",
            "-o",
            folder / "bin" / "pulumi",
            "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        ],
        what=what,
        cure=cure,
        cwd=scratch / "module",
        variables=variables,
        count="packages compiled of about 1,690",
        title=f"Building the Pulumi command line {VERSION} with Go: about 4 minutes on 2 cores, once on this machine",
    )
    sdk = run(
        [tool.program, "list", "-m", "-f", "{{.Dir}}", "github.com/pulumi/pulumi/sdk/v3"],
        what=what,
        cure=cure,
        cwd=scratch / "module",
        variables=variables,
    ).strip()
    executor = folder / "bin" / EXECUTOR
    shutil.copyfile(Path(sdk) / "python" / "cmd" / EXECUTOR, executor)
    executor.chmod(0o755)
    shutil.rmtree(scratch)


def find_or_download_archive() -> dict[str, Path] | None:
    """Fetch the official archive into the cache, where it can be reached and its checksum is right.

    Not asked for again where the command line was once built from its module.

    Returns:
        The programs by name, or None.
    """
    folder = cache_folder() / f"pulumi-official-{VERSION}"
    if not folder.is_dir() and ((cache_folder() / _BUILT).is_dir() or not _download(folder.name)):
        return None
    return {name: folder / "bin" / name for name in ("pulumi", LANGUAGE_HOST, EXECUTOR, DYNAMIC_PROVIDER)}


def _download(name: str) -> bool:
    architecture = _ARCHITECTURES.get(platform.machine().lower())
    if architecture is None or platform.system() != "Linux":
        return False
    archive = f"pulumi-v{VERSION}-linux-{architecture}.tar.gz"
    sums = _fetch_quickly(f"{DOWNLOADS}/pulumi-{VERSION}-checksums.txt")
    if sums is None:
        say("Pulumi's own downloads are out of reach from here.")
        return False
    expected = re.search(rf"(?m)^([0-9a-f]{{64}})\s+\*?{re.escape(archive)}$", sums)
    if expected is None:
        say(f"Pulumi's own downloads name no checksum for {archive}, so they are not used.")
        return False

    def unpack(folder: Path) -> None:
        packed = folder / archive
        with (
            step(f"Downloading the Pulumi command line {VERSION}"),
            urllib.request.urlopen(f"{DOWNLOADS}/{archive}", timeout=60) as answer,
            packed.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file)
        actual = hashlib.sha256(packed.read_bytes()).hexdigest()
        if actual != expected.group(1):
            raise Problem(
                f"{archive} has the checksum {actual}, where {expected.group(1)} is published",
                "`make setup` again; should it stay so, do not use the file and tell Pulumi",
            )
        with tarfile.open(packed) as content:
            if hasattr(tarfile, "data_filter"):  # Python 3.11.4 brought it
                content.extraction_filter = tarfile.data_filter
            content.extractall(folder)  # noqa: S202 - the checksum was right
        (folder / "pulumi").rename(folder / "bin")
        packed.unlink()

    try:
        make_once(name, unpack)
    except (OSError, tarfile.TarError) as error:
        say(f"    the download broke off: {error}")
        return False
    return True


def _fetch_quickly(url: str) -> str | None:
    """Read a small text, or give up after `REACHABLE_WITHIN_S`; looking up the name of a host has no limit itself."""
    answers: list[str] = []

    def fetch() -> None:
        try:
            with urllib.request.urlopen(url, timeout=REACHABLE_WITHIN_S) as answer:
                answers.append(answer.read(1 << 20).decode())
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(REACHABLE_WITHIN_S + 1)
    return answers[0] if answers else None


def _write_own_host() -> None:
    # Absolute paths: the engine starts these from wherever the program is.
    tools = REPOSITORY / "tools"
    python = VENV / "bin" / "python"
    write_program(
        LANGUAGE_HOST,
        "#!/bin/sh\n# Made by `make setup`.\n"
        f'exec "{python}" "{tools}/pulumi_language_python.py" \\\n'
        f'    --use-executor "{TOOLS_BIN / EXECUTOR}" --host-version {VERSION} "$@"\n',
    )
    write_program(
        DYNAMIC_PROVIDER,
        f'#!/bin/sh\n# Made by `make setup`.\nexec "{python}" "{tools}/language_host/dynamic_provider.py" "$@"\n',
    )


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
