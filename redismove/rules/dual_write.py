"""Dual-write: that applications write to both caches, and for long enough."""

from __future__ import annotations

from typing import Final

from redismove import stages
from redismove.facts import EvidenceFacts, Move
from redismove.rules import pages
from redismove.rules.model import Broken, Level, Rule
from redismove.rules.subjects import endpoint_on_target, hours, known, same_id

_DUAL_WRITE: Final = frozenset({stages.DUAL_WRITE})


def _window_open(move: Move) -> bool:
    record = move.carried
    return (
        record is not None
        and record.started_at_s > 0
        and record.method == move.method
        and same_id(record.source_id, move.source_id)
        and same_id(record.target_id, move.target_id)
    )


def _opened(move: Move) -> Broken | None:
    if _window_open(move):
        return None
    return Broken(
        thing="the dual-write window",
        found="not open",
        allowed="open: applications write to both caches",
        cure="go back to replicate, which opens it: `pulumi config set redismove:stage replicate`",
    )


def _measured_enough(move: Move) -> bool:
    """The evidence of this window measured that the target lacks no live key by now, however long the expiries were."""
    evidence = move.evidence
    if not isinstance(evidence, EvidenceFacts) or evidence.method != move.method or evidence.population is None:
        return False
    population = evidence.population
    begun_at_s = known(move.carried).started_at_s
    return population.measured_at_s >= begun_at_s and 0 <= population.enough_at_s <= move.now_s


def _long_enough(move: Move) -> Broken | None:
    if _measured_enough(move):
        return None
    record = known(move.carried)
    missing_s = record.started_at_s + record.longest_expiry_s - move.now_s
    if missing_s <= 0:
        return None
    return Broken(
        thing="the dual-write window",
        found=f"open for {hours(move.now_s - record.started_at_s)}",
        allowed=f"{hours(record.longest_expiry_s)} or more, the longest expiry of a key when it was opened",
        cure=(
            f"wait {hours(missing_s)} more, until every key was written to both or has expired; what the target "
            "lacks then is carried over at the cut-over"
        ),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-D01",
        title="applications write to both caches before it is verified",
        source=pages.article("Modify application code to write to both the new and the original instances."),
        methods=_DUAL_WRITE,
        stages=frozenset({stages.VERIFY, stages.CUTOVER}),
        applies=lambda move: not endpoint_on_target(move),
        check=_opened,
    ),
    Rule(
        id="RM-D02",
        title="both caches are written for as long as the longest expiry",
        source=pages.article(
            "After writing to the two caches for a week the new cache contains all non-expired sessions."
        ),
        methods=_DUAL_WRITE,
        stages=frozenset({stages.VERIFY, stages.CUTOVER}),
        applies=lambda move: _window_open(move) and not endpoint_on_target(move),
        check=_long_enough,
        level=Level.ADVISORY,
        severity="medium",
    ),
)
