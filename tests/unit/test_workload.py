"""The workload's bookkeeping: it must see a loss, and must not see one where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from workload import EXPIRY_DOUBT_MS, Expectation, _difference

T = 1_000_000.0


def told(expectation: Expectation, text: str, reply: Any, at_ms: float = T) -> None:
    expectation.acknowledged(text.encode().split(), reply, at_ms, at_ms + 1)


@pytest.mark.parametrize(
    ("history", "contradicted"),
    [
        ([("SET s a", b"OK"), ("DEL s", 1), ("DEL s", 0)], False),
        ([("SET s a", b"OK"), ("DEL s", 0)], True),
        ([("INCR c", 1), ("INCR c", 2)], False),
        ([("INCR c", 1), ("INCR c", 1)], True),
        ([("HSET h f 1", 1), ("HSET h f 2", 0), ("HDEL h f", 1), ("HDEL h f", 0)], False),
        ([("HSET h f 1", 1), ("HDEL h f", 0)], True),
        ([("LPUSH l a", 1), ("LPUSH l b", 2), ("RPOP l", b"a"), ("RPOP l", b"b"), ("RPOP l", None)], False),
        ([("LPUSH l a", 1), ("LPUSH l b", 1)], True),
        ([("LPUSH l a", 1), ("RPOP l", b"b")], True),
        ([("ZADD z 1 m", 1), ("ZADD z 2 m", 0)], False),
        ([("ZADD z 1 m", 1), ("ZADD z 2 m", 1)], True),
        ([("SET a 1", b"OK"), ("RENAME a b", b"OK"), ("RENAME a b", "ERR no such key")], False),
        ([("SET a 1", b"OK"), ("RENAME a b", "ERR no such key")], True),
        ([("SET a 1", b"OK"), ("EXPIRE a 9", 1)], False),
        ([("SET a 1", b"OK"), ("EXPIRE a 9", 0)], True),
        ([("XGROUP CREATE x workers 0 MKSTREAM", b"OK"), ("XADD x 1-1 f v", b"1-1"), ("XACK x workers 1-1", 0)], False),
        ([("XGROUP CREATE x workers 0 MKSTREAM", b"OK"), ("XACK x workers 1-1", 1)], True),
    ],
)
def test_an_answer_that_cannot_follow_is_seen(history: list[tuple[str, Any]], contradicted: bool) -> None:
    expectation = Expectation()
    for text, reply in history:
        told(expectation, text, reply)

    assert bool(expectation.contradictions) is contradicted


def test_a_message_delivered_twice_is_seen() -> None:
    expectation = Expectation()
    read = "XREADGROUP GROUP workers c1 COUNT 2 STREAMS x >"
    for text, reply in [
        ("XGROUP CREATE x workers 0 MKSTREAM", b"OK"),
        ("XADD x 1-1 f v", b"1-1"),
        (read, [[b"x", [[b"1-1", [b"f", b"v"]]]]]),
        ("XACK x workers 1-1", 1),
        (read, None),
    ]:
        told(expectation, text, reply)
    assert expectation.contradictions == []

    told(expectation, read, [[b"x", [[b"1-1", [b"f", b"v"]]]]])
    assert len(expectation.contradictions) == 1


def test_a_command_without_an_answer_makes_its_keys_doubtful_until_they_are_set_anew() -> None:
    expectation = Expectation()
    told(expectation, "SET s a", b"OK")
    expectation.unknown([b"RENAME", b"s", b"t"])
    assert expectation.doubtful == {b"s", b"t"}

    told(expectation, "DEL s", 0)
    told(expectation, "SET t b", b"OK")

    assert expectation.doubtful == set()
    assert expectation.contradictions == []
    assert expectation.keys[b"t"].value == b"b"


def test_near_its_expiry_nothing_is_said_of_a_key() -> None:
    expectation = Expectation()
    told(expectation, "SET s a PX 5000", b"OK")
    expires = T + 5000

    assert expectation.alive(b"s", T, expires - EXPIRY_DOUBT_MS - 1) is True
    assert expectation.alive(b"s", expires, expires) is None
    assert expectation.alive(b"s", expires + 1 + EXPIRY_DOUBT_MS + 1, expires + 2 * EXPIRY_DOUBT_MS) is False


@pytest.mark.parametrize(
    ("text", "actual", "problem"),
    [
        ("SET s a", (b"string", b"a", -1), None),
        ("SET s a", (b"none", 0, -2), "is missing, must be a string"),
        ("SET s a", (b"string", b"b", -1), "is b'b', must be b'a'"),
        ("SET s a", (b"hash", [], -1), "is a hash, must be a string"),
        ("SET s a", (b"string", b"a", 500), "expires in 500 ms, must not expire"),
        ("SET s a PX 60000", (b"string", b"a", -1), "does not expire, must"),
        ("SET s a PX 60000", (b"string", b"a", 60_050), None),
        ("SET s a PX 60000", (b"string", b"a", 60_500), "expires +500 ms from when it must"),
        ("SET s a PX 60000", (b"string", b"a", 59_500), "expires -500 ms from when it must"),
        ("HSET s f v", (b"hash", [b"f", b"v"], -1), None),
        ("HSET s f v", (b"hash", [b"f", b"v", b"g", b"w"], -1), "is {"),
        ("ZADD s 1 m", (b"zset", [b"m", b"1.5"], -1), "is {"),
    ],
)
def test_a_key_that_is_not_as_it_must_be_is_seen(
    text: str, actual: tuple[bytes, Any, int], problem: str | None
) -> None:
    expectation = Expectation()
    command = text.encode().split()
    expectation.acknowledged(command, b"OK" if command[0] == b"SET" else 1, T, T)

    found = _difference(expectation.keys[b"s"], actual, T, T)

    assert (found is None) if problem is None else (found is not None and found.startswith(problem))


def test_a_key_that_came_back_is_seen() -> None:
    assert _difference(None, (b"string", b"a", -1), T, T) == "is there (string), must not be"
    assert _difference(None, (b"none", 0, -2), T, T) is None


@pytest.mark.parametrize(
    ("groups", "pending", "same"),
    [
        ([[b"name", b"workers", b"last-delivered-id", b"2-1"]], [[b"2-1", b"c1", 5, 1]], True),
        ([[b"name", b"workers", b"last-delivered-id", b"1-1"]], [[b"2-1", b"c1", 5, 1]], False),
        ([[b"name", b"workers", b"last-delivered-id", b"2-1"]], [], False),
        ([], [], False),
    ],
)
def test_a_stale_stream_group_is_seen(groups: list[Any], pending: list[Any], same: bool) -> None:
    expectation = Expectation()
    for text, reply in [
        ("XGROUP CREATE x workers 0 MKSTREAM", b"OK"),
        ("XADD x 1-1 f v", b"1-1"),
        ("XADD x 2-1 f w", b"2-1"),
        (
            "XREADGROUP GROUP workers c1 COUNT 2 STREAMS x >",
            [[b"x", [[b"1-1", [b"f", b"v"]], [b"2-1", [b"f", b"w"]]]]],
        ),
        ("XACK x workers 1-1", 1),
    ]:
        told(expectation, text, reply)
    entries = [[b"1-1", [b"f", b"v"]], [b"2-1", [b"f", b"w"]]]

    found = _difference(expectation.keys[b"x"], (b"stream", (entries, groups, pending), -1), T, T)

    assert (found is None) is same
