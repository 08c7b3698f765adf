"""
Standing rules on how a cache has to be, and what a move suspends of them and for how long.

Zone redundancy and backups contradict a geo-replication link: while one is needed they are named as suspended, and
once it is gone as due again.
"""

from __future__ import annotations

from typing import Final

from redismove import stages
from redismove.facts import CacheFacts, Move
from redismove.rules import pages
from redismove.rules.model import Broken, Level, Rule
from redismove.rules.subjects import ALL_METHODS, linked, target_called, targets
from redismove.rules.tiers import PREMIUM, tier

_WITH_TARGET: Final = frozenset(set(stages.STAGES) - {stages.ADOPT})
_NEEDING_LINK: Final = frozenset({stages.PREPARE, stages.REPLICATE, stages.VERIFY, stages.UNLINK})


def suspended(move: Move) -> bool:
    """Whether this stage of the move needs a cache without zones and without persistence."""
    return move.method == stages.GEO_REPLICATION and (move.stage in _NEEDING_LINK or linked(move))


def _premium_targets(move: Move) -> list[tuple[str, CacheFacts]]:
    return [(called, cache) for called, cache in targets(move) if tier(cache) == PREMIUM]


def _zones(move: Move) -> Broken | None:
    for called, cache in _premium_targets(move):
        if cache.zones or cache.zonal_allocation_policy in ("Automatic", "UserDefined"):
            continue
        if suspended(move):
            return Broken(
                thing=target_called(move),
                found="no zone redundancy",
                allowed=f"none until stage {stages.CUTOVER}: a link needs it so, the standing rule is suspended",
                cure="nothing to do now; zones cannot be added later: decide now whether it can do without",
            )
        return Broken(
            thing=called,
            found="no zone redundancy",
            allowed="zones, where a standing rule asks for them",
            cure=(
                "accept it for this cache (zones cannot be added to one that exists), or move on to one with zones by "
                "redismove:method copy"
            ),
        )
    return None


def _backup(move: Move) -> Broken | None:
    asked = move.consent.persistence
    for called, cache in _premium_targets(move):
        if cache.rdb_backup_enabled or cache.aof_backup_enabled:
            continue
        if asked and stages.declaration(move.method, move.stage).target_protected:
            return None  # this update switches it on
        if suspended(move):
            return Broken(
                thing=target_called(move),
                found="no persistence",
                allowed=f"none until stage {stages.CUTOVER}: a link needs it so, the standing rule is suspended",
                cure=(
                    f"nothing to do now; {asked.upper()} is switched on at stage cutover, once the link is gone"
                    if asked
                    else "nothing to do now; name what stage cutover is to switch on, once the link is gone, in "
                    "redismove:persistence"
                ),
            )
        return Broken(
            thing=called,
            found="no persistence (neither RDB nor AOF)",
            allowed="backups, where a standing rule asks for them",
            cure=(
                "name it in redismove:persistence, with a storage account of the target's region (the source's "
                "connection string cannot be read): it is switched on at stage cutover"
            ),
        )
    return None


RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-P01",
        title="a Premium cache is zone redundant, except while a link needs it not to be",
        source=pages.article("Zone Redundancy isn't supported with geo-replication."),
        methods=ALL_METHODS,
        stages=_WITH_TARGET,
        applies=lambda move: len(_premium_targets(move)) > 0,
        check=_zones,
        level=Level.ADVISORY,
        severity="low",
    ),
    Rule(
        id="RM-P02",
        title="a Premium cache is backed up, except while a link needs it not to be",
        source=pages.article("Persistence isn't supported with geo-replication."),
        methods=ALL_METHODS,
        stages=_WITH_TARGET,
        applies=lambda move: len(_premium_targets(move)) > 0,
        check=_backup,
        level=Level.ADVISORY,
        severity="low",
    ),
)
