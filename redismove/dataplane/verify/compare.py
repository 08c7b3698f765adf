"""The comparison of some keys on two servers, at three depths."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from redismove.dataplane.connect import Command, Node, Packed, Reply, Server, clock_skew_ms, exchange
from redismove.dataplane.errors import PayloadUnreadable, ReplyError, explain
from redismove.dataplane.keys import NO_EXPIRY, NO_KEY, keyed, read_states
from redismove.dataplane.parts import LENGTH_COMMAND, field_expiries, kind_and_length, parse_id, stream_rest, windows
from redismove.dataplane.payload import (
    ElementRun,
    ElementSum,
    Stream,
    StringRun,
    Value,
    add_stream_entry,
    add_stream_rest,
    decode,
    differs_in,
    digest,
    framed,
    kind_of,
    score_bytes,
    surely_equal,
)

TOLERANCE_MS = 5
SCAN_COUNT = 1000
BATCH_KEYS = 500
BATCH_BYTES = 8 << 20
BIG_VALUE_BYTES = 32 << 20
PROBE_ABOVE_BYTES_PER_KEY = 2048
"""Where keys are this big on average, their sizes are asked before they are read; below, asking would cost more."""

DifferenceKind = Literal["only_in_source", "only_in_target", "type", "value", "expiry"]
Depth = Literal["keys", "values", "full"]


@dataclass(frozen=True)
class Difference:
    """One key that is not the same on both sides, and why, without its data."""

    database: int
    key: bytes
    kind: DifferenceKind
    reason: str


@dataclass
class Pair:
    """Two servers that are compared, and what was found out about them once."""

    source: Server
    target: Server
    tolerance_ms: int = TOLERANCE_MS
    big_value_bytes: int = BIG_VALUE_BYTES
    skew_ms: int = 0
    probe: bool = False
    batch_keys: int = 64

    @classmethod
    def of(
        cls, source: Server, target: Server, *, tolerance_ms: int = TOLERANCE_MS, big_value_bytes: int = BIG_VALUE_BYTES
    ) -> Pair:
        """Compare the clocks and look at how big keys are on average."""
        pair = cls(source, target, tolerance_ms, big_value_bytes, clock_skew_ms(source, target))
        for server in (source, target):
            for node in server.nodes:
                used_bytes = int(server.info("memory", node).get("used_memory", "0"))
                keys = (
                    int(server.connection(node, 0).call("DBSIZE"))
                    if server.clustered
                    else sum(server.databases().values())
                )
                if keys and used_bytes / keys > PROBE_ABOVE_BYTES_PER_KEY:
                    pair.probe = True
        return pair


@dataclass
class Outcome:
    """What comparing a batch gave: differences, and (key, what goes into the signature) of each equal key."""

    differences: list[Difference]
    digests: list[tuple[bytes, bytes]]


def compare_batch(
    pair: Pair,
    database: int,
    keys: Sequence[bytes],
    depth: Depth = "full",
    *,
    digests: bool = False,
    big: Collection[bytes] = (),
) -> Outcome:
    """
    Compare some keys, given by either side.

    Args:
        pair: the servers.
        database: on both.
        keys: any number; they are read in batches that fit into memory.
        depth: `keys` (there or not), `values` (type, length, expiry), `full` (every value).
        digests: also a digest of each equal key, for a signature.
        big: of the keys, those known to be too big for one reply.
    """
    outcome = Outcome([], [])
    if not pair.source.has_database(database) or not pair.target.has_database(database):
        _one_sided(pair, database, keys, outcome)
        return outcome
    position = 0
    while position < len(keys):
        step = pair.batch_keys if depth == "full" else BATCH_KEYS
        batch = keys[position : position + step]
        position += len(batch)
        if depth == "keys":
            _compare_existence(pair, database, batch, outcome, digests)
        elif depth == "values":
            _compare_outlines(pair, database, batch, outcome, digests)
        else:
            _compare_values(pair, database, batch, outcome, digests, set(big).intersection(batch))
    return outcome


def _one_sided(pair: Pair, database: int, keys: Sequence[bytes], outcome: Outcome) -> None:
    for server, kind, other in (
        (pair.source, "only_in_source", pair.target),
        (pair.target, "only_in_target", pair.source),
    ):
        if server.has_database(database):
            reason = f"{other.address.host}:{other.address.port} has no database {database}"
            for key, there in zip(keys, exists(server, database, keys), strict=True):
                if there:
                    outcome.differences.append(Difference(database, key, kind, reason))  # type: ignore[arg-type]


def _key_digest(database: int, key: bytes, *parts: bytes) -> bytes:
    return framed(b"%d" % database, key, *parts)


def exists(server: Server, database: int, keys: Sequence[bytes]) -> list[bool]:
    """Which keys are there; a whole batch that is there costs one command (outside clusters)."""
    if not server.clustered and len(keys) > 1:
        packed = Packed(b"*%d\r\n$6\r\nEXISTS\r\n" % (len(keys) + 1) + _bulks(keys), 1)
        count = exchange([(server.connection(database=database), packed)])[0][0]
        if isinstance(count, ReplyError):
            raise explain(count, server.address.url, "EXISTS")
        if count == len(keys):
            return [True] * len(keys)
    replies = server.execute([(key, Packed(keyed("EXISTS", [key]), 1)) for key in keys], database)
    return [_checked(server, reply, "EXISTS") == 1 for reply in replies]


def _bulks(keys: Sequence[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(key), key) for key in keys])


def _checked(server: Server, reply: Reply, command: str) -> Reply:
    if isinstance(reply, ReplyError):
        raise explain(reply, server.address.url, command)
    return reply


def _compare_existence(pair: Pair, database: int, keys: Sequence[bytes], outcome: Outcome, digests: bool) -> None:
    mine, theirs = exists(pair.source, database, keys), exists(pair.target, database, keys)
    for key, here, there in zip(keys, mine, theirs, strict=True):
        if here != there:
            outcome.differences.append(_missing(database, key, here))
        elif here and digests:
            outcome.digests.append((key, _key_digest(database, key)))


def _missing(database: int, key: bytes, in_source: bool) -> Difference:
    if in_source:
        return Difference(database, key, "only_in_source", "not on the target")
    return Difference(database, key, "only_in_target", "not on the source")


def _compare_outlines(pair: Pair, database: int, keys: Sequence[bytes], outcome: Outcome, digests: bool) -> None:
    source, target = pair.source, pair.target
    kinds = [_outlines(server, database, keys) for server in (source, target)]
    states = read_states([(source, keys), (target, keys)], database, payloads=False)
    rows = zip(keys, *kinds, states[0].expires_at_ms, states[1].expires_at_ms, strict=True)
    for key, (kind, length), (other_kind, other_length), expires_at_ms, other_expires_at_ms in rows:
        if (kind == "none") != (other_kind == "none"):
            outcome.differences.append(_missing(database, key, kind != "none"))
        elif kind != other_kind:
            outcome.differences.append(Difference(database, key, "type", f"type: {kind} / {other_kind}"))
        elif length != other_length:
            outcome.differences.append(Difference(database, key, "value", f"{kind}: length {length} / {other_length}"))
        elif reason := _expiry_reason(
            pair, expires_at_ms, other_expires_at_ms, states[0].slack_ms + states[1].slack_ms
        ):
            outcome.differences.append(Difference(database, key, "expiry", reason))
        elif digests and kind != "none":
            outcome.digests.append(
                (key, _key_digest(database, key, kind.encode(), b"%d" % length, _flag(expires_at_ms)))
            )


def _outlines(server: Server, database: int, keys: Sequence[bytes]) -> list[tuple[str, int]]:
    replies = server.execute([(key, Packed(keyed("TYPE", [key]), 1)) for key in keys], database)
    kinds = [_checked(server, reply, "TYPE").decode() for reply in replies]
    asked = [(key, kind) for key, kind in zip(keys, kinds, strict=True) if kind in LENGTH_COMMAND]
    lengths = iter(server.execute([(key, (LENGTH_COMMAND[kind], key)) for key, kind in asked], database))
    outlines = []
    for key, kind in zip(keys, kinds, strict=True):
        length = next(lengths) if kind in LENGTH_COMMAND else 0
        outlines.append(kind_and_length(server, database, key) if isinstance(length, ReplyError) else (kind, length))
    return outlines


def _flag(expires_at_ms: int) -> bytes:
    return b"expires" if expires_at_ms >= 0 else b"stays"


def _expiry_reason(pair: Pair, mine_ms: int, theirs_ms: int, slack_ms: int) -> str | None:
    if mine_ms < 0 or theirs_ms < 0:
        if (mine_ms < 0) == (theirs_ms < 0):
            return None
        return "expiry: none on the target" if theirs_ms < 0 else "expiry: only on the target"
    distance_ms = theirs_ms - mine_ms - pair.skew_ms
    if abs(distance_ms) <= pair.tolerance_ms + slack_ms:
        return None
    return f"expiry: {abs(distance_ms)} ms {'later' if distance_ms > 0 else 'earlier'} on the target"


def _compare_values(
    pair: Pair, database: int, keys: Sequence[bytes], outcome: Outcome, digests: bool, big: set[bytes]
) -> None:
    if pair.probe:
        big |= _big_keys(pair, database, keys)
    for key in big:
        _compare_in_parts(pair, database, key, outcome, digests)
    whole = [key for key in keys if key not in big] if big else keys
    mine, theirs = read_states([(pair.source, whole), (pair.target, whole)], database)
    biggest_bytes = max((len(p) for state in (mine, theirs) for p in state.payloads if p), default=0)
    fitting = BATCH_BYTES // (biggest_bytes + 64)
    pair.batch_keys = max(8, min(BATCH_KEYS, fitting, pair.batch_keys * 4))
    slack_ms = mine.slack_ms + theirs.slack_ms
    rows = zip(whole, mine.payloads, theirs.payloads, mine.expires_at_ms, theirs.expires_at_ms, strict=True)
    for key, payload, other_payload, expires_at_ms, other_expires_at_ms in rows:
        if payload is None or other_payload is None:
            if payload is not other_payload:
                outcome.differences.append(_missing(database, key, payload is not None))
            continue
        found = _payload_difference(payload, other_payload)
        if found:
            outcome.differences.append(Difference(database, key, *found))
        elif reason := _expiry_reason(pair, expires_at_ms, other_expires_at_ms, slack_ms):
            outcome.differences.append(Difference(database, key, "expiry", reason))
        elif digests:
            outcome.digests.append((key, _key_digest(database, key, _value_digest(payload), _flag(expires_at_ms))))


def _payload_difference(payload: bytes, other: bytes) -> tuple[Literal["type", "value"], str] | None:
    if surely_equal(payload, other):
        return None
    kind, other_kind = kind_of(payload), kind_of(other)
    if kind is not None and other_kind is not None and kind != other_kind:
        return "type", f"type: {kind} / {other_kind}"
    try:
        reason = differs_in(decode(payload), decode(other))
    except PayloadUnreadable:
        reason = "value: other bytes, and of a type that cannot be read here"
    return ("value", reason) if reason else None


def _value_digest(payload: bytes) -> bytes:
    try:
        return digest(decode(payload))
    except PayloadUnreadable:
        return payload[:-10]


def _big_keys(pair: Pair, database: int, keys: Sequence[bytes]) -> set[bytes]:
    big: set[bytes] = set()
    for server in (pair.source, pair.target):
        commands: list[tuple[bytes, Command]] = [(key, ("MEMORY", "USAGE", key, "SAMPLES", 5)) for key in keys]
        for key, size_bytes in zip(keys, server.execute(commands, database), strict=True):
            if isinstance(size_bytes, int) and size_bytes > pair.big_value_bytes:
                big.add(key)
    return big


def _compare_in_parts(pair: Pair, database: int, key: bytes, outcome: Outcome, digests: bool) -> None:
    """Compare one value that is too big for one reply, in windows on both sides."""
    source, target = pair.source, pair.target
    (kind, length), (other_kind, other_length) = (kind_and_length(server, database, key) for server in (source, target))
    if kind == "none" or other_kind == "none":
        if kind != other_kind:
            outcome.differences.append(_missing(database, key, kind != "none"))
        return
    if kind != other_kind:
        outcome.differences.append(Difference(database, key, "type", f"type: {kind} / {other_kind}"))
        return
    if length != other_length:
        outcome.differences.append(Difference(database, key, "value", f"{kind}: length {length} / {other_length}"))
        return
    reason, mine = _parts_difference(pair, database, key, kind, length)
    if reason:
        outcome.differences.append(Difference(database, key, "value", reason))
        return
    states = read_states([(source, [key]), (target, [key])], database, payloads=False)
    expiries = [state.expires_at_ms[0] for state in states]
    reason = _expiry_reason(pair, expiries[0], expiries[1], sum(state.slack_ms for state in states))
    if reason:
        outcome.differences.append(Difference(database, key, "expiry", reason))
    elif digests:
        outcome.digests.append((key, _key_digest(database, key, mine, _flag(expiries[0]))))


def _parts_difference(pair: Pair, database: int, key: bytes, kind: str, length: int) -> tuple[str | None, bytes]:
    """What differs in a big value, and the same digest of it that `payload.digest` would give."""
    source, target = pair.source, pair.target
    if kind in ("set", "hash"):
        mine, theirs = (_sum_in_parts(server, database, key, kind) for server in (source, target))
        return (None if mine == theirs else f"{kind}: content differs"), mine
    run, string = ElementRun(), StringRun(length)
    pieces = (windows(server, database, key, kind, ordered=True) for server in (source, target))
    for window, other in zip_longest(*pieces):
        if window is None or other is None or not _same_window(kind, window, other):
            return f"{kind}: content differs", b""
        _add_window(run, string, kind, window)
    if kind == "string":
        return None, string.digest()
    if kind != "stream":
        return None, run.digest(kind)  # type: ignore[arg-type] # list or zset
    mine_rest, their_rest = (stream_rest(server, database, key) for server in (source, target))
    _align_delivery_times(mine_rest, their_rest)
    add_stream_rest(run, their_rest)
    reason = differs_in(Value("stream", stream=mine_rest), Value("stream", stream=their_rest))
    return reason, run.digest("stream")


def _same_window(kind: str, one: list[tuple[bytes, ...] | bytes], other: list[tuple[bytes, ...] | bytes]) -> bool:
    if one == other:
        return True
    # Servers write the same score in different digits.
    return kind == "zset" and [(m, float(s)) for m, s in one] == [(m, float(s)) for m, s in other]


def _add_window(run: ElementRun, string: StringRun, kind: str, window: list[tuple[bytes, ...] | bytes]) -> None:
    for element in window:
        if isinstance(element, bytes):
            string.add(element)
        elif kind == "zset":
            run.add(element[0], score_bytes(float(element[1])))
        elif kind == "stream":
            add_stream_entry(run, parse_id(element[0]), element[1:])
        else:
            run.add(*element)


def _align_delivery_times(one: Stream, other: Stream) -> None:
    """Delivery times come from idle times here and are exact to a ms or two: take those as equal."""
    peers = {group.name: group for group in other.groups}
    for group in one.groups:
        peer = peers.get(group.name)
        for pending_id, pending in group.pending.items():
            match = peer.pending.get(pending_id) if peer else None
            if match is not None and abs(match.delivered_at_ms - pending.delivered_at_ms) <= 2 * TOLERANCE_MS:
                pending.delivered_at_ms = match.delivered_at_ms


def _sum_in_parts(server: Server, database: int, key: bytes, kind: str) -> bytes:
    """SCAN family commands may answer an element twice while a table is being resized: each counts once."""
    total = ElementSum()
    seen: set[int] = set()
    for window in windows(server, database, key, kind):
        elements = [element for element in window if isinstance(element, tuple)]
        expiries = field_expiries(server, database, key, [element[0] for element in elements]) if kind == "hash" else {}
        for element in elements:
            exact = element
            if element[0] in expiries:
                exact = (*element, struct.pack("<q", expiries[element[0]]))
            mark = hash(exact)
            if mark not in seen:
                seen.add(mark)
                total.add(*exact)
    return total.digest(kind)  # type: ignore[arg-type]


# -- whole servers --------------------------------------------------------------------------------------------------


def compare_keys(
    source: Server,
    target: Server,
    database: int,
    keys: Sequence[bytes],
    *,
    depth: Depth = "full",
    tolerance_ms: int = TOLERANCE_MS,
    pair: Pair | None = None,
) -> list[Difference]:
    """
    The differences among some keys, each with its reason.

    Args:
        source: an open server; only read.
        target: the other one; only read.
        database: on both.
        keys: from either side.
        depth: `keys`, `values` or `full`.
        tolerance_ms: how far absolute expiries may be apart.
        pair: what `Pair.of` found out, to save asking again.
    """
    pair = pair or Pair.of(source, target, tolerance_ms=tolerance_ms)
    return compare_batch(pair, database, keys, depth).differences


def databases_of(source: Server, target: Server) -> list[int]:
    """The databases in use on either side."""
    return sorted(set(source.databases()) | set(target.databases()))


def only_in_target(pair: Pair, database: int, keys: Sequence[bytes]) -> list[Difference]:
    """Of some keys of the target, those that the source lacks."""
    if not pair.source.has_database(database):
        outcome = Outcome([], [])
        _one_sided(pair, database, keys, outcome)
        return outcome.differences
    there = exists(pair.source, database, keys)
    return [_missing(database, key, False) for key, found in zip(keys, there, strict=True) if not found]


def scan_batches(server: Server, node: Node, database: int) -> Iterator[list[bytes]]:
    """The keys of one primary in batches that are not empty."""
    if server.has_database(database):
        for keys in server.scan(node, database, count=SCAN_COUNT):
            if keys:
                yield keys


def differences(
    source: Server,
    target: Server,
    *,
    tolerance_ms: int = TOLERANCE_MS,
    databases: Sequence[int] | None = None,
) -> Iterator[tuple[int, bytes]]:
    """
    Every key whose value, type or expiry differs, or that is on one side only: (database, key).

    Read once each, both ways, without waiting for anything to settle: what is being written meanwhile may come out as
    different. A key may come twice. Only reads. The quick primitive of the cut-over's repair pass.

    Args:
        source: an open server.
        target: the other one.
        tolerance_ms: how far absolute expiries may be apart.
        databases: only these; None means all in use on either side.
    """
    pair = Pair.of(source, target, tolerance_ms=tolerance_ms)
    for database in databases_of(source, target) if databases is None else databases:
        for node in source.nodes:
            for keys in scan_batches(source, node, database):
                for difference in compare_batch(pair, database, keys).differences:
                    yield database, difference.key
        for node in target.nodes:
            for keys in scan_batches(target, node, database):
                for difference in only_in_target(pair, database, keys):
                    yield database, difference.key


__all__ = [
    "NO_EXPIRY",
    "NO_KEY",
    "Depth",
    "Difference",
    "Outcome",
    "Pair",
    "compare_batch",
    "compare_keys",
    "differences",
]
