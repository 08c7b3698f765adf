"""
Carrying marked keys from the first cache to the second: the protocol, without any I/O of its own.

`Carrying.run` is a generator: it yields what is to be done (`Exchange`, `Wait`, ...) and is sent what came of it, so
that the synchronous and the asynchronous client run the same lines.

For some keys, in this order:

1. WATCH them on the second cache;
2. look at the Endpoint: is this client still to write to the second one?
3. read their whole state (DUMP and absolute expiry, or by type) from the first;
4. write it to the second between MULTI and EXEC. A null reply means that somebody else wrote one of them meanwhile:
   again from 1.

Between 1 and 4 nobody else has written a key, so what 4 writes was read *after* whatever was written before: over all
clients and processes, the states that a key takes on the second cache are states it had on the first, in the same
order. No older value ever replaces a newer one. And since each client carries a key after each of its writes, the last
one to do so carries the last state: when no client has a marked key left, both caches are equal.

That holds only if every write of 4 is seen by the WATCH of others, also where nothing changes: a key that is to be gone
and already is, is made and removed. And 2 comes after 1: if applications are switched to the second cache later, their
writes to it are seen.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import ClusterCrossSlotError, ResponseError

from redismove.dual_write.pending import Pending
from redismove.dual_write.settings import DualWriteSettings

Command = tuple[Any, ...]
Reply = Any

GROUPS: Final = 8
"""Transactions at the same time, each on a connection of its own."""
CLUSTER_GROUPS: Final = 32
"""The same on a cluster, where a transaction is for one slot."""
BATCH_KEYS: Final = 128
BATCH_BYTES: Final = 8 << 20
RESTING_BYTES: Final = 256 << 10
"""A value above this is not carried again at once, however often it is written."""
SWEEP_KEYS: Final = 200
NEAR_EXPIRY_MS: Final = 60_000
HOLD_POLL_S: Final = 0.02
REFUSED_REST_S: Final = 1.0
BIG_REST_S: Final = 60.0
MOVER_PREFIX: Final = b"redismove:"
_SWEEP_TOLERANCE_MS: Final = 50

DIGEST_SCRIPT: Final = """
local payload = redis.call('DUMP', KEYS[1])
if not payload then return {'', -2} end
local now = redis.call('TIME')
local rest = redis.call('PTTL', KEYS[1])
if rest >= 0 then rest = rest + now[1] * 1000 + math.floor(now[2] / 1000) end
return {redis.sha1hex(string.sub(payload, 1, -11)), string.format('%.0f', rest)}
"""
"""A key's payload without its version and checksum, as a digest, and its absolute expiry in ms."""


class Side(Enum):
    """One of the two caches."""

    FIRST = "first"
    SECOND = "second"


@dataclass(eq=False)
class Line:
    """
    One connection of a driver, as this module sees it.

    Attributes:
        node: the server's name within its side.
        greeted: false after each (re)connection, set by `Carrying`.
    """

    side: Side
    node: str
    greeted: bool = False


class SideFailed(Exception):
    """
    A cache could not be used; thrown into the generator by its driver.

    Args:
        sentence: what happened, without a secret.
    """

    def __init__(self, side: Side, sentence: str) -> None:
        super().__init__(sentence)
        self.side = side


class Verdict(Enum):
    """What the Endpoint says about carrying."""

    GO = "go"
    HOLD = "hold"
    OVER = "over"


# -- what the generator asks of its driver --------------------------------------------------------------------------


@dataclass(frozen=True)
class Exchange:
    """Send commands to lines, all at once, and read the replies: a list for each, errors as values."""

    requests: Sequence[tuple[Line, Sequence[Command]]]


@dataclass(frozen=True)
class Apart:
    """A connected line of its own for each of these keys."""

    side: Side
    keys: Sequence[bytes]


@dataclass(frozen=True)
class Split:
    """Connected lines with the keys that their server has: a list of (line, keys)."""

    side: Side
    keys: Sequence[bytes]


@dataclass(frozen=True)
class Nodes:
    """A connected line to each primary of a side."""

    side: Side


@dataclass(frozen=True)
class Reset:
    """Close the connections to a side, and find its servers anew next time."""

    side: Side


@dataclass(frozen=True)
class Allowed:
    """Look at the Endpoint now; a `Verdict`."""


@dataclass(frozen=True)
class Wait:
    """Wait so many seconds (None: for ever); `until_woken`: or until something is marked. Closing ends any wait."""

    seconds: float | None
    until_woken: bool = True


Work = Generator[Any, Any, Any]


@dataclass
class _State:
    """A key as the first cache has it: commands that make it so, or why there are none."""

    commands: list[Command] = field(default_factory=list)
    gone: bool = False
    size_bytes: int = 0
    skipped: str = ""


class Carrying:
    """
    Carries what `pending` holds.

    Attributes:
        failing: a sentence for each side that could not be used the last time.
        too_big: keys whose values are left to the cut-over.
        refusals: the last reason why a key could not be carried.
        closing: no key may wait longer than until `close_at` (the clock's time); then `run` ends.
    """

    def __init__(
        self,
        pending: Pending,
        settings: DualWriteSettings,
        *,
        second_clustered: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pending = pending
        self.settings = settings
        self.failing: dict[Side, str] = {}
        self.refusal = ""
        self.too_big: set[bytes] = set()
        self.carried_bytes = 0
        self.sweeps = 0
        self.closing = False
        self.close_at = float("inf")
        self._second_clustered = second_clustered
        self._clock = clock
        self._again: deque[list[bytes]] = deque()
        self._run_ids: dict[tuple[Side, str], str] = {}
        self._complete: set[Side] = set()
        self._absolute = False
        self._flavour: tuple[str, tuple[int, ...]] = ("redis", (0,))
        self._offsets: dict[Side, tuple[float, float]] = {}
        self._by_type = False
        self._failures = 0
        self._sweep: _Sweep | None = None
        self._not_before = 0.0

    # -- the loop -------------------------------------------------------------------------------------------------

    def run(self) -> Work:
        """Carry until told that dual-write is over, or until closing and done. Marked keys are dropped at the end."""
        while not self._finished():
            try:
                if (yield from self._step()):
                    break
            except SideFailed as failure:
                self.failing[failure.side] = str(failure)
                self._failures += 1
                yield Reset(failure.side)
                delay_s = min(2.0, 0.05 * 2 ** min(self._failures, 10))
                yield Wait(delay_s * random.uniform(0.5, 1), until_woken=False)
        # Not after an error of our own: what is marked is still to be carried by whoever goes on.
        self.pending.drop()

    def _finished(self) -> bool:
        if not self.closing:
            return False
        done = self.pending.idle if self.settings.when_gap == "sweep" else not len(self.pending)
        return done or self._clock() >= self.close_at

    def _step(self) -> Work:
        """One round; true when dual-write is over."""
        pause_s = self._not_before - self._clock()
        if pause_s > 0:
            yield Wait(pause_s, until_woken=False)
            return False
        groups, numbers = self._groups()
        gap = self.pending.gap() if self.settings.when_gap == "sweep" else None
        if not groups and gap is None:
            yield Wait(self.pending.next_due_s())
            return False
        verdict = yield Allowed()
        if verdict is not Verdict.GO:
            self._again.clear()
            if verdict is Verdict.HOLD:
                yield Wait(HOLD_POLL_S, until_woken=False)
            return verdict is Verdict.OVER
        yield from self._know_servers()
        if groups:
            yield from self._carry(groups, numbers)
        elif not self._room_for_sweep():
            yield Wait(self.pending.next_due_s())
        if gap is not None and self._room_for_sweep():
            yield from self._sweep_page(gap)
        self.failing.clear()
        self._failures = 0
        return False

    def _room_for_sweep(self) -> bool:
        return len(self.pending) <= self.settings.max_pending_keys // 2

    # -- which keys together --------------------------------------------------------------------------------------

    def _groups(self) -> tuple[list[list[bytes]], dict[bytes, int]]:
        """Return keys to carry, a list for each transaction, and their numbers."""
        limit = CLUSTER_GROUPS if self._second_clustered else BATCH_KEYS
        numbers = self.pending.take(limit + sum(map(len, self._again)))
        groups: list[list[bytes]] = []
        taken: set[bytes] = set()
        while self._again and len(groups) < GROUPS - 1:
            group = [key for key in self._again.popleft() if key in numbers]
            if group:
                groups.append(group)
                taken.update(group)
        waiting = {key for group in self._again for key in group}
        fresh = [key for key in numbers if key not in taken and key not in waiting][:limit]
        if self._second_clustered:
            by_slot: dict[int, list[bytes]] = {}
            for key in [key for group in groups for key in group] + fresh:
                by_slot.setdefault(key_slot(key), []).append(key)
            return list(by_slot.values())[:CLUSTER_GROUPS], numbers
        return [*groups, *([fresh] if fresh else [])], numbers

    def _conflict(self, group: list[bytes]) -> None:
        """Somebody else carried one of these meanwhile: find out which by halves."""
        self.pending.counters.conflicts += len(group)
        if len(group) > 1 and not self._second_clustered:
            middle = len(group) // 2
            self._again.append(group[:middle])
            self._again.append(group[middle:])
            return
        for key in group:
            self.pending.postpone(key, random.uniform(0, 0.01))

    # -- carrying some keys ---------------------------------------------------------------------------------------

    def _carry(self, groups: list[list[bytes]], numbers: dict[bytes, int]) -> Work:
        lines: list[Line] = yield Apart(Side.SECOND, [group[0] for group in groups])
        keys = [key for group in groups for key in group]
        readers: list[tuple[Line, list[bytes]]] = yield Split(Side.FIRST, keys)
        yield from self._greet([*lines, *(line for line, _ in readers)])
        watches = [(line, [("WATCH", *group)]) for line, group in zip(lines, groups, strict=True)]
        sizes = [(line, [("MEMORY", "USAGE", key, "SAMPLES", "5") for key in mine]) for line, mine in readers]
        replies = yield Exchange([*watches, *sizes])
        for answer in replies[: len(lines)]:
            if isinstance(answer[0], ClusterCrossSlotError):
                # A cluster behind one address (Azure Managed Redis): a transaction for each slot from now on.
                self._second_clustered = True
                yield Exchange([(line, [("UNWATCH",)]) for line in lines])
                return
            _check(Side.SECOND, answer[0])
        kept = self._within_bounds(readers, replies[len(lines) :])
        verdict = yield Allowed()
        if verdict is not Verdict.GO:
            yield Exchange([(line, [("UNWATCH",)]) for line in lines])
            return
        states = yield from self._read([(line, [key for key in mine if key in kept]) for line, mine in readers])
        yield from self._write(lines, groups, states, numbers)

    def _within_bounds(self, readers: list[tuple[Line, list[bytes]]], replies: list[list[Reply]]) -> set[bytes]:
        """The keys that are carried now; bigger ones have their turn later, or never."""
        kept: set[bytes] = set()
        size_bytes = 0
        for (_, mine), answer in zip(readers, replies, strict=True):
            for key, size in zip(mine, answer, strict=True):
                found = size if isinstance(size, int) else 0  # not allowed, or gone
                if found > self.settings.big_value_bytes:
                    self.too_big.add(key)
                    self.pending.postpone(key, BIG_REST_S)
                    continue
                self.too_big.discard(key)
                if not kept or size_bytes + found <= BATCH_BYTES:
                    kept.add(key)
                    size_bytes += found
        return kept

    def _write(
        self, lines: list[Line], groups: list[list[bytes]], states: dict[bytes, _State], numbers: dict[bytes, int]
    ) -> Work:
        requests: list[tuple[Line, list[Command]]] = []
        written: list[list[bytes]] = []
        for line, group in zip(lines, groups, strict=True):
            mine = [key for key in group if key in states and not states[key].skipped]
            commands = [command for key in mine for command in self._second_commands(key, states[key])]
            requests.append((line, [("MULTI",), *commands, ("EXEC",)] if mine else [("UNWATCH",)]))
            written.append(mine)
        for key, state in states.items():
            if state.skipped:
                self._refused(key, state.skipped)
        replies = yield Exchange(requests)
        moved_bytes = 0
        for mine, answer in zip(written, replies, strict=True):
            if mine:
                moved_bytes += self._settle(mine, states, numbers, answer)
        self.carried_bytes += moved_bytes
        self._not_before = self._clock() + moved_bytes / (self.settings.carry_mb_per_s * 1e6)

    def _second_commands(self, key: bytes, state: _State) -> list[Command]:
        if state.gone:
            # SET first, so that others who watch the key notice also where it is gone already.
            return [("SET", key, b""), ("UNLINK", key)]
        return state.commands

    def _settle(
        self, group: list[bytes], states: dict[bytes, _State], numbers: dict[bytes, int], replies: list[Reply]
    ) -> int:
        """Note what became of one transaction; return the bytes that it wrote."""
        outcome = replies[-1]
        if outcome is None:
            self._conflict(group)
            return 0
        if isinstance(outcome, Exception):
            self._aborted(group, states, replies)
            return 0
        position = 0
        moved_bytes = 0
        for key in group:
            state = states[key]
            mine = outcome[position : position + len(self._second_commands(key, state))]
            position += len(mine)
            error = next((reply for reply in mine if isinstance(reply, Exception)), None)
            if error is not None:
                self._refused(key, str(error), refusal=error)
            else:
                self.pending.counters.deleted += state.gone
                moved_bytes += state.size_bytes
                self.pending.done(key, numbers[key], rest_s=self._rest_s(state.size_bytes))
        return moved_bytes

    def _aborted(self, group: list[bytes], states: dict[bytes, _State], replies: list[Reply]) -> None:
        """A command was refused when it was queued, so nothing was done."""
        reasons = [reply for reply in replies[:-1] if isinstance(reply, Exception)] or [replies[-1]]
        if any(isinstance(reason, ClusterCrossSlotError) for reason in reasons):
            self._second_clustered = True
            return
        _check(Side.SECOND, reasons[0])
        culprits: list[bytes] = []
        position = 1
        for key in group:
            count = len(self._second_commands(key, states[key]))
            if any(isinstance(reply, Exception) for reply in replies[position : position + count]):
                culprits.append(key)
            position += count
        for key in culprits:
            self._refused(key, str(reasons[0]))
        rest = [key for key in group if key not in set(culprits)]
        if rest:
            self._again.append(rest)

    def _refused(self, key: bytes, sentence: str, *, refusal: Exception | None = None) -> None:
        if refusal is not None and _refused_by_version(refusal) and not self._by_type:
            self._by_type = True  # from now on; this key has its turn at once
            return
        self.pending.counters.failed += 1
        self.refusal = sentence[:200]
        self.pending.postpone(key, REFUSED_REST_S)

    def _rest_s(self, size_bytes: int) -> float:
        """A quarter of what may be carried is for the same key again, at most."""
        return 4 * size_bytes / (self.settings.carry_mb_per_s * 1e6) if size_bytes > RESTING_BYTES else 0.0

    # -- reading the first cache ----------------------------------------------------------------------------------

    def _read(self, readers: list[tuple[Line, list[bytes]]]) -> Work:
        readers = [(line, mine) for line, mine in readers if mine]
        kinds: dict[bytes, str] = {}
        if self._by_type:
            replies = yield Exchange([(line, [("TYPE", key) for key in mine]) for line, mine in readers])
            for (_, mine), answer in zip(readers, replies, strict=True):
                for key, kind in zip(mine, answer, strict=True):
                    _check(Side.FIRST, kind)
                    kinds[key] = "" if isinstance(kind, Exception) else kind.decode()
        expiry = "PEXPIRETIME" if self._absolute else "PTTL"
        requests = []
        for line, mine in readers:
            commands: list[Command] = []
            for key in mine:
                # In one transaction, so that expiry and value belong together.
                commands += [("MULTI",), ("TIME",), (expiry, key), self._read_command(key, kinds), ("EXEC",)]
            requests.append((line, commands))
        replies = yield Exchange(requests)
        states: dict[bytes, _State] = {}
        for (_, mine), answer in zip(readers, replies, strict=True):
            for index, key in enumerate(mine):
                states[key] = self._state_of(key, kinds.get(key), answer[5 * index : 5 * index + 5])
        return states

    def _read_command(self, key: bytes, kinds: dict[bytes, str]) -> Command:
        match kinds.get(key):
            case "string":
                return ("GET", key)
            case "list":
                return ("LRANGE", key, 0, -1)
            case "set":
                return ("SMEMBERS", key)
            case "zset":
                return ("ZRANGE", key, 0, -1, "WITHSCORES")
            case "hash":
                return ("HGETALL", key)
            case None:
                return ("DUMP", key)
            case _:
                return ("EXISTS", key)

    def _state_of(self, key: bytes, kind: str | None, replies: list[Reply]) -> _State:
        outcome = replies[-1]
        if isinstance(outcome, Exception):
            reason = next((reply for reply in replies[:-1] if isinstance(reply, Exception)), outcome)
            _check(Side.FIRST, reason)
            return _State(skipped=f"the first cache: {reason}")
        now, rest_ms, value = outcome
        for reply in (now, rest_ms, value):
            if isinstance(reply, Exception):
                _check(Side.FIRST, reply)
                return _State(skipped=f"the first cache: {reply}")  # of another type by then: again
        at_ms: int | None = None
        if rest_ms >= 0:
            at_ms = max(1, rest_ms + (0 if self._absolute else _time_ms(now)) + self._skew_ms())
        if kind is None:
            if value is None:
                return _State(gone=True)
            return _State(self._restore(key, value, at_ms, _time_ms(now)), size_bytes=len(value))
        if rest_ms == -2:
            return _State(gone=True)
        return self._typed(key, kind, value, at_ms)

    def _restore(self, key: bytes, payload: bytes, at_ms: int | None, now_ms: int) -> list[Command]:
        if at_ms is None:
            return [("RESTORE", key, 0, payload, "REPLACE")]
        if at_ms - now_ms > NEAR_EXPIRY_MS:
            return [("RESTORE", key, at_ms, payload, "REPLACE", "ABSTTL")]
        # RESTORE of what has expired meanwhile writes nothing, and who watches an absent key would not notice.
        return [("RESTORE", key, 0, payload, "REPLACE"), ("PEXPIREAT", key, at_ms)]

    def _typed(self, key: bytes, kind: str, value: Reply, at_ms: int | None) -> _State:
        """Write by the type's own commands: the second cache does not take the first one's payloads."""
        commands: list[Command] = [("UNLINK", key)]
        size_bytes = 0
        if kind == "string":
            commands.append(("SET", key, value))
            size_bytes = len(value)
        elif kind in ("list", "set", "zset", "hash"):
            if kind == "hash" and self._has_field_expiries():
                return _State(skipped="a hash whose fields may have expiries is left to the cut-over")
            pairs = list(zip(value[1::2], value[::2], strict=True)) if kind == "zset" else []
            elements = [part for pair in pairs for part in pair] if kind == "zset" else value
            head = {"list": "RPUSH", "set": "SADD", "zset": "ZADD", "hash": "HSET"}[kind]
            commands += [(head, key, *elements[start : start + 1000]) for start in range(0, len(elements), 1000)]
            size_bytes = sum(map(len, elements))
        else:
            return _State(
                skipped=f"a {kind or 'value'} that the second cache's version refuses is left to the cut-over"
            )
        if at_ms is not None:
            commands.append(("PEXPIREAT", key, at_ms))
        return _State(commands, size_bytes=size_bytes)

    def _has_field_expiries(self) -> bool:
        flavour, version = self._flavour
        return version >= ((9,) if flavour == "valkey" else (7, 4))

    # -- knowing the servers --------------------------------------------------------------------------------------

    def _know_servers(self) -> Work:
        """Once: whose processes answer, so that another one is noticed later."""
        for side in Side:
            if side not in self._complete:
                yield from self._greet((yield Nodes(side)))
                self._complete.add(side)

    def _greet(self, lines: Iterable[Line]) -> Work:
        """Ask who answers on each new connection; another process than before may have lost writes."""
        fresh = list(dict.fromkeys(line for line in lines if not line.greeted))
        if not fresh:
            return
        replies = yield Exchange([(line, [("INFO", "server")]) for line in fresh])
        for line, (reply,) in zip(fresh, replies, strict=True):
            _check(line.side, reply)
            info = _parse_info(b"" if isinstance(reply, Exception) else reply)
            known, found = self._run_ids.get((line.side, line.node)), info.get("run_id", "")
            if known != found and line.side in self._complete:
                self.pending.open_gap()
            self._run_ids[line.side, line.node] = found
            if line.side is Side.FIRST:
                self._flavour = _flavour(info)
                self._absolute = self._flavour[1] >= (7,)
        for side in Side:
            mine = next((line for line in fresh if line.side is side), None)
            if mine is not None:
                yield from self._read_clock(mine)
        for line in fresh:
            line.greeted = True

    def _read_clock(self, line: Line) -> Work:
        best: tuple[float, float] | None = None
        for _ in range(3):
            before = self._clock()
            ((reply,),) = yield Exchange([(line, [("TIME",)])])
            after = self._clock()
            if isinstance(reply, Exception):
                return
            reading = (_time_ms(reply, exact=True) - (before + after) * 500, (after - before) * 500)
            if best is None or reading[1] < best[1]:
                best = reading
        assert best is not None
        self._offsets[line.side] = best

    def _skew_ms(self) -> int:
        """How far the second cache's clock is ahead, where that is certain (a long line measures worse than NTP)."""
        if len(self._offsets) < len(Side):
            return 0
        (first_ms, first_slack_ms), (second_ms, second_slack_ms) = self._offsets[Side.FIRST], self._offsets[Side.SECOND]
        skew_ms = second_ms - first_ms
        return round(skew_ms) if abs(skew_ms) > first_slack_ms + second_slack_ms + 5 else 0

    # -- a sweep --------------------------------------------------------------------------------------------------

    def _sweep_page(self, gap: int) -> Work:
        """
        Compare the next page of keys, first all that the first cache has, then all that only the second one has.

        What differs is marked; carrying it is the loop's affair. A new reason for a sweep begins it anew: keys may have
        been missed since.
        """
        if self._sweep is None or self._sweep.number != gap:
            nodes: list[Line] = [*(yield Nodes(Side.FIRST)), *(yield Nodes(Side.SECOND))]
            self._sweep = _Sweep(gap, deque((line.side, line.node) for line in nodes))
        sweep = self._sweep
        if not sweep.todo:
            self._sweep = None
            self.sweeps += 1
            self.pending.close_gap(gap)
            return
        side, node = sweep.todo[0]
        lines = {line.node: line for line in (yield Nodes(side))}
        if node not in lines:
            self._sweep = None  # the cluster has moved
            return
        yield from self._greet([lines[node]])
        ((reply,),) = yield Exchange([(lines[node], [("SCAN", sweep.cursor, "COUNT", SWEEP_KEYS)])])
        _check(side, reply)
        if isinstance(reply, Exception):
            raise SideFailed(side, str(reply))
        cursor, keys = reply
        began = self._clock()
        complete = True
        # What a cut-over builds on its target under names of its own is not ours to remove.
        keys = [key for key in keys if not key.startswith(MOVER_PREFIX)]
        if keys:
            if side is Side.FIRST:
                here, there = (
                    (yield from self._digests(Side.FIRST, keys)),
                    (yield from self._digests(Side.SECOND, keys)),
                )
                behind = [key for key in keys if not self._same(here[key], there[key])]
            else:
                behind = yield from self._gone_from_first(keys)
            room = max(0, self.settings.max_pending_keys - len(self.pending))
            self.pending.counters.swept += len(behind[:room])
            self.pending.mark(behind[:room])
            complete = len(behind) <= room  # else the same page once more, when there is room again
        if complete:
            sweep.cursor = cursor
            if cursor == b"0":
                sweep.todo.popleft()
        self._not_before = max(self._not_before, self._clock() + (self._clock() - began))

    def _digests(self, side: Side, keys: list[bytes]) -> Work:
        parts: list[tuple[Line, list[bytes]]] = yield Split(side, keys)
        yield from self._greet(line for line, _ in parts)
        replies = yield Exchange([(line, [("EVAL", DIGEST_SCRIPT, 1, key) for key in mine]) for line, mine in parts])
        found: dict[bytes, Reply] = {}
        for (_, mine), answer in zip(parts, replies, strict=True):
            for key, reply in zip(mine, answer, strict=True):
                _check(side, reply)
                found[key] = reply
        return found

    def _same(self, here: Reply, there: Reply) -> bool:
        if isinstance(here, Exception) or isinstance(there, Exception) or here[0] != there[0]:
            return False
        here_ms, there_ms = int(here[1]), int(there[1])
        if here_ms < 0 or there_ms < 0:
            return here_ms == there_ms
        return abs(there_ms - here_ms - self._skew_ms()) <= _SWEEP_TOLERANCE_MS

    def _gone_from_first(self, keys: list[bytes]) -> Work:
        parts: list[tuple[Line, list[bytes]]] = yield Split(Side.FIRST, keys)
        replies = yield Exchange([(line, [("EXISTS", key) for key in mine]) for line, mine in parts])
        gone = []
        for (_, mine), answer in zip(parts, replies, strict=True):
            for key, reply in zip(mine, answer, strict=True):
                _check(Side.FIRST, reply)
                if reply != 1:
                    gone.append(key)
        return gone


@dataclass
class _Sweep:
    number: int
    todo: deque[tuple[Side, str]]
    cursor: bytes = b"0"


_ABOUT_A_SERVER: Final = """
    ASK CLUSTERDOWN BUSY LOADING MASTERDOWN MISCONF MOVED NOAUTH NOPERM NOREPLICAS READONLY TRYAGAIN WRONGPASS
"""
_SIDE_CODES: Final = frozenset(_ABOUT_A_SERVER.split())
"""Replies that are about a server, and not about a key."""


def _code(error: Reply) -> str:
    """
    The first word of an error reply.

    redis-py takes it off the message where it has a class for it, which is told by the class's name then.
    """
    by_class = _CLASS_CODES.get(type(error).__name__)
    return by_class or str(error).split(" ", 1)[0]


_CLASS_CODES: Final = {
    "AskError": "ASK",
    "AuthenticationError": "NOAUTH",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}


def _check(side: Side, reply: Reply) -> None:
    """Raise SideFailed for a reply that says that the server cannot be used now."""
    if isinstance(reply, Exception) and (not isinstance(reply, ResponseError) or _code(reply) in _SIDE_CODES):
        raise SideFailed(side, f"{type(reply).__name__}: {str(reply)[:160]}")


def _refused_by_version(error: Exception) -> bool:
    return "payload version or checksum" in str(error) or "Bad data format" in str(error)


def _time_ms(reply: Reply, *, exact: bool = False) -> Any:
    milliseconds = int(reply[0]) * 1000 + int(reply[1]) / 1000
    return milliseconds if exact else int(milliseconds)


def _parse_info(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in lines if value}


def _flavour(info: dict[str, str]) -> tuple[str, tuple[int, ...]]:
    name = "valkey" if "valkey_version" in info else "redis"
    version = info.get(f"{name}_version", "0")
    return name, tuple(int(part) for part in version.split(".") if part.isdigit())
