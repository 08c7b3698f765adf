"""
The compiled inner loop (`pump.c`) and what drives it: sockets, waiting, and everything that is rare.

Python alone cannot copy at the speed of the servers (above 3 us of CPU per small key the tool is what limits), so
turning replies into commands is one small file of C; `compiled.py` says when it is there.
"""

from __future__ import annotations

import ctypes
import select
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from redismove.dataplane.compiled import CompiledLoop, Rare, Signatures, compiled, slots_table
from redismove.dataplane.connect import Connection, Node, Server
from redismove.dataplane.errors import DataPlaneError

WHY_GONE, WHY_ERROR, WHY_BIG, WHY_EXPIRY, WHY_DIVERTED = range(1, 6)
_MOST_KEYS_PER_S = 450_000
_MOST_BYTES_PER_S = 280e6
"""What one server of today gives at most, nearly, in keys and in bytes of its memory; a guess until it is measured."""


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
    pointer, i64, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t, ctypes.c_int
    signatures: Signatures = {
        "rm_new": (pointer, [number, number, pointer, number, ctypes.c_char_p]),
        "rm_limits": (None, [pointer, i64, i64, i64, i64, i64, i64]),
        "rm_values": (None, [pointer, i64, ctypes.c_double]),
        "rm_line": (None, [pointer, i64, i64, ctypes.c_double]),
        "rm_pace": (None, [pointer, ctypes.c_double, i64]),
        "rm_divert": (None, [pointer]),
        "rm_work": (None, [pointer, i64]),
        "rm_received": (None, [pointer, number, size, i64]),
    }
    return compiled(Path(__file__).with_name("pump.c"), _Stats, signatures)


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


class Pump(CompiledLoop):
    """One pass over one primary and database; `drive` until it is finished."""

    stats: _Stats

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
        handle = lib.rm_new(len(targets), fan, slots_table(line_of_slot), absolute, cursor.encode())
        super().__init__(lib, handle, [(-2, scanner), (-1, reader), *enumerate(targets)])
        self.set_windows(windows or Windows())
        self.first_key_at: float | None = None
        """When SCAN gave the first key (monotonic)."""

    def set_windows(self, w: Windows) -> None:
        """Change how much may be on its way."""
        self._lib.rm_limits(
            self._handle,
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
        self._lib.rm_values(self._handle, skew_ms, mean_bytes)

    def set_lines(self, source_round_trip_s: float, target_round_trip_s: float, mean_bytes: float) -> None:
        """How long the lines are, by which windows and SCAN's COUNT are chosen; before `drive`."""
        guess = min(_MOST_KEYS_PER_S, _MOST_BYTES_PER_S / max(1.0, mean_bytes))
        self._lib.rm_line(self._handle, int(source_round_trip_s * 1e6), int(target_round_trip_s * 1e6), guess)

    def set_pace(self, keys_per_s: float | None, *, scan_most_s: float) -> None:
        """
        How fast keys are asked for; may change while it runs.

        Args:
            keys_per_s: None for as fast as the servers let it be.
            scan_most_s: SCAN may keep the source from others for so long.
        """
        self._lib.rm_pace(self._handle, -1.0 if keys_per_s is None else keys_per_s, int(scan_most_s * 1e6))

    def divert(self) -> None:
        """From here on give every key to Python, unread."""
        self._lib.rm_divert(self._handle)

    def rare_done(self, item: Rare) -> None:
        """Python has dealt with it."""
        self._lib.rm_rare_done(self._handle, item.batch)

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
        lib, pump, stats = self._lib, self._handle, self.stats
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
            if self.rares_are_due() or (stats.list_length and stats.urgent):
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
                if self.has_output(no):
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

    def _received(self, no: int, size: int) -> None:
        self._lib.rm_received(self._handle, no, size, time.monotonic_ns() // 1000)


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
