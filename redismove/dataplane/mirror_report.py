"""The terms of a follow: how it is asked to end, what it tells while it goes on, what it did, how it fails."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Literal

from redismove.dataplane.copy import CopyReport
from redismove.dataplane.errors import DataPlaneError

Phase = Literal["copy", "compare", "follow", "passes"]

CLOSE_S = 1.0
"""A source that is written to all the time is caught up with when the target is no further behind than this."""


class CannotCatchUp(DataPlaneError):
    """The source is written to faster than its changes can be carried."""


class FollowRefused(DataPlaneError):
    """It was not begun: it would remove keys that nobody said may go."""


class FollowStopped(DataPlaneError):
    """A follow that could not go on; `cause` has the reason, the sentence also how far it got and how to go on."""

    def __init__(self, message: str, cause: DataPlaneError) -> None:
        super().__init__(message)
        self.cause = cause


class StopRequest:
    """
    Asks a follow to end; may be used by a signal handler.

    Attributes:
        heard: it will be heeded soon; while it is False (bulk copy) an exception is the way out.
    """

    def __init__(self) -> None:
        self.heard = False
        self._event = threading.Event()

    def set(self) -> None:
        """Ask for the end."""
        self._event.set()

    def is_set(self) -> bool:
        """The end was asked for."""
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the end is asked for, or the time is over."""
        return self._event.wait(timeout_s)


@dataclass(frozen=True)
class FollowProgress:
    """
    Where a follow is.

    Attributes:
        phase: `copy` (bulk), `compare` (everything, because something went unseen), `follow` (by notifications),
            `passes` (comparing again and again: nothing is notified).
        scanned, expected: keys of the bulk copy or of the comparison; 0 while following.
        lag_keys: keys that were changed on the source and are not on the target yet; without notifications the keys
            that the last pass found changed.
        lag_s: for how long the one that waits longest has waited, and what notifications take to come.
        changes_per_s, keys_per_s: notified, and carried; over the last seconds.
        mb_per_s, remaining_s: of the bulk copy.
        carried: since the bulk copy.
        comparisons: of everything.
        caught_up: what was written before `caught_up_at_s` (Unix time) is on the target.
        slowed_by: why it goes slower than it could, None when it does not.
    """

    phase: Phase
    scanned: int = 0
    expected: int = 0
    lag_keys: int = 0
    lag_s: float = 0.0
    changes_per_s: float = 0.0
    keys_per_s: float = 0.0
    mb_per_s: float = 0.0
    remaining_s: float | None = None
    carried: int = 0
    comparisons: int = 0
    caught_up: bool = False
    caught_up_at_s: float | None = None
    slowed_by: str | None = None
    elapsed_s: float = 0.0


@dataclass
class FollowReport:
    """
    What a follow did.

    Attributes:
        bulk: of the bulk copy; None where an earlier run had ended it.
        carried: keys carried since, and removed.
        notifications: that came.
        comparisons: of everything, both ways; reasons: why, one phrase each.
        caught_up: at the end nothing, or less than `CLOSE_S`, was left.
        exact: nothing was left, and nothing was written since that was known.
        lag_keys, lag_s: at the end.
        stopped: the end was asked for.
        followed: by notifications (at the end).
    """

    bulk: CopyReport | None = None
    carried: int = 0
    notifications: int = 0
    comparisons: int = 0
    reasons: list[str] = field(default_factory=list)
    caught_up: bool = False
    exact: bool = False
    lag_keys: int = 0
    lag_s: float = 0.0
    stopped: bool = False
    followed: bool = True
    duration_s: float = 0.0
    resumed: bool = False
    notices: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            **{name: value for name, value in vars(self).items() if name != "bulk"},
            "lag_s": round(self.lag_s, 3),
            "duration_s": round(self.duration_s, 3),
            "bulk": self.bulk.to_json() if self.bulk is not None else None,
        }

    def summary(self) -> str:
        """One line for people."""
        copied = f"copied {self.bulk.copied:,} keys, " if self.bulk is not None else ""
        if self.exact:
            state = "caught up: nothing is left"
        elif self.caught_up:
            state = f"caught up to within {self.lag_s:.2f} s: {self.lag_keys:,} keys are being written to"
        else:
            state = f"not caught up: {self.lag_keys:,} keys and {self.lag_s:.1f} s behind"
        return f"{copied}carried {self.carried:,} changed keys in {self.duration_s:.1f} s; {state}"
