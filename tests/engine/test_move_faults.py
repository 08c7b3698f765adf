"""A move goes on after what a cloud does now and then, or says in one sentence why not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from redismove.azure.session import Session
from tests.support.local_cloud import LocalCloud
from tests.support.move import Move
from tests.support.stack import Result

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local Azure that takes faults on request."""
    running = LocalCloud.start(tmp_path_factory.mktemp("azure"), "--admin")
    try:
        yield running
    finally:
        running.stop()


def _link_path(move: Move) -> str:
    return f"redis/{move.source_name}/linkedServers/{move.target_name}$"


# What happens to a request, and whether the same update gets over it by itself.
FAULTS: dict[str, tuple[str, dict[str, object], bool]] = {
    "throttled while reading": ("GET", {"kind": "status", "status": 429, "retry_after_s": 1, "count": 2}, True),
    "an error while reading": ("GET", {"kind": "status", "status": 503, "count": 2}, True),
    "busy when the link is made": ("PUT", {"kind": "status", "status": 409, "count": 2}, True),
    "an error when the link is made": ("PUT", {"kind": "status", "status": 500, "count": 1}, False),
    "a link made whose answer was lost": ("PUT", {"kind": "cut", "applied": True, "count": 1}, False),
    "a link that fails": ("PUT", {"kind": "operation", "outcome": "fail", "count": 1}, False),
}


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_link_is_made_in_the_end(new_move: NewMove) -> None:
    move = new_move(keys=20)
    move.go_to("adopt", "prepare")
    for name, (method, fault, by_itself) in FAULTS.items():
        path = f"redis/{move.source_name}$" if method == "GET" else _link_path(move)
        move.ask_for_faults("POST", {"method": method, "path": path, **fault})

        first = move.stack.stage("replicate")
        move.ask_for_faults("DELETE")

        assert "Traceback" not in first.output, f"{name}: {first}"
        if by_itself:
            assert first.ok, f"{name}: {first}"
        if move.link.provisioning_state == "Failed":
            told = move.stack.up()
            assert "[RM-G23]" in told.output, f"{name}: {told}"
            move.go_to("prepare", "replicate")
        again = move.stack.up()
        assert again.ok, f"{name}: {again}"
        assert move.link.exists, name
        assert move.link.provisioning_state == "Succeeded", name
        move.go_to("prepare")


@pytest.mark.timeout(420)
def test_a_deletion_whose_answer_is_lost_or_that_is_refused_is_done_in_the_end(new_move: NewMove) -> None:
    move = new_move(keys=20)
    move.go_to("adopt", "prepare", "replicate", "verify")
    for fault in (
        {"kind": "status", "status": 409, "count": 1},
        {"kind": "cut", "applied": True, "count": 1},
    ):
        move.ask_for_faults("POST", {"method": "DELETE", "path": _link_path(move), **fault})
        first = move.stack.stage("unlink")
        assert "Traceback" not in first.output, first
        move.ask_for_faults("DELETE")
        if not first.ok:
            again = move.stack.up()
            assert again.ok, again
        assert not move.link.exists
        move.go_to("replicate", "verify")


@pytest.mark.timeout(420)
def test_an_operation_that_never_ends_can_be_killed_and_taken_up_again(new_move: NewMove) -> None:
    move = new_move(keys=20, settleMinutes="0.05")
    move.go_to("adopt", "prepare")
    move.ask_for_faults("POST", {"method": "PUT", "path": _link_path(move), "kind": "operation", "outcome": "never"})
    move.stack.configure(stage="replicate")
    process = move.stack.start("up", "-y", "--skip-preview")
    deadline = time.monotonic() + 60
    while not move.link.exists and time.monotonic() < deadline:
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    resumed = move.resume()
    assert resumed.returncode == 0, resumed.stderr

    still = move.stack.up()
    assert not still.ok
    assert "a management operation is still running" in still.output, still
    move.ask_for_faults("DELETE")
    move.stack.configure(settleMinutes="5")
    again = move.stack.up()
    assert again.ok, again
    assert move.link.exists


@pytest.mark.timeout(420)
def test_what_somebody_does_by_hand_in_between_is_seen(new_move: NewMove) -> None:
    move = new_move(keys=20)
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink")
    with move.azure() as caches:
        caches.regenerate_key(move.cache_id(move.source_name), "Primary")
    move.go_to("cutover")
    with move.azure():
        Session.from_environment().redis.redis.begin_delete("rg-orders", move.target_name).result(60)

    refused = move.stack.stage("retire")

    assert not refused.ok
    assert "[RM-L04]" in refused.output, refused
    assert "Traceback" not in refused.output, refused
    assert move.source is not None


def _told_in_one_sentence(result: Result, *words: str) -> None:
    assert not result.ok, f"it went on: {result}"
    assert "Traceback" not in result.output, result
    assert any(word in result.output for word in words), f"none of {words}: {result}"


_LIMIT = {"never": {"settleMinutes": "0.1"}, "fail": {"settleMinutes": "5"}}
_ENDS = {
    "never": ("did not finish within its timeout", "still running after"),
    "fail": ("Something went wrong", "[RM-"),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("outcome", ["never", "fail"])
def test_an_operation_that_does_not_end_well_is_told_and_the_move_goes_on(new_move: NewMove, outcome: str) -> None:
    """Making the target, unlinking, deleting the target and deleting the source, each with its operation spoilt."""
    move = new_move(keys=20)

    def spoilt(stage: str, method: str, path: str) -> None:
        move.stack.configure(**_LIMIT[outcome])
        if outcome == "never":
            # A deletion is bound by what the state recorded when the resource was last declared.
            assert move.stack.up().ok
        move.ask_for_faults("POST", {"method": method, "path": path, "kind": "operation", "outcome": outcome})
        first = move.stack.stage(stage)
        # A failed deletion is told by 409 like a busy cache, and tried again by the update itself.
        if not first.ok or outcome == "never" or method == "PUT":
            _told_in_one_sentence(first, *_ENDS[outcome])
        if outcome == "never":
            _told_in_one_sentence(move.stack.up(), "still running after")
        move.ask_for_faults("DELETE")
        move.stack.configure(settleMinutes="5")

    source, target = f"redis/{move.source_name}$", f"redis/{move.target_name}$"
    move.go_to("adopt")
    spoilt("prepare", "PUT", target)
    if outcome == "fail":
        # What Azure could not make stays there as Failed; only a person takes it away.
        _told_in_one_sentence(move.stack.up(), "[RM-L04]")
        move.delete_by_hand(move.target_name)
    move.go_to("prepare")
    spoilt("adopt", "DELETE", target)
    move.go_to("adopt")
    assert move.target is None

    move.go_to("prepare", "replicate", "verify")
    spoilt("unlink", "DELETE", _link_path(move))
    move.go_to("unlink")
    assert not move.link.exists
    assert move.signature(move.target_name) == move.signature(move.source_name)

    move.go_to("cutover", "retire")
    spoilt("cleanup", "DELETE", source)
    move.go_to("cleanup")
    assert move.source is None
    assert move.target is not None


@pytest.mark.timeout(420)
def test_a_change_of_keys_that_is_never_answered_ends_the_cutover_in_one_sentence(new_move: NewMove) -> None:
    move = new_move(keys=20, method="copy", cutover={"limitSeconds": "10"})
    move.go_to("adopt", "prepare", "replicate", "verify")
    path = f"redis/{move.source_name}/regenerateKey$"
    move.ask_for_faults("POST", {"method": "POST", "path": path, "kind": "delay", "delay_s": 500, "count": 9})

    _told_in_one_sentence(move.stack.stage("cutover"), "regenerating the secondary access key")
    assert move.stack.outputs()["endpoint"]["resourceId"].endswith(move.source_name), "nothing was switched"

    move.ask_for_faults("DELETE")
    move.stack.configure(cutover={"limitSeconds": "600"})
    move.go_to("cutover")


@pytest.mark.timeout(420)
def test_of_two_updates_at_once_the_second_says_who_has_the_stack(new_move: NewMove) -> None:
    move = new_move(keys=20)
    move.go_to("adopt", "prepare")
    move.ask_for_faults("POST", {"method": "PUT", "path": _link_path(move), "kind": "operation", "outcome": "never"})
    move.stack.configure(stage="replicate")
    first = move.stack.start("up", "-y", "--skip-preview")
    try:
        deadline = time.monotonic() + 120
        while not move.link.exists:
            assert time.monotonic() < deadline, "the first update made no link"

        for second in (move.stack.up(), move.stack.pulumi("destroy", "-y", "--skip-preview", "--run-program")):
            assert not second.ok, second
            assert "currently locked by 1 lock" in second.output, second
            assert f"pid {first.pid}" in second.output, second
            assert "`pulumi cancel`" in second.output, second
            assert "Traceback" not in second.output, second
        resumed = move.resume()
        assert resumed.returncode == 2, resumed
        assert f"process {first.pid}" in resumed.stderr, resumed
        assert "still running" in resumed.stderr, resumed
    finally:
        move.ask_for_faults("DELETE")
        output, _ = first.communicate(timeout=200)

    assert first.returncode == 0, output
    assert move.link.provisioning_state == "Succeeded"
    move.go_to("replicate", "verify")


def _new_keys_by_hand(move: Move) -> None:
    with move.azure() as caches:
        for name in (move.source_name, move.target_name):
            for which in ("Primary", "Secondary"):
                caches.regenerate_key(move.cache_id(name), which)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whatever_somebody_does_by_hand_between_two_stages_is_seen_or_does_no_harm(new_move: NewMove) -> None:
    """Unlinking, scaling, new keys and deleting: the next stage goes on, or says in one sentence what to do."""
    move = new_move(keys=50)
    data = move.signature(move.source_name)

    move.go_to("adopt", "prepare")
    move.delete_by_hand(move.target_name)
    _told_in_one_sentence(move.stack.stage("replicate"), "[RM-L04]")
    assert "--refresh" in move.stack.up().output, "the cure says how the target is made again"
    assert move.stack.stage("prepare", "--refresh").ok
    assert move.target is not None

    move.scale_by_hand(move.target_name, 2)
    assert move.stack.stage("prepare", "--refresh").ok, "the refresh sees it, and the target is as declared again"
    assert move.target is not None
    assert move.target.sku_capacity == 1
    move.go_to("replicate")
    _new_keys_by_hand(move)
    move.go_to("verify")

    move.unlink_by_hand()
    _told_in_one_sentence(move.stack.stage("verify"), "[RM-G12]")
    move.go_to("unlink")
    move.go_to("replicate", "verify")
    _new_keys_by_hand(move)
    move.go_to("unlink")

    move.scale_by_hand(move.target_name, 3)
    _new_keys_by_hand(move)
    move.go_to("cutover")
    assert move.signature(move.target_name) == data
    move.scale_by_hand(move.source_name, 2)
    _new_keys_by_hand(move)
    move.go_to("retire")

    move.delete_by_hand(move.source_name)
    _told_in_one_sentence(move.stack.stage("retire"), "[RM-L01]")
    move.go_to("cleanup")
    assert move.signature(move.target_name) == data


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_target_deleted_by_hand_after_the_unlink_is_given_up_and_made_again(new_move: NewMove) -> None:
    move = new_move(keys=50)
    data = move.signature(move.source_name)
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink")
    move.delete_by_hand(move.target_name)

    for stage in ("cutover", "unlink", "replicate"):
        _told_in_one_sentence(move.stack.stage(stage), "[RM-L04]")
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink", "cutover")

    assert move.signature(move.target_name) == data
