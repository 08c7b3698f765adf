"""The move by RDB files on the real engine, through storage accounts on a real Azurite."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
import requests

from redismove.application import follow_endpoint
from redismove.azure.errors import AzureError
from redismove.azure.session import Session
from tests.support.move import GROUP, Move, unchanged
from tests.support.storage import Accounts

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


def _write(move: Move, cache: str, key: bytes, value: str) -> None:
    with move.connect(cache) as server:
        assert server.execute([(key, ("SET", key, value))]) == [b"OK"]


def _read(move: Move, cache: str, key: bytes) -> bytes | None:
    with move.connect(cache) as server:
        return server.execute([(key, ("GET", key))])[0]  # type: ignore[no-any-return]


def _no_signature(move: Move) -> None:
    """No SAS and no key of the accounts is in the state or in what the local Azure logged."""
    text = json.dumps(move.stack.state())
    assert "sig=" not in text
    with move.azure():
        for account in Session.from_environment().storage.storage_accounts.list():
            keys = Session.from_environment().storage.storage_accounts.list_keys(GROUP, account.name)
            for key in keys.keys_property:
                assert key.value not in text


@pytest.mark.timeout(420)
@pytest.mark.parametrize("shards", [0, 3])
def test_the_stages_move_the_cache_and_what_is_written_meanwhile(new_move: NewMove, shards: int) -> None:
    move = new_move(keys=400, seed={"shards": shards} if shards else {}, method="rdb")
    accounts = Accounts.of(move)
    before = move.signature(move.source_name)
    writes = move.writes_of_others(move.source_name)

    move.go_to("adopt", "prepare", "replicate")
    assert len(accounts.names(accounts.source)) == max(shards, 1), "one file a shard"
    assert accounts.names(accounts.target) == accounts.names(accounts.source)
    assert move.signature(move.source_name) == before == move.signature(move.target_name)
    assert move.writes_of_others(move.source_name) == writes
    assert unchanged(move.stack.up("--expect-no-changes"))
    _write(move, move.source_name, b"after-the-export", "carried by verify")
    move.go_to("verify")
    assert unchanged(move.stack.up("--expect-no-changes"))
    _write(move, move.source_name, b"after-verify", "carried by the cut-over")
    data = move.signature(move.source_name)
    move.go_to("cutover")
    assert move.signature(move.target_name) == data
    _no_signature(move)
    move.go_to("retire", "cleanup")

    assert move.source is None
    assert accounts.names(accounts.source, "") == [], "cleanup removes the files and the journal"
    assert accounts.names(accounts.target, "") == []
    assert unchanged(move.stack.up("--expect-no-changes"))
    assert _read(move, move.target_name, b"after-verify") == b"carried by the cut-over"


@pytest.mark.timeout(420)
def test_without_catch_up_the_loss_is_counted_announced_and_exact(new_move: NewMove) -> None:
    move = new_move(keys=100, method="rdb", catchUp=False, acceptDataLoss="nothing")
    Accounts.of(move)
    move.go_to("adopt", "prepare", "replicate")
    for number in range(7):
        _write(move, move.source_name, b"late:%d" % number, "lost")

    verified = move.stack.stage("verify")
    assert verified.ok, verified
    assert "7 differ and will be lost" in verified.output, verified
    assert move.stack.outputs()["evidence"]["only_in_source"] == 7
    assert unchanged(move.stack.up("--expect-no-changes"))
    _write(move, move.source_name, b"later", "lost too")
    refused = move.stack.stage("cutover")
    assert "[RM-L11]" in refused.output, refused
    move.stack.configure(acceptDataLoss=move.source_name)
    switched = move.stack.stage("cutover")
    assert switched.ok, switched

    assert "8 keys stay behind" in switched.output, switched
    assert move.stack.outputs()["cutover"]["differences"] == 8
    assert _read(move, move.target_name, b"late:1") is None
    move.go_to("retire", "cleanup")


@pytest.mark.timeout(420)
def test_without_catch_up_a_live_application_loses_exactly_what_was_announced(new_move: NewMove) -> None:
    move = new_move(keys=100, method="rdb", catchUp=False)
    move.stack.configure(acceptDataLoss=move.source_name)
    Accounts.of(move)
    move.go_to("adopt", "prepare")
    with _writing(move) as written:
        move.go_to("replicate", "verify", "cutover")
        behind = len(written)
        deadline = time.monotonic() + 30
        while len(written) < behind + 20:  # it goes on at the target
            assert time.monotonic() < deadline
            time.sleep(0.02)

    with move.connect(move.target_name) as server:
        there = server.execute([(key, ("EXISTS", key)) for key in written])
    lost = len(there) - sum(int(answer) for answer in there)
    assert lost > 0
    assert move.stack.outputs()["cutover"]["differences"] == lost


@contextmanager
def _writing(move: Move) -> Iterator[list[bytes]]:
    """An application that follows the Endpoint and sets one new key after another; gives those that it was told of."""
    written: list[bytes] = []
    over = threading.Event()
    file = move.stack.folder / ".redismove" / f"endpoint-{move.stack.name}.json"

    def credentials(resource_id: str) -> tuple[str | None, str]:
        return None, caches.access_keys(resource_id)[0]

    def write() -> None:
        for number in itertools.count():
            if over.wait(0.01):
                return
            key = b"live:%d" % number
            if client.set(key, number):
                written.append(key)

    with move.azure() as caches, closing(follow_endpoint(file, credentials)) as client:
        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield written
        finally:
            over.set()
            thread.join()


@pytest.mark.timeout(420)
def test_back_and_forward_again_exports_anew_and_keeps_the_files_where_asked(new_move: NewMove) -> None:
    move = new_move(keys=60, method="rdb")
    accounts = Accounts.of(move)
    move.go_to("adopt", "prepare", "replicate", "verify")
    first = accounts.names(accounts.source)

    move.go_to("replicate", "prepare")
    assert accounts.names(accounts.source, "") == [], "the way back removes the files"
    _write(move, move.source_name, b"between", "1")
    move.go_to("replicate")
    assert accounts.names(accounts.source) != first
    assert _read(move, move.target_name, b"between") == b"1"

    move.stack.configure(storage={"keepBlobs": "true"})
    move.go_to("verify", "cutover")
    _write(move, move.target_name, b"on-target", "kept")
    move.go_to("verify")
    assert _read(move, move.source_name, b"on-target") == b"kept"
    move.go_to("verify", "cutover", "retire", "cleanup")
    assert len(accounts.names(accounts.source)) == 1, "kept where asked"
    assert len(accounts.names(accounts.target)) == 1


@pytest.mark.timeout(420)
def test_a_killed_transfer_goes_on_and_imports_what_was_exported(new_move: NewMove) -> None:
    move = new_move(keys=200, seed={"shards": 2}, method="rdb")
    accounts = Accounts.of(move)
    settings = move.cloud.home / "settings.json"
    settings.write_text(json.dumps({"durations": {"export": 2, "import": 3}}))
    try:
        move.go_to("adopt", "prepare")
        move.stack.configure(stage="replicate")
        for wanted in ("exporting", "importing"):
            process = move.stack.start("up", "-y", "--skip-preview")
            assert process.stdout is not None
            seen = ""
            deadline = time.monotonic() + 120
            while wanted not in seen:
                seen += process.stdout.readline()
                assert time.monotonic() < deadline, seen
                assert process.poll() is None or wanted in seen, seen
            os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()
            process.wait()
            if wanted == "importing":
                exported = accounts.names(accounts.source)
            move.stack.pulumi("cancel", "--yes")
        done = move.stack.up()
        assert done.ok, done
    finally:
        settings.write_text("{}")

    assert accounts.names(accounts.source) == exported, "the finished export is used again"
    assert move.signature(move.target_name) == move.signature(move.source_name)
    move.go_to("verify", "cutover", "retire", "cleanup")


@pytest.mark.timeout(420)
def test_a_target_of_somebody_else_is_refused_or_exported_first(new_move: NewMove) -> None:
    move = new_move(keys=50, method="rdb")
    accounts = Accounts.of(move)
    move.cloud.seed(move.target_name, keys=20, **{"resource-group": GROUP, "location": "westus2", "random-seed": 9})
    held = move.signature(move.target_name)
    move.go_to("adopt")
    refused = move.stack.stage("prepare")
    assert "[RM-L12]" in refused.output, refused
    assert move.signature(move.target_name) == held

    move.stack.configure(acceptErase=move.target_name)
    move.go_to("prepare", "replicate")

    assert move.signature(move.target_name) == move.signature(move.source_name)
    kept = accounts.names(accounts.target, "before-")
    assert len(kept) == 1, "what was there is kept"
    with move.azure(), accounts.open(accounts.target) as container:
        url = container.for_import(kept[0], valid_s=60).reveal()
    with move.azure() as caches:
        caches.import_data(move.cache_id(move.target_name), file_urls=[url], timeout_s=60)
    assert move.signature(move.target_name) == held


@pytest.mark.timeout(420)
def test_a_target_of_another_shape_takes_what_fits_it(new_move: NewMove) -> None:
    move = new_move(keys=100, seed={"shards": 2}, method="rdb")
    Accounts.of(move)
    where = {"resource-group": GROUP, "location": "westus2"}
    move.cloud.seed(move.target_name, keys=10, shards=3, **where)
    move.stack.configure(acceptErase=move.target_name)
    move.go_to("adopt", "prepare", "replicate")
    assert move.signature(move.target_name) == move.signature(move.source_name)

    other = new_move(keys=100, method="rdb")
    other.cloud.seed(other.target_name, keys=0, shards=2, **where)
    other.stack.configure(acceptErase=other.target_name)
    other.go_to("adopt")
    refused = other.stack.stage("prepare")
    assert "[RM-T16]" in refused.output, refused
    assert "holds keys in (3)" in refused.output, "Azure would leave database 3 out and say nothing"


@pytest.mark.timeout(420)
def test_managed_identity_needs_no_key_of_the_accounts(new_move: NewMove) -> None:
    move = new_move(keys=50, method="rdb", managedIdentity=True)
    accounts = Accounts.of(move)
    move.go_to("adopt", "prepare")
    refused = move.stack.stage("replicate")
    assert "[RM-R09]" in refused.output, refused
    with move.azure():
        client = Session.from_environment()
        client.redis.redis.begin_update(GROUP, move.source_name, {"identity": {"type": "SystemAssigned"}}).result(60)
        for account in (accounts.source, accounts.target):
            client.storage.storage_accounts.update(
                GROUP, account.rsplit("/", 1)[-1], {"properties": {"allowSharedKeyAccess": False}}
            )
    move.go_to("prepare", "replicate", "verify", "cutover")
    assert move.signature(move.target_name) == move.signature(move.source_name)


def test_wrong_storage_is_refused_by_rule(new_move: NewMove) -> None:
    move = new_move(keys=10, method="rdb")
    move.go_to("adopt", "prepare")
    refused = move.stack.stage("replicate")
    assert "[RM-R03]" in refused.output, refused
    accounts = Accounts.of(move, location="eastus")
    refused = move.stack.up()
    assert "[RM-R04]" in refused.output, refused

    accounts.target = Accounts.make(move, f"late{move.source_name.replace('-', '')}", "westus2")
    move.stack.configure(storage={"target": accounts.target})
    with move.azure():
        client = Session.from_environment().storage
        client.storage_accounts.update(
            GROUP, accounts.source.rsplit("/", 1)[-1], {"properties": {"networkAcls": {"defaultAction": "Deny"}}}
        )
    refused = move.stack.up()
    assert "[RM-R06]" in refused.output, refused


def test_what_azure_says_of_a_failure_becomes_a_sentence_with_its_likely_causes(new_move: NewMove) -> None:
    move = new_move(keys=10, method="rdb", storage={"container": "files"})
    accounts = Accounts.of(move)
    accounts.container = "files"
    move.go_to("adopt", "prepare")
    settings = move.cloud.home / "settings.json"
    settings.write_text(json.dumps({"admin": True}))
    try:
        _fault(move, {"kind": "operation", "outcome": "fail", "method": "POST", "path": "/export$"})
        failed = move.stack.stage("replicate")
    finally:
        settings.write_text("{}")
    assert not failed.ok
    said = 'Azure ended it with 409 and the message "Something went wrong"; likely causes: the SAS'
    assert said in failed.output, str(failed)
    assert "Traceback" not in failed.output, failed

    with move.azure() as caches, accounts.open(accounts.source) as container:
        container.make()
        url = (
            container.for_export(valid_s=60).reveal().replace("sp=racwdltm", "sp=racwdl")
        )  # its signature is wrong now
        with pytest.raises(AzureError) as refused:
            caches.export_data(move.cache_id(move.source_name), container_url=url, prefix="x", timeout_s=60)
        assert "Azure ended it with 409 and no message; likely causes: the SAS or" in str(refused.value)
        bad = url.replace("se=20", "se=19")
        with pytest.raises(AzureError) as refused:
            caches.export_data(move.cache_id(move.source_name), container_url=bad, prefix="x", timeout_s=60)
        assert "must be at least 1 hour from now" in str(refused.value)
        assert "sig=" not in str(refused.value)
    move.go_to("replicate")


def _fault(move: Move, fault: dict[str, object]) -> None:
    with move.azure():
        session = Session.from_environment()
        token = session.credential.get_token(f"{session.endpoint}/.default").token
        bundle = move.cloud.environment["REQUESTS_CA_BUNDLE"]
        answer = requests.post(
            f"{session.endpoint}/_local/faults",
            json=fault,
            headers={"Authorization": f"Bearer {token}"},
            verify=bundle,
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
