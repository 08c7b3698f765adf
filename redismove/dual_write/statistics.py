"""What an application can see of its dual-write client."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from redismove.dual_write.carrying import Carrying, Side


@dataclass(frozen=True, kw_only=True)
class DualWriteStats:
    """
    A client's figures at one moment; keys unless said otherwise. See `pending.Counters` for the sums.

    Attributes:
        mode: the Endpoint's, "off" without one.
        pending: not yet on the second cache as this client wrote them.
        oldest_s: how long the first of them has waited, in seconds.
        gap: it is not known which keys are behind, until a sweep is through.
        too_big: of the pending, left to the cut-over.
        second_failing: why the second cache cannot be written now, "" when it can.
        first_failing: why the first cache cannot be read for carrying now, "" when it can.
        refusal: why a key was refused the last time.
    """

    mode: str = "off"
    pending: int = 0
    oldest_s: float = 0.0
    gap: bool = False
    too_big: int = 0
    marked: int = 0
    carried: int = 0
    deleted: int = 0
    conflicts: int = 0
    failed: int = 0
    overflowed: int = 0
    gaps: int = 0
    swept: int = 0
    sweeps: int = 0
    dropped: int = 0
    carried_bytes: int = 0
    second_failing: str = ""
    first_failing: str = ""
    refusal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return dataclasses.asdict(self)


def statistics(mode: str, carrying: Carrying | None) -> DualWriteStats:
    """Return the figures of a carrying; all 0 without one."""
    if carrying is None:
        return DualWriteStats(mode=mode)
    pending = carrying.pending
    return DualWriteStats(
        mode=mode,
        pending=len(pending),
        oldest_s=pending.oldest_s(),
        gap=pending.gap() is not None,
        too_big=len(carrying.too_big),
        sweeps=carrying.sweeps,
        carried_bytes=carrying.carried_bytes,
        second_failing=carrying.failing.get(Side.SECOND, ""),
        first_failing=carrying.failing.get(Side.FIRST, ""),
        refusal=carrying.refusal,
        **vars(pending.counters),
    )
