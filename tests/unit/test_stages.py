"""The stages, each method's way, and what a stage declares."""

from __future__ import annotations

import pytest

from redismove import stages
from redismove.stages import Declaration, Direction

ADOPT, PREPARE, REPLICATE, VERIFY = stages.ADOPT, stages.PREPARE, stages.REPLICATE, stages.VERIFY
UNLINK, CUTOVER, RETIRE, CLEANUP = stages.UNLINK, stages.CUTOVER, stages.RETIRE, stages.CLEANUP


def test_the_ways_are_those_of_the_design() -> None:
    """Eight stages, seven without a link, five where nothing is brought over."""
    assert stages.STAGES == (
        "adopt",
        "prepare",
        "replicate",
        "verify",
        "unlink",
        "cutover",
        "retire",
        "cleanup",
    )
    without_link = ("adopt", "prepare", "replicate", "verify", "cutover", "retire", "cleanup")
    assert {m: stages.way(m) for m in stages.METHODS} == {
        "geo-replication": stages.STAGES,
        "new-cache": ("adopt", "prepare", "cutover", "retire", "cleanup"),
        "rdb": without_link,
        "dual-write": without_link,
        "copy": without_link,
    }
    assert stages.METHODS == ("geo-replication", "new-cache", "rdb", "dual-write", "copy")
    assert set(stages.SUMMARY) == set(stages.UNDO) == set(stages.STAGES)


@pytest.mark.parametrize("method", ["", "teleport"])
def test_there_is_no_way_for_a_method_that_does_not_exist(method: str) -> None:
    """KeyError, for the caller to turn into a sentence."""
    with pytest.raises(KeyError):
        stages.way(method)


@pytest.mark.parametrize(
    ("previous", "stage", "expected"),
    [
        ("", ADOPT, Direction.FIRST),
        ("nonsense", PREPARE, Direction.FIRST),
        (ADOPT, ADOPT, Direction.SAME),
        (CLEANUP, CLEANUP, Direction.SAME),
        (ADOPT, PREPARE, Direction.FORWARD),
        (ADOPT, CLEANUP, Direction.FORWARD),
        (PREPARE, ADOPT, Direction.BACK),
        (CUTOVER, VERIFY, Direction.BACK),
    ],
)
def test_a_change_of_stage_has_a_direction(previous: str, stage: str, expected: Direction) -> None:
    """By the place of both among all stages."""
    assert expected is stages.direction(previous, stage)


FOLLOWING = {
    ("geo-replication", ""): (ADOPT,),
    ("geo-replication", ADOPT): (ADOPT, PREPARE),
    ("geo-replication", PREPARE): (ADOPT, PREPARE, REPLICATE),
    ("geo-replication", REPLICATE): (ADOPT, PREPARE, REPLICATE, VERIFY),
    ("geo-replication", VERIFY): (ADOPT, REPLICATE, VERIFY, UNLINK),
    ("geo-replication", UNLINK): (ADOPT, REPLICATE, VERIFY, UNLINK, CUTOVER),
    ("geo-replication", CUTOVER): (ADOPT, UNLINK, CUTOVER, RETIRE),
    ("geo-replication", RETIRE): (ADOPT, CUTOVER, RETIRE, CLEANUP),
    ("geo-replication", CLEANUP): (RETIRE, CLEANUP),
    ("new-cache", PREPARE): (ADOPT, PREPARE, CUTOVER),
    ("new-cache", CUTOVER): (ADOPT, PREPARE, CUTOVER, RETIRE),
    ("new-cache", VERIFY): (ADOPT,),
    ("copy", VERIFY): (ADOPT, REPLICATE, VERIFY, CUTOVER),
    ("copy", CUTOVER): (ADOPT, VERIFY, CUTOVER, RETIRE),
    ("copy", UNLINK): (ADOPT,),
}


@pytest.mark.parametrize(("asked", "expected"), FOLLOWING.items())
def test_what_may_follow_a_stage(asked: tuple[str, str], expected: tuple[str, ...]) -> None:
    """One forward, the same, one back, straight to adopt; from unlink also to replicate."""
    assert expected == stages.allowed_next(*asked, source_exists=True)


@pytest.mark.parametrize("method", stages.METHODS)
def test_cleanup_is_final_once_the_source_is_gone(method: str) -> None:
    """Nothing follows but cleanup itself."""
    assert stages.allowed_next(method, CLEANUP, source_exists=False) == (CLEANUP,)


@pytest.mark.parametrize("method", stages.METHODS)
def test_every_stage_before_cleanup_goes_back_to_adopt(method: str) -> None:
    """Straight, whatever the stage."""
    for stage in stages.way(method)[:-1]:
        assert ADOPT in stages.allowed_next(method, stage, source_exists=True)


def test_a_milestone_counts_by_its_place_among_all_stages() -> None:
    """Also one that is not on the method's way."""
    assert stages.reached("copy", CUTOVER, UNLINK)
    assert stages.reached("copy", UNLINK, UNLINK)
    assert not stages.reached("copy", VERIFY, UNLINK)


def declared(**changes: object) -> Declaration:
    """What `adopt` declares, with changes."""
    base = {
        "source": True,
        "source_protected": True,
        "source_retained": True,
        "target": False,
        "target_protected": False,
        "replication": False,
        "evidence": False,
        "endpoint": "source",
    }
    return Declaration(**{**base, **changes})  # type: ignore[arg-type]


_MOVED = {"target": True, "target_protected": True, "endpoint": "target"}
_GIVEN_UP = {**_MOVED, "source_protected": False, "source_retained": False}
DECLARED = {
    ("geo-replication", ADOPT): declared(),
    ("geo-replication", PREPARE): declared(target=True),
    ("geo-replication", REPLICATE): declared(target=True, replication=True),
    ("geo-replication", VERIFY): declared(target=True, replication=True, evidence=True),
    ("geo-replication", UNLINK): declared(target=True, evidence=True),
    ("geo-replication", CUTOVER): declared(**_MOVED, evidence=True),
    ("geo-replication", RETIRE): declared(**_GIVEN_UP, evidence=True),
    ("geo-replication", CLEANUP): declared(**_GIVEN_UP, source=False, evidence=True),
    ("new-cache", PREPARE): declared(target=True),
    ("new-cache", CUTOVER): declared(**_MOVED),
    ("new-cache", CLEANUP): declared(**_GIVEN_UP, source=False),
    ("copy", REPLICATE): declared(target=True, replication=True),
    ("copy", VERIFY): declared(target=True, replication=True, evidence=True),
    ("copy", CUTOVER): declared(**_MOVED, replication=True, evidence=True),
    ("rdb", RETIRE): declared(**_GIVEN_UP, replication=True, evidence=True),
}


@pytest.mark.parametrize(("asked", "expected"), DECLARED.items())
def test_what_a_stage_declares(asked: tuple[str, str], expected: Declaration) -> None:
    """The program follows this and knows nothing else of stages."""
    assert expected == stages.declaration(*asked)
