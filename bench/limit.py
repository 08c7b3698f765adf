"""
What the servers can do: each alone, driven with prepared bytes and answers that nobody parses.

`limit` of a copy is the slower of the two: SCAN + DUMP + PTTL on the source, RESTORE on the target.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence

import hiredis

from redismove.dataplane.carry import restore_command
from redismove.dataplane.connect import Connection, Packed, exchange, pack
from redismove.dataplane.keys import keyed

CHUNK_BYTES = 4 << 20


class Prepared:
    """The bytes of a run: chunks that each end in an ECHO, by which their end is seen in the answer."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.keys = 0


def prepare_source(connection: Connection, *, mean_bytes: float) -> tuple[Prepared, list[tuple[bytes, bytes, int]]]:
    """Walk over the source once; what to ask it, and every key with its payload and expiry for the target's run."""
    prepared = Prepared()
    entries: list[tuple[bytes, bytes, int]] = []
    cursor = b"0"
    keys_in_chunk = max(4, min(1000, int(CHUNK_BYTES / max(mean_bytes, 1))))
    while True:
        scan = hiredis.pack_command(("SCAN", cursor, "COUNT", 1000))
        cursor, keys = connection.call("SCAN", cursor, "COUNT", 1000)
        for start in range(0, len(keys), keys_in_chunk):
            some = keys[start : start + keys_in_chunk]
            prepared.chunks.append((scan if start == 0 else b"") + keyed("DUMP", some) + keyed("PTTL", some))
            replies = exchange([(connection, Packed(keyed("DUMP", some) + keyed("PTTL", some), 2 * len(some)))])[0]
            entries += zip(some, replies[: len(some)], replies[len(some) :], strict=True)
            prepared.keys += len(some)
        if cursor == b"0":
            return prepared, entries


def prepare_target(entries: Sequence[tuple[bytes, bytes, int]]) -> Prepared:
    """RESTOREs of everything."""
    prepared = Prepared()
    now_ms = int(time.time() * 1000)
    parts: list[bytes] = []
    size = 0
    for key, payload, ttl_ms in entries:
        parts.append(restore_command(key, payload, now_ms + ttl_ms if ttl_ms >= 0 else 0))
        size += len(payload)
        if len(parts) >= 1000 or size >= CHUNK_BYTES:
            prepared.chunks.append(b"".join(parts))
            parts, size = [], 0
    if parts:
        prepared.chunks.append(b"".join(parts))
    prepared.keys = len(entries)
    return prepared


def run(connection: Connection, prepared: Prepared) -> float:
    """Send it all with two chunks on their way, and return keys per second."""
    room = memoryview(bytearray(1 << 20))
    pending: list[bytes] = []
    tail = b""
    begun = time.perf_counter()
    next_chunk = 0
    out = memoryview(b"")
    while next_chunk < len(prepared.chunks) or pending or out:
        if not out and len(pending) < 2 and next_chunk < len(prepared.chunks):
            token = b"<<end of chunk %012d>>" % next_chunk
            out = memoryview(prepared.chunks[next_chunk] + pack([("ECHO", token)]).data)
            pending.append(token)
            next_chunk += 1
        if out:
            out = out[connection.send_some(out) :]
        received = connection.receive_into(room)
        if received:
            seen = tail + bytes(room[:received])
            while pending and pending[0] in seen:
                pending.pop(0)
            tail = seen[-64:]
        else:
            poller = select.poll()
            poller.register(connection.fileno(), select.POLLIN | (select.POLLOUT if out else 0))
            poller.poll(1000)
    return prepared.keys / (time.perf_counter() - begun)
