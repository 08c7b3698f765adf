"""
Every mandatory rule on a stack that breaks it: the preview with the policy pack and the update without preview and
without pack end before anything has changed, in the same words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from redismove import stages
from redismove.rules import RULES, Level
from tests.support.broken_stacks import BROKEN, Broken, Stand, declared, sentences
from tests.support.local_cloud import LocalCloud
from tests.support.move import Move

pytestmark = pytest.mark.engine

_ALWAYS = {"RM-S02", "RM-L12", "RM-T08", "RM-G07", "RM-L07", "RM-G17"}
"""Rules whose stacks are tried in every run; all others with SLOW=1."""
_NUMBERS = itertools.count(500)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    cloud = LocalCloud.start(tmp_path_factory.mktemp("azure"), "--admin")

    def new_move(*, keys: int, seed: dict[str, object], **config: object) -> Move:
        folder: Path = tmp_path_factory.mktemp("stack") / "project"
        return Move.new(cloud, folder, next(_NUMBERS), keys=keys, seed=seed, config=config)

    try:
        yield Stand(cloud, new_move)
    finally:
        cloud.stop()


def _in_order(case: Broken) -> tuple[int, int, int]:
    way = stages.way(case.method)
    return case.rule not in _ALWAYS, stages.METHODS.index(case.method), way.index(case.at)


def _parameter(case: Broken) -> object:
    marks = () if case.rule in _ALWAYS else (pytest.mark.slow,)
    return pytest.param(case, id=f"{case.rule}", marks=marks)


def test_there_is_a_stack_for_every_mandatory_rule() -> None:
    assert {case.rule for case in BROKEN} == {rule.id for rule in RULES if rule.level is Level.MANDATORY}


@pytest.mark.timeout(420)
@pytest.mark.parametrize("case", [_parameter(case) for case in sorted(BROKEN, key=_in_order)])
def test_a_broken_rule_stops_preview_and_update_before_anything_has_changed(stand: Stand, case: Broken) -> None:
    rule = next(rule for rule in RULES if rule.id == case.rule)
    move = stand.at(case)
    with stand.broken(move, case):
        state, began = declared(move), len(stand.log())
        environment = stand.environment(move, case)
        told = {}
        for command in (("preview", "--policy-pack", "policies"), ("up", "-y", "--skip-preview")):
            result = move.stack.pulumi(*command, environment=environment)
            assert not result.ok, f"{command} went on: {result}"
            assert "Traceback" not in result.output, result
            told[command[0]] = sentences(result, rule)
            assert told[command[0]], f"{command} does not name {case.rule}: {result}"
        assert told["preview"] == told["up"]
        for sentence in told["up"]:
            assert ", allowed " in sentence, sentence
            assert "; " in sentence.split(", allowed ")[1], f"no cure: {sentence}"
        assert stand.writes(began) == [], "Azure was asked to change something"
        assert declared(move) == state, "the state was changed"
