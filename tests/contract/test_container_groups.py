"""Container groups through the untouched azure-mgmt-containerinstance: processes, restarts, logs, refusals, secrets."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from azure.mgmt.containerinstance import ContainerInstanceManagementClient

from tests.contract.conftest import GROUP, Cloud, command, refused

_T = TypeVar("_T")
_NAMES = (f"job-{number}" for number in itertools.count(1))
_SECRET = "swordfish-4711"


def _client(cloud: Cloud) -> ContainerInstanceManagementClient:
    client = ContainerInstanceManagementClient(
        cloud.credential(),
        cloud.env["ARM_SUBSCRIPTION_ID"],
        base_url=cloud.env["ARM_ENDPOINT"],
        credential_scopes=[f"{cloud.env['ARM_ENDPOINT']}/.default"],
        connection_verify=cloud.ca,
        retry_total=0,
        polling_interval=0.2,
    )
    cloud.cleanup.callback(client.close)
    return client


class Groups:
    """Makes container groups and takes them away again."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.client = _client(cloud)
        self.made: list[str] = []

    def make(self, name: str, script: str, **more: Any) -> Any:
        self.made.append(name)
        return self.client.container_groups.begin_create_or_update(GROUP, name, body(script, **more)).result()

    def get(self, name: str) -> Any:
        return self.client.container_groups.get(GROUP, name)

    def state(self, name: str) -> Any:
        return self.get(name).containers[0].instance_view.current_state

    def log(self, name: str, **options: Any) -> str:
        return str(self.client.containers.list_logs(GROUP, name, "main", **options).content)


def body(script: str, *, environment: list[dict[str, str]] | None = None, **more: Any) -> dict[str, Any]:
    """A group with one container that runs a shell script."""
    container = {
        "image": "registry.example/tools:1",
        "command": ["/bin/sh", "-c", script],
        "environmentVariables": environment or [],
        "resources": {"requests": {"cpu": 1, "memoryInGB": 1.5}},
        **more.pop("container", {}),
    }
    properties = {
        "osType": "Linux",
        "restartPolicy": "Never",
        "containers": [{"name": "main", "properties": container}],
        **more,
    }
    return {"location": properties.pop("location", "eastus"), "properties": properties}


def until(ask: Callable[[], _T], done: Callable[[_T], bool], deadline_s: float = 20.0) -> _T:
    """Ask until the answer is right."""
    end = time.monotonic() + deadline_s
    while not done(answer := ask()):
        assert time.monotonic() < end, f"still {answer} after {deadline_s} s"
        time.sleep(0.05)
    return answer


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.fixture(scope="module")
def groups(cloud: Cloud) -> Iterator[Groups]:
    groups = Groups(cloud)
    yield groups
    for name in groups.made:
        groups.client.container_groups.begin_delete(GROUP, name).result()


def test_a_task_runs_to_its_end_with_its_environment_and_its_secret_never_comes_back(groups: Groups) -> None:
    name = next(_NAMES)
    made = groups.make(
        name,
        'echo "plain $PLAIN, secret has ${#HIDDEN} characters"',
        environment=[{"name": "PLAIN", "value": "p"}, {"name": "HIDDEN", "secureValue": _SECRET}],
    )
    assert made.provisioning_state == "Succeeded"
    assert (made.location, made.os_type, made.restart_policy) == ("eastus", "Linux", "Never")

    ended = until(lambda: groups.state(name), lambda state: state.state == "Terminated")

    assert (ended.exit_code, ended.detail_status) == (0, "Completed")
    assert ended.finish_time >= ended.start_time
    assert groups.get(name).instance_view.state == "Succeeded"
    assert groups.log(name) == f"plain p, secret has {len(_SECRET)} characters\n"
    shown = groups.cloud.arm("GET", made.id, api_version="2023-05-01").text
    variables = json.loads(shown)["properties"]["containers"][0]["properties"]["environmentVariables"]
    assert variables == [{"name": "PLAIN", "value": "p"}, {"name": "HIDDEN"}]
    assert _SECRET not in shown
    assert _SECRET not in (groups.cloud.home / "logs" / "requests.jsonl").read_text()
    assert _SECRET not in (groups.cloud.home / "logs" / "server.log").read_text()


def test_what_fails_is_started_again_and_its_log_is_that_of_the_last_run(groups: Groups) -> None:
    name = next(_NAMES)
    script = "date +%s%N; if [ -e came ]; then exit 0; fi; touch came; exit 7"
    groups.make(name, script, restartPolicy="OnFailure")

    ended = until(lambda: groups.get(name).containers[0].instance_view, lambda view: view.current_state.exit_code == 0)

    assert ended.restart_count == 1
    assert (ended.previous_state.state, ended.previous_state.exit_code) == ("Terminated", 7)
    assert len(groups.log(name).split()) == 1
    assert groups.get(name).instance_view.state == "Succeeded"


def test_what_must_not_be_started_again_stays_failed_with_its_exit_code(groups: Groups) -> None:
    name = next(_NAMES)
    groups.make(name, "for n in 1 2 3 4 5; do echo line $n; done; exit 3")

    ended = until(lambda: groups.state(name), lambda state: state.state == "Terminated")

    assert (ended.exit_code, ended.detail_status) == (3, "Error")
    assert groups.get(name).instance_view.state == "Failed"
    assert groups.log(name, tail=2) == "line 4\nline 5\n"


def test_stop_and_start_and_delete_end_all_processes(groups: Groups) -> None:
    name = next(_NAMES)
    groups.make(name, "sleep 1000 & echo $! $$; wait", restartPolicy="OnFailure")
    first = [int(pid) for pid in until(lambda: groups.log(name), lambda text: text.endswith("\n")).split()]
    assert all(map(running, first))

    groups.client.container_groups.stop(GROUP, name)
    assert groups.get(name).instance_view.state == "Stopped"
    assert groups.state(name).state == "Terminated"
    assert not any(map(running, first))

    groups.client.container_groups.begin_start(GROUP, name).result()
    assert groups.get(name).instance_view.state == "Running"
    second = [int(pid) for pid in until(lambda: groups.log(name), lambda text: text.endswith("\n")).split()]
    assert not set(first) & set(second)

    groups.client.container_groups.begin_delete(GROUP, name).result()
    assert not any(map(running, second))
    gone = refused(lambda: groups.get(name))
    assert (gone.status, gone.code) == (404, "ResourceNotFound")
    assert not any(_SECRET in text for text in map(str, (groups.cloud.home / "containers").rglob("*")))


def test_a_change_restarts_and_what_is_fixed_needs_a_new_group(groups: Groups) -> None:
    name = next(_NAMES)
    groups.make(name, "echo $WORD; sleep 1000", environment=[{"name": "WORD", "secureValue": "one"}])
    until(lambda: groups.log(name), lambda text: text == "one\n")
    began = groups.state(name).start_time

    groups.make(name, "echo $WORD; sleep 1000", environment=[{"name": "WORD", "secureValue": "one"}])
    assert groups.state(name).start_time == began, "a PUT of the same restarts nothing"

    groups.make(name, "echo $WORD; sleep 1000", environment=[{"name": "WORD", "secureValue": "two"}])
    until(lambda: groups.log(name), lambda text: text == "two\n")

    for change in (
        {"restartPolicy": "Always"},
        {"container": {"resources": {"requests": {"cpu": 2, "memoryInGB": 1.5}}}},
    ):
        fixed = refused(lambda change=change: groups.make(name, "echo $WORD; sleep 1000", **change))
        assert fixed.status == 400
        assert fixed.message.startswith(f"The updates on container group '{name}' are invalid.")
    moved = refused(lambda: groups.make(name, "true", location="westus2"))
    assert (moved.status, moved.code) == (409, "InvalidResourceLocation")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"osType": None}, 400, "InvalidOsType"),
        ({"restartPolicy": "Sometimes"}, 400, "InvalidRestartPolicy"),
        ({"containers": []}, 400, "MissingContainers"),
        ({"container": {"resources": {}}}, 400, "ResourceRequestsNotSpecified"),
        ({"container": {"image": ""}}, 400, "MissingImage"),
        ({"container": {"command": []}}, 501, "NotImplemented"),
        ({"container": {"resources": {"requests": {"cpu": 8, "memoryInGB": 1}}}}, 409, "ServiceUnavailable"),
        ({"container": {"resources": {"requests": {"cpu": 1, "memoryInGB": 17}}}}, 409, "ServiceUnavailable"),
        (
            {"container": {"resources": {"requests": {"cpu": 2, "memoryInGB": 1}, "limits": {"cpu": 1}}}},
            400,
            "ResourceLimitsLessThanRequests",
        ),
        ({"environment": [{"name": "no name", "value": "x"}]}, 400, "InvalidEnvironmentVariable"),
        ({"environment": [{"name": "A", "value": "x", "secureValue": "y"}]}, 400, "InvalidEnvironmentVariable"),
        (
            {"environment": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]},
            400,
            "DuplicateEnvironmentVariable",
        ),
        ({"subnetIds": [{"id": "/subscriptions/x/subnets/y"}]}, 400, "InvalidSubnetId"),
        ({"imageRegistryCredentials": [{"server": "r.example"}]}, 400, "InvalidImageRegistryCredential"),
        ({"volumes": [{"name": "v", "emptyDir": {}}]}, 501, "NotImplemented"),
        ({"location": "atlantis"}, 400, "LocationNotAvailableForResourceType"),
    ],
)
def test_what_the_service_refuses(groups: Groups, change: dict[str, Any], status: int, code: str) -> None:
    name = next(_NAMES)

    # As JSON, as a template would send it: the client has no model for what is wrong.
    group = f"/subscriptions/{groups.cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}"
    path = f"{group}/providers/Microsoft.ContainerInstance/containerGroups/{name}"
    answer = groups.cloud.arm("PUT", path, body("true", **change), api_version="2023-05-01")

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert refused(lambda: groups.get(name)).status == 404


def test_names_and_lists(groups: Groups) -> None:
    for wrong in ("Upper", "a--b", "-a", "a" * 64):
        assert refused(lambda wrong=wrong: groups.make(wrong, "true")).code == "InvalidContainerGroupName"
        groups.made.remove(wrong)
    name = next(_NAMES)
    groups.make(name, "true")

    for listed in (groups.client.container_groups.list_by_resource_group(GROUP), groups.client.container_groups.list()):
        found = [group for group in listed if group.name == name]
        assert len(found) == 1
        assert found[0].instance_view is None

    groups.client.container_groups.update(GROUP, name, {"tags": {"move": "1"}})
    assert groups.get(name).tags == {"move": "1"}


def test_containers_outlive_a_killed_server_and_end_with_the_local_azure(own_cloud: Callable[..., Cloud]) -> None:
    cloud = own_cloud()
    groups = Groups(cloud)
    groups.make("lives", "echo $$; sleep 1000", restartPolicy="OnFailure")
    groups.make("ends", "until [ -e go ]; do sleep 0.05; done; exit 4", restartPolicy="Never")
    pid = int(until(lambda: groups.log("lives"), lambda text: text.endswith("\n")))

    os.kill(cloud.server_pid, signal.SIGKILL)
    assert running(pid)
    next((cloud.home / "containers").glob("*+ends/main")).joinpath("go").touch()
    command(cloud.home, "start")

    assert groups.get("lives").containers[0].instance_view.restart_count == 0
    assert int(groups.log("lives")) == pid
    ended = until(lambda: groups.state("ends"), lambda state: state.state == "Terminated")
    assert ended.exit_code == 4, "how it ended while nobody looked"

    command(cloud.home, "stop")
    assert not running(pid)
    command(cloud.home, "start")
    again = int(until(lambda: groups.log("lives"), lambda text: text.endswith("\n") and int(text) != pid))
    assert running(again), "a task that is to be restarted goes on after the local Azure was stopped"

    os.kill(cloud.server_pid, signal.SIGKILL)
    command(cloud.home, "stop")
    assert not running(again), "nor is anything left of a server that was killed"


def test_a_resource_group_takes_its_container_groups_along(groups: Groups) -> None:
    cloud = groups.cloud
    cloud.make_group("rg-short")
    groups.client.container_groups.begin_create_or_update("rg-short", "task", body("echo $$; sleep 1000")).result()
    log = lambda: str(groups.client.containers.list_logs("rg-short", "task", "main").content)  # noqa: E731
    pid = int(until(log, lambda text: text.endswith("\n")))
    path = f"/subscriptions/{cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/rg-short"

    assert cloud.arm("DELETE", path).status_code == 202

    until(lambda: cloud.arm("HEAD", path).status_code, lambda status: status == 404)
    assert not running(pid)
