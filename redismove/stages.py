"""
The stages of a move, each method's way through them, and what a stage declares.

Standard library only, no I/O. A stage is state that is *asked for*; whether it was reached is judged by facts read live
(`redismove.facts`), never by the stage that a stack recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

ADOPT: Final = "adopt"
PREPARE: Final = "prepare"
REPLICATE: Final = "replicate"
VERIFY: Final = "verify"
UNLINK: Final = "unlink"
CUTOVER: Final = "cutover"
RETIRE: Final = "retire"
CLEANUP: Final = "cleanup"
STAGES: Final = (ADOPT, PREPARE, REPLICATE, VERIFY, UNLINK, CUTOVER, RETIRE, CLEANUP)

GEO_REPLICATION: Final = "geo-replication"
NEW_CACHE: Final = "new-cache"
RDB: Final = "rdb"
DUAL_WRITE: Final = "dual-write"
COPY: Final = "copy"

_WITHOUT_LINK: Final = (ADOPT, PREPARE, REPLICATE, VERIFY, CUTOVER, RETIRE, CLEANUP)
WAYS: Final[dict[str, tuple[str, ...]]] = {
    GEO_REPLICATION: STAGES,
    NEW_CACHE: (ADOPT, PREPARE, CUTOVER, RETIRE, CLEANUP),
    RDB: _WITHOUT_LINK,
    DUAL_WRITE: _WITHOUT_LINK,
    COPY: _WITHOUT_LINK,
}
METHODS: Final = tuple(WAYS)

SUMMARY: Final[dict[str, str]] = {
    ADOPT: "the live source is imported as it is and protected; nothing is written to it",
    PREPARE: "the target is made in the new region, like the source",
    REPLICATE: "the data flows to the target; the source keeps serving",
    VERIFY: "both sides are compared and the evidence is recorded",
    UNLINK: "the link goes; the target keeps its data and takes writes; applications still use the source",
    CUTOVER: "applications are sent to the target, with no acknowledged write lost",
    RETIRE: "the source loses its protection and soaks; it is still there",
    CLEANUP: "the source is deleted; the target is protected",
}
"""What a stage does, in one sentence for people."""


UNDO: Final[dict[str, str]] = {
    ADOPT: "nothing has changed yet; `pulumi stack rm` forgets the move and leaves the source as it is",
    PREPARE: "go back to adopt: the target that this stack made is deleted, the source is not touched",
    REPLICATE: "go back to prepare: the data stops flowing, the source is not touched",
    VERIFY: "go back one stage or to adopt: the evidence is forgotten, the source is not touched",
    UNLINK: "go back to replicate: the link is made again, and the target is erased and filled anew",
    CUTOVER: (
        "go back one stage: a cut-over in the other direction, which brings back what the target has taken "
        "(new-cache brings nothing, either way)"
    ),
    RETIRE: "go back to cutover: the source is protected again",
    CLEANUP: "nothing: the source and what it held are gone",
}
"""What of a stage can still be undone, and how, in one sentence for people."""


class Direction(Enum):
    """Where a change of stage leads."""

    FIRST = "first"
    SAME = "same"
    FORWARD = "forward"
    BACK = "back"


def way(method: str) -> tuple[str, ...]:
    """Return the stages of *method* in order; KeyError for a method that does not exist."""
    return WAYS[method]


def reached(method: str, stage: str, milestone: str) -> bool:
    """
    Whether *stage* is *milestone* or comes after it; a milestone that is not on the method's way counts by its place
    among all stages.
    """
    del method
    return STAGES.index(stage) >= STAGES.index(milestone)


def direction(previous: str, stage: str) -> Direction:
    """Say where the change from *previous* ("" in a new stack) to *stage* leads."""
    if previous not in STAGES:
        return Direction.FIRST
    if previous == stage:
        return Direction.SAME
    return Direction.FORWARD if STAGES.index(stage) > STAGES.index(previous) else Direction.BACK


def allowed_next(method: str, previous: str, *, source_exists: bool) -> tuple[str, ...]:
    """
    Return the stages that may follow *previous*, in the order of the way.

    One stage forward, the same again, one back, or straight to `adopt`; from `unlink` also to `replicate`, which links
    again. `cleanup` is final once the source is gone; while the source still exists (a refused `cleanup` is
    recorded all the same) the way back to `retire` is open.
    """
    stages = way(method)
    if not previous:
        return (ADOPT,)
    if previous not in stages:
        return (ADOPT,)
    here = stages.index(previous)
    if previous == CLEANUP:
        return (RETIRE, CLEANUP) if source_exists else (CLEANUP,)
    allowed = {ADOPT, previous, stages[here + 1], stages[max(here - 1, 0)]}
    if previous == UNLINK:
        allowed.add(REPLICATE)
    return tuple(s for s in stages if s in allowed)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """
    What a stage declares; the program follows it and knows nothing else of stages.

    `endpoint` is the side applications are sent to, "source" or "target". `source_retained`: a source that leaves the
    state is kept in Azure. `replication` stands for the method's own resource (link, copy, transfer, window).
    """

    source: bool
    source_protected: bool
    source_retained: bool
    target: bool
    target_protected: bool
    replication: bool
    evidence: bool
    endpoint: str


def declaration(method: str, stage: str) -> Declaration:
    """Return what *stage* of *method* declares."""

    def after(milestone: str) -> bool:
        return reached(method, stage, milestone)

    moved = after(CUTOVER)
    return Declaration(
        source=stage != CLEANUP,
        source_protected=not after(RETIRE),
        source_retained=not after(RETIRE),
        target=after(PREPARE),
        target_protected=moved,
        replication=after(REPLICATE) and not (method == GEO_REPLICATION and after(UNLINK)) and method != NEW_CACHE,
        evidence=after(VERIFY) and VERIFY in way(method),
        endpoint="target" if moved else "source",
    )
