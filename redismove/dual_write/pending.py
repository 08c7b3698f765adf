"""
The keys that the second cache does not have yet as this client wrote them: bounded, in order, counted.

A key is marked after its write, and stays until its whole state, read from the first cache after the mark, stands on
the second. So many writes to one key are one entry, and their order cannot matter. What does not fit is a gap: then
nobody knows which keys are behind until a sweep has compared both caches.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

LATER_LIMIT: Final = 10_000
"""So many writes of unknown outcome may wait for their second look; one more is a gap."""


class _Entry:
    __slots__ = ("marked_at", "not_before", "number")

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.marked_at = now
        self.not_before = 0.0


@dataclass(frozen=True)
class Mark:
    """
    What marking gave.

    Attributes:
        number: grows with every mark.
        complete: every key has its place; else only a sweep will find the others.
    """

    number: int
    complete: bool = True


@dataclass(eq=False)
class Waiter:
    """Somebody who waits until his keys are carried; `notify` is called once, from whoever carried the last."""

    number: int
    remaining: set[bytes]
    notify: Callable[[], None]


@dataclass
class Counters:
    """
    What has happened so far, in keys.

    Attributes:
        marked: by writes of this client.
        carried: their state was written to the second cache.
        deleted: of the carried, gone from the first and so removed from the second.
        conflicts: tried again because somebody else carried the same key meanwhile.
        failed: tried again because a cache could not be reached or refused it.
        overflowed: did not fit into the queue.
        gaps: how often it was unknown which keys are behind.
        swept: found different by a sweep.
        dropped: given up because dual-write was switched off or cut over.
    """

    marked: int = 0
    carried: int = 0
    deleted: int = 0
    conflicts: int = 0
    failed: int = 0
    overflowed: int = 0
    gaps: int = 0
    swept: int = 0
    dropped: int = 0


class Pending:
    """
    The marked keys. Safe between threads.

    Args:
        max_keys: at most so many.
        max_bytes: at most so many bytes of key names.
        clock: monotonic time in seconds.
    """

    def __init__(
        self, *, max_keys: int, max_bytes: int = 64 << 20, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counters = Counters()
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[bytes, _Entry] = {}
        self._bytes = 0
        self._number = 0
        self._gap = False
        self._gap_number = 0
        self._later: list[tuple[float, int, tuple[bytes, ...]]] = []
        self._waiters: dict[bytes, list[Waiter]] = {}
        self._idle: list[Callable[[], None]] = []
        self._wake: Callable[[], None] = lambda: None

    def on_mark(self, wake: Callable[[], None]) -> None:
        """Call *wake* whenever there is something new to carry."""
        self._wake = wake

    # -- marking --------------------------------------------------------------------------------------------------

    def mark(self, keys: Iterable[bytes], *, again_after_s: float | None = None) -> Mark:
        """
        Note that *keys* were, or may have been, written on the first cache.

        Args:
            keys: any number.
            again_after_s: the outcome is unknown: the server may still run the command. Carry them once more after so
                many seconds.

        Returns:
            What `wait_for` waits for.
        """
        with self._lock:
            now = self._clock()
            self._number += 1
            keys = tuple(dict.fromkeys(keys))
            self.counters.marked += len(keys)
            complete = self._put(keys, now)
            if again_after_s is not None:
                if len(self._later) < LATER_LIMIT:
                    heapq.heappush(self._later, (now + again_after_s, self._number, keys))
                else:
                    self._open_gap(len(keys))
            mark = Mark(self._number, complete)
        self._wake()
        return mark

    def _put(self, keys: Iterable[bytes], now: float) -> bool:
        complete = True
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None:
                entry.number = self._number
            elif len(self._entries) < self._max_keys and self._bytes + len(key) <= self._max_bytes:
                self._entries[key] = _Entry(self._number, now)
                self._bytes += len(key)
            else:
                self._open_gap(1)
                complete = False
        return complete

    def _open_gap(self, overflowed: int = 0) -> None:
        self.counters.overflowed += overflowed
        if not self._gap:
            self.counters.gaps += 1
        self._gap = True
        self._gap_number += 1

    def open_gap(self) -> None:
        """Note that any key may be behind (a server lost writes, or a database was emptied)."""
        with self._lock:
            self._open_gap()
        self._wake()

    def gap(self) -> int | None:
        """Return a number that grows with every reason for a sweep, or None while none is needed."""
        with self._lock:
            return self._gap_number if self._gap else None

    def close_gap(self, number: int) -> bool:
        """End the gap if nothing has happened since `gap` gave *number*: the rest is marked. True when it ended."""
        with self._lock:
            if self._gap and self._gap_number == number:
                self._gap = False
            ended = not self._gap
            idle = self._take_idle()
        _call(idle)
        return ended

    # -- asking ---------------------------------------------------------------------------------------------------

    def behind(self, keys: Sequence[bytes] | None) -> bool:
        """Whether the second cache may lack a write of this client to one of *keys* (None: to any key)."""
        with self._lock:
            if self._gap:
                return True
            if keys is None:
                return bool(self._entries)
            return any(key in self._entries for key in keys)

    def __len__(self) -> int:
        return len(self._entries)

    def oldest_s(self) -> float:
        """How long the key that waits longest has waited, in seconds."""
        with self._lock:
            first = next(iter(self._entries.values()), None)
            return 0.0 if first is None else self._clock() - first.marked_at

    # -- carrying -------------------------------------------------------------------------------------------------

    def take(self, limit: int) -> dict[bytes, int]:
        """Return up to *limit* keys whose turn it is, with their numbers; they stay marked."""
        with self._lock:
            now = self._clock()
            while self._later and self._later[0][0] <= now:
                _, _, keys = heapq.heappop(self._later)
                self._number += 1
                self._put(keys, now)
            found: dict[bytes, int] = {}
            for key, entry in self._entries.items():
                if entry.not_before <= now:
                    found[key] = entry.number
                    if len(found) >= limit:
                        break
            return found

    def next_due_s(self) -> float | None:
        """Return how long until something has its turn, in seconds; None when nothing waits."""
        with self._lock:
            times = [entry.not_before for entry in self._entries.values()]
            if self._later:
                times.append(self._later[0][0])
            return max(0.0, min(times) - self._clock()) if times else None

    def done(self, key: bytes, number: int, *, rest_s: float = 0.0) -> None:
        """
        Note that the second cache has *key* as it was after mark *number*; a later mark stays.

        Args:
            key: as it was marked.
            number: the mark that was there before its state was read.
            rest_s: leave the key alone for so many seconds where it is marked again (a big value).
        """
        notify: list[Callable[[], None]] = []
        with self._lock:
            self.counters.carried += 1
            entry = self._entries.get(key)
            if entry is not None:
                del self._entries[key]
                if entry.number <= number:
                    self._bytes -= len(key)
                else:  # behind the others
                    entry.not_before = self._clock() + rest_s
                    self._entries[key] = entry
            for waiter in self._waiters.pop(key, []):
                if waiter.number > number:
                    self._waiters.setdefault(key, []).append(waiter)
                    continue
                waiter.remaining.discard(key)
                if not waiter.remaining:
                    notify.append(waiter.notify)
            notify += self._take_idle()
        _call(notify)

    def postpone(self, key: bytes, delay_s: float) -> None:
        """Put *key* behind the others, and leave it alone for *delay_s* seconds."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                entry.not_before = self._clock() + delay_s
                self._entries[key] = entry

    # -- waiting --------------------------------------------------------------------------------------------------

    def wait_for(self, keys: Iterable[bytes], number: int, notify: Callable[[], None]) -> Waiter | None:
        """Arrange for *notify* once *keys* are carried as of mark *number*; None when they are already."""
        with self._lock:
            remaining = {key for key in keys if key in self._entries}
            if not remaining:
                return None
            waiter = Waiter(number, remaining, notify)
            for key in remaining:
                self._waiters.setdefault(key, []).append(waiter)
            return waiter

    def forget(self, waiter: Waiter) -> None:
        """Do not notify *waiter* any more."""
        with self._lock:
            for key in waiter.remaining:
                others = [other for other in self._waiters.get(key, []) if other is not waiter]
                if others:
                    self._waiters[key] = others
                else:
                    self._waiters.pop(key, None)

    def when_idle(self, notify: Callable[[], None]) -> None:
        """Call *notify* once, as soon as nothing is marked and nothing will be by itself."""
        with self._lock:
            self._idle.append(notify)
            idle = self._take_idle()
        _call(idle)

    @property
    def idle(self) -> bool:
        """Nothing is marked and nothing will be by itself."""
        with self._lock:
            return self._is_idle()

    def _is_idle(self) -> bool:
        return not self._entries and not self._later and not self._gap

    def _take_idle(self) -> list[Callable[[], None]]:
        if not self._idle or not self._is_idle():
            return []
        idle, self._idle = self._idle, []
        return idle

    def drop(self) -> int:
        """Forget everything and return how many keys that were; who waits is notified."""
        with self._lock:
            count = len(self._entries) + sum(len(keys) for _, _, keys in self._later)
            self.counters.dropped += count
            notify = [waiter.notify for waiters in self._waiters.values() for waiter in waiters]
            self._entries.clear()
            self._later.clear()
            self._waiters.clear()
            self._bytes = 0
            self._gap = False
            notify += self._take_idle()
        _call(notify)
        return count


def _call(functions: Iterable[Callable[[], None]]) -> None:
    for function in functions:
        function()
