"""The provider stand-in under the real engine when it goes wrong half-way: canceled, killed, failed in Azure."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localazure.plugin.wrapper import write_wrapper
from tests.support.fake_arm import FakeArm
from tests.support.pulumi_project import PulumiProject, end_all, processes_that_name, wait_until

pytestmark = pytest.mark.engine

CACHE = """
    from pulumi_azure_native import redis

    redis.Redis(
        "cache",
        name="c1",
        resource_group_name="rg1",
        location="eastus",
        sku={"name": "Premium", "family": "P", "capacity": 1},
    )
"""


@pytest.fixture
def arm(tmp_path: Path) -> Iterator[FakeArm]:
    server = FakeArm(tmp_path / "tls")
    yield server
    server.stop()


@pytest.fixture
def stack(tmp_path: Path, arm: FakeArm) -> Iterator[PulumiProject]:
    folder = tmp_path / "project"
    folder.mkdir()
    made = PulumiProject(folder, CACHE)
    made.variables |= arm.environment
    write_wrapper(folder / "bin")
    made.variables["PATH"] = f"{folder / 'bin'}:{made.variables['PATH']}"
    yield made
    end_all(processes_that_name(folder))


def state(stack: PulumiProject) -> dict[str, Any]:
    content = json.loads(stack.pulumi("stack", "export").good().text)
    found = {one["urn"].rsplit("::", 1)[-1]: one for one in content["deployment"].get("resources", [])}
    return found.get("cache", {})


def plugins(stack: PulumiProject) -> list[int]:
    """The stand-in's processes that this project's engine has started."""
    return [pid for pid, command in processes_that_name(stack.folder).items() if "localazure.plugin" in command]


def test_an_interrupted_create_stops_soon_and_goes_on_next_time(stack: PulumiProject, arm: FakeArm) -> None:
    arm.operation_polls, arm.retry_after = 1000, "30"
    process = stack.start("up", "-y", "--skip-preview")
    wait_until(lambda: ("PUT", "c1") in arm.writes(), 60, "the create")
    interrupted = time.monotonic()
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert time.monotonic() - interrupted < 15, text
    assert process.returncode != 0
    assert "was canceled" in text
    assert "Detected that" not in text
    assert plugins(stack) == []
    kept = state(stack)
    assert kept["id"].endswith("/Redis/c1"), "Azure goes on with it, so it must not be forgotten"
    assert "was canceled" in kept["initErrors"][0]

    arm.operation_polls, arm.retry_after = 0, "1"
    assert "1 updated" in stack.pulumi("up", "-y", "--skip-preview").good().text
    assert "initErrors" not in state(stack)
    stack.pulumi("up", "-y", "--skip-preview", "--expect-no-changes").good()


def test_a_killed_engine_leaves_no_plugin(stack: PulumiProject, arm: FakeArm) -> None:
    arm.operation_polls, arm.retry_after = 1000, "30"
    process = stack.start("up", "-y", "--skip-preview")
    wait_until(lambda: ("PUT", "c1") in arm.writes(), 60, "the create")
    assert len(plugins(stack)) == 1
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: plugins(stack) == [], 10, "the plugin's end")


def test_a_failed_operation_is_said_and_the_resource_kept(stack: PulumiProject, arm: FakeArm) -> None:
    arm.operation_error = {"code": "InternalServerError", "message": "Something went wrong.\r\nRequestID=7"}
    failed = stack.pulumi("up", "-y", "--skip-preview")
    assert failed.code != 0
    assert "InternalServerError: Something went wrong. RequestID=7" in failed.text
    assert state(stack)["outputs"]["provisioningState"] == "Creating"
    arm.operation_error = None
    stack.pulumi("destroy", "-y", "--skip-preview").good()
    assert state(stack) == {}
    assert arm.writes() == [("PUT", "c1"), ("DELETE", "c1")]


def test_a_long_operation_shows_that_it_is_alive(stack: PulumiProject, arm: FakeArm) -> None:
    arm.operation_polls = 2
    log = stack.folder / "events.json"
    variables = {"PULUMI_DEBUG_COMMANDS": "1"}
    done = stack.pulumi("up", "-y", "--skip-preview", "--event-log", str(log), variables=variables).good()
    assert "waiting for Azure: InProgress, 50 %" in done.text, "also without a terminal"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    said = [
        one["diagnosticEvent"]["message"]
        for one in events
        if one.get("diagnosticEvent", {}).get("ephemeral") and "waiting for Azure" in one["diagnosticEvent"]["message"]
    ]
    assert len(said) == 2
    assert "InProgress, 50 %" in said[0]
