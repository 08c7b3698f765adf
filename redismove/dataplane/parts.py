"""
Reading a value that is too big for one reply, in windows, by the commands of its type.

Each function yields the commands that append the next window to another key. What is deleted while a value is being
read may have been written already: the caller compares lengths afterwards and follows changes anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from redismove.dataplane.connect import pack, time_ms
from redismove.dataplane.errors import CannotCarry, ReplyError, explain
from redismove.dataplane.payload import Group, Pending, Stream, StreamId
from redismove.dataplane.typed import (
    chunked,
    field_expiry_commands,
    group_commands,
    has_field_expiries,
    set_id_commands,
)

if TYPE_CHECKING:
    from redismove.dataplane.connect import Command, Reply, Server

STRING_WINDOW_BYTES = 4 << 20
WINDOW_ELEMENTS = 1000
LENGTH_COMMAND = {"string": "STRLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN", "stream": "XLEN"}


def ask(server: Server, database: int, key: bytes, *command: bytes | str | int) -> Reply:
    """One command at the node of a key; error replies are raised by name."""
    reply = server.execute([(key, command)], database)[0]
    if isinstance(reply, ReplyError):
        raise explain(reply, server.address.url, str(command[0]))
    return reply


def kind_and_length(server: Server, database: int, key: bytes) -> tuple[str, int]:
    """TYPE's word and the number of bytes or elements; ("none", 0) when the key is not there."""
    kind = ask(server, database, key, "TYPE", key).decode()
    if kind == "none":
        return kind, 0
    if kind not in LENGTH_COMMAND:
        raise CannotCarry(
            f"Key {key[:80]!r} is of type {kind}, which has no commands known here; only RESTORE moves it."
        )
    try:
        return kind, ask(server, database, key, LENGTH_COMMAND[kind], key)
    except ReplyError as error:
        if error.code == "WRONGTYPE":  # it became another type in between
            return kind_and_length(server, database, key)
        raise


def windows(
    server: Server, database: int, key: bytes, kind: str, *, ordered: bool = False
) -> Iterator[list[tuple[bytes, ...] | bytes]]:
    """
    The elements of a value in windows: bytes of a string or items as 1-tuples; pairs of a hash (field, value) or
    sorted set (member, score text); a stream's entries as (id, field, value, ...). `ordered` reads a sorted set by
    rank, so that two of them can be compared window by window; by cursor (else) nothing is missed when ranks shift.
    """
    if kind == "string":
        start = 0
        while piece := ask(server, database, key, "GETRANGE", key, start, start + STRING_WINDOW_BYTES - 1):
            yield [piece]
            start += len(piece)
            if len(piece) < STRING_WINDOW_BYTES:
                return
    elif kind == "list":
        start = 0
        while items := ask(server, database, key, "LRANGE", key, start, start + WINDOW_ELEMENTS - 1):
            yield [(item,) for item in items]
            start += len(items)
    elif kind == "zset" and ordered:
        start = 0
        while flat := ask(server, database, key, "ZRANGE", key, start, start + WINDOW_ELEMENTS - 1, "WITHSCORES"):
            yield list(zip(flat[::2], flat[1::2], strict=True))
            start += len(flat) // 2
    elif kind in ("set", "hash", "zset"):
        command = {"set": "SSCAN", "hash": "HSCAN", "zset": "ZSCAN"}[kind]
        cursor = b"0"
        while True:
            cursor, flat = ask(server, database, key, command, key, cursor, "COUNT", WINDOW_ELEMENTS)
            yield [(item,) for item in flat] if kind == "set" else list(zip(flat[::2], flat[1::2], strict=True))
            if cursor == b"0":
                return
    elif kind == "stream":
        first_id = b"-"
        while entries := ask(server, database, key, "XRANGE", key, first_id, "+", "COUNT", WINDOW_ELEMENTS):
            yield [(entry_id, *pairs) for entry_id, pairs in entries]
            first_id = _after(entries[-1][0])


def _after(entry_id: bytes) -> bytes:
    milliseconds, _, sequence = entry_id.partition(b"-")  # "(" ranges exist from 6.2 only
    return b"%b-%d" % (milliseconds, int(sequence) + 1)


def field_expiries(server: Server, database: int, key: bytes, names: list[bytes]) -> dict[bytes, int]:
    """When the fields of a hash expire, for those that do."""
    if not names or not has_field_expiries(server):
        return {}
    times = ask(server, database, key, "HPEXPIRETIME", key, "FIELDS", len(names), *names)
    return {name: at_ms for name, at_ms in zip(names, times or [], strict=bool(times)) if at_ms >= 0}


def copy_commands(
    source: Server, database: int, key: bytes, kind: str, into: bytes, target: Server
) -> Iterator[list[Command]]:
    """The commands that rebuild `key` of the source as `into`, window by window."""
    if kind == "stream":
        yield from _stream_commands(source, database, key, into, target)
        return
    if kind == "string":
        yield [("SET", into, b"")]  # an empty string is a key too
    head: dict[str, str] = {"list": "RPUSH", "set": "SADD", "hash": "HSET", "zset": "ZADD"}
    for window in windows(source, database, key, kind):
        if kind == "string":
            yield [("APPEND", into, piece) for piece in window if isinstance(piece, bytes)]
            continue
        elements = [element for element in window if isinstance(element, tuple)]
        if kind == "zset":
            elements = [(score, member) for member, score in elements]
        commands = list(chunked((head[kind], into), elements))
        if kind == "hash":
            expiries = field_expiries(source, database, key, [element[0] for element in elements])
            commands += field_expiry_commands(into, expiries, target)
        yield commands


def _stream_commands(source: Server, database: int, key: bytes, into: bytes, target: Server) -> Iterator[list[Command]]:
    stream = stream_rest(source, database, key)
    pending = sorted({pending_id for group in stream.groups for pending_id in group.pending})
    ghosts: list[StreamId] = []
    position = 0
    empty = True
    for window in windows(source, database, key, "stream"):
        commands: list[Command] = []
        for entry in (item for item in window if isinstance(item, tuple)):
            entry_id = parse_id(entry[0])
            while position < len(pending) and pending[position] < entry_id:
                ghosts.append(pending[position])
                commands.append(("XADD", into, b"%d-%d" % pending[position], b"-", b"-"))
                position += 1
            if position < len(pending) and pending[position] == entry_id:
                position += 1
            commands.append(("XADD", into, *entry))
        empty = empty and not commands
        yield commands
    for ghost in pending[position:]:
        ghosts.append(ghost)
        empty = False
        yield [("XADD", into, b"%d-%d" % ghost, b"-", b"-")]
    if empty:
        yield [("XGROUP", "CREATE", into, "redismove", "0", "MKSTREAM"), ("XGROUP", "DESTROY", into, "redismove")]
    yield list(set_id_commands(into, stream, target))
    for group in stream.groups:
        yield list(group_commands(into, group, target))
    if ghosts:
        yield [*(("XDEL", into, b"%d-%d" % ghost) for ghost in ghosts), *set_id_commands(into, stream, target)]


def parse_id(text: bytes) -> StreamId:
    """A stream id from its text."""
    milliseconds, _, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence)


def _pairs(flat: list[Reply]) -> dict[bytes, Reply]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def stream_rest(server: Server, database: int, key: bytes) -> Stream:
    """All of a stream but its entries, by XINFO and XPENDING."""
    facts = _pairs(ask(server, database, key, "XINFO", "STREAM", key))
    stream = Stream([], parse_id(facts[b"last-generated-id"]))
    if b"entries-added" in facts:
        stream.entries_added = facts[b"entries-added"]
        stream.max_deleted_id = parse_id(facts[b"max-deleted-entry-id"])
    for flat in ask(server, database, key, "XINFO", "GROUPS", key):
        row = _pairs(flat)
        group = Group(row[b"name"], parse_id(row[b"last-delivered-id"]), None)
        if b"entries-read" in row:
            group.entries_read = -1 if row[b"entries-read"] is None else row[b"entries-read"]
        for consumer in ask(server, database, key, "XINFO", "CONSUMERS", key, group.name):
            group.consumers.append(_pairs(consumer)[b"name"])
        start = b"-"
        while True:
            packed = pack([("TIME",), ("XPENDING", key, group.name, start, "+", WINDOW_ELEMENTS)])
            now, rows = server.execute([(key, packed)], database)[0]
            if isinstance(rows, ReplyError):
                raise explain(rows, server.address.url, "XPENDING")
            if not rows:
                break
            now_ms = time_ms(now)
            for entry_id, consumer, idle_ms, deliveries in rows:
                group.pending[parse_id(entry_id)] = Pending(consumer, now_ms - idle_ms, deliveries)
            start = _after(rows[-1][0])
        stream.groups.append(group)
    return stream
