"""What a rule looks at: which of the caches, which side, and how things are called in a message."""

from __future__ import annotations

from typing import Final, TypeVar

from redismove import stages
from redismove.facts import NOT_KNOWN, CacheFacts, Move, NotKnownYet

_T = TypeVar("_T")

ALL_METHODS: Final = frozenset(stages.METHODS)
ALL_STAGES: Final = frozenset(stages.STAGES)
COPYING_METHODS: Final = ALL_METHODS - {stages.NEW_CACHE}
"""Methods that bring data over; they all have a `verify`."""


def known(fact: _T | None) -> _T:
    """Return a fact that a rule's `applies` has found to be there."""
    assert fact is not None, "a check runs only where its rule applies"
    return fact


def absent(fact: object) -> bool:
    """Whether there is no such fact, where nothing else is asked of it; raises for one that is not known yet."""
    if fact is NOT_KNOWN:
        raise NotKnownYet("a value is not known yet in this preview")
    return fact is None


def same_id(one: str, other: str) -> bool:
    """Whether two resource ids name the same resource; Azure answers with other capitals than it was asked with."""
    return one.lower() == other.lower()


def name_of(resource_id: str) -> str:
    """Return the last part of a resource id, the resource's name."""
    return resource_id.rstrip("/").rsplit("/", 1)[-1]


def subscription_of(resource_id: str) -> str:
    """Return the subscription of a resource id in lower case, "" where it has none."""
    parts = resource_id.split("/")
    for here, part in enumerate(parts[:-1]):
        if part.lower() == "subscriptions":
            return parts[here + 1].lower()
    return ""


def there(cache: CacheFacts | None) -> bool:
    """Whether a cache exists in Azure now."""
    return cache is not None and cache.exists


def source_called(move: Move) -> str:
    """How messages call the source."""
    return f'{move.roles[0]} "{name_of(move.source_id)}"'


def target_called(move: Move) -> str:
    """How messages call the target."""
    return f'{move.roles[1]} "{name_of(move.target_id)}"'


def targets(move: Move) -> tuple[tuple[str, CacheFacts], ...]:
    """
    Return the target's records that must comply, each with its name for messages.

    In `prepare` that is the target as declared, because the update makes the live one so; later both, because a link is
    made with what is there.
    """
    live = move.target if there(move.target) else None
    declared = move.declared_target
    if declared is None:
        return () if live is None else ((target_called(move), live),)
    asked = (f"{target_called(move)} as declared", declared)
    if live is None or move.stage == stages.PREPARE:
        return (asked,)
    return ((target_called(move), live), asked)


def both(move: Move) -> tuple[tuple[str, CacheFacts], ...]:
    """Return the source, where it exists, and the target's records, each with its name for messages."""
    source = ((source_called(move), move.source),) if move.source is not None and move.source.exists else ()
    return (*source, *targets(move))


def linked(move: Move) -> bool:
    """
    Whether the move's own link is there, in any state.

    Judged by the link's GET; where that was not read, by what the source's GET lists.
    """
    if move.link is not None:
        return move.link.exists
    if move.source is None:
        return False
    return any(name_of(link).lower() == name_of(move.target_id).lower() for link in move.source.linked_servers)


def carried(move: Move) -> bool:
    """Whether the move's own method has brought the data over, as the stack recorded it."""
    record = move.carried
    return (
        record is not None
        and record.finished_at_s > 0
        and record.method == move.method
        and same_id(record.source_id, move.source_id)
        and same_id(record.target_id, move.target_id)
    )


def going_back(move: Move) -> bool:
    """Whether this change of stage leads back."""
    return stages.direction(move.previous, move.stage) is stages.Direction.BACK


def endpoint_on_target(move: Move) -> bool:
    """Whether applications are sent to the target now."""
    return move.endpoint is not None and same_id(move.endpoint.resource_id, move.target_id)


def endpoint_on_source(move: Move) -> bool:
    """Whether applications are sent to the source now."""
    return move.endpoint is not None and same_id(move.endpoint.resource_id, move.source_id)


def gigabytes(size_bytes: float) -> str:
    """Write a size as people read it, "6 GB" or "2.5 GB"."""
    return f"{size_bytes / 1024**3:.4g} GB"


def hours(duration_s: float) -> str:
    """Write a duration as people read it, "36.5 h"."""
    return f"{duration_s / 3600:.1f} h"


def listed(items: tuple[str, ...] | list[str], most: int = 5) -> str:
    """Write names as a list for a sentence, the first *most* of them."""
    shown = ", ".join(f'"{item}"' for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
