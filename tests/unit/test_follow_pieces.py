"""The pieces of following that need no server: marks, tokens, and what is shown."""

from __future__ import annotations

import json
import sys
import time

import pytest

from redismove.cli import progress as progress_module
from redismove.cli.copy import _show
from redismove.cli.progress import ProgressLine
from redismove.dataplane.connect import Secret
from redismove.dataplane.follow import DirtyKeys, NodeState, SourceState
from redismove.dataplane.mirror_report import FollowProgress, FollowReport


def test_the_marks_that_have_waited_longest_come_off_first() -> None:
    dirty = DirtyKeys()
    dirty.add([(0, b"first"), (3, b"second")])
    dirty.add([(0, b"first"), (0, b"third")])
    assert dirty.take(1) == [(0, b"first")]
    dirty.add([(0, b"first")])
    assert dirty.take(2) == [(0, b"third"), (3, b"second")], "grouped by database; the first waits anew"
    assert dirty.take() == [(0, b"first")]
    assert dirty.waiting_s() == 0.0


def test_how_long_the_oldest_mark_has_waited() -> None:
    dirty = DirtyKeys()
    assert not dirty.wait(0)
    dirty.add([(0, b"a")])
    began = time.monotonic()
    while time.monotonic() < began + 0.02:
        dirty.add([(0, b"a")])
    assert dirty.waiting_s() >= 0.02, "marking it again does not make it younger"
    assert dirty.wait(0)


def test_more_marks_than_may_be_kept_are_dropped_until_it_is_said_that_all_is_compared() -> None:
    dirty = DirtyKeys(most=2)
    dirty.add([(0, b"a"), (0, b"b")])
    assert not dirty.overflowed
    dirty.add([(0, b"c")])
    assert dirty.overflowed
    assert len(dirty) == 0
    dirty.add([(0, b"d")])
    assert len(dirty) == 0
    assert dirty.wait(0), "there is something to do"
    dirty.clear()
    dirty.add([(0, b"e")])
    assert dirty.snapshot() == {(0, b"e")}


def test_counters_that_went_back_are_a_change() -> None:
    def state(run_id: str, commands: int) -> SourceState:
        return SourceState({("host", 1): NodeState(run_id, "master", (("flushall", 1),), commands=commands)})

    assert state("a", 20).changes_since(state("a", 10)) == []
    assert state("a", 5).changes_since(state("a", 10)) == ["host:1 forgot its counters, by which flushes are seen"]
    assert state("b", 5).changes_since(state("a", 10)) == ["host:1 is another process"]


def test_a_secret_may_know_its_end() -> None:
    assert Secret("key").current() == ("key", None)
    token = Secret(lambda: ("token", 17.0))
    assert token.current() == ("token", 17.0)
    assert token.reveal() == "token"
    assert "token" not in f"{token!r}"


FOLLOWING = FollowProgress(
    "follow", lag_keys=1200, lag_s=0.25, changes_per_s=5000, keys_per_s=4900, caught_up=True, caught_up_at_s=1.5
)
COPYING = FollowProgress("copy", scanned=50, expected=200, keys_per_s=10, mb_per_s=1.5, remaining_s=15, lag_keys=3)


def test_a_log_gets_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.0)
    with ProgressLine("follow") as line:
        _show(line, FOLLOWING)
        _show(line, COPYING)
    assert capsys.readouterr().err.splitlines() == [
        "follow: following, 1,200 keys and 0.25 s behind, 5,000 changes/s, 4,900 keys/s, caught up",
        "follow: 25 % (50 of about 200), copying, 10 keys/s, 1.5 MB/s, 3 keys and 0.00 s behind, 15 s left",
    ]


def test_machines_get_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress_module, "JSON_EVERY_S", 0.0)
    with ProgressLine("follow", as_json=True) as line:
        _show(line, FOLLOWING)
        line.notice("something happened")
    told, notice = map(json.loads, capsys.readouterr().err.splitlines())
    assert told["phase"] == "follow"
    assert (told["lag_keys"], told["lag_s"], told["caught_up_at_s"]) == (1200, 0.25, 1.5)
    assert notice == {"notice": "something happened"}


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    line = ProgressLine("follow")
    assert line._bar is not None
    _show(line, COPYING)
    assert line._bar.tasks[0].completed == 50
    assert "copying, 10 keys/s" in line._bar.tasks[0].fields["text"]


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (FollowReport(caught_up=True, exact=True, carried=7), "carried 7 changed keys in 0.0 s; caught up: nothing is"),
        (
            FollowReport(caught_up=True, lag_keys=12, lag_s=0.04),
            "caught up to within 0.04 s: 12 keys are being written",
        ),
        (FollowReport(lag_keys=1200, lag_s=61.0), "not caught up: 1,200 keys and 61.0 s behind"),
    ],
)
def test_the_end_is_one_line(report: FollowReport, said: str) -> None:
    assert said in report.summary()
