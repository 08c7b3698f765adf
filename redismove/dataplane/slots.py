"""Hash slots of Redis Cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/)."""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache
from hashlib import blake2b

SLOTS = 16384


def slot_of(key: bytes) -> int:
    """The slot of a key: CRC16 (XMODEM, the one `crc_hqx` computes) of its hash tag, or of all of it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


@cache
def _tag_for(slot: int) -> bytes:
    number = 0
    while crc_hqx(b"%d" % number, 0) % SLOTS != slot:
        number += 1
    return b"%d" % number


TEMPORARY_PREFIX = b"redismove:part:"


def temporary_key(key: bytes) -> bytes:
    """A name in the same slot as `key` for a value that is being written in parts."""
    return TEMPORARY_PREFIX + b"{%b}:%b" % (_tag_for(slot_of(key)), blake2b(key, digest_size=16).hexdigest().encode())
