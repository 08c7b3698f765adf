"""
Follow what changes on a server, by its keyspace notifications.

One raw connection per primary, with nothing on it but the subscription, read by a thread that does nothing else. A
connection that breaks stays broken and says so: what was written meanwhile was not seen, and the owner has to subscribe
and compare again. (A client that subscribes again by itself would hide that gap.)

Not notified, on any version looked at: FLUSHDB, FLUSHALL and SWAPDB (`SourceState` tells of those by their counters),
and what reading does to a stream's groups (streams with groups are carried once more inside the hold).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from redismove.dataplane.connect import Connection, Node, Reply, Server, exchange, pack, parse_info
from redismove.dataplane.errors import CommandBlocked, ConnectionLost, DataPlaneError, ReplyError

Mark = tuple[int, bytes]
"""Database and key."""

_PREFIX = b"__keyspace@"
_GROUP_EVENTS = frozenset({b"restore", b"rename_to", b"copy_to", b"move_to"})
"""Besides xgroup-*: the events after which a key may be a stream with groups that no XGROUP was seen for."""

_NOTIFY_CLASSES = "g$lshzxet"
"""The classes that `A` stands for in 6.0 (7.x adds d, modules; n and m are not changes of a value)."""


class FollowBroken(DataPlaneError):
    """The notifications have a gap: what was written meanwhile was not seen."""


class DirtyKeys:
    """
    The keys that were changed since they were last read, the longest waiting first. Safe between threads.

    Attributes:
        overflowed: there were more than may be kept, and all were dropped: everything has to be compared again.
    """

    def __init__(self, most: int | None = None) -> None:
        """
        Begin without a mark.

        Args:
            most: so many marks are kept at most; None for no bound.
        """
        self._marks: dict[Mark, float] = {}
        self._most = most
        self._changed = threading.Condition()
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, marks: Iterable[Mark]) -> None:
        """Put marks on."""
        now = time.monotonic()
        with self._changed:
            if self.overflowed:
                return
            kept = self._marks
            for mark in marks:
                kept.setdefault(mark, now)
            if self._most is not None and len(kept) > self._most:
                self._marks, self.overflowed = {}, True
            self._changed.notify_all()

    def take(self, limit: int | None = None) -> list[Mark]:
        """
        Take up to *limit* marks off, the oldest, and return them, grouped by database.

        The key is to be read after this, never before: a change that comes meanwhile puts its mark on again.
        """
        with self._changed:
            if limit is None or limit >= len(self._marks):
                taken, self._marks = list(self._marks), {}
            else:
                taken = list(itertools.islice(self._marks, limit))
                for mark in taken:
                    del self._marks[mark]
        taken.sort(key=lambda mark: mark[0])
        return taken

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is a mark, or marks were dropped; False when neither came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._marks) or self.overflowed, timeout_s)

    def waiting_s(self) -> float:
        """Return for how long the oldest mark has been on, in seconds; 0 without a mark."""
        with self._changed:
            return time.monotonic() - next(iter(self._marks.values())) if self._marks else 0.0

    def clear(self) -> None:
        """Take all marks off."""
        with self._changed:
            self._marks, self.overflowed = {}, False

    def snapshot(self) -> set[Mark]:
        """Return the marks without taking them off."""
        with self._changed:
            return set(self._marks)


def notifies_everything(setting: str) -> bool:
    """Tell whether a `notify-keyspace-events` value covers every change of every key (`KA`, or K and each class)."""
    return "K" in setting and ("A" in setting or all(letter in setting for letter in _NOTIFY_CLASSES))


def notification_setting(server: Server) -> str | None:
    """
    Return the server's `notify-keyspace-events`, the weakest of its primaries; None where the service hides it.

    Azure blocks CONFIG: there the value comes from the resource (redisConfiguration), and the caller passes it on.
    """
    found: list[str] = []
    for node in server.nodes:
        try:
            reply = server.connection(node).call("CONFIG", "GET", "notify-keyspace-events")
        except (CommandBlocked, ReplyError):
            return None
        if not reply:
            return None
        found.append(reply[1].decode())
    return min(found, key=lambda setting: (notifies_everything(setting), setting))


class _Subscriber(threading.Thread):
    """Reads one primary's notifications into the marks, and answers for the order of its connection."""

    def __init__(self, connection: Connection, node: Node, dirty: DirtyKeys) -> None:
        super().__init__(name=f"follow {node}", daemon=True)
        self.node = node
        self.connection = connection
        self.client_id = connection.client_id()
        self.dirty = dirty
        self._suspects: set[Mark] = set()
        self._suspects_lock = threading.Lock()
        self.notifications = 0
        self.broken: str | None = None
        self._pong = threading.Condition()
        self._asked: bytes | None = None
        self._answered: bytes | None = None
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe()
        connection.send("PSUBSCRIBE", _PREFIX + b"*__:*")
        reply = connection.read_reply(connection.timeout_s)
        if not (isinstance(reply, list) and reply[0] == b"psubscribe"):
            connection.close()
            raise FollowBroken(f"{connection.where} did not confirm the subscription to its notifications; try again.")

    def ask(self, token: bytes) -> None:
        """Have PING sent on the subscription's own connection: its pong stands behind every earlier notification."""
        with self._pong:
            self._asked = token
        self._wake()

    def wait_for(self, token: bytes, deadline: float) -> None:
        with self._pong:
            while self._answered != token:
                if self.broken is not None:
                    raise FollowBroken(f"the notifications of {self.node} broke off ({self.broken})")
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    raise FollowBroken(f"{self.node} did not answer PING behind its notifications in time")
                self._pong.wait(remaining_s)

    def take_suspects(self) -> set[Mark]:
        with self._suspects_lock:
            taken, self._suspects = self._suspects, set()
        return taken

    def add_suspects(self, suspects: Iterable[Mark]) -> None:
        with self._suspects_lock:
            self._suspects.update(suspects)

    def stop(self) -> None:
        self._stopping = True
        self._wake()
        if self.is_alive():
            self.join(timeout=5)
        self.connection.close()
        for descriptor in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"!")

    def run(self) -> None:
        # Only this thread touches the connection: a TLS connection must not be read and written at the same time.
        poller = select.poll()
        poller.register(self.connection.fileno(), select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        try:
            while not self._stopping:
                self._read()
                with self._pong:
                    token, self._asked = self._asked, None
                if token is not None:
                    self.connection.send("PING", token)
                    continue
                for descriptor, _event in poller.poll():
                    if descriptor == self._wake_read:
                        os.read(self._wake_read, 4096)
        except Exception as error:  # noqa: BLE001  told to the owner, who must never take silence for calm
            if not self._stopping:
                reason = error if isinstance(error, ConnectionLost) else f"{type(error).__name__}: {error}"
                self._break(self.connection.closed_because or str(reason))

    def _break(self, reason: str) -> None:
        self.connection.close()
        with self._pong:
            self.broken = reason
            self._pong.notify_all()

    def _read(self) -> None:
        """Take everything that has come, marks first, then the pong that stood behind them."""
        marks: list[Mark] = []
        connection = self.connection
        try:
            while (message := connection.read_reply(0)) is not None:
                if message[0] == b"pmessage":
                    channel, event = message[2], message[3]
                    end = channel.index(b"__:", len(_PREFIX))
                    mark = (int(channel[len(_PREFIX) : end]), channel[end + 3 :])
                    marks.append(mark)
                    if event in _GROUP_EVENTS or event.startswith(b"xgroup"):
                        with self._suspects_lock:
                            self._suspects.add(mark)
                    if len(marks) >= 1000:
                        self._mark(marks)
                elif message[0] == b"pong":
                    self._mark(marks)
                    with self._pong:
                        self._answered = message[1]
                        self._pong.notify_all()
        finally:
            self._mark(marks)

    def _mark(self, marks: list[Mark]) -> None:
        if marks:
            self.dirty.add(marks)
            self.notifications += len(marks)
            marks.clear()


class Follower:
    """
    Marks every key of *server* that changes from now on, until `stop`.

    Attributes:
        dirty: the marks.
    """

    def __init__(self, server: Server, dirty: DirtyKeys | None = None) -> None:
        """
        Subscribe at every primary; when this returns every later change is seen.

        Raises:
            DataPlaneError: a primary could not be reached, or did not confirm.
        """
        self.dirty = dirty if dirty is not None else DirtyKeys()
        self._server = server
        self._subscribers: list[_Subscriber] = []
        self._notifications_before = 0
        self._tokens = itertools.count(1)
        try:
            for node in server.nodes:
                self._subscribers.append(self._subscribe(node))
        except BaseException:
            self.stop()
            raise
        for subscriber in self._subscribers:
            subscriber.start()

    def _subscribe(self, node: Node) -> _Subscriber:
        connection = self._server.new_connection(node)
        try:
            return _Subscriber(connection, node, self.dirty)
        except BaseException:
            connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def notifications(self) -> int:
        """How many notifications came."""
        return self._notifications_before + sum(subscriber.notifications for subscriber in self._subscribers)

    @property
    def broken(self) -> str | None:
        """Why the notifications have a gap; None while they have none."""
        for subscriber in self._subscribers:
            if subscriber.broken is not None:
                return f"{subscriber.node}: {subscriber.broken}"
        return None

    @property
    def client_ids(self) -> dict[tuple[str, int], int]:
        """The id of the subscription's connection at each primary (host, port)."""
        return {(subscriber.node.host, subscriber.node.port): subscriber.client_id for subscriber in self._subscribers}

    def take_suspects(self) -> set[Mark]:
        """Return the keys that may have become streams with groups since the last call."""
        found: set[Mark] = set()
        for subscriber in self._subscribers:
            found |= subscriber.take_suspects()
        return found

    def marker(self, *, timeout_s: float = 5.0) -> None:
        """
        Return when everything that was notified before this call is marked, at every primary.

        Raises:
            FollowBroken: a connection broke or did not answer in time.
        """
        token = b"redismove:%d" % next(self._tokens)
        deadline = time.monotonic() + timeout_s
        for subscriber in self._subscribers:
            subscriber.ask(token)
        for subscriber in self._subscribers:
            subscriber.wait_for(token, deadline)

    def renew_logins(self) -> None:
        """
        Replace each subscription whose token ends soon, without a gap.

        A subscription cannot log in again (RESP2 takes no AUTH there): a second one is confirmed first, then the first
        is read to its end.

        Raises:
            DataPlaneError: a primary could not be reached, did not confirm, or broke off.
        """
        for number, old in enumerate(self._subscribers):
            if not old.connection.login_is_due or old.broken is not None:
                continue
            new = self._subscribe(old.node)
            new.start()
            self._subscribers[number] = new
            token = b"redismove:%d" % next(self._tokens)
            try:
                old.ask(token)
                old.wait_for(token, time.monotonic() + old.connection.timeout_s)
            finally:
                old.stop()
                new.add_suspects(old.take_suspects())
                self._notifications_before += old.notifications

    def stop(self) -> None:
        """End the threads and their connections."""
        for subscriber in self._subscribers:
            subscriber.stop()


@dataclass(frozen=True)
class NodeState:
    """What must not change at a primary while it is followed."""

    run_id: str
    role: str
    flushes: tuple[tuple[str, int], ...]
    cluster: object = None
    commands: int = field(default=0, compare=False)
    """Only ever rises, but for CONFIG RESETSTAT, which also hides flushes."""


@dataclass(frozen=True)
class SourceState:
    """What must not change at a server while it is followed, by primary."""

    nodes: dict[tuple[str, int], NodeState] = field(default_factory=dict)

    @classmethod
    def read_together(cls, servers: Sequence[tuple[Sequence[Connection], bool]]) -> list[SourceState]:
        """
        Read run_id, role, the counters of flushes, swaps and all commands, and the cluster's epoch and slots.

        Args:
            servers: for each a connection to each primary, and whether it is a cluster; all are asked at the same time.
        """
        sections = [("INFO", section) for section in ("server", "replication", "commandstats", "stats")]
        requests = [
            (connection, pack([*sections, *([("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")] if clustered else [])]))
            for connections, clustered in servers
            for connection in connections
        ]
        replies = iter(exchange(requests))
        return [
            cls({(connection.host, connection.port): _node_state(next(replies)) for connection in connections})
            for connections, _ in servers
        ]

    def changes_since(self, earlier: SourceState) -> list[str]:
        """Return one phrase for each thing that changed since *earlier*; empty when all is as it was."""
        phrases: list[str] = []
        if self.nodes.keys() != earlier.nodes.keys():
            phrases.append("the primaries are others")
        for where, now in self.nodes.items():
            then = earlier.nodes.get(where)
            if then is None:
                continue
            name = f"{where[0]}:{where[1]}"
            if now.run_id != then.run_id:
                phrases.append(f"{name} is another process")
            if now.role != then.role:
                phrases.append(f"{name} became {now.role}")
            if now.cluster != then.cluster:
                phrases.append(f"{name} sees another cluster (a slot moved or a failover)")
            if now.flushes != then.flushes:
                changed = [command for (command, n), (_, m) in zip(now.flushes, then.flushes, strict=True) if n != m]
                phrases.append(f"{name} ran {', '.join(changed)}")
            elif now.run_id == then.run_id and now.commands < then.commands:
                phrases.append(f"{name} forgot its counters, by which flushes are seen")
        return phrases


def _node_state(replies: list[Reply]) -> NodeState:
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise reply
    server, replication, by_command, stats = (parse_info(reply) for reply in replies[:4])
    cluster = None
    if len(replies) > 4:
        cluster = (parse_info(replies[4]).get("cluster_current_epoch"), repr(replies[5]))
    return NodeState(
        run_id=server.get("run_id", ""),
        role=replication.get("role", ""),
        flushes=_flushes(by_command),
        cluster=cluster,
        commands=int(stats.get("total_commands_processed", "0")),
    )


def _flushes(stats: dict[str, str]) -> tuple[tuple[str, int], ...]:
    counts = []
    for command in ("flushdb", "flushall", "swapdb"):
        value = stats.get(f"cmdstat_{command}", "")
        fields = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
        counts.append((command, int(fields.get("calls", "0"))))
    return tuple(counts)
