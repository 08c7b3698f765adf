"""
A cut-over that carries nothing and counts what stays behind: for a move whose loss is announced.

Everything is as in `cutover`: follow, compare, keep up, hold, switch, fence. But a difference is remembered where it
would be carried over, and forgotten when the key is equal again, so that inside the hold only the keys that changed
last have to be looked at, and the count is exact at the moment of the switch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from redismove.dataplane.carry import Carrier, CarryReport
from redismove.dataplane.cutover import CutOver
from redismove.dataplane.cutover_report import CutoverReport
from redismove.dataplane.follow import Mark
from redismove.dataplane.hold import HoldFailed
from redismove.dataplane.pursuit import Pursuit
from redismove.dataplane.repair import RepairReport, StreamCarrier, differing

FIRST: Final = 10
"""So many keys that stay behind are named."""


class _NotCarrier(Carrier):
    """Takes keys that differ and writes nothing."""

    def __init__(self, behind: set[Mark]) -> None:
        self.behind = behind
        self.big = set()

    def carry(self, database: int, keys: Iterable[bytes], *, probe: bool = False) -> CarryReport:
        """Remember that the keys differ."""
        del probe
        self.behind.update((database, key) for key in keys)
        return CarryReport()


class _NoStreams(StreamCarrier):
    """Streams with groups are compared like every other key, and carried like none."""

    def carry(self, carrier: Carrier, marks: Iterable[Mark]) -> list[Mark]:
        """Carry nothing."""
        del carrier, marks
        return []


class Tally(Pursuit):
    """Knows at every moment which keys the target lacks or has otherwise, and leaves them so."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.behind: set[Mark] = set()
        self._carrier = _NotCarrier(self.behind)
        self._streams = _NoStreams()

    def repair_pass(self) -> RepairReport:
        """Compare everything once and remember what differs."""
        self.behind.clear()
        done = super().repair_pass()
        # They were not repaired; and without notifications another pass would find the same again.
        self._report.keys_repaired -= done.repaired
        done.repaired = 0
        return done

    def carry(self, marks: list[Mark]) -> None:
        """Look at keys again as they are now."""
        try:
            found = differing(self.source.server, self.target, marks, self._pair)
        except BaseException:
            self.dirty.add(marks)
            raise
        self.behind.difference_update(marks)
        self.behind.update(found)

    def settle(self, hold_deadline: float) -> None:
        """
        Count, while the writes are held, the keys that stay behind.

        Raises:
            HoldFailed, OutOfTime: it could not be counted within the hold.
        """
        if not self.following:
            self._deadline = min(self._deadline, hold_deadline)
            self.repair_pass()
        else:
            self.marker()
            self._report.left_for_hold = len(self.dirty)
            self._look_for_groups()
            self.carry(list(self._group_streams))
            self._settle_what_changed(hold_deadline)
        self._report.in_hold = {
            "keys": len(self.behind),
            "differences": len(self.behind),
            "first_differences": [f"db{database} {key[:80]!r}" for database, key in sorted(self.behind)[:FIRST]],
        }
        self._tell("tally", f"{len(self.behind):,} keys stay behind", differences=len(self.behind))

    def _settle_what_changed(self, hold_deadline: float) -> None:
        """Look at what was changed last until nothing is left."""
        while marks := self.dirty.take():
            self.carry(marks)
            self.marker()
            if time.monotonic() >= hold_deadline:
                raise HoldFailed(f"{len(self.dirty)} changed keys were left when the time of the hold was over")

    def prove(self) -> None:
        """Compare nothing after the switch: what differs then is what was counted, and what applications wrote."""


class CountingCutOver(CutOver):
    """A cut-over whose loss is announced; see `count_and_cut_over`."""

    pursuit_type = Tally


def count_and_cut_over(*arguments: Any, **options: Any) -> CutoverReport:
    """
    Move the applications and carry no key; `in_hold` of the report says how many keys of the source stay behind.

    Arguments and errors are those of `cut_over`.
    """
    return CountingCutOver(*arguments, **options).run()
