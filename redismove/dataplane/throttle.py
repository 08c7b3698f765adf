"""
How fast a copy may go: limits that can change while it runs, and a guard that looks at how the source feels.

Deciding and measuring do not mix: `SourceGuard.read` measures, `judge` is pure, `Throttle` turns the result into a
number of keys.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from redismove.dataplane.connect import Connection, Node, Server, parse_info
from redismove.dataplane.errors import DataPlaneError

GUARD_EVERY_S = 1.0
OTHERS_PER_S = 50
"""Fewer commands of others than this: nobody is there who could suffer from a busy CPU."""
SLOWEST_KEYS_PER_S = 500.0
_PINGS = 3
_LONG_LINE_MS = 20.0
_OWN_COMMANDS = frozenset({"scan", "dump", "pttl", "pexpiretime", "time", "info", "ping", "select"})
"""What a copy asks a source for, and an application hardly ever does."""


class LimitsInvalid(DataPlaneError):
    """A limit that is no positive number, or a file with such."""


@dataclass
class Limits:
    """
    Upper bounds of a copy; may be changed at any moment, from any thread. None: no bound.

    Attributes:
        keys_per_s, mb_per_s: over all shards that this process copies.
        source_latency_ms: a PING on the source may take so much longer than at the start.
        source_cpu_share: of one core, while others use the source too.
        source_memory_share: of maxmemory.
        file: JSON with any of these names, read again whenever it changes.
    """

    keys_per_s: float | None = None
    mb_per_s: float | None = None
    source_latency_ms: float | None = 20.0
    source_cpu_share: float | None = 0.9
    source_memory_share: float | None = 0.95
    file: Path | None = None
    _file_time_ns: int = 0

    def __post_init__(self) -> None:
        self.check()
        self.refresh()

    def check(self) -> None:
        """Refuse what is no bound."""
        for name in NAMES:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
                raise LimitsInvalid(f"Limit {name} is {value!r}; give a number above 0, or none for no limit.")

    def refresh(self) -> bool:
        """Read the file again if it changed; True when it did."""
        if self.file is None:
            return False
        try:
            changed_ns = self.file.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if changed_ns == self._file_time_ns:
            return False
        try:
            wanted = json.loads(self.file.read_text())
            unknown = sorted(set(wanted) - set(NAMES))
        except (OSError, ValueError, TypeError) as error:
            raise LimitsInvalid(f"{self.file} is not a JSON object of limits ({error}); mend it.") from None
        if unknown:
            raise LimitsInvalid(f"{self.file} has unknown limits {', '.join(unknown)}; known are {', '.join(NAMES)}.")
        for name, value in wanted.items():
            setattr(self, name, value)
        self.check()
        self._file_time_ns = changed_ns
        return True


NAMES = ("keys_per_s", "mb_per_s", "source_latency_ms", "source_cpu_share", "source_memory_share")


@dataclass(frozen=True)
class SourceReading:
    """How the source felt: what PING took beyond the line, others' commands, CPU and memory shares, evictions."""

    latency_ms: float
    others_per_s: float
    cpu_share: float
    memory_share: float
    evicted: int


def others_are_there(source: Server, node: Node) -> bool:
    """Somebody else uses this primary now: its counter of commands, twice, a round trip apart (for long lines)."""
    readings: list[tuple[float, int]] = []
    for _ in range(2):
        commands = int(source.info("stats", node).get("total_commands_processed", 0))
        readings.append((time.monotonic(), commands))
    (begun, before), (ended, after) = readings
    return (after - before - 1) / max(ended - begun, 1e-3) > OTHERS_PER_S


def judge(reading: SourceReading, limits: Limits) -> str | None:
    """Why the copy should go slower now, or None."""
    if limits.source_latency_ms is not None and reading.latency_ms > limits.source_latency_ms:
        return f"source latency {reading.latency_ms:.1f} ms, allowed {limits.source_latency_ms:g} ms"
    if limits.source_memory_share is not None and reading.memory_share > limits.source_memory_share:
        return f"source memory {reading.memory_share:.0%} of maxmemory, allowed {limits.source_memory_share:.0%}"
    if reading.evicted:
        return f"source evicted {reading.evicted} keys in the last second"
    busy = limits.source_cpu_share is not None and reading.cpu_share > limits.source_cpu_share
    if busy and reading.others_per_s > OTHERS_PER_S:
        return (
            f"source CPU {reading.cpu_share:.0%} of a core with {reading.others_per_s:.0f} commands/s of others, "
            f"allowed {limits.source_cpu_share:.0%}"
        )
    return None


class SourceGuard:
    """Measures one primary every second, in a thread and on a connection of its own: the copy never waits for it."""

    def __init__(self, source: Server, node: Node) -> None:
        self._source, self._node = source, node
        self._stop = threading.Event()
        self._fresh: SourceReading | None = None
        self._last: _Counters | None = None
        self._own_before = 0
        self.own_commands = 0
        """To be kept up to date by the copier; says what others sent where the source does not count by command."""
        self._thread = threading.Thread(target=self._run, name=f"guard {node}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and its connection."""
        self._stop.set()
        self._thread.join(5)

    def take(self) -> SourceReading | None:
        """The newest reading, once; None when there is no new one."""
        fresh, self._fresh = self._fresh, None
        return fresh

    def _run(self) -> None:
        try:
            with self._source.new_connection(self._node) as connection:
                base_ms = min(_ping_ms(connection) for _ in range(_PINGS))
                while not self._stop.wait(GUARD_EVERY_S):
                    self._fresh = self._read(connection, base_ms)
        except DataPlaneError:
            return  # the copy notices by itself when its source is gone

    def _read(self, connection: Connection, base_ms: float) -> SourceReading | None:
        latency_ms = latency_beyond_ms(connection, base_ms)
        info = parse_info(connection.call("INFO"))
        now = _Counters(
            at=time.monotonic(),
            cpu_s=float(info.get("used_cpu_user", 0)) + float(info.get("used_cpu_sys", 0)),
            commands=int(info.get("total_commands_processed", 0)),
            commands_of_others=_commands_of_others(connection),
            evicted=int(info.get("evicted_keys", 0)),
        )
        limit_bytes = int(info.get("maxmemory", 0))
        last, self._last = self._last, now
        own, self._own_before = self.own_commands - self._own_before, self.own_commands
        if last is None:
            return None  # rates need two readings
        seconds = max(now.at - last.at, 1e-3)
        of_others = now.commands - last.commands - own - 3
        if now.commands_of_others is not None and last.commands_of_others is not None:
            # Over a long line a second's worth of our own is still on its way: theirs would drown in it.
            of_others = min(of_others, now.commands_of_others - last.commands_of_others)
        return SourceReading(
            latency_ms=latency_ms,
            others_per_s=max(0.0, of_others / seconds),
            cpu_share=(now.cpu_s - last.cpu_s) / seconds,
            memory_share=int(info.get("used_memory", 0)) / limit_bytes if limit_bytes else 0.0,
            evicted=now.evicted - last.evicted,
        )


@dataclass(frozen=True)
class _Counters:
    """What a source had counted at one moment (monotonic, s); `commands_of_others` is None where it does not say."""

    at: float
    cpu_s: float
    commands: int
    commands_of_others: int | None
    evicted: int


def _commands_of_others(connection: Connection) -> int | None:
    """Calls of commands that we do not use, since the source started; None where it does not count by command."""
    calls = {
        name.removeprefix("cmdstat_"): int(counts.partition("calls=")[2].partition(",")[0])
        for name, counts in parse_info(connection.call("INFO", "commandstats")).items()
        if name.startswith("cmdstat_")
    }
    return sum(count for name, count in calls.items() if name.lower() not in _OWN_COMMANDS) if calls else None


def latency_beyond_ms(connection: Connection, base_ms: float) -> float:
    """
    Return how much longer than *base_ms* a source takes to answer PING now, in ms.

    Over a long line SCAN is asked for a round trip's keys at once, and one PING may have waited for that alone; two
    more, each a round trip later, do not. On a short line they would come too soon to tell more than the first.
    """
    pings = _PINGS if base_ms > _LONG_LINE_MS else 1
    return max(0.0, min(_ping_ms(connection) for _ in range(pings)) - base_ms)


def _ping_ms(connection: Connection) -> float:
    begun = time.monotonic()
    connection.call("PING")
    return (time.monotonic() - begun) * 1000


class Throttle:
    """
    Gives out keys by time: `allowance()` says how many may be asked for now.

    The guard's reasons halve the rate, calm raises it by a quarter a second, up to the limits.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.reason: str | None = None
        self.backed_off_keys_per_s: float | None = None
        self._tokens = 0.0
        self._at = time.monotonic()

    def note(self, reason: str | None, keys_per_s_now: float) -> bool:
        """Take a judgement in; True when the rate was changed downwards."""
        self.reason = reason
        if reason is not None:
            rate = min(self.backed_off_keys_per_s or keys_per_s_now, max(keys_per_s_now, SLOWEST_KEYS_PER_S))
            self.backed_off_keys_per_s = max(SLOWEST_KEYS_PER_S, rate / 2)
            return True
        if self.backed_off_keys_per_s is not None:
            self.backed_off_keys_per_s *= 1.25
            if self.backed_off_keys_per_s > 4 * max(keys_per_s_now, 250_000.0):
                self.backed_off_keys_per_s = None
        return False

    def rate(self, mean_bytes: float) -> float | None:
        """Keys per second that are allowed now; None for no bound."""
        rates = [
            rate
            for rate in (
                self.limits.keys_per_s,
                self.limits.mb_per_s * 1e6 / max(mean_bytes, 1.0) if self.limits.mb_per_s else None,
                self.backed_off_keys_per_s,
            )
            if rate is not None
        ]
        return min(rates) if rates else None

    def allowance(self, mean_bytes: float) -> int:
        """How many keys, of values of `mean_bytes`, may be asked for until the next call; -1 for no bound."""
        now = time.monotonic()
        rate = self.rate(mean_bytes)
        if rate is None:
            self._tokens, self._at = 0.0, now
            return -1
        # What a pause left over is not spent at once: the source would feel the burst.
        self._tokens = min(self._tokens + rate * (now - self._at), max(1.0, rate * 0.02))
        self._at = now
        whole = int(self._tokens)
        self._tokens -= whole
        return whole
