"""The document's optional field `dualWrite`: how running applications are switched, and what stays as it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from redismove.endpoint import (
    DualWrite,
    DualWriteMode,
    Endpoint,
    EndpointEntry,
    EndpointError,
    EndpointInvalid,
    FileEndpointStore,
)

OLD = EndpointEntry(host="127.1.2.3", port=6380, tls=True, clustered=False, resource_id="/old", role="source")
NEW = EndpointEntry(host="127.1.2.4", port=6380, tls=True, clustered=False, resource_id="/new", role="target")


@pytest.fixture
def store(tmp_path: Path) -> FileEndpointStore:
    """A store whose document names the old cache."""
    made = FileEndpointStore(tmp_path / "endpoint.json")
    made.put(OLD)
    return made


def test_a_document_without_it_is_written_without_it(store: FileEndpointStore) -> None:
    assert "dualWrite" not in json.loads(store.path.read_text())
    assert store.read().dual_write is None


@pytest.mark.parametrize("mode", ["write-both", "read-new"])
def test_a_mode_with_its_second_cache_is_written_and_read(store: FileEndpointStore, mode: DualWriteMode) -> None:
    written = store.set_dual_write(mode, NEW)

    assert json.loads(store.path.read_text())["dualWrite"] == {"mode": mode, "second": NEW.to_dict()}
    assert store.read() == written
    assert written.dual_write == DualWrite(mode=mode, second=NEW)
    assert (written.entry, written.generation, written.dual_write.active) == (OLD, 2, True)


def test_the_same_again_writes_nothing_and_the_second_cache_need_not_be_named_again(store: FileEndpointStore) -> None:
    store.set_dual_write("write-both", NEW)

    assert store.set_dual_write("write-both", NEW).generation == 2
    assert store.set_dual_write("read-new").dual_write == DualWrite(mode="read-new", second=NEW)
    off = store.set_dual_write("off").dual_write
    assert off == DualWrite(mode="off", second=NEW)
    assert not off.active


def test_off_where_it_never_was_on_writes_nothing(store: FileEndpointStore) -> None:
    assert store.set_dual_write("off").generation == 1


def test_a_cut_over_ends_it(store: FileEndpointStore) -> None:
    """The second cache is the one in use then: carrying old values into it would undo writes."""
    store.set_dual_write("read-new", NEW)
    assert store.hold(5).dual_write is not None
    store.open()
    store.hold(5)

    assert store.switch(NEW).dual_write is None
    assert "dualWrite" not in json.loads(store.path.read_text())


def test_in_the_middle_of_a_cut_over_it_stays_as_it_is(store: FileEndpointStore) -> None:
    store.hold(5)
    with pytest.raises(EndpointError, match="state hold"):
        store.set_dual_write("write-both", NEW)
    store.switch(NEW)
    with pytest.raises(EndpointError, match="phase fencing"):
        store.set_dual_write("write-both", OLD)


def test_what_makes_no_sense_is_refused(store: FileEndpointStore) -> None:
    with pytest.raises(EndpointError, match="names none; give one"):
        store.set_dual_write("write-both")
    with pytest.raises(EndpointError, match="/old, which applications use already"):
        store.set_dual_write("write-both", OLD)
    with pytest.raises(EndpointInvalid, match="without a second cache"):
        DualWrite(mode="read-new")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ("write-both", "dualWrite 'write-both', allowed is an object"),
        ({"mode": "both", "second": NEW.to_dict()}, "mode 'both', allowed are off, write-both, read-new"),
        ({"mode": "write-both"}, "'write-both' without a second cache"),
        ({"mode": "write-both", "second": {**NEW.to_dict(), "port": "x"}}, "port 'x'"),
    ],
)
def test_what_cannot_be_understood_is_said(store: FileEndpointStore, found: object, sentence: str) -> None:
    fields = {**json.loads(store.path.read_text()), "dualWrite": found}
    store.path.write_text(json.dumps(fields))

    with pytest.raises(EndpointInvalid, match=sentence):
        store.read()


def test_it_comes_back_as_it_was_written() -> None:
    document = dataclasses.replace(Endpoint(entry=OLD), dual_write=DualWrite(mode="read-new", second=NEW))

    assert Endpoint.from_dict(json.loads(json.dumps(document.to_dict()))) == document
