"""
StageGate: holds back every change until the rules hold.

Whatever changes anything depends on it. Its inputs carry the stage and all facts, so that the policy pack judges
the same record, and its `check` judges it again with what the state itself says of the stage before.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pulumi
from pulumi.dynamic import CheckFailure, CheckResult, Resource
from pulumi.runtime.rpc import UNKNOWN

from components.dynamic import Provider
from redismove import rules, stages
from redismove.facts import NOT_KNOWN, Move, from_dict, to_dict


def judged(olds: dict[str, Any], news: dict[str, Any]) -> Move:
    """
    Return the move that *news* describe, with the stage before and the fixed ids taken from the state's own *olds*.
    """
    move = from_dict(Move, _known(news["move"]))
    previous = str(olds.get("stage") or "")
    return dataclasses.replace(
        move,
        previous=previous,
        previous_method=str(olds.get("method") or ""),
        fixed_source_id=str(olds.get("sourceId") or ""),
        fixed_target_id="" if previous in ("", stages.ADOPT) else str(olds.get("targetId") or ""),
    )


def _known(value: Any) -> Any:
    if value is UNKNOWN or value == UNKNOWN or type(value).__name__ == "Unknown":
        return NOT_KNOWN
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return value


class StageGateProvider(Provider):
    """Refuses a stage whose rules do not hold; records the stage, the two ids and the declared target."""

    significant = ("stage", "method", "moveId", "sourceId", "targetId", "declaredTarget", "stageSince")

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Judge the move; every broken rule is one failure."""
        failures = [CheckFailure("stage", finding.message) for finding in rules.refusals(judged(_olds, news))]
        return CheckResult(news, failures)

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Record what passed; nothing is done."""
        del news, olds
        return {}


class StageGate(Resource, name="StageGate", module="redismove"):
    """The gate of one stack. Depend on it with everything that changes anything."""

    stage: pulumi.Output[str]

    def __init__(
        self, name: str, move: Move, *, move_id: str, stage_since_s: float, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """
        Register the gate for *move*. *move_id* marks the target as made by this move; *stage_since_s* is the Unix
        time at which this stage was first asked for.
        """
        super().__init__(
            StageGateProvider(),
            name,
            {
                "stage": move.stage,
                "method": move.method,
                "sourceId": move.source_id,
                "targetId": move.target_id,
                "moveId": move_id,
                "stageSince": stage_since_s,
                "declaredTarget": to_dict(move.declared_target),
                "move": to_dict(move),
            },
            opts,
        )
