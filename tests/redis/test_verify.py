"""Verification cannot be fooled: each way in which two servers can differ is found, in both directions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redismove.dataplane.carry import Carrier
from redismove.dataplane.compiled import NATIVE_VARIABLE
from redismove.dataplane.connect import Command, Server
from redismove.dataplane.errors import ConnectionLost
from redismove.dataplane.verify import Depth, compare_keys, differences, native, verify
from redismove.dataplane.verify.compare import Pair
from tests.support.datasets import DELIVERED_AT_MS, every_type, fill
from tests.support.redis_servers import RedisProcess

pytestmark = pytest.mark.redis


def _claim(consumer: str, at_ms: int, deliveries: int) -> Command:
    return (
        *("XCLAIM", "groups", "readers", consumer, 0, "3-1"),
        *("TIME", at_ms, "RETRYCOUNT", deliveries, "FORCE", "JUSTID"),
    )


# What is done to the target after an exact copy: commands, the kind that must be found, words of the reason.
FAULTS: dict[str, tuple[list[Command], str, str]] = {
    "a key is missing": ([("DEL", "plain")], "only_in_source", "not on the target"),
    "a key is too much": ([("SET", "new", 1)], "only_in_target", "not on the source"),
    "an empty string is missing": ([("DEL", "empty")], "only_in_source", "not on the target"),
    "a byte of a string": ([("SETRANGE", "long", 12345, "X")], "value", "byte 12345 differs"),
    "an integer string": ([("SET", "integer", 12346)], "value", "byte 4 differs"),
    "a bit": ([("SETBIT", "bits", 1001, 1)], "value", "string"),
    "an empty string is not": ([("SET", "empty", " ")], "value", "0 / 1 bytes"),
    "a binary key": ([("SET", b"\x00\xff\r\n{", b"\r\n\x00$5\r\r")], "value", "byte 6 differs"),
    "a hyperloglog": ([("PFADD", "hyperloglog", "another", "more", "x", "y", "z")], "value", "string"),
    "a list item": ([("LSET", "list100", 50, "item 5o")], "value", "item 50 differs"),
    "the order of a list": (
        [("LSET", "list3", 0, "item 1"), ("LSET", "list3", 1, "item 0")],
        "value",
        "item 0 differs",
    ),
    "a longer list": ([("RPUSH", "list1000", "x")], "value", "1000 / 1001 items"),
    "a set member": ([("SREM", "set100", "member 5"), ("SADD", "set100", "member 5 ")], "value", "1 members only"),
    "a number in a set": ([("SREM", "intset3", 0), ("SADD", "intset3", 1)], "value", "set: 1 members"),
    "a hash value": ([("HSET", "hash1000", "field 5", "v5v5v5v5v4")], "value", "differ in value"),
    "a hash field": ([("HDEL", "hash3", "field 1"), ("HSET", "hash3", "Field 1", "v1")], "value", "1 fields only"),
    "the 17th digit of a score": ([("ZADD", "odd scores", "0.10000000000000002", "d")], "value", "differ in score"),
    "infinity": ([("ZADD", "odd scores", "1.7976931348623157e308", "a")], "value", "differ in score"),
    "a score of a big sorted set": ([("ZINCRBY", "zset1000", "1e-13", "member 7")], "value", "differ in score"),
    "a member of a sorted set": ([("ZREM", "zset3", "member 1")], "value", "1 members only in the source"),
    "a stream entry": ([("XDEL", "stream100", "55-3")], "value", "entries"),
    "a stream's last id": ([("XSETID", "groups", "9-10")], "value", "last id 9-9 / 9-10"),
    "a group": ([("XGROUP", "DESTROY", "groups", "others")], "value", "1 groups only in the source"),
    "another group": ([("XGROUP", "CREATE", "groups", "third", "0")], "value", "1 only in the target"),
    "where a group stands": ([("XGROUP", "SETID", "groups", "readers", "2-1")], "value", "stands at 3-1 / 2-1"),
    "a pending entry": ([("XACK", "groups", "readers", "3-1")], "value", "pending entries"),
    "who has a pending entry": ([_claim("idle", DELIVERED_AT_MS, 2)], "value", "pending entries"),
    "when it was delivered": ([_claim("first", DELIVERED_AT_MS + 60, 2)], "value", "pending entries"),
    "how often it was delivered": ([_claim("first", DELIVERED_AT_MS, 3)], "value", "pending entries"),
    "a consumer": ([("XGROUP", "DELCONSUMER", "groups", "readers", "idle")], "value", "consumers"),
    "another consumer": ([("XGROUP", "CREATECONSUMER", "groups", "readers", "third")], "value", "consumers"),
    "entries ever added": (
        [("XSETID", "groups", "9-9", "ENTRIESADDED", 17, "MAXDELETEDID", "1-1")],
        "value",
        "entries-added",
    ),
    "an emptied stream is missing": ([("DEL", "emptied")], "only_in_source", "not on the target"),
    "another type": ([("DEL", "plain"), ("SADD", "plain", "value")], "type", "string / set"),
    "a list that is a set": ([("DEL", "numbers3"), ("SADD", "numbers3", 0, -7, 98)], "type", "list / set"),
    "a missing expiry": ([("PERSIST", "expires")], "expiry", "none on the target"),
    "an expiry too much": ([("EXPIRE", "plain", 3000)], "expiry", "only on the target"),
    "a later expiry": ([("EXPIRE", "hash100", 10_200)], "expiry", "later on the target"),
    "an earlier expiry": ([("EXPIRE", "hash100", 10_000)], "expiry", "earlier on the target"),
}


@pytest.fixture
def copied(source: Server, target: Server) -> tuple[Server, Server]:
    """Two servers that hold the same, of every type."""
    fill(source.connection(), every_type())
    Carrier(source, target).carry(0, [key for batch in source.scan(source.nodes[0]) for key in batch])
    assert verify(source, target).equal
    return source, target


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Python path alone."""
    monkeypatch.setenv(NATIVE_VARIABLE, "0")
    native.library.cache_clear()
    yield
    monkeypatch.undo()
    native.library.cache_clear()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
def test_each_fault_is_found_from_either_side(copied: tuple[Server, Server], fault: str, in_parts: bool) -> None:
    source, target = copied
    commands, kind, reason = FAULTS[fault]
    fill(target.connection(), commands)
    big_value_bytes = 0 if in_parts else 1 << 30
    pair = Pair.of(source, target, big_value_bytes=big_value_bytes)
    pair.probe = in_parts
    key = commands[-1][2] if commands[-1][0] in ("XGROUP",) else commands[-1][1]
    key = key if isinstance(key, bytes) else str(key).encode()
    found = compare_keys(source, target, 0, [key], pair=pair)
    assert [item.kind for item in found] == [kind]
    if not in_parts:
        report = verify(source, target)
        assert not report.equal
        assert {name: number for name, number in report.counts.items() if number and name != "compared"} == {kind: 1}
        assert reason in report.first_differences[0].reason
        assert report.first_differences[0].key == key
        mirrored = verify(target, source)
        swapped = {"only_in_source": "only_in_target", "only_in_target": "only_in_source"}.get(kind, kind)
        assert mirrored.counts[swapped] == 1
        assert set(differences(source, target)) == {(0, key)}


@pytest.mark.parametrize("fault", FAULTS)
def test_python_alone_finds_each_fault(copied: tuple[Server, Server], fault: str, without_native: None) -> None:
    source, target = copied
    commands, kind, _ = FAULTS[fault]
    fill(target.connection(), commands)
    assert verify(source, target).counts[kind] == 1


NEIGHBOURS: dict[str, list[Command]] = {
    # What the keys around a fault are like decides how the compiled loop reads it.
    "big values: by the type's commands": [("SET", f"big{n}", bytes([n]) * 300_000) for n in range(100)],
    "small lists: by DUMP": [("RPUSH", f"small{n}", n, "x") for n in range(15_000)],
    "small strings: many by MGET": [("SET", f"small{n}", n) for n in range(15_000)],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("neighbours", NEIGHBOURS)
def test_no_neighbours_hide_a_fault(copied: tuple[Server, Server], fault: str, neighbours: str) -> None:
    source, target = copied
    for server in copied:
        fill(server.connection(), NEIGHBOURS[neighbours])
    commands, kind, _ = FAULTS[fault]
    fill(target.connection(), commands)
    report = verify(source, target, rounds=2)
    assert report.counts[kind] == 1
    assert report.different == 1


def test_many_read_at_once_hide_no_fault(source: Server, target: Server) -> None:
    for server in (source, target):
        fill(
            server.connection(),
            [("SET", f"k{n}", f"value {n}", *(("EXAT", 4_000_000_000) if n % 5 == 0 else ())) for n in range(20_000)],
        )
    wrong = [f"k{n}" for n in range(0, 20_000, 400)]
    fill(target.connection(), [("SETRANGE", key, 3, "X") for key in wrong])
    fill(
        target.connection(),
        [("DEL", "k1"), ("PERSIST", "k5"), ("DEL", "k7"), ("SADD", "k7", "value 7"), ("SET", "more", 1)],
    )
    report = verify(source, target)
    assert int(source.info("commandstats")["cmdstat_mget"].split(",")[0].split("=")[1]) > 10
    found = {kind: number for kind, number in report.counts.items() if kind != "compared"}
    assert found == {"value": len(wrong), "only_in_source": 1, "only_in_target": 1, "type": 1, "expiry": 1}


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
def test_every_way_of_reading_gives_the_same_signature(
    copied: tuple[Server, Server],
    opened: Callable[[str, int], Server],
    neighbours: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = copied
    for server in copied:
        fill(server.connection(), NEIGHBOURS[neighbours])
    compiled = verify(source, target)
    monkeypatch.setattr("redismove.dataplane.verify.run.library", lambda: None)
    python = verify(source, target)
    assert compiled.equal
    assert python.equal
    assert compiled.signature == python.signature


def test_a_wrong_database_is_found_on_both_sides(copied: tuple[Server, Server]) -> None:
    source, target = copied
    target.connection(database=0).call("MOVE", "plain", 5)
    report = verify(source, target)
    assert (report.counts["only_in_source"], report.counts["only_in_target"]) == (1, 1)
    assert {(item.database, item.kind) for item in report.first_differences} == {
        (0, "only_in_source"),
        (5, "only_in_target"),
    }
    assert report.databases[5]["only_in_target"] == 1


def test_two_faults_that_leave_the_counts_equal_are_found(copied: tuple[Server, Server]) -> None:
    source, target = copied
    fill(target.connection(), [("RENAME", "plain", "plain2")])
    assert source.databases() == target.databases()
    for depth in ("keys", "values", "full"):
        report = verify(source, target, depth=depth)
        assert (report.counts["only_in_source"], report.counts["only_in_target"]) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "found_by"),
    [
        ("a key is missing", {"keys", "values", "full"}),
        ("another type", {"values", "full"}),
        ("a missing expiry", {"values", "full"}),
        ("a longer list", {"values", "full"}),
        ("a byte of a string", {"full"}),
    ],
)
@pytest.mark.parametrize("depth", ["keys", "values", "full"])
def test_depths_find_what_they_say(copied: tuple[Server, Server], fault: str, found_by: set[str], depth: Depth) -> None:
    source, target = copied
    fill(target.connection(), FAULTS[fault][0])
    assert verify(source, target, depth=depth).equal == (depth not in found_by)


def test_the_signature_depends_on_the_data_and_on_nothing_else(
    copied: tuple[Server, Server], opened: Callable[[str, int], Server]
) -> None:
    source, target = copied
    old = opened("6.2", 0)
    Carrier(source, old).carry(0, [key for batch in source.scan(source.nodes[0]) for key in batch])
    signature = verify(source, target).signature
    assert verify(source, target).signature == signature
    assert verify(target, source).signature == signature
    assert verify(source, old).signature == signature, "another version, other encodings, the same data"
    assert verify(source, target, depth="values").signature != signature
    for server in (source, target):
        fill(server.connection(), [("SET", "plain", "valuf")])
    assert verify(source, target).signature != signature


def test_verification_changes_neither_side(copied: tuple[Server, Server]) -> None:
    def writes(server: Server) -> str:
        return server.info("persistence")["rdb_changes_since_last_save"]

    source, target = copied
    before = writes(source), writes(target)
    fill(target.connection(), [])
    for depth in ("keys", "values", "full"):
        verify(source, target, depth=depth)
    assert (writes(source), writes(target)) == before


def test_a_difference_that_goes_away_is_none(source: Server, target: Server) -> None:
    """What expires, or arrives late, between two looks does not count."""
    fill(source.connection(), [("SET", "late", 1), ("SET", "expiring", 1, "PX", 60)])
    reports = []
    thread = threading.Thread(target=lambda: reports.append(verify(source, target, rounds=10)))
    with Server.open(target.address) as writer:
        thread.start()
        deadline = time.monotonic() + 0.05
        while time.monotonic() < deadline:
            writer.connection().call("PING")
        writer.connection().call("SET", "late", 1)
    thread.join(30)
    assert reports[0].equal
    assert reports[0].rounds > 1


def test_what_is_allowed_to_differ_is_counted(copied: tuple[Server, Server]) -> None:
    source, target = copied
    fill(target.connection(), [("SET", "marker", 1)])
    report = verify(source, target, known_ignored=lambda database, key: (database, key) == (0, b"marker"))
    assert report.equal
    assert report.ignored == 1


def test_a_deadline_never_ends_in_equal(copied: tuple[Server, Server]) -> None:
    source, target = copied
    report = verify(source, target, deadline_s=0.0)
    assert not report.complete
    assert not report.equal
    assert "time limit" in report.notes[0]


def test_python_goes_on_where_it_was_stopped(
    source: Server, target: Server, tmp_path: Path, without_native: None
) -> None:
    for server in (source, target):
        fill(server.connection(), [("SET", f"k{number}", number) for number in range(20_000)])
    fill(target.connection(), [("SET", "k7", "other")])
    path = tmp_path / "verify"
    looked: list[int] = []
    call = source.connection().call

    def stops(*command: object) -> object:
        if command[0] == "SCAN":
            looked.append(1)
            if len(looked) == 10:
                raise ConnectionLost("the line was cut")
        return call(*command)  # type: ignore[arg-type]

    source.connection().call = stops  # type: ignore[method-assign,assignment]
    with pytest.raises(ConnectionLost):
        verify(source, target, checkpoint=path)
    assert path.exists()
    source.connection().call = call  # type: ignore[method-assign]
    report = verify(source, target, checkpoint=path)
    assert report.counts["compared"] == 20_000, "what was compared before counts, once"
    assert report.counts["value"] == 1
    assert not path.exists()
    assert report.signature == verify(source, target).signature


def test_the_compiled_loop_goes_on_where_it_was_stopped(source: Server, target: Server, tmp_path: Path) -> None:
    keys = 150_000
    for server in (source, target):
        fill(server.connection(), [("SET", f"k{number}", number) for number in range(keys)])
    fill(target.connection(), [("SET", "k7", "other"), ("SET", "more", 1)])
    path = tmp_path / "verify"
    stops = 0
    while not (report := verify(source, target, checkpoint=path, deadline_s=0.3)).complete:
        assert path.exists()
        assert not report.equal
        stops += 1
        assert stops < 200
    assert stops > 0, "it never stopped: use more keys"
    assert report.counts["compared"] == keys + 1
    assert (report.counts["value"], report.counts["only_in_target"]) == (1, 1)
    assert report.signature == verify(source, target).signature


def test_the_command_tells_equal_different_and_impossible_apart(copied: tuple[Server, Server]) -> None:
    import typer

    from redismove.cli.verify import verify as command

    app = typer.Typer()
    app.command()(command)
    source, target = copied
    runner = CliRunner()
    result = runner.invoke(app, [source.address.url, target.address.url, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["equal"] is True
    fill(target.connection(), [("SET", b"new\xff", 1)])
    result = runner.invoke(app, [source.address.url, target.address.url])
    assert result.exit_code == 1
    assert "not on the source" in result.stdout
    result = runner.invoke(app, [source.address.url, "redis://:secret@127.0.0.1:1"])
    assert result.exit_code == 2
    assert "refused the connection" in result.stderr
    assert "secret" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_server_that_goes_away_is_one_sentence(source: Server) -> None:
    from tests.support.redis_servers import redis_server

    fill(source.connection(), [("SET", f"k{number}", number) for number in range(1000)])
    with redis_server() as gone:
        process: RedisProcess = gone
        with Server.open(process.address) as target:
            process.kill()
            with pytest.raises(ConnectionLost, match=str(process.port)):
                verify(source, target)
