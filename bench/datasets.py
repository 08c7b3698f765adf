"""The three data sets: a small strings, b mixed types, c big values."""

from __future__ import annotations

import random
from collections.abc import Iterator

from redismove.dataplane.connect import Argument, Command, Connection

SIZES = {"a": 1_000_000, "b": 100_000, "c": 2_000}
WORDS = {
    "a": "strings of 100 random bytes, every 10th with an expiry",
    "b": "hash, list, set, sorted set, stream of 20 to 200 members, every 11th with an expiry",
    "c": "strings of 1 MiB and hashes of 5000 fields, half and half, every 11th with an expiry",
}


def commands(name: str, keys: int) -> Iterator[Command]:
    """The commands that make a data set of about `keys` keys."""
    rng = random.Random(f"{name} {keys}")
    if name == "a":
        for number in range(keys):
            value = rng.randbytes(100)
            if number % 10 == 0:
                yield ("SET", f"key:{number:010d}", value, "PX", 100_000_000 + number)
            else:
                yield ("SET", f"key:{number:010d}", value)
    elif name == "b":
        for number in range(keys):
            yield from _mixed(number, rng)
    else:
        for number in range(keys):
            if number % 2 == 0:
                yield ("SET", f"big:{number}", rng.randbytes(1 << 20))
            else:
                fields: list[Argument] = []
                for field in range(5000):
                    fields += [f"field:{field}", rng.randbytes(10).hex()]
                yield ("HSET", f"big:{number}", *fields)
            if number % 11 == 0:
                yield ("PEXPIRE", f"big:{number}", 100_000_000 + number)


def _mixed(number: int, rng: random.Random) -> Iterator[Command]:
    members = rng.randrange(20, 201)
    kind = number % 5
    name = f"{('hash', 'list', 'set', 'zset', 'stream')[kind]}:{number}"
    if kind == 0:
        yield ("HSET", name, *_flat((f"field:{i}", rng.randbytes(8).hex()) for i in range(members)))
    elif kind == 1:
        yield ("RPUSH", name, *(rng.randbytes(8).hex() for _ in range(members)))
    elif kind == 2:
        yield ("SADD", name, *(rng.randbytes(8).hex() for _ in range(members)))
    elif kind == 3:
        yield ("ZADD", name, *_flat((rng.random() * 1e6, rng.randbytes(8).hex()) for _ in range(members)))
    else:
        for i in range(1, members + 1):
            yield ("XADD", name, f"{i}-0", "sensor", rng.randrange(1000), "value", rng.random())
    if number % 11 == 0:
        yield ("PEXPIRE", name, 100_000_000 + number)


def _flat(pairs: Iterator[tuple[Argument, Argument]]) -> list[Argument]:
    return [part for pair in pairs for part in pair]


def fill(connection: Connection, name: str, keys: int) -> None:
    """Make a data set on an empty server, a few thousand commands at a time."""
    batch: list[Command] = []
    limit = 20 if name == "c" else 5000
    for command in commands(name, keys):
        batch.append(command)
        if len(batch) >= limit:
            connection.pipeline(batch)
            batch = []
    connection.pipeline(batch)
