"""Where things lie: the repository, its virtual environment, the links to the tools, the user's cache of tools."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from toolchain.console import step

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"
TOOLS_BIN = REPOSITORY / ".tools" / "bin"


def cache_folder() -> Path:
    """Give the folder of built and downloaded tools, one folder below for each tool and version."""
    # The specification wants a relative value ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "redismove"


def search_path() -> str:
    """Give PATH without the folders of this repository, or another clone, to look for what the machine has."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(
        folder
        for folder in folders
        if folder and Path(folder) != VENV / "bin" and Path(folder).parts[-2:] != TOOLS_BIN.parts[-2:]
    )


def find_program(name: str) -> Path | None:
    """Find a program on the machine's PATH."""
    found = shutil.which(name, path=search_path())
    return Path(found) if found else None


def make_once(
    name: str,
    make: Callable[[Path], None],
    *,
    find: Callable[[], Path | None] | None = None,
    final_name: Callable[[Path], str] | None = None,
) -> Path:
    """Make a folder in the cache, or find it made.

    It is made in a folder beside and renamed when it is complete, so it is there whole or not at all; of two
    processes that want it at once the second waits for the first.

    Args:
        name: name of the folder, with the version in it.
        make: fills the folder that it is given.
        find: looks for a folder that will do; by default the one called `name`.
        final_name: tells the name from what was made, where the version is not known before.

    Returns:
        The folder.
    """
    cache = cache_folder()
    look = find or (lambda: cache / name if (cache / name).is_dir() else None)
    if found := look():
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f".{name}.lock"):
        if found := look():
            return found
        partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache))
        try:
            make(partial)
            partial.chmod(0o755)
            folder = cache / (final_name(partial) if final_name else name)
            if folder.is_dir():
                _remove(folder)  # it is there, but `find` did not want it
            partial.rename(folder)
        except BaseException:
            _remove(partial)
            raise
    return folder


def link(name: str, target: Path) -> None:
    """Make `.tools/bin/<name>` a symbolic link to `target`."""
    TOOLS_BIN.mkdir(parents=True, exist_ok=True)
    place = TOOLS_BIN / name
    if place.is_symlink() and place.readlink() == target:
        return
    new = TOOLS_BIN / f".{name}.new"
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(place)


def copy(name: str, source: Path) -> None:
    """Make `.tools/bin/<name>` the file `source` itself: a second name of it, or a copy on another file system."""
    TOOLS_BIN.mkdir(parents=True, exist_ok=True)
    place = TOOLS_BIN / name
    if place.exists() and not place.is_symlink() and _same_content(place, source):
        return
    new = TOOLS_BIN / f".{name}.new"
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except OSError:
        shutil.copy2(source, new)
    new.replace(place)


def write_program(name: str, text: str) -> None:
    """Make `.tools/bin/<name>` an executable file with this content."""
    TOOLS_BIN.mkdir(parents=True, exist_ok=True)
    place = TOOLS_BIN / name
    if place.is_file() and not place.is_symlink() and place.read_text(encoding="utf-8") == text:
        return
    new = TOOLS_BIN / f".{name}.new"
    new.write_text(text, encoding="utf-8")
    new.chmod(0o755)
    new.replace(place)


def _same_content(one: Path, other: Path) -> bool:
    a, b = one.stat(), other.stat()
    return a.st_size == b.st_size and (a.st_mtime == b.st_mtime or (a.st_ino, a.st_dev) == (b.st_ino, b.st_dev))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"Waiting for another process that makes {path.name.removeprefix('.').removesuffix('.lock')}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(folder: Path) -> None:
    # Go's module cache is read-only.
    for place, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
