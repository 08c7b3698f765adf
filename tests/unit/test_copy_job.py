"""The copy as a job: where it runs, what it is named, how it is waited for, and what its image is made of."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from redismove.azure.caches import Caches
from redismove.azure.container_groups import GroupId, GroupState
from redismove.azure.errors import AzureError
from redismove.dataplane.copy_job import JobRefused, Journal, Order, Place, Terms
from redismove.facts import CopyJobFacts
from redismove.settings import MoveSettings, SettingsError, read
from redismove.steps import copy_job
from redismove.steps.copy_job import COMMAND, declared_job
from redismove.steps.load import Load
from tests.support.moves import source

ROOT = Path(__file__).resolve().parents[2]
GB = 1024**3
GROUP_ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups/redismove-copy-1"
IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull"


def settings(job: dict[str, Any], **more: str) -> MoveSettings:
    given = {
        "redismove:method": "copy",
        "redismove:stage": "replicate",
        "redismove:source": json.dumps({"resourceGroup": "rg", "name": "orders-east"}),
        "redismove:target": json.dumps({"resourceGroup": "rg", "name": "orders-west", "location": "westus2"}),
        "redismove:copyJob": json.dumps(job),
    }
    return read(given | more)


def declared(
    monkeypatch: pytest.MonkeyPatch, job: dict[str, Any], *, used_gb: float = 1.0, recorded: str = "", **more: str
) -> CopyJobFacts | None:
    monkeypatch.setattr(copy_job, "load_of", lambda *_: Load(int(used_gb * GB), keys=1, write_bytes_per_s=0.0))
    caches = Caches.__new__(Caches)  # only handed on
    return declared_job(settings(job, **more), caches, source(), recorded_where=recorded, move_id="m", attempt="1.000")


IMAGE = {"image": "team.azurecr.io/copy:1"}


@pytest.mark.parametrize(
    ("job", "used_gb", "recorded", "runs"),
    [
        ({}, 99.0, "", False),
        (IMAGE, 10.0, "", False),
        (IMAGE, 10.1, "", True),
        ({**IMAGE, "thresholdGb": 20}, 19.0, "", False),
        ({**IMAGE, "thresholdGb": "0.5"}, 0.6, "", True),
        ({**IMAGE, "where": "inside"}, 99.0, "", False),
        ({**IMAGE, "where": "container-group"}, 0.0, "", True),
        # What was begun goes on where it was begun, whatever the size is by now.
        (IMAGE, 0.0, "container-group", True),
        (IMAGE, 99.0, "inside", False),
        ({**IMAGE, "where": "container-group"}, 99.0, "inside", False),
        ({**IMAGE, "where": "inside"}, 0.0, "container-group", False),
    ],
)
def test_where_the_copy_runs(
    monkeypatch: pytest.MonkeyPatch, job: dict[str, Any], used_gb: float, recorded: str, runs: bool
) -> None:
    assert (declared(monkeypatch, job, used_gb=used_gb, recorded=recorded) is not None) == runs


def test_only_the_method_copy_has_a_job_and_only_while_it_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {**IMAGE, "where": "container-group"}
    for stage, has in (("adopt", False), ("prepare", True), ("replicate", True), ("verify", False), ("cutover", False)):
        made = declared(monkeypatch, job, **{"redismove:stage": stage})
        assert (made is not None) == has, stage
    assert declared(monkeypatch, job, **{"redismove:method": "rdb"}) is None


def test_a_job_is_in_the_sources_region_and_its_name_changes_with_what_azure_cannot_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = {**IMAGE, "where": "container-group"}
    made = declared(monkeypatch, job)
    assert made is not None
    assert (made.location, made.cpu, made.memory_gb, made.subnet_id) == ("eastus", 2.0, 4.0, "")
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", made.name)
    names = {
        made.name,
        *(
            other.name
            for change in ({"cpu": 1}, {"memoryGb": 8}, {"subnetId": _subnet("a")}, {"subnetId": _subnet("b")})
            if (other := declared(monkeypatch, {**job, **change}))
        ),
    }
    assert len(names) == 5
    again = declared(monkeypatch, {**job, "image": "team.azurecr.io/copy:2"})
    assert again is not None
    assert again.name == made.name, "another image restarts the same job"


def _subnet(name: str) -> str:
    return f"/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/{name}"


@pytest.mark.parametrize(
    ("job", "key"),
    [
        ({"where": "container-group"}, "copyJob.image"),
        ({"where": "elsewhere"}, "copyJob.where"),
        ({"image": "https://team.azurecr.io/x y"}, "copyJob.image"),
        ({**IMAGE, "subnetId": "jobs"}, "copyJob.subnetId"),
        ({**IMAGE, "registryIdentity": "me"}, "copyJob.registryIdentity"),
        ({"image": "redismove:1", "registryIdentity": IDENTITY}, "copyJob.image"),
        ({**IMAGE, "cpu": 0}, "copyJob.cpu"),
        ({**IMAGE, "memoryGB": 1}, "copyJob.memoryGB"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(job: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(job)
    assert str(refused.value).startswith(f"redismove:{key}: found "), refused.value


def test_the_registry_is_the_host_in_the_images_name() -> None:
    for image, host in (
        ("team.azurecr.io/copy:1", "team.azurecr.io"),
        ("localhost:5000/copy", "localhost:5000"),
        ("library/copy:1", ""),
        ("copy:1", ""),
    ):
        assert settings({"image": image}).copy_job.registry == host


def test_an_order_comes_back_as_it_was_and_anything_else_is_refused() -> None:
    order = Order(
        "1.000", Place("/s", "s.example", 6380, True, True), Place("/t", "t.example", 10000, False, None), 5.0, None
    )
    assert Order.from_text(order.to_text()) == order
    for text in ("", "{", "[]", '{"attempt": "1"}'):
        with pytest.raises(JobRefused):
            Order.from_text(text)


# --- waiting


class _Groups:
    """Container groups whose states come one after the other; the last stays."""

    def __init__(self, *states: GroupState | None, log: str = "") -> None:
        self.states = list(states)
        self.printed = log
        self.started = 0

    def state(self, _group_id: str) -> GroupState | None:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def log(self, _group_id: str, _container: str, *, lines: int) -> str:
        del lines
        return self.printed

    def start(self, _group_id: str, *, timeout_s: float) -> None:
        del timeout_s
        self.started += 1


class _Permit:
    """A permit whose journals come one after the other; the last stays."""

    def __init__(self, *journals: Journal | None) -> None:
        self.journals = list(journals)
        self.granted = 0

    def grant(self, _terms: Terms) -> bool:
        self.granted += 1
        return True

    def read(self) -> tuple[Terms, Journal, str | None] | None:
        journal = self.journals.pop(0) if len(self.journals) > 1 else self.journals[0]
        return None if journal is None else (Terms("1", "/s", "/t"), dataclasses.replace(journal), None)


def watch(monkeypatch: pytest.MonkeyPatch, groups: _Groups, permit: _Permit, silence_s: float = 60.0) -> list[str]:
    monkeypatch.setattr(copy_job, "_READ_JOURNAL_EVERY_S", 0.0)
    monkeypatch.setattr(copy_job, "_ASK_AZURE_EVERY_S", -1.0)
    told: list[str] = []
    watching = copy_job._Watch(groups, GROUP_ID, Terms("1", "/s", "/t"), silence_s, told.append)  # type: ignore[arg-type]
    watching.until_done(permit)  # type: ignore[arg-type]
    return told


RUNNING = GroupState(state="Running", container="Running")
DONE = Journal(done=True, runs=1, keys_read=5, keys_written=5)


def waiting(restarts: int) -> GroupState:
    return GroupState(state="Running", container="Waiting", exit_code=2, restarts=restarts)


def test_a_run_that_ends_is_told_and_waited_on(monkeypatch: pytest.MonkeyPatch) -> None:
    log = '{"event": "progress"}\nno json\n{"event": "failed", "error": "the line broke.", "final": false}\n'
    groups = _Groups(RUNNING, waiting(0), RUNNING, log=log)

    told = watch(monkeypatch, groups, _Permit(*[Journal(runs=1)] * 6, DONE))

    assert told == ["the copy job was ended and is started again: the line broke."]


def test_what_another_run_cannot_mend_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = _Groups(RUNNING, waiting(0), log='{"event": "failed", "error": "the login was refused.", "final": true}')
    with pytest.raises(AzureError, match="the login was refused; `az container logs --resource-group rg --name redis"):
        watch(monkeypatch, groups, _Permit(Journal()))


def test_what_failed_before_somebody_waits_is_not_held_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = _Groups(waiting(7), RUNNING, log='{"event": "failed", "error": "x", "final": true}')
    assert watch(monkeypatch, groups, _Permit(*[Journal()] * 4, DONE)) == []


def test_a_job_that_ends_again_and_again_without_a_key_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = _Groups(RUNNING, *(waiting(number) for number in range(9)))
    with pytest.raises(AzureError, match="it ended with exit code 2"):
        watch(monkeypatch, groups, _Permit(Journal()))

    # With keys written in between it is not.
    journals = [Journal(runs=number, earlier=number) for number in range(12)]
    groups = _Groups(RUNNING, *(waiting(number) for number in range(9)), RUNNING)
    watch(monkeypatch, groups, _Permit(*journals, DONE))


def test_a_group_that_was_stopped_is_started_and_one_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = GroupState(state="Stopped", container="Terminated", exit_code=0)
    groups = _Groups(stopped, stopped, RUNNING)
    watch(monkeypatch, groups, _Permit(*[Journal()] * 8, DONE))
    assert groups.started == 1

    with pytest.raises(AzureError, match="allowed a job that finishes"):
        watch(monkeypatch, _Groups(stopped), _Permit(Journal()))

    with pytest.raises(AzureError, match="pulumi up --refresh"):
        watch(monkeypatch, _Groups(None), _Permit(Journal()))


def test_a_permit_that_somebody_else_took_away_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    permit = _Permit(Journal(runs=1), Journal(runs=1), None)
    with pytest.raises(AzureError, match="its permit on the target gone"):
        watch(monkeypatch, _Groups(RUNNING), permit)
    assert permit.granted == 1


def test_a_job_of_which_nothing_is_heard_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AzureError, match="no sign of life"):
        watch(monkeypatch, _Groups(RUNNING), _Permit(Journal()), silence_s=0.05)


def test_the_id_of_a_group_is_taken_apart() -> None:
    assert GroupId.parse(GROUP_ID) == GroupId("s", "rg", "redismove-copy-1")
    with pytest.raises(AzureError, match="allowed the full id of a container group"):
        GroupId.parse("redismove-copy-1")


# --- the image


def test_the_image_holds_all_that_a_job_imports(tmp_path: Path) -> None:
    """Run as in the image: the package and what the lock file names, nothing else."""
    locked = re.findall(r"^([a-z0-9-]+)==(\S+) \\$", (ROOT / "docker" / "requirements.txt").read_text(), re.MULTILINE)
    everything = (ROOT / "requirements.txt").read_text()
    assert locked
    for name, version in locked:
        assert f"\n{name}=={version} \\\n" in everything, f"{name} is not what the rest of the project uses"
        package = __import__(name.replace("-", "_"))
        (tmp_path / name.replace("-", "_")).symlink_to(Path(package.__file__ or "").parent)
    (tmp_path / "redismove").symlink_to(ROOT / "redismove")

    done = subprocess.run(
        [sys.executable, "-S", *COMMAND[1:]],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert json.loads(done.stdout)["event"] == "failed", done.stderr
    assert done.returncode == 2


def test_the_image_is_made_from_what_is_there_and_runs_what_the_stack_declares() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (ROOT / line).exists(), line
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert tuple(json.loads(command)) == COMMAND
    assert "--require-hashes" in text
