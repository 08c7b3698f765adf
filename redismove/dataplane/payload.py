"""
What is inside a DUMP payload: the same value read from any encoding and any server version.

DUMP answers one value atomically, with everything that belongs to it (a stream's groups, consumers and pending
entries too), so it is what both the comparison and the carrying by type read. Two servers hold the same value in
different bytes (ziplist or listpack, hash table order, LZF, the version in the footer), hence this decoder.

Layout: one type byte, the body, two bytes of RDB version (little endian), eight bytes of CRC64. The encodings are
those of Redis' `rdb.c`, `ziplist.c`, `listpack.c`, `intset.c` and `t_stream.c`, types of Redis 6.0 to 7.4 and Valkey 9.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from redismove.dataplane.errors import PayloadUnreadable

Kind = Literal["string", "list", "set", "zset", "hash", "stream"]
FOOTER_BYTES = 10
"""RDB version and checksum at the end of a payload."""
StreamId = tuple[int, int]

_STRING, _LIST, _SET, _ZSET, _HASH, _ZSET_2 = 0, 1, 2, 3, 4, 5
_LIST_ZIPLIST, _SET_INTSET, _ZSET_ZIPLIST, _HASH_ZIPLIST, _LIST_QUICKLIST, _STREAM = 10, 11, 12, 13, 14, 15
_HASH_LISTPACK, _ZSET_LISTPACK, _LIST_QUICKLIST_2, _STREAM_2, _SET_LISTPACK, _STREAM_3 = 16, 17, 18, 19, 20, 21
_HASH_TTL_PRE, _HASH_LISTPACK_TTL_PRE, _HASH_TTL, _HASH_LISTPACK_TTL = 22, 23, 24, 25
_VALKEY_HASH_TTL = 22
_VALKEY_VERSIONS = 80
"""RDB versions from here on are Valkey's: its type numbers above 21 mean something else than Redis'."""
LAST_COMMON_TYPE = _STREAM_3
"""Type numbers up to here mean the same on every server, so equal bodies of one type are equal values."""

KIND_OF_TYPE: dict[int, Kind] = {
    _STRING: "string",
    _LIST: "list",
    _LIST_ZIPLIST: "list",
    _LIST_QUICKLIST: "list",
    _LIST_QUICKLIST_2: "list",
    _SET: "set",
    _SET_INTSET: "set",
    _SET_LISTPACK: "set",
    _ZSET: "zset",
    _ZSET_2: "zset",
    _ZSET_ZIPLIST: "zset",
    _ZSET_LISTPACK: "zset",
    _HASH: "hash",
    _HASH_ZIPLIST: "hash",
    _HASH_LISTPACK: "hash",
    _HASH_TTL_PRE: "hash",
    _HASH_LISTPACK_TTL_PRE: "hash",
    _HASH_TTL: "hash",
    _HASH_LISTPACK_TTL: "hash",
    _STREAM: "stream",
    _STREAM_2: "stream",
    _STREAM_3: "stream",
}


@dataclass
class Pending:
    """An entry delivered to a consumer and not acknowledged yet."""

    consumer: bytes
    delivered_at_ms: int
    deliveries: int


@dataclass
class Group:
    """A consumer group; `entries_read` is None where the server does not keep it (before 7.0), -1 for unknown."""

    name: bytes
    last_id: StreamId
    entries_read: int | None
    pending: dict[StreamId, Pending] = field(default_factory=dict)
    consumers: list[bytes] = field(default_factory=list)


@dataclass
class Stream:
    """A stream; `entries_added` and `max_deleted_id` are None where the server does not keep them (before 7.0)."""

    entries: list[tuple[StreamId, list[bytes]]]
    last_id: StreamId
    entries_added: int | None = None
    max_deleted_id: StreamId | None = None
    groups: list[Group] = field(default_factory=list)


@dataclass
class Value:
    """
    A value in the form that does not depend on encoding or server.

    Attributes:
        kind: its type, by TYPE's word.
        string, items, scores, fields, stream: the one that belongs to `kind` is set (`items`: list and set).
        field_expires_at_ms: hash fields that have an expiry of their own (Redis 7.4, Valkey 9).
    """

    kind: Kind
    string: bytes = b""
    items: list[bytes] = field(default_factory=list)
    scores: list[tuple[bytes, float]] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    field_expires_at_ms: dict[bytes, int] = field(default_factory=dict)
    stream: Stream | None = None


def kind_of(payload: bytes) -> Kind | None:
    """The type of a payload, None for one that is not known here (a module's)."""
    return KIND_OF_TYPE.get(payload[0]) if payload else None


def surely_equal(one: bytes, other: bytes) -> bool:
    """Equal without decoding; False says nothing."""
    if one == other:
        return True
    if len(one) != len(other) or len(one) <= FOOTER_BYTES or one[0] > LAST_COMMON_TYPE:
        return False
    return one[:-FOOTER_BYTES] == other[:-FOOTER_BYTES]


def decode(payload: bytes) -> Value:
    """
    Read a DUMP payload.

    Raises:
        PayloadUnreadable: a type that is not known here, or bytes that do not fit its form.
    """
    if len(payload) <= FOOTER_BYTES:
        raise PayloadUnreadable(f"A DUMP payload of {len(payload)} bytes is too short to be one; read the key again.")
    try:
        return _decode(payload)
    except (IndexError, struct.error, ValueError) as error:
        raise PayloadUnreadable(
            f"A DUMP payload of RDB type {payload[0]} does not have the form that is known here ({error}); "
            "the key has to be read by its type's commands."
        ) from None


def _decode(payload: bytes) -> Value:
    kind_byte = payload[0]
    version = int.from_bytes(payload[-FOOTER_BYTES : -FOOTER_BYTES + 2], "little")
    reader = _Reader(payload, 1)
    kind = KIND_OF_TYPE.get(kind_byte)
    if kind == "string":
        return Value("string", string=reader.string())
    if kind in ("list", "set"):
        return Value(kind, items=_items(kind_byte, reader))
    if kind == "zset":
        return Value("zset", scores=_scores(kind_byte, reader))
    if kind == "hash":
        if kind_byte >= _HASH_TTL_PRE:
            return _hash_with_expiries(kind_byte, version, reader)
        return Value("hash", fields=_fields(kind_byte, reader))
    if kind == "stream":
        return Value("stream", stream=_stream(kind_byte, reader))
    raise PayloadUnreadable(
        f"RDB type {kind_byte} (a module's, or of a newer server) is not known here; it can only be moved by RESTORE."
    )


def _items(kind_byte: int, reader: _Reader) -> list[bytes]:
    if kind_byte in (_LIST, _SET):
        return [reader.string() for _ in range(reader.length())]
    if kind_byte == _LIST_ZIPLIST:
        return ziplist(reader.string())
    if kind_byte == _LIST_QUICKLIST:
        return [item for _ in range(reader.length()) for item in ziplist(reader.string())]
    if kind_byte == _SET_INTSET:
        return _intset(reader.string())
    if kind_byte == _SET_LISTPACK:
        return listpack(reader.string())
    items: list[bytes] = []
    for _ in range(reader.length()):
        plain = reader.length() == 1
        node = reader.string()
        items.extend([node] if plain else listpack(node))
    return items


def _scores(kind_byte: int, reader: _Reader) -> list[tuple[bytes, float]]:
    if kind_byte in (_ZSET_ZIPLIST, _ZSET_LISTPACK):
        flat = (ziplist if kind_byte == _ZSET_ZIPLIST else listpack)(reader.string())
        return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]
    read_score = reader.double if kind_byte == _ZSET_2 else reader.text_double
    scores = [(reader.string(), read_score()) for _ in range(reader.length())]
    scores.reverse()  # saved from the highest to the lowest
    return scores


def _fields(kind_byte: int, reader: _Reader) -> list[tuple[bytes, bytes]]:
    if kind_byte == _HASH:
        return [(reader.string(), reader.string()) for _ in range(reader.length())]
    flat = (ziplist if kind_byte == _HASH_ZIPLIST else listpack)(reader.string())
    return list(zip(flat[::2], flat[1::2], strict=True))


def _hash_with_expiries(kind_byte: int, version: int, reader: _Reader) -> Value:
    value = Value("hash")
    if version >= _VALKEY_VERSIONS:
        if kind_byte != _VALKEY_HASH_TTL:
            raise PayloadUnreadable(
                f"RDB type {kind_byte} of Valkey is not known here; it can only be moved by RESTORE."
            )
        for _ in range(reader.length()):
            name, content = reader.string(), reader.string()
            expires_at_ms = struct.unpack("<q", reader.raw(8))[0]
            value.fields.append((name, content))
            if expires_at_ms >= 0:
                value.field_expires_at_ms[name] = expires_at_ms
        return value
    earliest_ms = struct.unpack("<q", reader.raw(8))[0] if kind_byte in (_HASH_TTL, _HASH_LISTPACK_TTL) else None
    if kind_byte in (_HASH_LISTPACK_TTL, _HASH_LISTPACK_TTL_PRE):
        flat = listpack(reader.string())
        for name, content, expires in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            value.fields.append((name, content))
            if int(expires):
                value.field_expires_at_ms[name] = int(expires)
        return value
    for _ in range(reader.length()):
        expires_ms = reader.length()
        name, content = reader.string(), reader.string()
        value.fields.append((name, content))
        if expires_ms:
            value.field_expires_at_ms[name] = expires_ms if earliest_ms is None else earliest_ms + expires_ms - 1
    return value


def _stream(kind_byte: int, reader: _Reader) -> Stream:
    entries: list[tuple[StreamId, list[bytes]]] = []
    for _ in range(reader.length()):
        base_ms, base_sequence = struct.unpack(">QQ", reader.string())
        entries.extend(_stream_node(base_ms, base_sequence, listpack(reader.string())))
    reader.length()  # the number of entries, which is counted above
    stream = Stream(entries, (reader.length(), reader.length()))
    if kind_byte >= _STREAM_2:
        reader.length(), reader.length()  # the first id, which follows from the entries
        stream.max_deleted_id = (reader.length(), reader.length())
        stream.entries_added = reader.length()
    for _ in range(reader.length()):
        group = Group(reader.string(), (reader.length(), reader.length()), None)
        if kind_byte >= _STREAM_2:
            entries_read = reader.length()
            group.entries_read = -1 if entries_read >= 1 << 63 else entries_read
        for _ in range(reader.length()):
            pending_id: StreamId = struct.unpack(">QQ", reader.raw(16))
            delivered_at_ms = struct.unpack("<q", reader.raw(8))[0]
            group.pending[pending_id] = Pending(b"", delivered_at_ms, reader.length())
        for _ in range(reader.length()):
            consumer = reader.string()
            reader.raw(16 if kind_byte >= _STREAM_3 else 8)  # seen and active times change with every read
            group.consumers.append(consumer)
            for _ in range(reader.length()):
                group.pending[struct.unpack(">QQ", reader.raw(16))].consumer = consumer
        stream.groups.append(group)
    return stream


def _stream_node(base_ms: int, base_sequence: int, items: list[bytes]) -> list[tuple[StreamId, list[bytes]]]:
    live, deleted, named = int(items[0]), int(items[1]), int(items[2])
    names = items[3 : 3 + named]
    position = 3 + named + 1
    entries: list[tuple[StreamId, list[bytes]]] = []
    for _ in range(live + deleted):
        flags = int(items[position])
        entry_id = (base_ms + int(items[position + 1]), base_sequence + int(items[position + 2]))
        position += 3
        if flags & 2:
            pairs = [
                part
                for name, value in zip(names, items[position : position + named], strict=True)
                for part in (name, value)
            ]
            position += named
        else:
            count = int(items[position])
            pairs = items[position + 1 : position + 1 + 2 * count]
            position += 1 + 2 * count
        position += 1  # the number of pieces, for walking backwards
        if not flags & 1:
            entries.append((entry_id, pairs))
    return entries


class _Reader:
    """Walks over the pieces of an RDB body."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def raw(self, size: int) -> bytes:
        start = self.position
        self.position = start + size
        if self.position > len(self.data):
            raise IndexError("it ends early")
        return self.data[start : self.position]

    def length(self) -> int:
        value, encoded = self._length()
        if encoded:
            raise ValueError("a length was expected")
        return value

    def _length(self) -> tuple[int, bool]:
        first = self.raw(1)[0]
        form = first >> 6
        if form == 0:
            return first & 63, False
        if form == 1:
            return (first & 63) << 8 | self.raw(1)[0], False
        if form == 3:
            return first & 63, True
        if first == 0x80:
            return int.from_bytes(self.raw(4), "big"), False
        if first == 0x81:
            return int.from_bytes(self.raw(8), "big"), False
        raise ValueError(f"no length begins with {first}")

    def string(self) -> bytes:
        length, encoded = self._length()
        if not encoded:
            return self.raw(length)
        if length in (0, 1, 2):
            return b"%d" % int.from_bytes(self.raw(1 << length), "little", signed=True)
        if length == 3:
            packed_bytes, plain_bytes = self.length(), self.length()
            return lzf_decompress(self.raw(packed_bytes), plain_bytes)
        raise ValueError(f"no string encoding {length}")

    def double(self) -> float:
        return float(struct.unpack("<d", self.raw(8))[0])

    def text_double(self) -> float:
        size = self.raw(1)[0]
        if size >= 253:
            return float(("nan", "inf", "-inf")[size - 253])
        return float(self.raw(size))


def lzf_decompress(data: bytes, size: int) -> bytes:
    """Undo LZF (http://oldhome.schmorp.de/marc/liblzf.html), the compression of long strings in payloads."""
    out = bytearray()
    position, end = 0, len(data)
    while position < end:
        control = data[position]
        if control < 32:
            out += data[position + 1 : position + control + 2]
            position += control + 2
            continue
        length = control >> 5
        if length == 7:
            position += 1
            length += data[position]
        length += 2
        distance = ((control & 31) << 8) + data[position + 1] + 1
        position += 2
        start = len(out) - distance
        if start < 0:
            raise ValueError("LZF points before its start")
        if length <= distance:
            out += out[start : start + length]
        else:  # it goes on with what it writes itself
            out += (out[start:] * (length // distance + 1))[:length]
    if len(out) != size:
        raise ValueError("LZF has another length than announced")
    return bytes(out)


def _intset(data: bytes) -> list[bytes]:
    width, count = struct.unpack_from("<II", data)
    return [b"%d" % number for number in struct.unpack_from(f"<{count}{ {2: 'h', 4: 'i', 8: 'q'}[width] }", data, 8)]


def ziplist(data: bytes) -> list[bytes]:
    """The items of a ziplist (Redis before 7.0), integers as their text."""
    items: list[bytes] = []
    position = 10
    while data[position] != 0xFF:
        position += 5 if data[position] == 0xFE else 1
        first = data[position]
        if first < 0x40:
            size = first & 63
            position += 1
        elif first < 0x80:
            size = (first & 63) << 8 | data[position + 1]
            position += 2
        elif first < 0xC0:
            size = int.from_bytes(data[position + 1 : position + 5], "big")
            position += 5
        else:
            position += 1
            width = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}.get(first, 0)
            if width:
                items.append(b"%d" % int.from_bytes(data[position : position + width], "little", signed=True))
            else:
                items.append(b"%d" % ((first & 15) - 1))
            position += width
            continue
        if position + size >= len(data):
            raise IndexError("a ziplist ends early")
        items.append(data[position : position + size])
        position += size
    return items


def listpack(data: bytes) -> list[bytes]:
    """The items of a listpack, integers as their text."""
    items: list[bytes] = []
    append = items.append
    position = 6
    while True:
        first = data[position]
        if first < 0x80:
            append(b"%d" % first)
            position += 2
            continue
        if first < 0xC0:
            size = first & 63
            start = position + 1
            entry_bytes = 1 + size
        elif first < 0xE0:
            number = (first & 31) << 8 | data[position + 1]
            append(b"%d" % (number - 8192 if number >= 4096 else number))
            position += 3
            continue
        elif first < 0xF0:
            size = (first & 15) << 8 | data[position + 1]
            start = position + 2
            entry_bytes = 2 + size
        elif first == 0xF0:
            size = int.from_bytes(data[position + 1 : position + 5], "little")
            start = position + 5
            entry_bytes = 5 + size
        elif first == 0xFF:
            return items
        else:
            width = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}[first]
            append(b"%d" % int.from_bytes(data[position + 1 : position + 1 + width], "little", signed=True))
            position += width + 2
            continue
        if start + size >= len(data):
            raise IndexError("a listpack ends early")
        append(data[start : start + size])
        position += entry_bytes + (
            1
            if entry_bytes <= 127
            else 2
            if entry_bytes < 16383
            else 3
            if entry_bytes < 2097151
            else 4
            if entry_bytes < 268435455
            else 5
        )


# -- the canonical digest -------------------------------------------------------------------------------------------

DIGEST_BYTES = 16


def _blake(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def framed(*parts: bytes) -> bytes:
    """Join parts so that their borders cannot be confused."""
    return b"".join([struct.pack("<I", len(part)) + part for part in parts])


_FOLD = (0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3)
_WORD = (1 << 64) - 1
_LONG_BYTES = 64


def _mix(a: int, b: int, part: bytes) -> tuple[int, int]:
    """
    Take one part into two 64-bit lanes by multiplying and folding; long parts by their BLAKE2b.

    Not for secrets: for differences that nobody makes on purpose. `verify/compare.c` has the same; tests compare the
    two.
    """
    length = len(part)
    data = part if length <= _LONG_BYTES else _blake(part)
    for start in range(0, len(data), 16):
        x = int.from_bytes(data[start : start + 8], "little")
        y = int.from_bytes(data[start + 8 : start + 16], "little")
        product = (a ^ x ^ _FOLD[0]) * (y ^ _FOLD[1])
        a = product & _WORD ^ product >> 64
        product = (b ^ y ^ _FOLD[2]) * (x ^ _FOLD[3])
        b = product & _WORD ^ product >> 64
    product = (a ^ _FOLD[2]) * (length ^ _FOLD[1])
    a = product & _WORD ^ product >> 64
    product = (b ^ _FOLD[0]) * (length ^ _FOLD[3])
    return a, product & _WORD ^ product >> 64


def _end(kind: Kind, count: int, a: int, b: int) -> bytes:
    return _blake(framed(kind.encode(), b"%d" % count, struct.pack("<QQ", a, b)))


class ElementSum:
    """
    An order-independent digest of a set or hash: the sum, lane by lane modulo 2^64, over its elements.

    Elements may be added in any order and in parts, so a value too big for memory needs no sorting.
    """

    __slots__ = ("_a", "_b", "count")

    def __init__(self) -> None:
        self._a = self._b = self.count = 0

    def add(self, *parts: bytes) -> None:
        """Add one element, made of parts whose borders count."""
        a, b = _FOLD[0], _FOLD[2]
        for part in parts:
            a, b = _mix(a, b, part)
        self._a = (self._a + a) & _WORD
        self._b = (self._b + b) & _WORD
        self.count += 1

    def digest(self, kind: Kind) -> bytes:
        """The digest of the whole value."""
        return _end(kind, self.count, self._a, self._b)


class ElementRun:
    """A digest of a list, sorted set or stream: its elements in their order, added in parts."""

    __slots__ = ("_a", "_b", "count")

    def __init__(self) -> None:
        self._a, self._b, self.count = _FOLD[0], _FOLD[2], 0

    def add(self, *parts: bytes) -> None:
        """Add what comes next."""
        for part in parts:
            self._a, self._b = _mix(self._a, self._b, part)
        self.count += len(parts)

    def digest(self, kind: Kind) -> bytes:
        """The digest of the whole value."""
        return _end(kind, self.count, self._a, self._b)


class StringRun:
    """A digest of a string that comes in pieces."""

    __slots__ = ("_hash",)

    def __init__(self, length_bytes: int) -> None:
        self._hash = blake2b(framed(b"string") + struct.pack("<I", length_bytes), digest_size=DIGEST_BYTES)

    def add(self, piece: bytes) -> None:
        """Add the next piece."""
        self._hash.update(piece)

    def digest(self) -> bytes:
        """The digest of the whole string."""
        return self._hash.digest()


def score_bytes(score: float) -> bytes:
    """The double's own bytes; -0 counts as 0, which it equals, and which Redis 7.0 makes of it in ZADD."""
    return struct.pack("<d", score + 0.0)


def add_stream_entry(run: ElementRun, entry_id: StreamId, pairs: Sequence[bytes]) -> None:
    """Add one entry of a stream."""
    run.add(b"e", struct.pack("<QQ", *entry_id), struct.pack("<I", len(pairs) // 2), *pairs)


def add_stream_rest(run: ElementRun, stream: Stream) -> None:
    """Add what a stream has besides its entries: last id, groups, consumers, pending entries."""
    run.add(b"l", struct.pack("<QQ", *stream.last_id))
    for group in stream.groups:
        run.add(b"g", group.name, struct.pack("<QQ", *group.last_id))
        for consumer in group.consumers:
            run.add(b"c", consumer)
        for pending_id, pending in group.pending.items():
            counted = struct.pack("<qQ", pending.delivered_at_ms, pending.deliveries)
            run.add(b"p", struct.pack("<QQ", *pending_id), pending.consumer, counted)


def digest(value: Value) -> bytes:
    """
    16 bytes that are equal for equal values, whatever encoding or server they came from.

    Left out, because servers before 7.0 do not keep them: a stream's entries-added, max-deleted-id and a group's
    entries-read (compared by `differs_in` where both sides have them), and when a consumer was last seen.
    """
    if value.kind in ("set", "hash"):
        total = ElementSum()
        for item in value.items:
            total.add(item)
        for name, content in value.fields:
            expires = value.field_expires_at_ms.get(name)
            total.add(name, content) if expires is None else total.add(name, content, struct.pack("<q", expires))
        return total.digest(value.kind)
    if value.kind == "string":
        return _blake(framed(b"string", value.string))
    run = ElementRun()
    for item in value.items:
        run.add(item)
    for member, score in value.scores:
        run.add(member, score_bytes(score))
    if value.stream is not None:
        for entry_id, pairs in value.stream.entries:
            add_stream_entry(run, entry_id, pairs)
        add_stream_rest(run, value.stream)
    return run.digest(value.kind)


def differs_in(one: Value, other: Value) -> str | None:
    """
    What differs between two values, in words without their data; None when they are equal.
    """
    if one.kind != other.kind:
        return f"type: {one.kind} / {other.kind}"
    if one.kind == "string":
        return None if one.string == other.string else _string_difference(one.string, other.string)
    if one.kind == "list":
        if one.items == other.items:
            return None
        if len(one.items) != len(other.items):
            return f"list: {len(one.items)} / {len(other.items)} items"
        place = next(i for i, (a, b) in enumerate(zip(one.items, other.items, strict=True)) if a != b)
        return f"list: item {place} differs"
    if one.kind == "set":
        only_one, only_other = set(one.items) - set(other.items), set(other.items) - set(one.items)
        return _sides("set", "members", len(only_one), len(only_other)) if only_one or only_other else None
    if one.kind == "zset":
        mine, theirs = ({m: score_bytes(s) for m, s in value.scores} for value in (one, other))
        return _map_difference("zset", "members", "score", mine, theirs)
    if one.kind == "hash":
        return _map_difference("hash", "fields", "value", dict(one.fields), dict(other.fields)) or _map_difference(
            "hash", "fields with an expiry", "field expiry", one.field_expires_at_ms, other.field_expires_at_ms
        )
    assert one.stream is not None
    assert other.stream is not None
    return _stream_difference(one.stream, other.stream)


def _string_difference(one: bytes, other: bytes) -> str:
    if len(one) != len(other):
        return f"string: {len(one)} / {len(other)} bytes"
    place = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    return f"string: byte {place} differs"


def _sides(kind: str, what: str, only_one: int, only_other: int) -> str:
    return f"{kind}: {only_one} {what} only in the source, {only_other} only in the target"


def _map_difference(
    kind: str, what: str, value: str, mine: Mapping[bytes, object], theirs: Mapping[bytes, object]
) -> str | None:
    if mine == theirs:
        return None
    if mine.keys() != theirs.keys():
        return _sides(kind, what, len(mine.keys() - theirs.keys()), len(theirs.keys() - mine.keys()))
    changed = sum(mine[name] != theirs[name] for name in mine)
    return f"{kind}: {changed} of {len(mine)} {what} differ in {value}"


def _text(stream_id: StreamId) -> str:
    return f"{stream_id[0]}-{stream_id[1]}"


def _stream_difference(one: Stream, other: Stream) -> str | None:
    if one.entries != other.entries:
        if len(one.entries) != len(other.entries):
            return f"stream: {len(one.entries)} / {len(other.entries)} entries"
        place = next(a[0] for a, b in zip(one.entries, other.entries, strict=True) if a != b)
        return f"stream: entry {_text(place)} differs"
    if one.last_id != other.last_id:
        return f"stream: last id {_text(one.last_id)} / {_text(other.last_id)}"
    if None not in (one.entries_added, other.entries_added) and one.entries_added != other.entries_added:
        return f"stream: entries-added {one.entries_added} / {other.entries_added}"
    if None not in (one.max_deleted_id, other.max_deleted_id) and one.max_deleted_id != other.max_deleted_id:
        return "stream: max-deleted-id differs"
    mine, theirs = ({group.name: group for group in stream.groups} for stream in (one, other))
    if mine.keys() != theirs.keys():
        return _sides("stream", "groups", len(mine.keys() - theirs.keys()), len(theirs.keys() - mine.keys()))
    for name, group in mine.items():
        peer = theirs[name]
        if group.last_id != peer.last_id:
            return f"stream: group {name!r} stands at {_text(group.last_id)} / {_text(peer.last_id)}"
        # entries-read is not compared: it is an estimate for XINFO, and Redis' own replication (7.0.15) does not
        # keep it equal, so a healthy replica would never verify.
        if set(group.consumers) != set(peer.consumers):
            return f"stream: group {name!r} has other consumers"
        if group.pending != peer.pending:
            return f"stream: group {name!r} has other pending entries ({len(group.pending)} / {len(peer.pending)})"
    return None


def payloads_differ_in(one: bytes, other: bytes) -> str | None:
    """
    What differs between two DUMP payloads, in words; None when they hold the same value.

    Raises:
        PayloadUnreadable: they differ in bytes and cannot be decoded.
    """
    if surely_equal(one, other):
        return None
    return differs_in(decode(one), decode(other))
