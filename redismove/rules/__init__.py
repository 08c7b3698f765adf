"""Every rule, and judging a move by them."""

from __future__ import annotations

from redismove import stages
from redismove.facts import Move
from redismove.rules import geo_replication, lifecycle, network, tiers, transition
from redismove.rules.model import Broken, Finding, Level, Outcome, Rule, Source, sentence

RULES: tuple[Rule, ...] = (
    *transition.RULES,
    *lifecycle.RULES,
    *tiers.RULES,
    *geo_replication.RULES,
    *network.RULES,
)
"""All rules, in the order in which findings are told."""


def guards(rule: Rule, move: Move) -> bool:
    """Whether *rule* guards the method and the stage of *move*."""
    if move.method not in rule.methods or move.stage not in rule.stages:
        return False
    return rule.backward or stages.direction(move.previous, move.stage) is not stages.Direction.BACK


def evaluate(move: Move, rules: tuple[Rule, ...] = RULES) -> list[Finding]:
    """Judge *move* by every rule that guards its stage; the transition's own rule comes first."""
    return [rule.judge(move) for rule in rules if guards(rule, move)]


def refusals(move: Move) -> list[Finding]:
    """Return what stops *move*, empty where it may go on."""
    return [finding for finding in evaluate(move) if finding.stops]


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
]
