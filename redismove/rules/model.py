"""
What a rule is, and what judging by it gives.

A rule is written once and used at every gate: the plan, the policy pack, the StageGate, the delete hooks and the
reference pages all take their words from it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from redismove.facts import Move, NotKnownYet

_LONGEST_NAME: Final = 90


class Outcome(enum.Enum):
    """How a rule judged. `NOT_KNOWN` (a preview does not know a value yet) is never a pass."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    NOT_APPLICABLE = "does not apply"
    NOT_KNOWN = "not known yet"


class Level(enum.Enum):
    """What a broken rule does: stop the update, or tell and go on."""

    MANDATORY = "mandatory"
    ADVISORY = "advisory"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """Why a rule is broken: on which thing, what was found, what is allowed, and what to do about it."""

    thing: str
    found: str
    allowed: str
    cure: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the fact comes from: the page, the sentence in short, and when it was last read (ISO date)."""

    page: str
    url: str
    says: str
    reviewed: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """
    One thing that Azure forbids or a team would regret.

    Args:
        id: never changes once published, "RM-" and a topic letter and number ("RM-G03").
        title: one sentence, what must hold.
        source: the documentation it comes from.
        methods: methods it guards.
        stages: stages that may not be entered, nor stayed in, while it is broken.
        applies: whether it speaks of this move at all; False is an outcome of its own.
        check: None where the rule holds, else why not. Pure; may raise `NotKnownYet`.
        backward: whether it also guards a way back to one of its stages.
        plain: where else it is judged, in a program that has caches but no move: on each cache ("cache"), on each
            geo-replication link with its two caches ("link"), on each database of redisEnterprise with its cluster
            ("database"), or nowhere ("").
    """

    id: str
    title: str
    source: Source
    methods: frozenset[str]
    stages: frozenset[str]
    check: Callable[[Move], Broken | None]
    applies: Callable[[Move], bool] = lambda _move: True
    level: Level = Level.MANDATORY
    severity: str = "high"
    backward: bool = False
    plain: str = ""

    @property
    def name(self) -> str:
        """The rule's id and title as one word, the name of its policy: "rm-t08-the-target-is-in-another-region"."""
        words = re.sub(r"[^a-z0-9]+", "-", self.title.lower())
        return f"{self.id.lower()}-{words}"[:_LONGEST_NAME].strip("-")

    def judge(self, move: Move) -> Finding:
        """Judge *move* by this rule alone, whatever its method and stage."""
        try:
            if not self.applies(move):
                return Finding(rule=self, outcome=Outcome.NOT_APPLICABLE)
            broken = self.check(move)
        except NotKnownYet:
            return Finding(rule=self, outcome=Outcome.NOT_KNOWN)
        return Finding(rule=self, outcome=Outcome.FAIL if broken else Outcome.PASS, broken=broken)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule said of one move."""

    rule: Rule
    outcome: Outcome
    broken: Broken | None = None

    @property
    def stops(self) -> bool:
        """Whether this finding stops an update."""
        return self.outcome is Outcome.FAIL and self.rule.level is Level.MANDATORY

    @property
    def message(self) -> str:
        """The one sentence that every gate prints: thing, found, allowed, cure, rule id and link."""
        if self.broken is None:
            return f"{self.rule.title}: {self.outcome.value} [{self.rule.id}]"
        b = self.broken
        return f"{b.thing}: found {b.found}, allowed {b.allowed}; {b.cure} [{self.rule.id}] {self.rule.source.url}"


def sentence(findings: Iterable[Finding]) -> str:
    """Join the messages of *findings*, one a line."""
    return "\n".join(f.message for f in findings)
