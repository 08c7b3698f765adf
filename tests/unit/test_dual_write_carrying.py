"""The protocol of carrying, with every interleaving of several clients: no older state ever replaces a newer one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot
from redis.exceptions import ClusterCrossSlotError, ExecAbortError, OutOfMemoryError, ResponseError

from redismove.dual_write import DualWriteSettings
from redismove.dual_write.carrying import (
    Allowed,
    Apart,
    Carrying,
    Exchange,
    Line,
    Nodes,
    Reset,
    Side,
    SideFailed,
    Split,
    Verdict,
    Wait,
)
from redismove.dual_write.pending import Pending

KEYS = (b"a", b"b", b"c")


class Server:
    """As much of a Redis as carrying uses; a value is its own DUMP payload."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.data: dict[bytes, bytes] = {}
        self.watchers: dict[bytes, set[Connection]] = {}
        self.on_write: Callable[[bytes], None] = lambda key: None
        self.full = False
        self.refuses_payloads = False
        self.cross_slot: str = ""

    def touch(self, key: bytes) -> None:
        """As Redis' signalModifiedKey."""
        for connection in self.watchers.pop(key, set()):
            connection.dirty = True

    def write(self, key: bytes, value: bytes | None) -> None:
        """Put a value, or take the key away."""
        if value is None:
            if self.data.pop(key, None) is None:
                return
        else:
            self.data[key] = value
        self.touch(key)

    def run(self, command: Sequence[Any]) -> Any:
        """Run one command outside a transaction."""
        match command:
            case ("INFO", _):
                return f"redis_version:7.0.15\r\nrun_id:{self.run_id}\r\n".encode()
            case ("TIME",):
                return [b"1000000", b"0"]
            case ("MEMORY", "USAGE", key, *_):
                return len(self.data[key]) if key in self.data else None
            case ("PEXPIRETIME", key):
                return -1 if key in self.data else -2
            case ("DUMP", key) | ("GET", key):
                return self.data.get(key)
            case ("TYPE", key):
                return b"string" if key in self.data else b"none"
            case ("EXISTS", key):
                return int(key in self.data)
            case ("RESTORE", key, 0, value, "REPLACE"):
                if self.refuses_payloads:
                    return ResponseError("DUMP payload version or checksum are wrong")
                self.write(key, value)
                return b"OK"
            case ("SET", key, value):
                self.write(key, value)
                return b"OK"
            case ("UNLINK", key):
                there = key in self.data
                self.write(key, None)
                return int(there)
            case ("SCAN", b"0", "COUNT", _):
                return [b"0", list(self.data)]
            case ("EVAL", _, 1, key):
                return [self.data[key], b"-1"] if key in self.data else [b"", -2]
        raise AssertionError(command)


class Connection(Line):
    """A connection with its transaction."""

    def __init__(self, side: Side, server: Server) -> None:
        super().__init__(side, "")
        self.server = server
        self.reset()

    def reset(self) -> None:
        """As a reconnection does."""
        self.unwatch()
        self.greeted = False
        self.dirty = False
        self.queue: list[Sequence[Any]] | None = None
        self.refused = False

    def unwatch(self) -> None:
        """Nobody's writes matter any more, our own neither."""
        for watchers in self.server.watchers.values():
            watchers.discard(self)

    def run(self, command: Sequence[Any]) -> Any:
        """Run or queue one command."""
        if command[0] == "WATCH":
            if self.server.cross_slot == "WATCH" and len({key_slot(key) for key in command[1:]}) > 1:
                return ClusterCrossSlotError("Keys in request don't hash to the same slot")
            for key in command[1:]:
                self.server.watchers.setdefault(key, set()).add(self)
            return b"OK"
        if command[0] == "UNWATCH":
            self.dirty = False
            self.unwatch()
            return b"OK"
        if command[0] == "MULTI":
            self.queue, self.refused = [], False
            return b"OK"
        if command[0] == "EXEC":
            queue, self.queue = self.queue, None
            dirty, self.dirty = self.dirty, False
            assert queue is not None
            self.unwatch()
            if self.refused:
                return ExecAbortError("Transaction discarded because of previous errors.")
            if dirty:
                return None
            replies = [self.server.run(queued) for queued in queue]
            if self.side is Side.SECOND:
                for key in dict.fromkeys(queued[1] for queued in queue):
                    self.server.on_write(key)
            return replies
        if self.queue is not None:
            if self.server.full:  # in a transaction Redis refuses everything then
                self.refused = True
                return OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
            if self.server.cross_slot == "MULTI" and len({key_slot(one[1]) for one in [*self.queue, command]}) > 1:
                self.refused = True
                return ClusterCrossSlotError("Keys in request don't hash to the same slot")
            self.queue.append(command)
            return b"QUEUED"
        return self.server.run(command)


class Client:
    """One process: it writes to the first server, and carries, one command at a time."""

    def __init__(self, first: Server, second: Server, *, kind: type[Carrying] = Carrying, **bounds: Any) -> None:
        self.servers = {Side.FIRST: first, Side.SECOND: second}
        self.now = 0.0
        asked = DualWriteSettings(**bounds)
        self.pending = Pending(max_keys=asked.max_pending_keys, clock=lambda: self.now)
        self.carrying = kind(self.pending, asked, clock=lambda: self.now)
        self.verdict = Verdict.GO
        self.lines: dict[Side, list[Connection]] = {side: [] for side in Side}
        self.work = self.carrying.run()
        self.steps = self.drive()
        self.cut: Side | None = None

    def write(self, key: bytes, value: bytes | None) -> None:
        """A write of the application, acknowledged."""
        self.servers[Side.FIRST].write(key, value)
        self.pending.mark([key])

    def line(self, side: Side, number: int) -> Connection:
        """The n-th connection to a side."""
        while len(self.lines[side]) <= number:
            self.lines[side].append(Connection(side, self.servers[side]))
        return self.lines[side][number]

    def drive(self) -> Iterator[None]:
        """Yield before each command that is sent and while there is nothing to do."""
        result: Any = None
        failure: SideFailed | None = None
        while True:
            try:
                action = self.work.throw(failure) if failure is not None else self.work.send(result)
            except StopIteration:
                return
            result = failure = None
            try:
                result = yield from self.perform(action)
            except SideFailed as error:
                failure = error

    def perform(self, action: Any) -> Iterator[None]:
        """Do what carrying asks for."""
        match action:
            case Wait(seconds, _):
                yield
                self.now += seconds or 0.0
            case Allowed():
                return self.verdict
            case Nodes(side):
                return [self.line(side, 0)]
            case Apart(side, keys):
                return [self.line(side, number) for number in range(len(keys))]
            case Split(side, keys):
                return [(self.line(side, 0), list(keys))]
            case Reset(side):
                for line in self.lines[side]:
                    line.reset()
            case Exchange(requests):
                replies = []
                for line, commands in requests:
                    mine = []
                    for command in commands:
                        yield
                        if self.cut is line.side:
                            self.cut = None
                            for other, _ in requests:
                                other.reset()
                            raise SideFailed(line.side, "cut")
                        mine.append(line.run(command))
                    replies.append(mine)
                return replies
        return None

    def step(self, count: int = 1) -> None:
        """Let so many commands be sent."""
        for _ in range(count):
            next(self.steps, None)

    def finish(self) -> None:
        """Carry everything."""
        for _ in range(20_000):
            if self.pending.idle:
                return
            self.step()
        raise AssertionError(f"never done: {self.carrying.failing} {self.carrying.refusal} {len(self.pending)}")


class History:
    """Sees that the second server's states are the first one's, in their order."""

    def __init__(self, first: Server, second: Server) -> None:
        self.first, self.second = first, second
        self.states: dict[bytes, list[bytes | None]] = {key: [None] for key in KEYS}
        self.reached = dict.fromkeys(KEYS, 0)
        self.regressed: list[bytes] = []
        second.on_write = self.seen

    def wrote(self, key: bytes) -> None:
        """The first server has a new state of *key*."""
        self.states[key].append(self.first.data.get(key))

    def seen(self, key: bytes) -> None:
        """The second server was written."""
        found = self.second.data.get(key)
        for index in range(self.reached[key], len(self.states[key])):
            if self.states[key][index] == found:
                self.reached[key] = index
                return
        self.regressed.append(key)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2), st.sampled_from(KEYS)),
        st.tuples(st.just("delete"), st.integers(0, 2), st.sampled_from(KEYS)),
        st.tuples(st.just("step"), st.integers(0, 2), st.integers(1, 12)),
        st.tuples(st.just("step"), st.integers(0, 2), st.integers(1, 40)),
        st.tuples(st.just("cut"), st.integers(0, 2), st.sampled_from(Side)),
    ),
    max_size=80,
)


def play(actions: Sequence[tuple[str, int, Any]], kind: type[Carrying] = Carrying) -> History:
    """Let three clients write and carry in the order that is given, and then carry everything."""
    first, second = Server("one"), Server("two")
    history = History(first, second)
    clients = [Client(first, second, kind=kind) for _ in range(3)]
    number = 0
    for action, who, what in actions:
        if action in ("write", "delete"):
            number += 1
            clients[who].write(what, b"%d" % number if action == "write" else None)
            history.wrote(what)
        elif action == "step":
            clients[who].step(what)
        else:
            clients[who].cut = what
    for client in clients:
        client.cut = None
    for client in clients:
        client.finish()
    return history


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
def test_no_interleaving_takes_a_key_back_and_in_the_end_both_are_equal(actions: list[tuple[str, int, Any]]) -> None:
    history = play(actions)

    assert history.regressed == []
    assert history.second.data == history.first.data


class WithoutWatch(Carrying):
    """The protocol with one step wrong."""

    def _carry(self, groups: Any, numbers: Any) -> Any:
        work = super()._carry(groups, numbers)
        action = next(work)
        while True:
            if isinstance(action, Exchange):
                action = Exchange([(line, [_not_watched(c) for c in commands]) for line, commands in action.requests])
            try:
                action = work.send((yield action))
            except StopIteration as stop:
                return stop.value


def _not_watched(command: Any) -> Any:
    return ("UNWATCH",) if command[0] == "WATCH" else command


class DeletedUnseen(Carrying):
    """The protocol with another step wrong: what is gone already is removed without a trace."""

    def _second_commands(self, key: bytes, state: Any) -> Any:
        return [("UNLINK", key), ("UNLINK", key)] if state.gone else super()._second_commands(key, state)


def read_but_not_written(client: Client) -> None:
    """Let *client* carry until it has read the first server, and has sent nothing of its transaction yet."""
    for _ in range(100):
        client.step()
        reading = [line for line in client.lines[Side.FIRST] if line.queue is not None]
        if reading:
            break
    while client.lines[Side.FIRST][0].queue is not None:
        client.step()


@pytest.mark.parametrize("kind", [Carrying, WithoutWatch])
def test_who_read_before_another_wrote_gives_way(kind: type[Carrying]) -> None:
    """With WATCH left out the older value comes last: the test does see it."""
    first, second = Server("one"), Server("two")
    history = History(first, second)
    slow, quick = Client(first, second, kind=kind), Client(first, second, kind=kind)
    slow.write(b"a", b"1")
    history.wrote(b"a")
    read_but_not_written(slow)
    quick.write(b"a", b"2")
    history.wrote(b"a")
    quick.finish()
    assert second.data == {b"a": b"2"}
    slow.finish()

    if kind is Carrying:
        assert (history.regressed, second.data) == ([], {b"a": b"2"})
        assert slow.pending.counters.conflicts == 1
    else:
        assert history.regressed == [b"a"]


@pytest.mark.parametrize("kind", [Carrying, DeletedUnseen])
def test_a_key_that_is_gone_on_both_sides_is_not_brought_back(kind: type[Carrying]) -> None:
    first, second = Server("one"), Server("two")
    history = History(first, second)
    slow, quick = Client(first, second, kind=kind), Client(first, second, kind=kind)
    slow.write(b"a", b"1")
    history.wrote(b"a")
    read_but_not_written(slow)
    quick.write(b"a", None)
    history.wrote(b"a")
    quick.finish()
    slow.finish()

    assert (second.data == {}) is (kind is Carrying)


def test_a_conflict_on_one_key_does_not_hold_the_others_up() -> None:
    first, second = Server("one"), Server("two")
    one, other = Client(first, second), Client(first, second)
    for number in range(20):
        one.write(b"key%d" % number, b"1")
    read_but_not_written(one)
    other.write(b"key7", b"2")
    other.finish()
    one.finish()

    assert second.data == {**{b"key%d" % number: b"1" for number in range(20)}, b"key7": b"2"}
    assert one.pending.counters.conflicts == 20
    assert one.pending.counters.carried == 20


def test_while_the_endpoint_says_hold_nothing_is_carried_and_when_it_is_over_all_is_dropped() -> None:
    client = Client(Server("one"), Server("two"))
    client.verdict = Verdict.HOLD
    client.write(b"a", b"1")
    client.step(50)
    assert client.servers[Side.SECOND].data == {}
    client.verdict = Verdict.OVER
    client.step(50)

    assert client.servers[Side.SECOND].data == {}
    assert (client.pending.idle, client.pending.counters.dropped) == (True, 1)


def test_a_hold_that_begins_after_the_keys_are_watched_stops_the_carrying() -> None:
    client = Client(Server("one"), Server("two"))
    client.write(b"a", b"1")
    while not client.servers[Side.SECOND].watchers.get(b"a"):
        client.step()
    client.verdict = Verdict.HOLD
    client.step(50)
    assert client.servers[Side.SECOND].data == {}
    client.verdict = Verdict.GO
    client.finish()

    assert client.servers[Side.SECOND].data == {b"a": b"1"}


def test_a_server_that_came_back_as_another_process_is_compared_with_the_first() -> None:
    client = Client(Server("one"), Server("two"))
    second = client.servers[Side.SECOND]
    for key in KEYS:
        client.write(key, b"1")
    client.finish()
    second.data.clear()
    second.data[b"stranger"] = b"9"
    second.run_id = "three"
    client.cut = Side.SECOND
    client.write(b"a", b"2")
    client.finish()

    assert second.data == {b"a": b"2", b"b": b"1", b"c": b"1"}
    assert (client.carrying.sweeps, client.pending.counters.gaps) == (1, 1)


def test_a_queue_that_overflowed_is_made_good_by_a_sweep() -> None:
    client = Client(Server("one"), Server("two"), max_pending_keys=2)
    client.finish()
    for number in range(10):
        client.write(b"key%d" % number, b"1")
    assert (len(client.pending), client.pending.counters.overflowed) == (2, 8)
    assert client.pending.behind([b"anything"])
    client.finish()

    assert client.servers[Side.SECOND].data == client.servers[Side.FIRST].data
    assert not client.pending.behind([b"anything"])


def test_a_gap_is_only_reported_where_that_is_asked_for() -> None:
    client = Client(Server("one"), Server("two"), max_pending_keys=1, when_gap="report")
    client.write(b"a", b"1")
    client.write(b"b", b"1")
    client.step(200)

    assert client.servers[Side.SECOND].data == {b"a": b"1"}
    assert client.pending.behind([b"b"])


def test_a_server_without_memory_is_tried_again() -> None:
    client = Client(Server("one"), Server("two"))
    second = client.servers[Side.SECOND]
    client.write(b"a", b"1")
    client.finish()
    second.full = True
    client.write(b"a", None)
    client.write(b"b", b"1")
    client.step(300)
    assert second.data == {b"a": b"1"}
    assert "maxmemory" in client.carrying.refusal
    second.full = False
    client.finish()

    assert second.data == {b"b": b"1"}


def test_where_payloads_are_refused_values_are_written_by_type() -> None:
    client = Client(Server("one"), Server("two"))
    client.servers[Side.SECOND].refuses_payloads = True
    client.write(b"a", b"1")
    client.write(b"b", b"2")
    client.write(b"b", None)
    client.finish()

    assert client.servers[Side.SECOND].data == {b"a": b"1"}


def test_a_value_that_is_too_big_is_left_to_the_cut_over() -> None:
    client = Client(Server("one"), Server("two"), big_value_bytes=10)
    client.write(b"a", b"x" * 11)
    client.write(b"b", b"x" * 10)
    client.step(300)

    assert client.servers[Side.SECOND].data == {b"b": b"x" * 10}
    assert client.carrying.too_big == {b"a"}
    assert client.pending.behind([b"a"])


def test_closing_carries_what_is_left_for_as_long_as_is_allowed() -> None:
    client = Client(Server("one"), Server("two"))
    client.write(b"a", b"1")
    client.carrying.closing, client.carrying.close_at = True, 10.0
    list(client.steps)
    assert client.servers[Side.SECOND].data == {b"a": b"1"}

    client = Client(Server("one"), Server("two"))
    client.write(b"a", b"1")
    client.carrying.closing, client.carrying.close_at = True, -1.0
    list(client.steps)
    assert (client.servers[Side.SECOND].data, client.pending.counters.dropped) == ({}, 1)


def test_a_sweep_leaves_what_a_cut_over_builds() -> None:
    client = Client(Server("one"), Server("two"))
    second = client.servers[Side.SECOND]
    second.data[b"redismove:part:{1}:a"] = b"half"
    client.write(b"a", b"1")
    client.pending.open_gap()
    client.finish()

    assert second.data == {b"a": b"1", b"redismove:part:{1}:a": b"half"}


def test_an_error_of_our_own_forgets_nothing() -> None:
    client = Client(Server("one"), Server("two"))
    client.write(b"a", b"1")
    client.step(3)
    client.work.close()

    assert client.pending.behind([b"a"])


@pytest.mark.parametrize("where", ["WATCH", "MULTI"])
def test_a_cluster_behind_one_address_gets_a_transaction_for_each_slot(where: str) -> None:
    client = Client(Server("one"), Server("two"))
    client.servers[Side.SECOND].cross_slot = where
    for key in KEYS:
        client.write(key, b"1")
    client.finish()

    assert client.servers[Side.SECOND].data == dict.fromkeys(KEYS, b"1")
    assert client.pending.counters.failed == 0
