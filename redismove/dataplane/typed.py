"""
Writing a value by the commands of its type, for servers that refuse the other's DUMP payload.

Everything a type has is written: scores with 17 digits, a stream's ids, last id, groups, consumers and pending
entries, the expiries of hash fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from redismove.dataplane.errors import CannotCarry
from redismove.dataplane.payload import Group, Stream, StreamId, Value

if TYPE_CHECKING:
    from redismove.dataplane.connect import Argument, Command, Server

ELEMENTS_PER_COMMAND = 500
BYTES_PER_COMMAND = 1 << 20


def score_text(score: float) -> bytes:
    """A score as text that reads back to the same double."""
    return b"%.17g" % score  # writes "inf" and "-inf" as Redis reads them


def id_text(stream_id: StreamId) -> bytes:
    """A stream id as text."""
    return b"%d-%d" % stream_id


def write_commands(key: bytes, value: Value, target: Server) -> Iterator[Command]:
    """
    The commands that make `key`, which must not exist before, hold `value` (its own expiry excepted).

    Raises:
        CannotCarry: the target has no command for something the value has.
    """
    if value.kind == "string":
        yield from _string(key, value.string)
    elif value.kind == "list":
        yield from chunked(("RPUSH", key), [(item,) for item in value.items])
    elif value.kind == "set":
        yield from chunked(("SADD", key), [(item,) for item in value.items])
    elif value.kind == "zset":
        yield from chunked(("ZADD", key), [(score_text(score), member) for member, score in value.scores])
    elif value.kind == "hash":
        yield from chunked(("HSET", key), value.fields)
        yield from field_expiry_commands(key, value.field_expires_at_ms, target)
    else:
        assert value.stream is not None
        yield from _stream(key, value.stream, target)


def _string(key: bytes, value: bytes) -> Iterator[Command]:
    step = 8 * BYTES_PER_COMMAND
    yield ("SET", key, value[:step])
    for start in range(step, len(value), step):
        yield ("APPEND", key, value[start : start + step])


def chunked(head: tuple[Argument, ...], elements: Sequence[tuple[bytes, ...]]) -> Iterator[Command]:
    """`head` with some hundreds of elements each, bounded in bytes."""
    arguments: list[Argument] = []
    size_bytes = 0
    count = 0
    for element in elements:
        arguments.extend(element)
        count += 1
        size_bytes += sum(map(len, element))
        if count >= ELEMENTS_PER_COMMAND or size_bytes >= BYTES_PER_COMMAND:
            yield (*head, *arguments)
            arguments, size_bytes, count = [], 0, 0
    if arguments:
        yield (*head, *arguments)


def has_field_expiries(server: Server) -> bool:
    """HPEXPIREAT is there (Redis 7.4, Valkey 9)."""
    return server.version >= ((9,) if server.flavour == "valkey" else (7, 4))


def field_expiry_commands(key: bytes, expires_at_ms: dict[bytes, int], target: Server) -> Iterator[Command]:
    """HPEXPIREAT for the fields of a hash that have an expiry."""
    if not expires_at_ms:
        return
    if not has_field_expiries(target):
        version = ".".join(map(str, target.version))
        raise CannotCarry(
            f"Key {key[:80]!r} has hash fields with an expiry of their own, which "
            f"{target.address.host}:{target.address.port} ({target.flavour} {version}) does not know; "
            "use a target of Redis 7.4 or later."
        )
    for name, at_ms in expires_at_ms.items():
        yield ("HPEXPIREAT", key, at_ms, "FIELDS", 1, name)


def _stream(key: bytes, stream: Stream, target: Server) -> Iterator[Command]:
    present = {entry_id for entry_id, _ in stream.entries}
    # From 7.0 on XCLAIM forgets a pending entry whose message is gone, so such messages stand in for a moment.
    ghosts = sorted({pending_id for group in stream.groups for pending_id in group.pending} - present)
    entries = sorted([*stream.entries, *((ghost, [b"-", b"-"]) for ghost in ghosts)]) if ghosts else stream.entries
    for entry_id, pairs in entries:
        yield ("XADD", key, id_text(entry_id), *pairs)
    if not entries:
        yield ("XGROUP", "CREATE", key, "redismove", "0", "MKSTREAM")
        yield ("XGROUP", "DESTROY", key, "redismove")
    yield from set_id_commands(key, stream, target)
    for group in stream.groups:
        yield from group_commands(key, group, target)
    if ghosts:
        for start in range(0, len(ghosts), ELEMENTS_PER_COMMAND):
            yield ("XDEL", key, *map(id_text, ghosts[start : start + ELEMENTS_PER_COMMAND]))
        yield from set_id_commands(key, stream, target)


def set_id_commands(key: bytes, stream: Stream, target: Server) -> Iterator[Command]:
    """XSETID with all that both servers know."""
    command: list[Argument] = ["XSETID", key, id_text(stream.last_id)]
    if target.absolute_expiry and stream.entries_added is not None and stream.max_deleted_id is not None:  # 7.0
        command += ["ENTRIESADDED", stream.entries_added, "MAXDELETEDID", id_text(stream.max_deleted_id)]
    yield tuple(command)


def group_commands(key: bytes, group: Group, target: Server) -> Iterator[Command]:
    """One group with its consumers and pending entries."""
    create: list[Argument] = ["XGROUP", "CREATE", key, group.name, id_text(group.last_id)]
    if target.absolute_expiry and group.entries_read is not None:  # 7.0
        create += ["ENTRIESREAD", group.entries_read]
    yield tuple(create)
    for consumer in group.consumers:
        if target.version >= (6, 2):
            yield ("XGROUP", "CREATECONSUMER", key, group.name, consumer)
        else:  # reading its own history makes a consumer and delivers nothing
            yield ("XREADGROUP", "GROUP", group.name, consumer, "COUNT", 1, "STREAMS", key, "0")
    for pending_id, pending in group.pending.items():
        yield (
            *("XCLAIM", key, group.name, pending.consumer, 0, id_text(pending_id)),
            *("TIME", pending.delivered_at_ms, "RETRYCOUNT", pending.deliveries, "FORCE", "JUSTID"),
        )
