"""Data of every type and encoding, for tests of copying and comparing."""

from __future__ import annotations

from redismove.dataplane.connect import Argument, Command, Connection
from redismove.dataplane.errors import ReplyError

DELIVERED_AT_MS = 1_700_000_000_000


def fill(connection: Connection, commands: list[Command]) -> None:
    """Run commands that must all succeed."""
    replies = connection.pipeline(commands)
    failed = [reply for reply in replies if isinstance(reply, ReplyError)]
    assert not failed, failed


def every_type(prefix: str = "") -> list[Command]:
    """Small and big values of each type, in each encoding, with and without expiry, with odd bytes."""
    p = prefix.encode()
    commands: list[Command] = [
        ("SET", p + b"plain", "value"),
        ("SET", p + b"integer", 12345),
        ("SET", p + b"long", "abc" * 10_000),
        ("SET", p + b"random", bytes(range(256)) * 40),
        ("SET", p + b"empty", ""),
        ("SET", p + b"\x00\xff\r\n{", b"\r\n\x00$5\r\n"),
        ("SET", p + b"expires", "soon", "PX", 3_600_000),
        ("PFADD", p + b"hyperloglog", *range(200)),
        ("SETBIT", p + b"bits", 1000, 1),
        (
            "ZADD",
            p + b"odd scores",
            "inf",
            "a",
            "-inf",
            "b",
            "3.1415926535897931",
            "c",
            "0.1",
            "d",
            "1e300",
            "e",
            7,
            "f",
        ),
        ("RPUSH", p + b"list of one big", "q" * 100_000, "w", ""),
    ]
    for size in (3, 100, 1000):
        commands += [
            ("RPUSH", p + b"list%d" % size, *(f"item {i}" for i in range(size))),
            ("RPUSH", p + b"numbers%d" % size, *(i * (-1) ** i * 7 ** (i % 20) for i in range(size))),
            ("SADD", p + b"intset%d" % size, *(i * 1000 ** (i % 5) for i in range(size))),
            ("SADD", p + b"set%d" % size, *(f"member {i}" for i in range(size))),
            ("HSET", p + b"hash%d" % size, *_flat((f"field {i}", f"v{i}" * (i % 9)) for i in range(size))),
            ("ZADD", p + b"zset%d" % size, *_flat((repr(i * 0.1 + 1e-17), f"member {i}") for i in range(size))),
            ("EXPIRE", p + b"hash%d" % size, 10_000 + size),
        ]
        commands += [("XADD", p + b"stream%d" % size, f"{i + 5}-{i % 3 + 1}", *_entry(i)) for i in range(size)]
    commands += stream_with_groups(p + b"groups")
    commands += [("XADD", p + b"emptied", "1-1", "a", "b"), ("XDEL", p + b"emptied", "1-1")]
    return commands


def stream_with_groups(key: bytes) -> list[Command]:
    """A stream with a group, two consumers (one idle), pending entries, one of them deleted, and a later last id."""
    return [
        *(("XADD", key, f"{number}-1", "a", number) for number in range(1, 6)),
        ("XGROUP", "CREATE", key, "readers", "0"),
        ("XGROUP", "CREATE", key, "others", "3-1"),
        ("XREADGROUP", "GROUP", "readers", "first", "COUNT", 3, "STREAMS", key, ">"),
        ("XREADGROUP", "GROUP", "readers", "idle", "COUNT", 1, "STREAMS", key, "0"),
        ("XACK", key, "readers", "2-1"),
        ("XDEL", key, "1-1"),
        ("XCLAIM", key, "readers", "first", 0, "3-1", "TIME", DELIVERED_AT_MS, "RETRYCOUNT", 2, "JUSTID"),
        ("XSETID", key, "9-9"),
    ]


def _entry(number: int) -> tuple[Argument, ...]:
    if number % 7:
        return ("a", number, "b", -number * 1000)
    return ("other", number * 2**40, "x" * (number % 100), "")


def _flat(pairs: object) -> list[Argument]:
    return [part for pair in pairs for part in pair]  # type: ignore[attr-defined]
