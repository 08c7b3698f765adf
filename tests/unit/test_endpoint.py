"""The Endpoint document: what applications read, and the journal of a cut-over."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path

import pytest

from redismove.endpoint import (
    Endpoint,
    EndpointEntry,
    EndpointError,
    EndpointInvalid,
    EndpointMissing,
    EndpointMoved,
    EndpointWatcher,
    FileEndpointStore,
)

SOURCE = EndpointEntry(host="127.1.2.3", port=6380, tls=True, clustered=False, resource_id="/one", role="source")
TARGET = EndpointEntry(host="127.1.2.4", port=6380, tls=True, clustered=True, resource_id="/two", role="target")


@pytest.fixture
def store(tmp_path: Path) -> FileEndpointStore:
    """A store whose document names the source."""
    made = FileEndpointStore(tmp_path / "endpoint.json", clock=lambda: "2026-01-01T00:00:00.000+00:00")
    made.put(SOURCE)
    return made


def test_the_document_is_what_applications_are_promised(store: FileEndpointStore) -> None:
    assert json.loads(store.path.read_text()) == {
        "version": 1,
        "generation": 1,
        "state": "open",
        "host": "127.1.2.3",
        "port": 6380,
        "tls": True,
        "clustered": False,
        "resourceId": "/one",
        "role": "source",
        "phase": "settled",
        "holdMs": None,
        "previous": None,
        "next": None,
        "updatedAt": "2026-01-01T00:00:00.000+00:00",
    }


def test_a_cut_over_goes_through_hold_switch_and_settle(store: FileEndpointStore) -> None:
    held = store.hold(500)
    assert (held.state, held.phase, held.role, held.generation, held.hold_ms) == ("hold", "settled", "source", 2, 500)

    switched = store.switch(TARGET)
    assert (switched.state, switched.phase, switched.role, switched.generation) == ("open", "fencing", "target", 3)
    assert switched.previous == SOURCE
    assert switched.hold_ms is None

    settled = store.settle()
    assert (settled.phase, settled.generation) == ("settled", 4)
    assert store.read() == settled


def test_the_cache_that_is_being_prepared_is_announced_until_it_is_used(store: FileEndpointStore) -> None:
    assert store.announce(TARGET).next == TARGET
    assert store.announce(TARGET).generation == 2, "said already"
    assert store.announce(None).next is None

    store.announce(TARGET)
    assert store.hold(5).next == TARGET
    assert store.switch(TARGET).next is None


def test_a_hold_can_be_taken_back(store: FileEndpointStore) -> None:
    store.hold(500)

    assert store.open().state == "open"
    assert store.read().entry == SOURCE
    assert store.open().generation == 3, "opening what is open writes nothing"


def test_a_prepared_switch_is_not_seen_and_writes_nothing_more_when_it_is_made(
    store: FileEndpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.hold(500)
    before = store.path.read_bytes()
    store.prepare_switch(TARGET)
    assert store.path.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(store, "_write", lambda _: pytest.fail("the file was to be there"))

        assert store.switch(TARGET) == store.read()

    assert (store.read().entry, store.read().phase) == (TARGET, "fencing")


@pytest.mark.parametrize("replaced_by_ourselves", [True, False])
def test_a_prepared_switch_that_is_out_of_date_is_not_made(
    store: FileEndpointStore, replaced_by_ourselves: bool
) -> None:
    store.hold(500)
    store.prepare_switch(TARGET)
    (store if replaced_by_ourselves else FileEndpointStore(store.path)).open()
    store.announce(TARGET)

    switched = store.switch(TARGET)

    assert switched == store.read()
    assert switched.generation == 5
    assert [path.name for path in store.path.parent.glob(".*") if not path.name.endswith(".lock")] == []


def test_after_the_switch_there_is_only_forward(store: FileEndpointStore) -> None:
    store.switch(TARGET)

    with pytest.raises(EndpointError, match="fence is not finished"):
        store.switch(SOURCE)
    with pytest.raises(EndpointError, match="fence is not finished"):
        store.hold(5)


def test_settling_what_is_settled_writes_nothing(store: FileEndpointStore) -> None:
    assert store.settle().generation == 1


def test_only_a_cut_over_changes_the_cache(store: FileEndpointStore) -> None:
    assert store.put(SOURCE).generation == 1
    assert store.put(dataclasses.replace(SOURCE, port=6379)).generation == 2
    with pytest.raises(EndpointError, match="only a cut-over may change"):
        store.put(TARGET)


def test_a_document_replaced_by_somebody_else_is_not_overwritten(store: FileEndpointStore) -> None:
    mine = store.read()
    store.hold(5)

    with pytest.raises(EndpointMoved, match="generation 2, expected 1"):
        store.replace(mine, expected_generation=1)
    with pytest.raises(EndpointMoved):
        store.replace(mine, expected_generation=None)
    assert store.read().state == "hold"


def test_no_document_is_told_from_a_bad_one(tmp_path: Path) -> None:
    store = FileEndpointStore(tmp_path / "endpoint.json")
    with pytest.raises(EndpointMissing, match="no Endpoint document"):
        store.read()
    store.path.write_text("{")
    with pytest.raises(EndpointInvalid, match="not JSON"):
        store.read()
    store.path.write_text("[]")
    with pytest.raises(EndpointInvalid, match="not a JSON object"):
        store.read()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("version", 2, "version 2, this program knows 1"),
        ("state", "shut", "state 'shut', allowed are open, hold"),
        ("phase", None, "phase None"),
        ("port", "6380", "port '6380', allowed is a int"),
        ("port", True, "port True"),
        ("role", "other", "role 'other'"),
    ],
)
def test_what_cannot_be_understood_is_said(store: FileEndpointStore, name: str, value: object, sentence: str) -> None:
    fields = json.loads(store.path.read_text())
    fields[name] = value
    store.path.write_text(json.dumps(fields))

    with pytest.raises(EndpointInvalid, match=sentence):
        store.read()


def test_a_document_comes_back_as_it_was_written() -> None:
    document = Endpoint(
        entry=TARGET,
        generation=9,
        state="hold",
        phase="fencing",
        previous=SOURCE,
        next=TARGET,
        hold_ms=7,
        updated_at="now",
    )

    assert Endpoint.from_dict(json.loads(json.dumps(document.to_dict()))) == document


def test_readers_see_a_whole_document_at_any_moment(store: FileEndpointStore) -> None:
    seen: list[int] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def read_on() -> None:
        try:
            while not stop.is_set():
                seen.append(store.read().generation)
        except BaseException as error:  # noqa: BLE001  told by the assertion below
            failures.append(error)

    reader = threading.Thread(target=read_on)
    reader.start()
    for _ in range(50):
        store.hold(5)
        store.open()
    stop.set()
    reader.join()

    assert failures == []
    assert seen == sorted(seen)
    assert store.read().generation == 101
    assert [path.name for path in store.path.parent.iterdir() if path.suffix == ".json"] == ["endpoint.json"]


def test_a_watcher_sees_a_replacement_within_its_poll(store: FileEndpointStore) -> None:
    watcher = EndpointWatcher(store, poll_s=0.01)
    assert watcher.current().state == "open"
    store.hold(1000)

    deadline = time.monotonic() + 5
    while watcher.current().state == "open":
        assert time.monotonic() < deadline

    store.switch(TARGET)
    assert watcher.refresh().entry == TARGET, "after an error it looks at once"


def test_a_watcher_does_not_read_what_did_not_change(store: FileEndpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda: (reads.append(1), read())[1])
    watcher = EndpointWatcher(store, poll_s=0)
    for _ in range(100):
        watcher.current()

    assert len(reads) == 1


def test_waiting_ends_when_the_hold_ends(store: FileEndpointStore) -> None:
    watcher = EndpointWatcher(store, poll_s=0.001)
    store.hold(60_000)
    threading.Timer(0.05, lambda: store.switch(TARGET)).start()

    assert watcher.wait_until_open(30).entry == TARGET


def test_a_hold_that_nobody_ends_does_not_stop_an_application_for_ever(store: FileEndpointStore) -> None:
    watcher = EndpointWatcher(store, poll_s=0.001)
    store.hold(20)
    began = time.monotonic()

    assert watcher.wait_until_open(30).state == "hold"
    assert 0.015 < time.monotonic() - began < 5
    began = time.monotonic()
    watcher.wait_until_open(30)
    assert time.monotonic() - began < 0.015, "waited for once, not for every command"
