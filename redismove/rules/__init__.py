"""Every rule, and judging a move by them."""

from __future__ import annotations

from redismove import stages
from redismove.facts import Move, NotKnownYet
from redismove.rules import (
    copy,
    dual_write,
    geo_replication,
    lifecycle,
    network,
    posture,
    rdb,
    tiers,
    transition,
)
from redismove.rules.model import Broken, Finding, Level, Outcome, Rule, Source, sentence

RULES: tuple[Rule, ...] = (
    *transition.RULES,
    *lifecycle.RULES,
    *tiers.RULES,
    *geo_replication.RULES,
    *rdb.RULES,
    *copy.RULES,
    *dual_write.RULES,
    *network.RULES,
    *posture.RULES,
)
"""All rules, in the order in which findings are told."""


def guards(rule: Rule, move: Move) -> bool:
    """Whether *rule* guards the method and the stage of *move*; the first rule of the way guards everything."""
    if rule is transition.ON_THE_WAY:
        return True
    if move.method not in rule.methods or move.stage not in rule.stages:
        return False
    return rule.backward or stages.direction(move.previous, move.stage) is not stages.Direction.BACK


def evaluate(move: Move, rules: tuple[Rule, ...] = RULES) -> list[Finding]:
    """
    Judge *move* by every rule that guards its stage, the rules of the way first.

    Where method or stage do not exist only that is told; where they are not known yet, no rule is.
    """
    on_the_way = transition.ON_THE_WAY.judge(move)
    if on_the_way.outcome is Outcome.FAIL:
        return [on_the_way]
    findings = []
    for rule in rules:
        try:
            if guards(rule, move):
                findings.append(rule.judge(move))
        except NotKnownYet:
            findings.append(Finding(rule=rule, outcome=Outcome.NOT_KNOWN))
    return findings


def refusals(move: Move) -> list[Finding]:
    """Return what stops *move*, empty where it may go on."""
    return [finding for finding in evaluate(move) if finding.stops]


def undecided(move: Move) -> list[Finding]:
    """
    Return the rules that would stop *move* and cannot be judged, because a fact is not known yet.

    In a preview that is to be told; where everything was read live it is as good as a refusal.
    """
    return [f for f in evaluate(move) if f.outcome is Outcome.NOT_KNOWN and f.rule.level is Level.MANDATORY]


__all__ = [
    "RULES",
    "Broken",
    "Finding",
    "Level",
    "Outcome",
    "Rule",
    "Source",
    "evaluate",
    "guards",
    "refusals",
    "sentence",
    "undecided",
]
