"""How fast the compiled loop asks for keys, by a clock of the test's own and without servers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest

from redismove.dataplane import pump as pump_module

SCANS, READS, WRITES = -2, -1, 0


class Loop:
    """The compiled loop between two servers that are not there."""

    def __init__(self, *, round_trip_s: float, guess_keys_per_s: float, mean_bytes: float = 100.0) -> None:
        lib = pump_module.library()
        assert lib is not None, "no C compiler on this machine"
        self.lib, self.now_us = lib, 1
        self.pump = lib.rm_new(1, 1, None, 1, b"0")
        lib.rm_values(self.pump, 0, mean_bytes)
        lib.rm_line(self.pump, int(round_trip_s * 1e6), 100, guess_keys_per_s)
        lib.rm_limits(self.pump, 1000, 64_000, 64 << 20, 150_000, 8 << 20, 32 << 20)
        self.stats: Any = lib.rm_stats(self.pump).contents

    def work(self, after_s: float) -> bytes:
        """What it sends after so long to the two connections of the source."""
        self.now_us += int(after_s * 1e6)
        self.lib.rm_work(self.pump, self.now_us)
        sent, data = b"", ctypes.POINTER(ctypes.c_uint8)()
        for line in (SCANS, READS, WRITES):
            size = self.lib.rm_out(self.pump, line, ctypes.byref(data))
            sent += ctypes.string_at(data, size) if size and line != WRITES else b""
            self.lib.rm_sent(self.pump, line, size)
        return sent

    def receive(self, line: int, answer: bytes) -> None:
        """Let a server answer now."""
        data = ctypes.POINTER(ctypes.c_uint8)()
        self.lib.rm_room(self.pump, line, len(answer), ctypes.byref(data))
        ctypes.memmove(data, answer, len(answer))
        self.lib.rm_received(self.pump, line, len(answer), self.now_us)

    def scanned(self, keys: int) -> None:
        """Let SCAN give so many keys, and more to come."""
        names = b"".join(b"$9\r\nk%08d\r\n" % number for number in range(keys))
        self.receive(SCANS, b"*2\r\n$1\r\n7\r\n*%d\r\n%b" % (keys, names))


@pytest.fixture
def loops() -> Iterator[list[Loop]]:
    made: list[Loop] = []
    yield made
    for loop in made:
        loop.lib.rm_free(loop.pump)


def test_a_limit_is_kept_in_small_turns(loops: list[Loop]) -> None:
    loop = Loop(round_trip_s=0.0001, guess_keys_per_s=400_000)
    loops.append(loop)
    loop.lib.rm_pace(loop.pump, 2000.0, 3000)
    loop.work(0)
    loop.scanned(5000)
    at_once, before = [], loop.stats.issued
    for _ in range(1000):
        loop.work(0.001)
        at_once.append(loop.stats.issued - before)
        before = loop.stats.issued
    assert 1980 <= loop.stats.issued <= 2020
    assert max(at_once) <= 16, "never more than of 8 ms"
    loop.work(1.0)
    assert loop.stats.issued <= 2040, "what a pause left over is not spent at once"


def test_over_a_long_line_the_window_is_not_sent_at_once(loops: list[Loop]) -> None:
    loop = Loop(round_trip_s=0.08, guess_keys_per_s=50_000)
    loops.append(loop)
    loop.lib.rm_pace(loop.pump, -1.0, 30_000)
    loop.work(0)
    loop.scanned(20_000)
    for _ in range(40):
        loop.work(0.001)
    assert 1800 <= loop.stats.issued <= 2200, "40 ms of what the source may give"
    near = Loop(round_trip_s=0.0001, guess_keys_per_s=50_000)
    loops.append(near)
    near.lib.rm_pace(near.pump, -1.0, 30_000)
    near.work(0)
    near.scanned(20_000)
    near.work(0.001)
    assert near.stats.issued >= 3900, "where the line is short its window is sent at once"


@pytest.mark.parametrize(
    ("gives_keys_per_s", "seconds", "least", "most"),
    [(100_000, 1, 115, 1000), (5_000, 3, 35, 65), (10_500, 3, 85, 125)],
)
def test_the_pace_becomes_what_the_source_gives(
    loops: list[Loop], gives_keys_per_s: int, seconds: int, least: int, most: int
) -> None:
    loop = Loop(round_trip_s=0.08, guess_keys_per_s=10_000)
    loops.append(loop)
    loop.lib.rm_pace(loop.pump, -1.0, 30_000)
    loop.work(0)
    loop.scanned(60_000)
    waiting: list[tuple[float, int]] = []
    asked: list[int] = []
    free_at_us = 0.0
    for _ in range(1000 * seconds):
        before = loop.stats.issued
        loop.work(0.001)
        asked.append(loop.stats.issued - before)
        if asked[-1]:
            free_at_us = max(free_at_us, loop.now_us) + asked[-1] / gives_keys_per_s * 1e6
            waiting.append((free_at_us + 80_000, asked[-1]))
        while waiting and waiting[0][0] <= loop.now_us:
            _, count = waiting.pop(0)
            loop.receive(READS, b":-1\r\n" * count + b"$3\r\nabc\r\n" * count)
            loop.receive(WRITES, b"+OK\r\n" * count)
    per_10_ms = sum(asked[-400:]) / 40
    assert least <= per_10_ms <= most
    assert waiting[0][0] - loop.now_us < 130_000, (
        "what is asked for now is answered soon: no queue is left at the source"
    )


@pytest.mark.parametrize(
    ("round_trip_s", "most_s", "count"), [(0.0001, 0.03, b"1000"), (0.08, 0.03, b"13600"), (0.08, 0.0035, b"5000")]
)
def test_scan_gives_what_lasts_a_round_trip_and_keeps_nobody_waiting(
    loops: list[Loop], round_trip_s: float, most_s: float, count: bytes
) -> None:
    loop = Loop(round_trip_s=round_trip_s, guess_keys_per_s=100_000)
    loops.append(loop)
    loop.lib.rm_pace(loop.pump, -1.0, int(most_s * 1e6))
    sent = loop.work(0)
    assert sent.endswith(b"\r\n%b\r\n" % count), sent
