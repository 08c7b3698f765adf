"""The pieces of the data plane that need no server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redismove.dataplane.checkpoint import Checkpoint, CheckpointInvalid
from redismove.dataplane.connect import Secret, ServerAddress
from redismove.dataplane.errors import AddressInvalid, PayloadUnreadable, ReplyError, explain
from redismove.dataplane.payload import (
    ElementSum,
    Value,
    decode,
    differs_in,
    digest,
    framed,
    lzf_decompress,
    surely_equal,
)
from redismove.dataplane.slots import slot_of, temporary_key


def test_a_url_gives_its_parts_and_the_default_port_of_its_scheme() -> None:
    address = ServerAddress.from_url("rediss://us%40er:p%3Ass@cache.example")
    assert (address.host, address.port, address.tls, address.username) == ("cache.example", 6380, True, "us@er")
    assert address.password is not None
    assert address.password.reveal() == "p:ss"
    assert ServerAddress.from_url("redis://:key@127.0.0.1").port == 6379


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host", "is not a Redis URL"),
        ("redis://:secret@", "names no host"),
        ("redis://:secret@host/3", "database number"),
        ("redis://:secret@host:99999", "port"),
        ("host:6379", "is not a Redis URL"),
    ],
)
def test_a_bad_url_is_one_sentence_without_its_secret(url: str, said: str) -> None:
    with pytest.raises(AddressInvalid) as caught:
        ServerAddress.from_url(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_secret_shows_itself_only_when_asked() -> None:
    address = ServerAddress("host", password=Secret("hidden"))
    assert "hidden" not in f"{address!r} {address} {address.password}"
    assert address.with_password("other").password == Secret("other")
    tokens = iter(["first", "renewed"])
    token = Secret(lambda: next(tokens))
    assert [token.reveal(), token.reveal()] == ["first", "renewed"], "a token is asked for each time"


@pytest.mark.parametrize(
    ("key", "slot"),
    [(b"123456789", 12739), (b"foo", 12182), (b"{foo}bar", 12182), (b"{}foo", 9500), (b"a{foo}{bar}", 12182)],
)
def test_slots_are_those_of_the_cluster_specification(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@given(st.binary(max_size=40))
def test_a_temporary_key_is_in_the_slot_of_its_key(key: bytes) -> None:
    assert slot_of(temporary_key(key)) == slot_of(key)


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_framing_keeps_borders_apart(one: list[bytes], other: list[bytes]) -> None:
    assert (framed(*one) == framed(*other)) == (one == other)


@given(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=4)), unique_by=lambda pair: pair[0]), st.randoms())
def test_a_sum_does_not_depend_on_order(pairs: list[tuple[bytes, bytes]], random: object) -> None:
    one, other = ElementSum(), ElementSum()
    for pair in pairs:
        one.add(*pair)
    random.shuffle(pairs)  # type: ignore[attr-defined]
    for pair in pairs:
        other.add(*pair)
    assert one.digest("hash") == other.digest("hash")
    if pairs:
        other.add(b"more")
        assert one.digest("hash") != other.digest("hash")


def test_values_of_different_kinds_have_different_digests() -> None:
    assert digest(Value("set", items=[b"a"])) != digest(Value("list", items=[b"a"]))
    assert digest(Value("string", string=b"")) != digest(Value("set"))
    assert differs_in(Value("list", items=[b"a", b"b"]), Value("list", items=[b"b", b"a"])) == "list: item 0 differs"


def test_payloads_are_equal_without_decoding_only_when_that_is_certain() -> None:
    body, footer, other_footer = b"\x00\x03abc", b"\x09\x00" + b"c" * 8, b"\x0a\x00" + b"d" * 8
    assert surely_equal(body + footer, body + other_footer)
    assert not surely_equal(body + footer, b"\x00\x03abd" + footer)
    # Type 22 is one thing on Valkey and another on Redis: equal bytes are not equal values there.
    assert not surely_equal(b"\x16\x01" + footer, b"\x16\x01" + other_footer)


@pytest.mark.parametrize(
    "payload", [b"", b"\x00", b"\x63" + b"x" * 20, b"\x00\x20abc" + b"x" * 10, b"\x10\x03abc" + b"x" * 10]
)
def test_what_is_no_payload_is_said_to_be_none(payload: bytes) -> None:
    with pytest.raises(PayloadUnreadable):
        decode(payload)


def test_lzf_that_points_outside_is_refused() -> None:
    assert lzf_decompress(b"\x00a\xe0\x00\x00", 10) == b"a" * 10
    with pytest.raises(ValueError, match="before its start"):
        lzf_decompress(b"\x20\x05", 3)


def test_a_checkpoint_goes_on_only_for_the_same_run(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "checkpoint"
    checkpoint = Checkpoint(path, {"source": "a"})
    assert not checkpoint.resumed
    checkpoint.data = {"cursor": "17"}
    checkpoint.save()
    assert Checkpoint(path, {"source": "a"}).data == {"cursor": "17"}
    with pytest.raises(CheckpointInvalid, match="another run"):
        Checkpoint(path, {"source": "b"})
    path.write_text("{")
    with pytest.raises(CheckpointInvalid, match="not a readable checkpoint"):
        Checkpoint(path, {"source": "a"})
    checkpoint.remove()
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("WRONGPASS invalid username-password pair or user is disabled.", "AuthenticationFailed"),
        ("NOAUTH Authentication required.", "AuthenticationFailed"),
        ("READONLY You can't write against a read only replica.", "ReadOnlyServer"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "OutOfMemory"),
        ("NOPERM this user has no permissions to run the 'restore' command", "CommandBlocked"),
        ("ERR unknown command 'CONFIG', with args beginning with: 'GET' ", "CommandBlocked"),
        ("LOADING Redis is loading the dataset in memory", "ServerNotReady"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "ReplyError"),
    ],
)
def test_replies_get_their_names(text: str, name: str) -> None:
    error = explain(ReplyError(text), "host:1", "RESTORE")
    assert type(error).__name__ == name
    if name != "ReplyError":
        assert "host:1" in str(error)
        assert json.dumps(str(error)).count("\\n") == 0
