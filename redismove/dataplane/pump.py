"""
The compiled inner loop (`pump.c`) and what drives it: sockets, waiting, and everything that is rare.

Python alone cannot copy at the speed of the servers (above 3 us of CPU per small key the tool is what limits), so
turning replies into commands is one small file of C. It is compiled with the machine's C compiler when it is first
needed and kept in the user's cache folder by the hash of its text. Where there is no compiler, or
REDISMOVE_NATIVE=0, everything works through the Python path, slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from redismove.dataplane.connect import Connection, Node, Server
from redismove.dataplane.errors import DataPlaneError, ProtocolViolation

MODE_COPY, MODE_COMPARE, MODE_EXISTS = 0, 1, 2
WHY_GONE, WHY_ERROR, WHY_BIG, WHY_EXPIRY, WHY_SUSPECT, WHY_DIVERTED, WHY_MISSING = range(1, 8)
NATIVE_VARIABLE = "REDISMOVE_NATIVE"
_RECEIVE_BYTES = 1 << 19
_RARE_AT_ONCE = 5000
_SOURCE = Path(__file__).with_name("pump.c")
_U8P = ctypes.POINTER(ctypes.c_uint8)


class _Stats(ctypes.Structure):
    _fields_ = [
        *[
            (name, ctypes.c_int64)
            for name in (
                *("scanned", "issued", "done", "restored", "equal", "settled_equal", "settled", "listed"),
                *("payload_bytes", "skipped_bytes", "in_flight", "target_in_flight", "queued", "list_length"),
                *("target_unsent", "scan_finished", "finished"),
            )
        ],
        ("sum_low", ctypes.c_uint64),
        ("sum_high", ctypes.c_uint64),
        ("mean_bytes", ctypes.c_double),
        ("failed", ctypes.c_int64),
        ("get_mode", ctypes.c_int64),
        ("urgent", ctypes.c_int64),
        ("safe_cursor", ctypes.c_char * 24),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loop, compiled now if need be; None where that cannot be done or is switched off."""
    if os.environ.get(NATIVE_VARIABLE) == "0" or sys.byteorder != "little":
        return None
    try:
        return _declare(compiled(_SOURCE))
    except (OSError, subprocess.SubprocessError):
        return None


def compiled(source: Path) -> ctypes.CDLL:
    """
    Load a file of C, compiled before or now.

    Raises:
        OSError, subprocess.SubprocessError: no compiler, or it failed.
    """
    folder = f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache_home / "redismove" / folder / f"{source.stem}.so"
    if not path.exists():
        _compile(source, path)
    return ctypes.CDLL(str(path))


def _compile(source: Path, path: Path) -> None:
    compiler = next(
        (found for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name and (found := shutil.which(name))), ""
    )
    if not compiler:
        raise FileNotFoundError("no C compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".so")
    os.close(descriptor)
    command = [compiler, "-O3", "-std=c11", "-shared", "-fPIC", "-o", temporary, str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        Path(temporary).replace(path)  # whole or not at all, also when two of us compile at once
    finally:
        Path(temporary).unlink(missing_ok=True)


def _declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    pointer, i64, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t, ctypes.c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "rm_new": (pointer, [number, number, number, pointer, number, number, ctypes.c_char_p]),
        "rm_limits": (None, [pointer, i64, i64, i64, i64, i64, i64]),
        "rm_compare_with": (None, [pointer, i64, i64, number, number, number, number]),
        "rm_mean_bytes": (None, [pointer, ctypes.c_double]),
        "rm_use_seen": (None, [pointer, pointer]),
        "rm_seen_new": (pointer, [ctypes.c_uint64, ctypes.c_uint64]),
        "rm_seen_free": (None, [pointer]),
        "rm_seen_whole": (number, [pointer]),
        "rm_scan_count": (None, [pointer, i64]),
        "rm_budget": (None, [pointer, i64]),
        "rm_budget_left": (i64, [pointer]),
        "rm_divert": (None, [pointer, number]),
        "rm_stop": (None, [pointer]),
        "rm_stats": (ctypes.POINTER(_Stats), [pointer]),
        "rm_stats_size": (size, []),
        "rm_work": (None, [pointer]),
        "rm_out": (size, [pointer, number, ctypes.POINTER(_U8P)]),
        "rm_sent": (None, [pointer, number, size]),
        "rm_room": (size, [pointer, number, size, ctypes.POINTER(_U8P)]),
        "rm_received": (None, [pointer, number, size]),
        "rm_due": (number, [pointer, number]),
        "rm_next_rare": (
            number,
            [
                pointer,
                ctypes.POINTER(_U8P),
                ctypes.POINTER(ctypes.c_uint32),
                ctypes.POINTER(number),
                ctypes.POINTER(ctypes.c_uint64),
                ctypes.POINTER(ctypes.c_char_p),
            ],
        ),
        "rm_free_key": (None, [_U8P]),
        "rm_rare_done": (None, [pointer, ctypes.c_uint64]),
        "rm_rare_equal": (None, [pointer, ctypes.c_uint64, ctypes.c_char_p]),
        "rm_free": (None, [pointer]),
        "rm_digest": (number, [ctypes.c_char_p, size, ctypes.c_char_p]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if lib.rm_stats_size() != ctypes.sizeof(_Stats):
        raise OSError("pump.c and pump.py do not fit each other")
    return lib


@dataclass
class Rare:
    """A key that needs Python: why, and the server's words where there are any."""

    key: bytes
    why: int
    text: str
    batch: int


@dataclass(frozen=True)
class Windows:
    """
    How much may be on its way.

    Attributes:
        scan_count: COUNT of SCAN; the next cursor takes a round trip, so a long line needs more at once.
        in_flight: keys asked of side 0 and not answered.
        in_flight_bytes: the same in bytes, by the mean size of values so far.
        target_in_flight: keys between being asked and being written.
        target_unsent_bytes: what waits to be sent to side 1 before reading pauses.
        big_bytes: longer values are not taken whole.
    """

    scan_count: int = 1000
    in_flight: int = 8000
    in_flight_bytes: int = 16 << 20
    target_in_flight: int = 30_000
    target_unsent_bytes: int = 8 << 20
    big_bytes: int = 32 << 20

    @classmethod
    def for_lines(cls, source_round_trip_s: float, target_round_trip_s: float, *, big_bytes: int = 32 << 20) -> Windows:
        """Windows that a round trip does not empty: some 400,000 small keys, or 250 MB, a second."""
        longest_s = max(source_round_trip_s, target_round_trip_s)
        reading = max(8000, int(400_000 * source_round_trip_s * 2))
        return cls(
            scan_count=max(1000, min(50_000, int(400_000 * source_round_trip_s * 1.2))),
            in_flight=reading,
            # The source works through all that it was asked before it answers much: more than this on a short line, and
            # the two servers work in turns instead of at the same time.
            in_flight_bytes=min(48 << 20, (4 << 20) + int(250e6 * longest_s * 1.5)),
            target_in_flight=reading + max(20_000, min(100_000, int(400_000 * target_round_trip_s * 2))),
            big_bytes=big_bytes,
        )

    @classmethod
    def for_comparing(cls, longest_round_trip_s: float, scanned_round_trip_s: float, *, big_bytes: int) -> Windows:
        """The same where both sides are read and the slower line decides."""
        reading = max(8000, int(400_000 * longest_round_trip_s * 2))
        return cls(
            scan_count=max(1000, min(50_000, int(400_000 * scanned_round_trip_s * 1.2))),
            in_flight=reading,
            in_flight_bytes=max(16 << 20, min(48 << 20, int(250e6 * longest_round_trip_s * 1.5))),
            big_bytes=big_bytes,
        )


class SeenKeys:
    """
    The keys that a comparison has met, as 64-bit marks with a seed of this run: 11 to 22 bytes a key.

    That an unknown key has the mark of a known one is less likely than 1 in 10^12 with ten million keys.
    """

    MOST_KEYS = 12_000_000

    def __init__(self, expected: int) -> None:
        """Make room for so many keys and some more."""
        lib = library()
        assert lib is not None
        self._lib = lib
        self.handle = lib.rm_seen_new(int(expected * 1.05) + 1000, int.from_bytes(os.urandom(8), "little"))

    @property
    def whole(self) -> bool:
        """Every key found room."""
        return bool(self._lib.rm_seen_whole(self.handle))

    def close(self) -> None:
        """Free its memory."""
        if self.handle:
            self._lib.rm_seen_free(self.handle)
            self.handle = None


class Pump:
    """One pass over one primary and database; `drive` until it is finished."""

    def __init__(
        self,
        mode: int,
        scanner: Connection,
        reader: Connection | None,
        side1: Sequence[Connection],
        *,
        absolute: tuple[bool, bool],
        line_of_slot: Sequence[int] | None = None,
        fan: int = 1,
        cursor: str = "0",
        windows: Windows | None = None,
    ) -> None:
        """
        Set up a pass.

        Args:
            mode: MODE_COPY, MODE_COMPARE or MODE_EXISTS.
            scanner: side 0's connection for SCAN; on the right database; used by nothing else meanwhile.
            reader: another one to the same node and database, for values (none for MODE_EXISTS).
            side1: the other side's connections, `fan` for each node one after the other.
            absolute: PEXPIRETIME is there, for either side.
            line_of_slot: node number for each of 16384 slots; None when there is one node.
            fan: connections per node of side 1.
            cursor: SCAN goes on from here.
            windows: how much may be on its way.
        """
        lib = library()
        if lib is None or len(side1) > 250:
            raise DataPlaneError("The compiled loop is not there; use the Python path.")
        self._lib = lib
        table = (ctypes.c_uint16 * 16384)(*line_of_slot) if line_of_slot is not None else None
        self._pump = lib.rm_new(mode, len(side1), fan, table, absolute[0], absolute[1], cursor.encode())
        self.lines: list[tuple[int, Connection]] = [
            (-2, scanner),
            *([(-1, reader)] if reader is not None else []),
            *enumerate(side1),
        ]
        self.set_windows(windows or Windows())
        self.stats: _Stats = lib.rm_stats(self._pump).contents
        self._data = _U8P()

    def close(self) -> None:
        """Free its memory."""
        if self._pump:
            self._lib.rm_free(self._pump)
            self._pump = None

    def set_windows(self, w: Windows) -> None:
        """Change how much may be on its way."""
        self._lib.rm_limits(
            self._pump,
            *(w.scan_count, w.in_flight, w.in_flight_bytes, w.target_in_flight, w.target_unsent_bytes, w.big_bytes),
        )
        self.windows = w

    def settings(
        self,
        *,
        skew_ms: int,
        database: int,
        tolerance_ms: int = 0,
        hash_by_dump: bool = False,
        mget: tuple[bool, bool] = (False, False),
        mean_bytes: float = 0.0,
    ) -> None:
        """
        How to copy and compare.

        Args:
            skew_ms: the target's clock before the source's; expiries are moved by it.
            database: its number becomes part of each digest.
            tolerance_ms: how far expiries may be apart.
            hash_by_dump: fields may have expiries of their own, which HGETALL does not show.
            mget: either side may be asked for many keys at once (it is no cluster).
            mean_bytes: of values, as far as it is known before they are read.
        """
        self._lib.rm_mean_bytes(self._pump, mean_bytes)
        self._lib.rm_compare_with(self._pump, skew_ms, tolerance_ms, database, hash_by_dump, *mget)

    def use_seen(self, seen: SeenKeys) -> None:
        """Comparing adds its keys to it; looking for keys asks it instead of the other server."""
        self._lib.rm_use_seen(self._pump, seen.handle)

    def set_budget(self, keys: int) -> None:
        """How many keys may still be asked for; -1 for no limit."""
        self._lib.rm_budget(self._pump, keys)

    @property
    def budget_left(self) -> int:
        """What is left of `set_budget`."""
        return int(self._lib.rm_budget_left(self._pump))

    def set_scan_count(self, count: int) -> None:
        """COUNT of the next SCAN."""
        self._lib.rm_scan_count(self._pump, count)

    def divert(self) -> None:
        """From here on give every key to Python, unread."""
        self._lib.rm_divert(self._pump, 1)

    def rare(self) -> list[Rare]:
        """The keys for Python; each must be given to `rare_done` afterwards."""
        found: list[Rare] = []
        key, size, why = _U8P(), ctypes.c_uint32(), ctypes.c_int()
        batch, text = ctypes.c_uint64(), ctypes.c_char_p()
        while self._lib.rm_next_rare(self._pump, *(ctypes.byref(item) for item in (key, size, why, batch, text))):
            words = (text.value or b"").decode("utf-8", "replace")
            found.append(Rare(ctypes.string_at(key, size.value), why.value, words, batch.value))
            self._lib.rm_free_key(key)
        return found

    def rare_done(self, item: Rare, equal_digest: bytes | None = None) -> None:
        """Python has dealt with it; `equal_digest` when comparing found it equal."""
        if equal_digest is not None:
            self._lib.rm_rare_equal(self._pump, item.batch, equal_digest)
        self._lib.rm_rare_done(self._pump, item.batch)

    @property
    def safe_cursor(self) -> str:
        """Every key that SCAN gave before this cursor is dealt with."""
        return str(self.stats.safe_cursor.decode())

    def drive(
        self, on_rare: Callable[[list[Rare]], None], on_tick: Callable[[], float], *, tick_s: float = 0.2
    ) -> None:
        """
        Send and receive until every key is dealt with.

        Args:
            on_rare: deals with keys and calls `rare_done` for each.
            on_tick: called at least every so often; returns after how many seconds it wants to be called again.
            tick_s: until the first call.

        Raises:
            ConnectionLost, ServerTimeout, ProtocolViolation; whatever the callbacks raise.
        """
        lib, pump, stats = self._lib, self._pump, self.stats
        poller = select.poll()
        registered: dict[int, int] = {}
        by_descriptor = {connection.fileno(): (no, connection) for no, connection in self.lines}
        moved_at = time.monotonic()
        next_tick = moved_at + tick_s
        high = self.windows.target_unsent_bytes
        while True:
            lib.rm_work(pump)
            for no, connection in self.lines:
                if self._flush(no, connection):
                    moved_at = time.monotonic()
            # Each look at rare keys costs round trips in which nothing else moves: thousands at once, or at the end.
            idle = stats.scan_finished and not stats.in_flight and not stats.queued
            if stats.list_length and (stats.urgent or idle or stats.list_length >= _RARE_AT_ONCE):
                on_rare(self.rare())
                moved_at = time.monotonic()
                lib.rm_work(pump)
            if stats.finished:
                return
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + on_tick()
                lib.rm_work(pump)
            for descriptor, (no, _) in by_descriptor.items():
                wanted = select.POLLIN if no != -1 or stats.target_unsent <= high else 0
                if lib.rm_out(pump, no, ctypes.byref(self._data)):
                    wanted |= select.POLLOUT
                if registered.get(descriptor) != wanted:
                    poller.register(descriptor, wanted)
                    registered[descriptor] = wanted
            wait_s = max(0.0, min(next_tick - time.monotonic(), 1.0))
            for descriptor, event in poller.poll(wait_s * 1000 + 0.5):
                no, connection = by_descriptor[descriptor]
                if event & ~select.POLLOUT and self._fill(no, connection):
                    moved_at = time.monotonic()
            self._check(moved_at)

    def _flush(self, no: int, connection: Connection) -> bool:
        moved = False
        while size := self._lib.rm_out(self._pump, no, ctypes.byref(self._data)):
            address = ctypes.addressof(self._data.contents)
            sent = connection.send_some(memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B"))
            if not sent:
                break
            self._lib.rm_sent(self._pump, no, sent)
            moved = True
        return moved

    def _fill(self, no: int, connection: Connection) -> bool:
        moved = False
        while True:
            size = self._lib.rm_room(self._pump, no, _RECEIVE_BYTES, ctypes.byref(self._data))
            address = ctypes.addressof(self._data.contents)
            received = connection.receive_into(memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B"))
            if not received:
                return moved
            self._lib.rm_received(self._pump, no, received)
            moved = True
            if not connection.holds_received:
                return True

    def _check(self, moved_at: float) -> None:
        if self.stats.failed:
            where = self.lines[0][1].where
            raise ProtocolViolation(
                f"{where} or the other side gave an answer that does not fit its question "
                f"({'an error to SCAN or TIME' if self.stats.failed == 2 else 'unexpected type'}); "
                f"set {NATIVE_VARIABLE}=0 to see which, and report it."
            )
        for no, connection in self.lines:
            if time.monotonic() - moved_at > connection.timeout_s and self._lib.rm_due(self._pump, no):
                connection.give_up()


def lines_to(server: Server, database: int, *, fan: int = 1) -> tuple[list[Connection], list[int] | None]:
    """
    New connections to every primary, `fan` each, and which node serves which slot (None when there is one node).

    The caller closes them. Slots that nobody serves are given to the first node, which answers with an error.
    """
    connections = open_together(server, [node for node in server.nodes for _ in range(fan)], database)
    if len(server.nodes) == 1 and not server.clustered:
        return connections, [0] * 16384 if fan > 1 else None
    table = [0] * 16384
    for number, node in enumerate(server.nodes):
        for first, last in node.slots:
            table[first : last + 1] = [number] * (last - first + 1)
    return connections, table


def open_together(server: Server, nodes: Sequence[Node], database: int) -> list[Connection]:
    """New connections to all of these nodes, opened at the same time; the caller closes them."""
    if len(nodes) == 1:
        return [server.new_connection(nodes[0], database)]
    opened: list[Connection] = []
    failure: Exception | None = None
    with ThreadPoolExecutor(max_workers=min(16, len(nodes) or 1)) as pool:
        for future in [pool.submit(server.new_connection, node, database) for node in nodes]:
            try:
                opened.append(future.result())
            except DataPlaneError as error:
                failure = error
    if failure is not None:
        for connection in opened:
            connection.close()
        raise failure
    return opened


def mean_value_bytes(server: Server) -> float:
    """What a key takes on average, by the servers' memory; 0 for empty servers."""
    used_bytes = 0
    for node in server.nodes:
        memory = server.info("memory", node)
        used_bytes += int(memory.get("used_memory", "0")) - int(memory.get("used_memory_startup", "0"))
    return max(0, used_bytes) / max(1, sum(server.databases().values()))


def round_trip_s(server: Server) -> float:
    """The round trip to a server, measured unless it is known."""
    if server.round_trip_s is None:
        server.clock()
    assert server.round_trip_s is not None
    return server.round_trip_s
