"""Progress of the data plane as lines for people."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from redismove.dataplane.copy import CopyProgress
from redismove.dataplane.cutover_report import CutoverEvent
from redismove.steps.access import Tell

_T = TypeVar("_T")

TELL_EVERY_S: Final = 5.0
"""A log wants a sign of life, not every number."""


def at_intervals(tell: Tell, words: Callable[[_T], str]) -> Callable[[_T], None]:
    """Return a listener that tells what *words* makes of a progress, at most every few seconds."""
    last = time.monotonic()

    def progress(at: _T) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_EVERY_S:
            last = time.monotonic()
            tell(words(at))

    return progress


def copy_words(at: CopyProgress) -> str:
    """Say where a copy is, in words."""
    left = f", about {at.remaining_s:.0f} s left" if at.remaining_s is not None else ""
    slowed = f", slowed: {at.slowed_by}" if at.slowed_by else ""
    return (
        f"{at.share:.0%}: {at.copied:,} of about {at.expected:,} keys, {at.keys_per_s:,.0f} keys/s, "
        f"{at.mb_per_s:.1f} MB/s{left}{slowed}"
    )


def each_event(tell: Tell) -> Callable[[CutoverEvent], None]:
    """Return a listener that tells each step of a cut-over or of keeping up."""
    return lambda event: tell(f"{event.step}: {event.message}")
