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

WHY_GONE, WHY_ERROR, WHY_BIG, WHY_EXPIRY, WHY_DIVERTED = range(1, 6)
NATIVE_VARIABLE = "REDISMOVE_NATIVE"
_RECEIVE_BYTES = 1 << 19
_RARE_AT_ONCE = 5000
_MOST_KEYS_PER_S = 450_000
_MOST_BYTES_PER_S = 280e6
"""What one server of today gives at most, nearly, in keys and in bytes of its memory; a guess until it is measured."""
_SOURCE = Path(__file__).with_name("pump.c")
_U8P = ctypes.POINTER(ctypes.c_uint8)


class _Stats(ctypes.Structure):
    _fields_ = [
        *[
            (name, ctypes.c_int64)
            for name in (
                *("scanned", "issued", "done", "restored", "payload_bytes", "in_flight", "queued", "list_length"),
                *("target_unsent", "scan_finished", "finished"),
            )
        ],
        ("mean_bytes", ctypes.c_double),
        *[(name, ctypes.c_int64) for name in ("failed", "urgent", "wait_us", "calm")],
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
        "rm_new": (pointer, [number, number, pointer, number, ctypes.c_char_p]),
        "rm_limits": (None, [pointer, i64, i64, i64, i64, i64, i64]),
        "rm_values": (None, [pointer, i64, ctypes.c_double]),
        "rm_line": (None, [pointer, i64, i64, ctypes.c_double]),
        "rm_pace": (None, [pointer, ctypes.c_double, i64]),
        "rm_divert": (None, [pointer]),
        "rm_stats": (ctypes.POINTER(_Stats), [pointer]),
        "rm_stats_size": (size, []),
        "rm_work": (None, [pointer, i64]),
        "rm_out": (size, [pointer, number, ctypes.POINTER(_U8P)]),
        "rm_sent": (None, [pointer, number, size]),
        "rm_room": (size, [pointer, number, size, ctypes.POINTER(_U8P)]),
        "rm_received": (None, [pointer, number, size, i64]),
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
        "rm_free": (None, [pointer]),
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
        scan_count: COUNT of SCAN; copying over a long line asks for more, as the next cursor takes a round trip.
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
        """Upper bounds for copying over lines of such round trips; how much it is, `pump.c` measures as it goes."""
        reading = max(8000, int(_MOST_KEYS_PER_S * source_round_trip_s * 2))
        return cls(
            in_flight=reading,
            # The source works through all that it was asked before it answers much: more than 4 MB on a short line, and
            # the two servers work in turns instead of at the same time.
            in_flight_bytes=max(4 << 20, min(64 << 20, int(_MOST_BYTES_PER_S * source_round_trip_s * 2))),
            target_in_flight=reading + max(20_000, min(150_000, int(_MOST_KEYS_PER_S * target_round_trip_s * 2))),
            big_bytes=big_bytes,
        )


class Pump:
    """One pass over one primary and database; `drive` until it is finished."""

    def __init__(
        self,
        scanner: Connection,
        reader: Connection,
        targets: Sequence[Connection],
        *,
        absolute: bool,
        line_of_slot: Sequence[int] | None = None,
        fan: int = 1,
        cursor: str = "0",
        windows: Windows | None = None,
    ) -> None:
        """
        Set up a pass.

        Args:
            scanner: the source's connection for SCAN; on the right database; used by nothing else meanwhile.
            reader: another one to the same node and database, for values.
            targets: the target's connections, `fan` for each node one after the other.
            absolute: the source has PEXPIRETIME.
            line_of_slot: node number for each of 16384 slots; None when there is one node.
            fan: connections per node of the target.
            cursor: SCAN goes on from here.
            windows: how much may be on its way.
        """
        lib = library()
        if lib is None or len(targets) > 250:
            raise DataPlaneError("The compiled loop is not there; use the Python path.")
        self._lib = lib
        table = (ctypes.c_uint16 * 16384)(*line_of_slot) if line_of_slot is not None else None
        self._pump = lib.rm_new(len(targets), fan, table, absolute, cursor.encode())
        self.lines: list[tuple[int, Connection]] = [(-2, scanner), (-1, reader), *enumerate(targets)]
        self.set_windows(windows or Windows())
        self.stats: _Stats = lib.rm_stats(self._pump).contents
        self._data = _U8P()
        self.first_key_at: float | None = None
        """When SCAN gave the first key (monotonic)."""

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

    def set_values(self, *, skew_ms: int, mean_bytes: float) -> None:
        """
        What is known of the values.

        Args:
            skew_ms: the target's clock before the source's; expiries are moved by it.
            mean_bytes: of values, as far as it is known before they are read.
        """
        self._lib.rm_values(self._pump, skew_ms, mean_bytes)

    def set_lines(self, source_round_trip_s: float, target_round_trip_s: float, mean_bytes: float) -> None:
        """How long the lines are, by which windows and SCAN's COUNT are chosen; before `drive`."""
        guess = min(_MOST_KEYS_PER_S, _MOST_BYTES_PER_S / max(1.0, mean_bytes))
        self._lib.rm_line(self._pump, int(source_round_trip_s * 1e6), int(target_round_trip_s * 1e6), guess)

    def set_pace(self, keys_per_s: float | None, *, scan_most_s: float) -> None:
        """
        How fast keys are asked for; may change while it runs.

        Args:
            keys_per_s: None for as fast as the servers let it be.
            scan_most_s: SCAN may keep the source from others for so long.
        """
        self._lib.rm_pace(self._pump, -1.0 if keys_per_s is None else keys_per_s, int(scan_most_s * 1e6))

    def divert(self) -> None:
        """From here on give every key to Python, unread."""
        self._lib.rm_divert(self._pump)

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

    def rare_done(self, item: Rare) -> None:
        """Python has dealt with it."""
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
            lib.rm_work(pump, time.monotonic_ns() // 1000)
            for no, connection in self.lines:
                if self._flush(no, connection):
                    moved_at = time.monotonic()
            # Each look at rare keys costs round trips in which nothing else moves: thousands at once, or at the end.
            idle = stats.scan_finished and not stats.in_flight and not stats.queued
            if stats.list_length and (stats.urgent or idle or stats.list_length >= _RARE_AT_ONCE):
                on_rare(self.rare())
                moved_at = time.monotonic()
                lib.rm_work(pump, time.monotonic_ns() // 1000)
            if stats.finished:
                return
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + on_tick()
                lib.rm_work(pump, time.monotonic_ns() // 1000)
            for descriptor, (no, _) in by_descriptor.items():
                wanted = select.POLLIN if no != -1 or stats.target_unsent <= high else 0
                if lib.rm_out(pump, no, ctypes.byref(self._data)):
                    wanted |= select.POLLOUT
                if registered.get(descriptor) != wanted:
                    poller.register(descriptor, wanted)
                    registered[descriptor] = wanted
            wait_s = max(0.0, min(next_tick - time.monotonic(), 1.0))
            if stats.wait_us >= 0:
                wait_s = min(wait_s, stats.wait_us / 1e6)
                if stats.calm:  # one turn after the other; answers are taken at the next
                    select.select([], [], [], wait_s)
                    wait_s = 0.0
            for descriptor, event in poller.poll(wait_s * 1000):
                no, connection = by_descriptor[descriptor]
                if event & ~select.POLLOUT and self._fill(no, connection):
                    moved_at = time.monotonic()
            if self.first_key_at is None and stats.scanned:
                self.first_key_at = time.monotonic()
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
            self._lib.rm_received(self._pump, no, received, time.monotonic_ns() // 1000)
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
