"""Every stage of every method: taken twice, gone back from, and taken again; with an application, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from redismove import stages
from redismove.endpoint import FileEndpointStore
from tests.support.methods import application_of, ready
from tests.support.move import Move, unchanged

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]
TAKEN = b"taken-by-the-target"


def _again(move: Move, stage: str) -> None:
    again = move.stack.up("--expect-no-changes")
    assert unchanged(again), f"a second update at {stage} changes something: {again}"


def _set(move: Move, cache: str, value: str) -> None:
    with move.connect(cache) as server:
        assert server.execute([(TAKEN, ("SET", TAKEN, value))]) == [b"OK"]


def _get(move: Move, cache: str) -> bytes | None:
    with move.connect(cache) as server:
        return server.execute([(TAKEN, ("GET", TAKEN))])[0]  # type: ignore[no-any-return]


def _endpoint(move: Move) -> FileEndpointStore:
    return FileEndpointStore(move.stack.folder / ".redismove" / f"endpoint-{move.stack.name}.json")


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("method", stages.METHODS)
def test_every_stage_is_taken_twice_gone_back_from_and_taken_again(new_move: NewMove, method: str) -> None:
    move = ready(new_move, method, keys=100)
    way = stages.way(method)
    before = move.signature(move.source_name)

    for stage in way[:-1]:
        move.go_to(stage)
        _again(move, stage)
    _set(move, move.target_name, "first")
    if method == stages.NEW_CACHE:
        refused = move.stack.stage("cutover")
        assert refused.ok, refused
        refused = move.stack.stage("prepare")
        assert "[RM-L28]" in refused.output, f"what the target took would be lost, and nobody said so: {refused}"
        move.stack.configure(acceptDataLoss=move.target_name)

    for stage in reversed(way[: way.index("retire")]):
        move.go_to(stage)
        if stage == stages.VERIFY:
            move.go_to(stage)  # the cut-over back came first; what is compared now is evidence again
        _again(move, stage)
        on_source = move.stack.outputs()["endpoint"]["resourceId"].endswith(move.source_name)
        assert on_source is (stage != stages.CUTOVER)
        if stage in (stages.REPLICATE, stages.VERIFY):
            mode = _endpoint(move).read().dual_write
            assert (mode is not None and mode.mode == "write-both") is (method == stages.DUAL_WRITE), stage
    assert move.target is None, "adopt gives the target up"
    if method == stages.NEW_CACHE:
        assert move.signature(move.source_name) == before
        move.stack.configure(acceptDataLoss=move.source_name)
    else:
        assert _get(move, move.source_name) == b"first"
    data = move.signature(move.source_name)

    move.go_to(*way[1:])
    _again(move, stages.CLEANUP)
    assert move.source is None
    if method != stages.NEW_CACHE:
        assert move.signature(move.target_name) == data


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "method",
    [
        stages.GEO_REPLICATION,
        stages.COPY,
        pytest.param(stages.RDB, marks=pytest.mark.slow),
        pytest.param(stages.DUAL_WRITE, marks=pytest.mark.slow),
    ],
)
def test_an_application_goes_there_and_back_and_loses_no_acknowledged_write(new_move: NewMove, method: str) -> None:
    move = ready(new_move, method, keys=200)
    application = application_of(move, method)
    try:
        way = stages.way(method)
        move.go_to(*way[: way.index("cutover") + 1])
        _wait_for_writes(move, move.target_name)
        move.go_to(way[way.index("cutover") - 1])
        _wait_for_writes(move, move.source_name)
        checked = application.finish()
    finally:
        application.kill()

    assert checked["lost"] == 0, checked
    assert checked["client_errors"] == 0, checked
    assert checked["switches"] == 2
    assert checked["acknowledged"] > 0


def _wait_for_writes(move: Move, cache: str, *, commands: int = 1_000) -> None:
    """Wait until the application has had so many commands run by *cache* from now on."""
    deadline = time.monotonic() + 60
    with move.connect(cache) as server:

        def incremented() -> int:
            calls = [server.info("commandstats", node).get("cmdstat_hset", "calls=0,") for node in server.nodes]
            return sum(int(call.split(",")[0].removeprefix("calls=")) for call in calls)

        begun = incremented()
        while incremented() - begun < commands // 10:  # about a tenth of its commands are HSET
            assert time.monotonic() < deadline, "the application does not write to this cache"
            time.sleep(0.05)
