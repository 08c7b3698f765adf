"""The terms of a cut-over: how long it may take, what it tells while it goes on, what it did, how it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from redismove.dataplane.errors import DataPlaneError

HoldMethod = Literal["pause-write", "fence"]


class CutoverRefused(DataPlaneError):
    """The cut-over cannot work here; nothing was begun."""


class CutoverGaveUp(DataPlaneError):
    """What had to be done before the switch could not be done; applications use the source as before."""


class FenceUnfinished(DataPlaneError):
    """Applications use the target, and the source is not proven closed: `finish_fence` has to end that."""


@dataclass(frozen=True, kw_only=True)
class CutoverLimits:
    """
    How long and how much; times end in their unit.

    Attributes:
        total_s: everything before the switch.
        hold_ms: the longest hold by pause before the switch.
        fence_hold_ms: the longest hold by fence: it holds two changes of keys, which a service may take its time for.
        hold_with_compare_s: the longest hold that may hold a whole comparison (a source that notifies nothing).
        notice_ms: from the Endpoint saying "hold" to the hold; longer than applications on our client believe an old
            document. 0 gives no notice.
        drain_keys: so few keys may be left for the hold.
        fence_s: how long the pause outlasts the switch, and the fence may take.
        attempts: how often a hold may be begun.
        stall_s: give up when what is left to carry has not become less for so long.
        repair_passes: the most passes over all keys before the first hold.
    """

    total_s: float = 3600.0
    hold_ms: int = 5_000
    fence_hold_ms: int = 60_000
    hold_with_compare_s: float = 30.0
    notice_ms: int = 50
    drain_keys: int = 200
    fence_s: float = 900.0
    attempts: int = 3
    stall_s: float = 30.0
    repair_passes: int = 10


@dataclass(frozen=True)
class CutoverEvent:
    """One thing that happened: the step it belongs to, a sentence, and the numbers in it."""

    step: str
    message: str
    numbers: Mapping[str, float | str] = field(default_factory=dict)


@dataclass
class CutoverReport:
    """
    What a cut-over did; holds no secret.

    Attributes:
        method: how the writes were held.
        hold_ms: from the first PAUSE (or the change of the key in use) to the switch.
        hold_parts_ms: of that, by step: carry the rest over, prove that nothing changed, lengthen the pause, switch.
        announced_ms: from the Endpoint saying "hold" to the switch.
        total_ms: from the first PAUSE (or change) to the end of the hold, fence included.
        repair_s: all passes over all keys together.
        keys_compared, keys_repaired: in those passes.
        keys_drained: carried because they were changed while followed.
        left_for_hold: carried inside the hold (streams with groups not counted).
        streams_for_hold: streams whose groups had moved on unseen, carried once more inside the hold.
        connections_cut: of others, on the source.
        cut_without_key: of those, opened when no old key worked any more (applications that try to come back).
        keys_changed: both access keys of the source are new.
        attempts: holds that were begun.
        in_hold: keys compared on both sides inside the hold, and their differences.
        evidence: the comparison of everything after the switch; empty where it was not asked for or not possible.
        not_possible: one sentence for each thing that could not be done as it should.
        resumed: an earlier run had made the switch, this one ended the fence.
        generation: the Endpoint's.
    """

    method: HoldMethod | None = None
    hold_ms: float = 0.0
    hold_parts_ms: dict[str, float] = field(default_factory=dict)
    announced_ms: float = 0.0
    total_ms: float = 0.0
    elapsed_s: float = 0.0
    repair_s: float = 0.0
    repair_passes: int = 0
    keys_compared: int = 0
    keys_repaired: int = 0
    keys_drained: int = 0
    notifications: int = 0
    left_for_hold: int = 0
    streams_for_hold: int = 0
    connections_cut: int = 0
    cut_without_key: int = 0
    keys_changed: bool = False
    attempts: int = 0
    in_hold: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    not_possible: list[str] = field(default_factory=list)
    resumed: bool = False
    generation: int = 0

    @property
    def clean(self) -> bool:
        """No difference, and no write to the source after the switch, was found."""
        return not any(
            found.get(name) for found in (self.in_hold, self.evidence) for name in ("differences", "late_writes")
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in vars(self).items()}


class Teller:
    """Passes events on to whoever wants to show them."""

    def __init__(self, on_event: Callable[[CutoverEvent], None] | None) -> None:
        self._on_event = on_event

    def __call__(self, step: str, message: str, **numbers: float | str) -> None:
        if self._on_event is not None:
            self._on_event(CutoverEvent(step, message, numbers))
