"""Rules of the way: one stage at a time, and always the same two caches."""

from __future__ import annotations

from redismove import stages
from redismove.facts import Move
from redismove.rules.model import Broken, Rule, Source
from redismove.rules.subjects import ALL_METHODS, ALL_STAGES

_DESIGN = Source(
    page="redismove: stages",
    url="https://learn.microsoft.com/azure/azure-cache-for-redis/cache-moving-resources",
    says="A move is a way of stages; each is taken by one update.",
    reviewed="2026-11-24",
)


def _one_stage_at_a_time(move: Move) -> Broken | None:
    exists = move.source is not None and move.source.exists
    allowed = stages.allowed_next(move.method, move.previous, source_exists=exists)
    if move.stage in allowed:
        return None
    after = f'after "{move.previous}"' if move.previous else "in a new stack"
    way = stages.way(move.method)
    asked = way.index(move.stage) if move.stage in way else len(way)
    # One step towards what was asked for: where it lies behind us, the allowed one next to it.
    cure = next((stage for stage in allowed if way.index(stage) > asked), allowed[-1])
    return Broken(
        thing=f'stage "{move.stage}" of method "{move.method}" {after}',
        found=f'"{move.stage}"',
        allowed=" or ".join(f'"{s}"' for s in allowed),
        cure=f"set redismove:stage to {cure} with `pulumi config set redismove:stage {cure}`",
    )


def _on_the_way(move: Move) -> Broken | None:
    if move.method not in stages.METHODS:
        return Broken(
            thing="redismove:method",
            found=f'"{move.method}"',
            allowed=", ".join(stages.METHODS),
            cure="set it with `pulumi config set redismove:method geo-replication` or another of these",
        )
    way = stages.way(move.method)
    if move.stage in way:
        return None
    return Broken(
        thing="redismove:stage",
        found=f'"{move.stage}"',
        allowed=f"{', '.join(way)} (the way of method {move.method})",
        cure="set it with `pulumi config set redismove:stage adopt` or another of these",
    )


def _same_source(move: Move) -> Broken | None:
    if not move.fixed_source_id or move.fixed_source_id.lower() == move.source_id.lower():
        return None
    return Broken(
        thing="redismove:source",
        found=move.source_id,
        allowed=f"{move.fixed_source_id}, fixed at adopt",
        cure="put the first source back, or use a new stack to move another cache",
    )


def _same_target(move: Move) -> Broken | None:
    if not move.fixed_target_id or move.fixed_target_id.lower() == move.target_id.lower():
        return None
    return Broken(
        thing="redismove:target",
        found=move.target_id or "no target",
        allowed=f"{move.fixed_target_id}, fixed at prepare",
        cure="put the first target back, or go to adopt, which gives the target up, and name another one then",
    )


def _same_method(move: Move) -> Broken | None:
    if not move.previous_method or move.previous_method == move.method:
        return None
    if move.previous in (stages.ADOPT, ""):
        return None
    return Broken(
        thing="redismove:method",
        found=f'"{move.method}"',
        allowed=f'"{move.previous_method}" at stage "{move.previous}"',
        cure="go back to adopt with the first method, then change it",
    )


ON_THE_WAY = Rule(
    id="RM-S05",
    title="method and stage are ones that exist",
    source=_DESIGN,
    methods=ALL_METHODS,
    stages=ALL_STAGES,
    check=_on_the_way,
    backward=True,
)
"""Judged before all others: no other rule speaks of a stage that does not exist."""

RULES: tuple[Rule, ...] = (
    ON_THE_WAY,
    Rule(
        id="RM-S01",
        title="stages are taken one at a time",
        source=_DESIGN,
        methods=ALL_METHODS,
        stages=ALL_STAGES,
        check=_one_stage_at_a_time,
        backward=True,
    ),
    Rule(
        id="RM-S02",
        title="the source stays the cache that was adopted",
        source=_DESIGN,
        methods=ALL_METHODS,
        stages=ALL_STAGES,
        check=_same_source,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-S03",
        title="the target stays the cache that was prepared",
        source=_DESIGN,
        methods=ALL_METHODS,
        stages=ALL_STAGES - {stages.ADOPT},
        check=_same_target,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-S04",
        title="the method stays the one the move began with",
        source=_DESIGN,
        methods=ALL_METHODS,
        stages=ALL_STAGES,
        check=_same_method,
        backward=True,
    ),
)
