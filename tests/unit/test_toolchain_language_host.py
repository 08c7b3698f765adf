"""The language host by itself: asked by its protocol, with a stand-in for the script that runs programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2

from language_host.environments import EnvironmentProblem, Package, resolve
from language_host.protocol import language_pb2, language_pb2_grpc
from language_host.required_packages import plugin_version, required_packages

TOOLS = Path(__file__).resolve().parents[2] / "tools"
DEADLINE_S = 20.0

#: Tells what it was given, then does what the test's file `behaviour` says.
EXECUTOR = """
    import json, os, pathlib, sys, time

    here = pathlib.Path(__file__).parent
    told = {"arguments": sys.argv[1:], "variables": dict(os.environ), "pid": os.getpid()}
    (here / "told.new").write_text(json.dumps(told))
    (here / "told.new").rename(here / "told.json")
    exec((here / "behaviour").read_text())
"""


@dataclass
class Host:
    """A running language host."""

    process: subprocess.Popen[bytes]
    folder: Path
    stub: language_pb2_grpc.LanguageRuntimeStub

    def run_request(self, **fields: object) -> language_pb2.RunRequest:
        """Make a request that runs the stand-in on the interpreter of the tests."""
        info = language_pb2.ProgramInfo(
            root_directory=str(self.folder), program_directory=str(self.folder), entry_point="."
        )
        info.options.update({"virtualenv": sys.prefix})
        return language_pb2.RunRequest(info=info, **fields)

    def told(self) -> dict[str, object]:
        """Wait for the program, and give what it was started with."""
        wait_for((self.folder / "told.json").exists)
        content: dict[str, object] = json.loads((self.folder / "told.json").read_text(encoding="utf-8"))
        return content

    def program_lives(self) -> bool:
        """Say whether the program still runs."""
        try:
            state = Path(f"/proc/{self.told()['pid']}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1][0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state != "Z"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most `DEADLINE_S`."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Host]]:
    """Give a starter of hosts whose programs behave as told."""
    started: list[subprocess.Popen[bytes]] = []
    channels: list[grpc.Channel] = []

    def start_host(behaviour: str) -> Host:
        (tmp_path / "behaviour").write_text(textwrap.dedent(behaviour), encoding="utf-8")
        executor = tmp_path / "executor.py"
        executor.write_text(textwrap.dedent(EXECUTOR), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, TOOLS / "pulumi_language_python.py", "--use-executor", executor, "127.0.0.1:1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # as the engine starts it
        )
        started.append(process)
        assert process.stdout is not None
        channel = grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}")
        channels.append(channel)
        return Host(process, tmp_path, language_pb2_grpc.LanguageRuntimeStub(channel))

    yield start_host
    for channel in channels:
        channel.close()
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_program_gets_arguments_and_configuration(start: Callable[[str], Host]) -> None:
    host = start("")
    request = host.run_request(
        monitor_address="127.0.0.1:2",
        project="toy",
        stack="dev",
        pwd=str(host.folder),
        dryRun=True,
        parallel=7,
        organization="organization",
        args=["more"],
        config={"toy:colour": "blue"},
        configSecretKeys=["toy:password"],
    )

    answer = host.stub.Run(request, timeout=DEADLINE_S)

    assert (answer.error, answer.bail) == ("", False)
    told = host.told()
    assert told["arguments"] == [
        *("--monitor", "127.0.0.1:2", "--engine", "127.0.0.1:1", "--project", "toy"),
        *("--root_directory", str(host.folder), "--stack", "dev", "--pwd", str(host.folder)),
        *("--dry_run", "true", "--parallel", "7", "--organization", "organization", ".", "more"),
    ]
    variables = told["variables"]
    assert isinstance(variables, dict)
    assert json.loads(variables["PULUMI_CONFIG"]) == {"toy:colour": "blue"}
    assert json.loads(variables["PULUMI_CONFIG_SECRET_KEYS"]) == ["toy:password"]
    assert variables["VIRTUAL_ENV"] == sys.prefix


@pytest.mark.parametrize(
    ("behaviour", "error", "bail"),
    [
        ("sys.exit(0)", "", False),
        ("sys.exit(32)", "", True),
        ("sys.exit(5)", "program exited with non-zero exit code: 5", False),
        ("os.kill(os.getpid(), 9)", "program was ended by SIGKILL", False),
    ],
)
def test_end_of_a_program_is_told(start: Callable[[str], Host], behaviour: str, error: str, bail: bool) -> None:
    host = start(behaviour)

    answer = host.stub.Run(host.run_request(), timeout=DEADLINE_S)

    assert (answer.error, answer.bail) == (error, bail)


def test_cancel_ends_the_program_without_a_traceback(start: Callable[[str], Host]) -> None:
    host = start("time.sleep(1000)")
    running = host.stub.Run.future(host.run_request())
    assert host.told()

    host.stub.Cancel(empty_pb2.Empty(), timeout=DEADLINE_S)

    assert running.result(DEADLINE_S).error == "program was ended by SIGTERM"
    host.process.send_signal(signal.SIGINT)
    _, complaints = host.process.communicate(timeout=DEADLINE_S)
    assert complaints == b""
    assert host.process.returncode == 0


def test_cancelled_call_ends_the_program(start: Callable[[str], Host]) -> None:
    host = start("time.sleep(1000)")
    running = host.stub.Run.future(host.run_request())
    assert host.program_lives()

    running.cancel()

    wait_for(lambda: not host.program_lives())


def test_stubborn_program_is_killed(start: Callable[[str], Host]) -> None:
    host = start(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(here / 'deaf', 'w'); time.sleep(99)"
    )
    running = host.stub.Run.future(host.run_request())
    wait_for((host.folder / "deaf").exists)

    host.stub.Cancel(empty_pb2.Empty(), timeout=DEADLINE_S)

    assert running.result(DEADLINE_S).error == "program was ended by SIGKILL"


def test_interrupt_of_the_group_is_quiet(start: Callable[[str], Host]) -> None:
    host = start("time.sleep(1000)")
    running = host.stub.Run.future(host.run_request())
    assert host.program_lives()

    os.killpg(host.process.pid, signal.SIGINT)
    _, complaints = host.process.communicate(timeout=DEADLINE_S)

    assert complaints == b""
    assert host.process.returncode == 0
    assert not host.program_lives()
    wait_for(running.done)


def test_host_and_program_end_with_the_engine(start: Callable[[str], Host]) -> None:
    host = start("time.sleep(1000)")
    running = host.stub.Run.future(host.run_request())
    assert host.program_lives()
    assert host.process.stdin is not None

    host.process.stdin.close()  # what the kernel does when the engine is killed

    wait_for(lambda: host.process.poll() is not None)
    assert not host.program_lives()
    wait_for(running.done)


def test_program_ends_with_a_killed_host(start: Callable[[str], Host]) -> None:
    host = start("time.sleep(1000)")
    running = host.stub.Run.future(host.run_request())
    assert host.program_lives()

    host.process.kill()

    wait_for(lambda: not host.program_lives())
    wait_for(running.done)


@pytest.mark.parametrize(
    ("package", "plugin"),
    [
        ("3.29.0", "3.29.0"),
        ("1.2", "1.2.0"),
        ("2.14.0a1605583329", "2.14.0-alpha.1605583329"),
        ("2.14.0b3", "2.14.0-beta.3"),
        ("1.2.3rc4", "1.2.3-rc.4"),
        ("1.2.3.post4", "1.2.3+post4"),
        ("1.2.3.post4.dev5", "1.2.3+post4dev5"),
        ("1.2.3.dev5", "1.2.3+dev5"),
        ("1!2.0", None),
        ("1.2.3+local", None),
    ],
)
def test_plugin_version_from_package_version(package: str, plugin: str | None) -> None:
    assert plugin_version(package) == plugin


def test_required_packages_are_the_ones_with_a_provider() -> None:
    packages = [
        Package("pulumi-azure-native", "3.29.0", {"resource": True, "name": "azure-native", "version": "3.29.0"}),
        Package("pulumi-odd", "1.0", None),
        Package("pulumi-helpers", "1.0", {"resource": False}),
        Package("pulumi-policy", "1.21.0", {"resource": True}),
        Package("requests", "2.0", None),
    ]

    required = [(package.name, package.version, package.kind) for package in required_packages(packages)]

    assert required == [("azure-native", "v3.29.0", "resource"), ("odd", "v1.0.0", "resource")]


def test_environment_from_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_PROJECT_ENVIRONMENT", raising=False)
    program = tmp_path / "a" / "b"
    program.mkdir(parents=True)

    assert resolve(tmp_path, program, {"virtualenv": "env"}, is_plugin=False).folder == tmp_path / "env"
    assert resolve(tmp_path, program, {}, is_plugin=False).folder is None
    assert resolve(tmp_path, program, {}, is_plugin=True).folder == tmp_path / "venv"
    (tmp_path / "a" / "uv.lock").touch()
    assert resolve(tmp_path, program, {}, is_plugin=False).folder == tmp_path / "a" / ".venv"
    assert resolve(tmp_path, program, {"toolchain": "pip"}, is_plugin=False).folder is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"toolchain": "conda"}, "'toolchain' must be one of pip, uv, poetry, found 'conda'"),
        ({"virtualenv": 3.0}, "'virtualenv' must be a string, found 3.0"),
    ],
)
def test_wrong_option_is_told(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(EnvironmentProblem, match=complaint):
        resolve(tmp_path, tmp_path, options, is_plugin=False)


def test_missing_environment_names_the_cure(tmp_path: Path) -> None:
    environment = resolve(tmp_path, tmp_path, {"virtualenv": "env"}, is_plugin=False)

    with pytest.raises(EnvironmentProblem, match="doesn't exist; run `pulumi install`"):
        _ = environment.interpreter
