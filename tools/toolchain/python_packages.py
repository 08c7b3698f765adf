"""Makes the virtual environment from the lock file."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from toolchain.console import Problem, output_of, run, say, step
from toolchain.places import REPOSITORY, VENV, find_program

LOCK_FILE = REPOSITORY / "requirements.txt"
PROJECT_FILE = REPOSITORY / "pyproject.toml"
STAMP = VENV / ".redismove-installed"

_PYTHON = VENV / "bin" / "python"
_UV = VENV / "bin" / "uv"


def ensure() -> None:
    """Make `.venv` hold exactly-versioned packages of the lock file, and this project itself, editable.

    Raises:
        Problem: it cannot be made; the message says which command would mend it.
    """
    stamp = STAMP.read_text(encoding="utf-8") if STAMP.is_file() else ""
    if stamp == _fingerprint() and _is_whole():
        return
    was_moved = bool(stamp) and f" {VENV} " not in stamp
    if was_moved or not _works():
        _create()
    _install()
    STAMP.write_text(_fingerprint(), encoding="utf-8")


def install_apart(requirements: Path, folder: Path, *, what: str, cure: str, title: str) -> None:
    """Install a lock file's packages into a folder of their own, not into the virtual environment.

    Args:
        requirements: a lock file with hashes.
        folder: where they go.
        what: the sentence for a failure.
        cure: the command that would mend it.
        title: the name of the step.

    Raises:
        Problem: they cannot be installed.
    """
    arguments = ["--require-hashes", "--no-deps", "--target", str(folder), "--requirement", str(requirements)]
    _pip_install(arguments, what=what, cure=cure, title=title)


def _fingerprint() -> str:
    content = hashlib.sha256()
    for path in (LOCK_FILE, PROJECT_FILE):
        content.update(path.read_bytes())
    # A moved clone has scripts that name the old place; another Python needs other packages.
    return f"{content.hexdigest()} {VENV} {_version_of(_PYTHON) or 'none'}\n"


def _is_whole() -> bool:
    return _PYTHON.exists() and (VENV / "bin" / "redismove").is_file()


def _version_of(python: Path) -> str | None:
    configuration = VENV / "pyvenv.cfg"
    if not python.exists() or not configuration.is_file():
        return None
    found = re.search(r"(?m)^version(?:_info)?\s*=\s*(\S+)", configuration.read_text(encoding="utf-8"))
    return found.group(1) if found else None


def _works() -> bool:
    answer = output_of([_PYTHON, "-c", "import sys; print(sys.prefix, sys.version_info >= (3, 11))"])
    return answer is not None and answer.strip() == f"{VENV} True"


def _create() -> None:
    with step(f"Making the virtual environment .venv with Python {sys.version.split()[0]}"):
        # `--clear`: whatever is there does not work, or belongs to another place.
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if made.returncode == 0:
            return
        # Debian keeps the pip for new environments in a package of its own; another installer does as well.
        bare = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", "--without-pip", VENV], capture_output=True, text=True
        )
        if bare.returncode == 0 and (find_program("uv") or _own_pip_works()):
            return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise Problem(
        f"The virtual environment {VENV} could not be made: {_last_line(made.stdout + made.stderr)}",
        f"apt-get install python{version}-venv, or its like on your system, then `make setup`",
    )


def _install() -> None:
    count = len(re.findall(r"(?m)^[a-z0-9]", LOCK_FILE.read_text(encoding="utf-8")))
    cure = "see the lines above; where PyPI cannot be reached set PIP_INDEX_URL to an index that can, then `make setup`"
    _pip_install(
        ["--require-hashes", "--requirement", str(LOCK_FILE)],
        what="The Python packages could not be installed",
        cure=cure,
        title=f"Installing Python packages, up to {count}",
    )
    _pip_install(
        ["--no-deps", "--no-build-isolation", "--editable", str(REPOSITORY)],
        what="redismove itself could not be installed",
        cure=cure,
        title="Installing redismove itself, editable",
    )


def _pip_install(arguments: list[str], *, what: str, cure: str, title: str) -> None:
    """Run `pip install`, by uv where there is one: it takes seconds where pip takes minutes."""
    uv = _uv()
    if uv is not None:
        command = [str(uv), "pip", "install", "--python", str(_PYTHON), *arguments]
        try:
            run(command, what=what, cure=cure, title=title, variables=_uv_settings())
        except Problem:
            # pip knows proxies, certificates and credentials from more places than uv does.
            if not _pip_works():
                raise
            say("    trying again with pip, which takes longer")
        else:
            return
    run([*_pip(), "install", *arguments], what=what, cure=cure, title=title)


def _uv() -> Path | None:
    """Give an uv to install with: fast, and of the version that the lock file names where it has to be brought."""
    if _UV.is_file():
        return _UV
    if found := find_program("uv"):
        return found
    lock = LOCK_FILE.read_text(encoding="utf-8")
    entry = re.search(r"(?m)^uv==(.*\n(?: +--hash.*\n?)*)", lock)
    if entry is None or not _pip_works():
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirement:
        requirement.write(entry.group())
        requirement.flush()
        try:
            run(
                [
                    *_pip(),
                    "install",
                    "--require-hashes",
                    "--only-binary=:all:",
                    "--requirement",
                    requirement.name,
                ],
                what="uv could not be installed",
                cure="pip is used instead",
                title="Bringing uv to install with",
            )
        except Problem:
            return None
    return _UV if _UV.is_file() else None


def _pip() -> list[str]:
    quiet = "--disable-pip-version-check"
    if (VENV / "bin" / "pip").exists():
        return [str(_PYTHON), "-m", "pip", quiet]
    return [sys.executable, "-m", "pip", quiet, "--python", str(_PYTHON)]


def _pip_works() -> bool:
    return output_of([*_pip(), "--version"]) is not None and ((VENV / "bin" / "pip").exists() or _own_pip_works())


def _own_pip_works() -> bool:
    answer = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, stdin=subprocess.DEVNULL)
    return answer.returncode == 0


def _uv_settings() -> dict[str, str]:
    """Give uv the package index and the certificates that pip is set up with; uv does not read pip's settings."""
    settings = _pip_settings()
    variables: dict[str, str] = {}
    if (index := settings.get("index-url")) and "UV_DEFAULT_INDEX" not in os.environ:
        variables["UV_DEFAULT_INDEX"] = index
    if (more := settings.get("extra-index-url")) and "UV_INDEX" not in os.environ:
        variables["UV_INDEX"] = " ".join(more.split())
    if (links := settings.get("find-links")) and "UV_FIND_LINKS" not in os.environ:
        variables["UV_FIND_LINKS"] = ",".join(links.split())
    if (certificates := settings.get("cert")) and "SSL_CERT_FILE" not in os.environ:
        variables["SSL_CERT_FILE"] = certificates
    return variables


def _pip_settings() -> dict[str, str]:
    answer = output_of([*_pip(), "config", "list"]) or ""
    settings: dict[str, str] = {}
    # From the weakest source to the strongest, as pip lists them; ":env:" is what PIP_... variables say.
    for section, name, value in re.findall(r"(?m)^(global|install|:env:)\.([a-z-]+)='(.*)'$", answer):
        if section == ":env:" or name not in settings or section == "install":
            settings[name] = value
    return settings


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"
