"""
The compiled loop of comparing (`compare.c`) and what drives it: sockets, waiting, and everything that is rare.

Python alone reads and compares some 40,000 small keys a second, the servers give ten times as many; `compiled.py` says
when the loop is there.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from redismove.dataplane.compiled import RARE_AT_ONCE, CompiledLoop, Rare, Signatures, compiled, slots_table
from redismove.dataplane.connect import Connection
from redismove.dataplane.errors import DataPlaneError

MODE_COMPARE, MODE_EXISTS = 1, 2
WHY_ERROR, WHY_BIG, WHY_SUSPECT, WHY_MISSING = range(1, 5)
SCANS_OTHER, SCANS, READS = -3, -2, -1
"""Numbers of lines: the scan of side 1, of side 0, and the reading of side 0; side 1's are 0 and up."""
TICK_S = 0.05
"""After so long the caller hears of progress and may save it."""


class _Stats(ctypes.Structure):
    _fields_ = [
        *[
            (name, ctypes.c_int64)
            for name in (
                *("scanned", "done", "equal", "settled_equal", "listed", "payload_bytes", "in_flight", "queued"),
                *("list_length", "scan_finished", "finished", "other_scanned", "other_finished", "settled"),
            )
        ],
        ("sum_low", ctypes.c_uint64),
        ("sum_high", ctypes.c_uint64),
        ("mean_bytes", ctypes.c_double),
        ("failed", ctypes.c_int64),
        ("safe_cursor", ctypes.c_char * 24),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loop, compiled now if need be; None where that cannot be done or is switched off."""
    numbers = ctypes.POINTER(ctypes.c_int)
    pointer, i64, u64, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_int
    signatures: Signatures = {
        "rm_new": (pointer, [number, number, pointer, number, number, ctypes.c_char_p]),
        "rm_limits": (None, [pointer, i64, i64, i64, i64]),
        "rm_compare_with": (None, [pointer, i64, i64, number, number, number, number]),
        "rm_mean_bytes": (None, [pointer, ctypes.c_double]),
        "rm_use_seen": (None, [pointer, pointer, number]),
        "rm_seen_new": (pointer, [u64, u64]),
        "rm_seen_free": (None, [pointer]),
        "rm_seen_whole": (number, [pointer]),
        "rm_seen_covers": (number, [pointer]),
        "rm_work": (None, [pointer]),
        "rm_received": (None, [pointer, number, ctypes.c_size_t]),
        "rm_run": (number, [pointer, numbers, numbers, number, number, number, numbers]),
        "rm_rare_equal": (None, [pointer, u64, ctypes.c_char_p]),
    }
    return compiled(Path(__file__).with_name("compare.c"), _Stats, signatures)


@dataclass(frozen=True)
class Windows:
    """
    How much may be on its way.

    Attributes:
        scan_count: COUNT of SCAN; the next cursor takes a round trip, so a long line needs more at once.
        in_flight: keys asked and not answered by both sides.
        in_flight_bytes: the same in bytes, by the mean size of values so far.
        big_bytes: longer values are not taken whole.
    """

    scan_count: int
    in_flight: int
    in_flight_bytes: int
    big_bytes: int

    @classmethod
    def of(cls, longest_round_trip_s: float, scanned_round_trip_s: float, *, big_bytes: int) -> Windows:
        """Windows that a round trip does not empty: some 400,000 small keys, or 250 MB, a second."""
        return cls(
            scan_count=max(1000, min(50_000, int(400_000 * scanned_round_trip_s * 1.2))),
            in_flight=max(8000, int(400_000 * longest_round_trip_s * 2)),
            in_flight_bytes=max(16 << 20, min(48 << 20, int(250e6 * longest_round_trip_s * 1.5))),
            big_bytes=big_bytes,
        )


class SeenKeys:
    """
    The keys that a comparison has met and on which side, as 62-bit marks with a seed of this run: 11 to 22 bytes a key.

    That an unknown key has the mark of a known one is less likely than 1 in 10^11 with ten million keys.
    """

    MOST_KEYS = 12_000_000

    def __init__(self, expected: int) -> None:
        """Make room for so many keys and some more."""
        lib = library()
        assert lib is not None
        self._lib = lib
        self.expected = int(expected * 1.05) + 1000
        self.handle = lib.rm_seen_new(self.expected, int.from_bytes(os.urandom(8), "little"))

    @property
    def whole(self) -> bool:
        """Every key of side 0 found room."""
        return bool(self._lib.rm_seen_whole(self.handle))

    @property
    def covers(self) -> bool:
        """Every key that side 1's scans met was met on side 0 too."""
        return bool(self._lib.rm_seen_covers(self.handle))

    def close(self) -> None:
        """Free its memory."""
        if self.handle:
            self._lib.rm_seen_free(self.handle)
            self.handle = None


class Loop(CompiledLoop):
    """One pass over one primary and database; `drive` until it is finished."""

    stats: _Stats

    def __init__(
        self,
        mode: int,
        lines: Sequence[tuple[int, Connection]],
        *,
        absolute: tuple[bool, bool],
        line_of_slot: Sequence[int] | None = None,
        cursor: str = "0",
        windows: Windows,
    ) -> None:
        """
        Set up a pass.

        Args:
            mode: MODE_COMPARE or MODE_EXISTS.
            lines: numbers and connections: SCANS; READS and perhaps SCANS_OTHER for MODE_COMPARE; 0 and up for each
                node of side 1. All on the right database and used by nothing else meanwhile.
            absolute: PEXPIRETIME is there, for either side.
            line_of_slot: node number for each of 16384 slots; None when there is one node.
            cursor: SCAN goes on from here.
            windows: how much may be on its way.
        """
        lib = library()
        others = sum(number >= 0 for number, _ in lines)
        if lib is None or others > 250:
            raise DataPlaneError("The compiled loop is not there; use the Python path.")
        handle = lib.rm_new(mode, others, slots_table(line_of_slot), absolute[0], absolute[1], cursor.encode())
        super().__init__(lib, handle, lines)
        lib.rm_limits(handle, windows.scan_count, windows.in_flight, windows.in_flight_bytes, windows.big_bytes)

    def settings(
        self,
        *,
        skew_ms: int,
        database: int,
        tolerance_ms: int,
        hash_by_dump: bool,
        mget: tuple[bool, bool],
        mean_bytes: float,
    ) -> None:
        """
        How to compare.

        Args:
            skew_ms: the target's clock before the source's.
            database: its number becomes part of each digest.
            tolerance_ms: how far expiries may be apart.
            hash_by_dump: fields may have expiries of their own, which HGETALL does not show.
            mget: either side may be asked for many keys at once (it is no cluster).
            mean_bytes: of values, as far as it is known before they are read.
        """
        self._lib.rm_mean_bytes(self._handle, mean_bytes)
        self._lib.rm_compare_with(self._handle, skew_ms, tolerance_ms, database, hash_by_dump, *mget)

    def use_seen(self, seen: SeenKeys) -> None:
        """Comparing adds the keys of its scans to it; looking for keys asks it instead of the other server."""
        self._lib.rm_use_seen(self._handle, seen.handle, any(number == SCANS_OTHER for number, _ in self.lines))

    def rare_done(self, item: Rare, equal_digest: bytes | None = None) -> None:
        """Python has dealt with it; `equal_digest` when comparing found it equal."""
        if equal_digest is not None:
            self._lib.rm_rare_equal(self._handle, item.batch, equal_digest)
        self._lib.rm_rare_done(self._handle, item.batch)

    def drive(self, on_rare: Callable[[list[Rare]], None], on_tick: Callable[[], float]) -> None:
        """
        Send and receive until every key is dealt with.

        Args:
            on_rare: deals with keys and calls `rare_done` for each.
            on_tick: called at least every so often; returns after how many seconds it wants to be called again.

        Raises:
            ConnectionLost, ServerTimeout, ProtocolViolation; whatever the callbacks raise.
        """
        stats = self.stats
        plain = not any(connection.address.tls for _, connection in self.lines)
        turn = self._plain_turn() if plain else self._any_turn()
        moved_at = time.monotonic()
        next_tick = moved_at + TICK_S
        while True:
            if turn(min(TICK_S, max(0.0, next_tick - time.monotonic()))):
                moved_at = time.monotonic()
            if self.rares_are_due():
                on_rare(self.rare())
                moved_at = time.monotonic()
                self._lib.rm_work(self._handle)
            if stats.finished:
                return
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + on_tick()
            self._check(moved_at)

    def _plain_turn(self) -> Callable[[float], bool]:
        """On plain sockets C sends, waits and receives: no Python between two reads."""
        count = len(self.lines)
        sockets = (ctypes.c_int * count)(*(connection.fileno() for _, connection in self.lines))
        numbers = (ctypes.c_int * count)(*(no for no, _ in self.lines))
        moved = ctypes.c_int()

        def turn(wait_s: float) -> bool:
            for _, connection in self.lines:
                connection.check_open()
                if connection.login_is_due:
                    connection.receive_into(memoryview(b""))  # raises LoginDue
            wait_ms = int(wait_s * 1000) + 1
            broken = self._lib.rm_run(self._handle, sockets, numbers, count, wait_ms, RARE_AT_ONCE, ctypes.byref(moved))
            if broken:
                connection = self.lines[broken - 1][1]
                connection.receive_into(memoryview(bytearray(1)))  # raises with the reason, if the socket still has it
                connection.close()
                connection.check_open()
            return bool(moved.value)

        return turn

    def _any_turn(self) -> Callable[[float], bool]:
        """Through the connections, which may be TLS."""
        lib, loop = self._lib, self._handle
        poller = select.poll()
        registered: dict[int, int] = {}
        by_descriptor = {connection.fileno(): (no, connection) for no, connection in self.lines}

        def turn(wait_s: float) -> bool:
            moved = False
            lib.rm_work(loop)
            for no, connection in self.lines:
                moved |= self._flush(no, connection)
                wanted = select.POLLIN | (select.POLLOUT if self.has_output(no) else 0)
                descriptor = connection.fileno()
                if registered.get(descriptor) != wanted:
                    poller.register(descriptor, wanted)
                    registered[descriptor] = wanted
            for descriptor, event in poller.poll(wait_s * 1000 + 0.5):
                no, connection = by_descriptor[descriptor]
                if event & ~select.POLLOUT and self._fill(no, connection):
                    moved = True
            return moved

        return turn
