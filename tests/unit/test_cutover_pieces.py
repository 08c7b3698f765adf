"""What of the cut-over needs no server."""

from __future__ import annotations

import dataclasses

import pytest

from redismove.dataplane.cutover import CutoverReport
from redismove.dataplane.fence import parse_client_list
from redismove.dataplane.follow import DirtyKeys, NodeState, SourceState, notifies_everything

CLIENTS = b"""id=3 addr=127.0.0.1:40000 laddr=127.0.0.1:6379 fd=8 name= age=5 flags=N db=0 cmd=get user=default resp=2
id=4 addr=127.0.0.1:40001 fd=9 name=a=b age=5 flags=S db=0 cmd=replconf user=_repl
id=5 addr=127.0.0.1:40002 fd=9 name= age=5 flags=P db=0 cmd=psubscribe
"""


def test_client_list_is_read_with_and_without_users() -> None:
    clients = parse_client_list(CLIENTS)

    assert [(client.id, client.user, client.is_replication) for client in clients] == [
        (3, "default", False),
        (4, "_repl", True),
        (5, "default", False),
    ]
    assert clients[1].name == "a=b"


@pytest.mark.parametrize(
    ("setting", "everything"),
    [
        ("KA", True),
        ("AKE", True),
        ("Kg$lshzxet", True),
        ("g$lshzxetK", True),
        ("EA", False),
        ("Kg$lshzxe", False),
        ("K$", False),
        ("", False),
    ],
)
def test_only_a_setting_that_tells_of_every_change_will_do(setting: str, everything: bool) -> None:
    assert notifies_everything(setting) is everything


def test_a_mark_that_comes_after_the_taking_stays() -> None:
    dirty = DirtyKeys()
    dirty.add([(1, b"a"), (0, b"b"), (0, b"a"), (0, b"a")])

    assert sorted(dirty.take()) == [(0, b"a"), (0, b"b"), (1, b"a")]
    dirty.add([(0, b"a")])
    assert dirty.take() == [(0, b"a")]
    assert dirty.take() == []


def test_marks_are_taken_in_parts_and_by_database() -> None:
    dirty = DirtyKeys()
    dirty.add((number % 3, b"%d" % number) for number in range(30))

    first = dirty.take(20)
    assert len(first) == 20
    assert [database for database, _ in first] == sorted(database for database, _ in first)
    assert len(dirty) == 10
    assert len({*first, *dirty.take()}) == 30


def test_what_changed_about_a_server_is_said() -> None:
    node = NodeState(run_id="a", role="master", flushes=(("flushdb", 0), ("flushall", 1), ("swapdb", 0)))
    before = SourceState({("h", 1): node})

    def after(**changes: object) -> list[str]:
        return SourceState({("h", 1): dataclasses.replace(node, **changes)}).changes_since(before)  # type: ignore[arg-type]

    assert after() == []
    assert after(run_id="b") == ["h:1 is another process"]
    assert after(role="slave") == ["h:1 became slave"]
    assert after(cluster=("2", "slots")) == ["h:1 sees another cluster (a slot moved or a failover)"]
    assert after(flushes=(("flushdb", 0), ("flushall", 2), ("swapdb", 1))) == ["h:1 ran flushall, swapdb"]
    # A counter that was set back (CONFIG RESETSTAT) hides what happened as well.
    assert after(flushes=(("flushdb", 0), ("flushall", 0), ("swapdb", 0))) == ["h:1 ran flushall"]
    assert SourceState({("h", 2): node}).changes_since(before) == ["the primaries are others"]


def test_a_report_is_clean_only_without_differences_and_late_writes() -> None:
    assert CutoverReport().clean
    assert CutoverReport(in_hold={"keys": 5, "differences": 0}, evidence={"late_writes": 0, "differences": 0}).clean
    assert not CutoverReport(evidence={"differences": 1}).clean
    assert not CutoverReport(evidence={"late_writes": 1}).clean
    assert not CutoverReport(in_hold={"differences": 1}).clean
