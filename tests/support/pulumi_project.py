"""A Pulumi project of its own in a temporary folder, with a state of its own, run by the real engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOOLS_BIN = ROOT / ".tools" / "bin"
VENV = ROOT / ".venv"

#: How long one command of the engine may take, in seconds.
COMMAND_DEADLINE_S = 120.0


def environment(home: Path, path_first: Iterable[Path] = ()) -> dict[str, str]:
    """Give the variables of a Pulumi command line that keeps everything in `home`, and finds this repository's tools.

    Args:
        home: folder of the state and of Pulumi's own files.
        path_first: folders that come before the tools on PATH.
    """
    (home / "state").mkdir(parents=True, exist_ok=True)
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "ARM_", "AZURE_"))}
    path = [*map(str, path_first), str(TOOLS_BIN), keep.get("PATH", os.defpath)]
    return {
        **keep,
        "PATH": os.pathsep.join(path),
        "PULUMI_HOME": str(home / "pulumi-home"),
        "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "only-for-tests",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "NO_COLOR": "1",
    }


@dataclass
class Answer:
    """What a command came to."""

    code: int
    text: str
    """Standard output and standard error, as they came."""

    def good(self) -> Answer:
        """Insist that it ended well."""
        assert self.code == 0, f"exit code {self.code}:\n{self.text}"
        return self


@dataclass
class PulumiProject:
    """A project called `toy`, and its stack `dev`.

    Args:
        folder: an empty folder.
        program: source of its `__main__.py`.
        policy_pack: source of a policy pack's `__main__.py`; None for no pack.
        options: runtime options of Pulumi.yaml; by default this repository's virtual environment.
    """

    folder: Path
    program: str
    policy_pack: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: {"toolchain": "pip", "virtualenv": str(VENV)})
    variables: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.variables = environment(self.folder / "home")
        self.write(self.program)
        runtime = {"name": "python", "options": dict(self.options)}
        (self.folder / "Pulumi.yaml").write_text(json.dumps({"name": "toy", "runtime": runtime}), encoding="utf-8")
        if self.policy_pack is not None:
            pack = self.folder / "pack"
            pack.mkdir()
            (pack / "__main__.py").write_text(textwrap.dedent(self.policy_pack), encoding="utf-8")
            (pack / "PulumiPolicy.yaml").write_text(json.dumps({"runtime": runtime, "version": "0.0.1"}))
        self.pulumi("stack", "init", "dev").good()

    def write(self, program: str) -> None:
        """Make `program` the project's program."""
        (self.folder / "__main__.py").write_text(textwrap.dedent(program), encoding="utf-8")

    def start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command of the engine."""
        return subprocess.Popen(
            [shutil.which("pulumi", path=self.variables["PATH"]) or "pulumi", "--non-interactive", *arguments],
            cwd=self.folder,
            env={**self.variables, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pulumi(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Answer:
        """Run a command of the engine to its end."""
        with self.start(*arguments, variables=variables) as process:
            try:
                text, _ = process.communicate(timeout=COMMAND_DEADLINE_S)
            except BaseException:
                process.kill()
                end_all(processes_that_name(self.folder))
                raise
        return Answer(process.returncode, text)

    def outputs(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """Give the stack's outputs."""
        more = ["--show-secrets"] if show_secrets else []
        content: dict[str, Any] = json.loads(self.pulumi("stack", "output", "--json", *more).good().text)
        return content


def processes_that_name(folder: Path) -> dict[int, str]:
    """Give the living processes whose command line or working directory lies in `folder`: id to command line."""
    found: dict[int, str] = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            inside = (place / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue  # it ended, or is not ours to look at
        if command and (inside or str(folder) in command):
            found[int(place.name)] = command
    found.pop(os.getpid(), None)
    return found


def end_all(processes: Iterable[int]) -> None:
    """Kill processes that a failed test has left."""
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_until(condition: Callable[[], bool], deadline_s: float, what: str) -> None:
    """Wait for a condition, and fail with `what` when it does not come within the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {deadline_s} s"
        time.sleep(0.05)
