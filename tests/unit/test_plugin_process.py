"""The provider stand-in as a process: how it starts, and that it always ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2_grpc

from localazure.plugin.wrapper import write_wrapper

START_LIMIT_S = 10.0
"""Generous: other tests run beside this one. Alone it takes half a second."""


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    return write_wrapper(tmp_path / "bin")


@pytest.fixture
def plugin(wrapper: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "grpc.py").write_text("raise ImportError('the program folder is on the module path')\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    process = subprocess.Popen(
        [wrapper, "127.0.0.1:1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.strip().isdecimal(), f"the first line is the port, found {line!r}"
    return int(line)


def test_the_wrapper_is_an_executable_that_can_be_written_again(wrapper: Path) -> None:
    assert wrapper.name == "pulumi-resource-azure-native"
    assert os.access(wrapper, os.X_OK)
    first = wrapper.read_text()
    assert write_wrapper(wrapper.parent) == wrapper
    assert wrapper.read_text() == first
    assert list(wrapper.parent.iterdir()) == [wrapper], "nothing temporary is left"


def test_it_serves_on_the_port_that_it_prints_first(plugin: subprocess.Popen[str]) -> None:
    started = time.monotonic()
    port = port_of(plugin)
    assert time.monotonic() - started < START_LIMIT_S
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        assert stub.GetPluginInfo(empty_pb2.Empty(), timeout=10).version


def test_it_loads_nothing_heavy() -> None:
    script = "import sys, localazure.plugin.__main__; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    for heavy in ("pulumi_azure_native", "azure.core", "starlette", "redis", "cryptography", "requests"):
        assert heavy not in loaded


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(plugin: subprocess.Popen[str], number: signal.Signals) -> None:
    port_of(plugin)
    plugin.send_signal(number)
    output, errors = plugin.communicate(timeout=5)
    assert (plugin.returncode, output, errors) == (0, "", "")


def test_it_ends_when_its_parent_is_killed(wrapper: Path, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); p.wait()",
            wrapper,
            "127.0.0.1:1",
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.stdout.readline().strip().isdecimal(), "it is up"
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 10
        while is_alive(child):
            assert time.monotonic() < deadline, "the plugin outlived the process that started it"
            time.sleep(0.05)
    finally:
        if is_alive(parent.pid):
            os.killpg(parent.pid, signal.SIGKILL)
        if parent.stdout is not None:
            parent.stdout.close()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
