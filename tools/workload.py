"""
An application that writes to a cache, follows the Endpoint, and knows afterwards what must be there.

N connections write about R commands a second of mixed types. Every connection owns its keys, so its acknowledged
commands have exactly one outcome; `check` reads the live cache and compares: an acknowledged write that is missing or
wrong, a wrong expiry, or a reply that contradicts what came before, is a lost write.

Three kinds of application: "plain" reconnects and reads the Endpoint again after an error, as one with an ordinary
client does; "ours" uses `redismove.application`, which holds by itself; "dual" uses `redismove.dual_write`, which
writes to both caches while the Endpoint says so. What cannot be said is counted, not guessed: a key whose last command
got no answer is not compared, nor is one within a second of its expiry.

    python tools/workload.py --endpoint FILE [--rate 500] [--connections 20] [--mode plain|ours|dual] [--log FILE]

SIGTERM or SIGINT ends it: it checks, prints one JSON object and leaves with status 1 if a write was lost. Keys come
from Azure (listKeys of the resource in the Endpoint, signed in as azure-identity finds it), or from --credentials FILE,
a JSON object of resource id to {"username", "password"}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import select
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import hiredis
from redis.exceptions import RedisError, ResponseError

from redismove.application import EndpointRedis
from redismove.dual_write import DualWriteRedis
from redismove.endpoint import Endpoint, EndpointEntry, EndpointStore, EndpointWatcher, FileEndpointStore

Mode = Literal["plain", "ours", "dual"]
Credentials = Callable[[str], tuple[str | None, str]]

EXPIRY_DOUBT_MS = 1000
"""This close to its expiry a key may be there or not."""
EXPIRY_TOLERANCE_MS = 100
"""How far an expiry may be from what was asked for."""
SOCKET_TIMEOUT_S = 5.0
"""What Azure advises for commands (azure-docs, cache-best-practices-connection)."""
LONGEST_STREAM = 150

_NOT_EXECUTED = (
    b"MOVED",
    b"ASK",
    b"TRYAGAIN",
    b"CLUSTERDOWN",
    b"LOADING",
    b"MASTERDOWN",
    b"READONLY",
    b"NOAUTH",
    b"WRONGPASS",
)


def wall_ms() -> float:
    """Return the time that expiries are counted in."""
    return time.time() * 1000


# -- what must be there --------------------------------------------------------------------------------------------


@dataclass
class Known:
    """A key that is there: kind, value, and the earliest and latest time in ms at which it expires."""

    kind: str
    value: Any
    expires: tuple[float, float] | None = None


@dataclass
class Stream:
    """A stream's value: entries by id, and its group's last delivered id and pending ids."""

    entries: dict[bytes, bytes] = field(default_factory=dict)
    last_delivered: bytes = b"0-0"
    pending: list[bytes] = field(default_factory=list)


class Expectation:
    """
    The one state that one connection's acknowledged commands lead to.

    Attributes:
        contradictions: replies that cannot follow from what was acknowledged before.
    """

    def __init__(self) -> None:
        self.keys: dict[bytes, Known] = {}
        self.touched: set[bytes] = set()
        self.doubtful: set[bytes] = set()
        self.contradictions: list[str] = []

    def unknown(self, command: Sequence[bytes]) -> None:
        """Note a command that may have been executed or not."""
        for key in keys_of(command):
            self.touched.add(key)
            self.doubtful.add(key)

    def acknowledged(self, command: Sequence[bytes], reply: Any, sent_ms: float, acked_ms: float) -> None:
        """Note a command that was answered, and compare the answer with what is known."""
        self.touched.update(keys_of(command))
        name = command[0].decode()
        getattr(self, f"_{name.lower()}")(command, reply, sent_ms, acked_ms)

    def alive(self, key: bytes, sent_ms: float, acked_ms: float) -> bool | None:
        """Tell whether *key* is there for a command in flight between two times; None when it cannot be said."""
        if key in self.doubtful:
            return None
        known = self.keys.get(key)
        if known is None:
            return False
        if known.expires is None or acked_ms < known.expires[0] - EXPIRY_DOUBT_MS:
            return True
        if sent_ms > known.expires[1] + EXPIRY_DOUBT_MS:
            del self.keys[key]
            return False
        return None

    def _expect(self, command: Sequence[bytes], reply: Any, allowed: Any) -> None:
        if reply != allowed:
            text = b" ".join(command[:3]).decode("ascii", "replace")
            self.contradictions.append(f"{text}: answered {reply!r}, expected {allowed!r}")

    def _set(self, command: Sequence[bytes], reply: Any, sent_ms: float, acked_ms: float) -> None:
        self._expect(command, reply, b"OK")
        expires = None
        if len(command) > 3:
            ttl_ms = int(command[4]) * (1000 if command[3] == b"EX" else 1)
            expires = (sent_ms + ttl_ms, acked_ms + ttl_ms)
        self.keys[command[1]] = Known("string", command[2], expires)
        self.doubtful.discard(command[1])

    def _del(self, command: Sequence[bytes], reply: Any, sent_ms: float, acked_ms: float) -> None:
        alive = self.alive(command[1], sent_ms, acked_ms)
        if alive is not None:
            self._expect(command, reply, int(alive))
        self.keys.pop(command[1], None)
        self.doubtful.discard(command[1])

    def _expire(self, command: Sequence[bytes], reply: Any, sent_ms: float, acked_ms: float) -> None:
        key = command[1]
        alive = self.alive(key, sent_ms, acked_ms)
        if alive is not None:
            self._expect(command, reply, int(alive))
        if key in self.doubtful:
            return
        if reply == 0:
            self.keys.pop(key, None)
        elif key in self.keys:
            ttl_ms = int(command[2]) * 1000
            self.keys[key].expires = (sent_ms + ttl_ms, acked_ms + ttl_ms)

    def _rename(self, command: Sequence[bytes], reply: Any, sent_ms: float, acked_ms: float) -> None:
        source, target = command[1], command[2]
        alive = self.alive(source, sent_ms, acked_ms)
        renamed = reply == b"OK"
        if alive is not None and alive != renamed:
            self._expect(command, reply, b"OK" if alive else "an error: no such key")
        if renamed:
            known = self.keys.pop(source, None)
            if source in self.doubtful or known is None:
                self.doubtful.discard(source)
                self.doubtful.add(target)
            else:
                self.keys[target] = known
                self.doubtful.discard(target)
        else:
            self.keys.pop(source, None)
            self.doubtful.discard(source)

    def _container(self, key: bytes, kind: str, empty: Any) -> Any:
        """Return the value of a key that never expires, made if it is not there; None when it is not known."""
        if key in self.doubtful:
            return None
        return self.keys.setdefault(key, Known(kind, empty)).value

    def _drop_if_empty(self, key: bytes) -> None:
        if key in self.keys and not self.keys[key].value:
            del self.keys[key]

    def _hset(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        value = self._container(command[1], "hash", {})
        if value is not None:
            self._expect(command, reply, int(command[2] not in value))
            value[command[2]] = command[3]

    def _hdel(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        value = self._container(command[1], "hash", {})
        if value is not None:
            self._expect(command, reply, int(command[2] in value))
            value.pop(command[2], None)
            self._drop_if_empty(command[1])

    def _lpush(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        value = self._container(command[1], "list", [])
        if value is not None:
            value.insert(0, command[2])
            self._expect(command, reply, len(value))

    def _rpop(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        value = self._container(command[1], "list", [])
        if value is not None:
            self._expect(command, reply, value.pop() if value else None)
            self._drop_if_empty(command[1])

    def _zadd(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        value = self._container(command[1], "zset", {})
        if value is not None:
            self._expect(command, reply, int(command[3] not in value))
            value[command[3]] = float(command[2])

    def _incr(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        key = command[1]
        if key in self.doubtful:
            # The answer tells what could not be said before.
            self.doubtful.discard(key)
        else:
            self._expect(command, reply, int(self.keys[key].value) + 1 if key in self.keys else 1)
        self.keys[key] = Known("string", b"%d" % reply)

    def _xgroup(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        if command[2] not in self.doubtful:
            self._expect(command, reply, b"OK")
            self.keys[command[2]] = Known("stream", Stream())

    def _stream(self, key: bytes) -> Stream | None:
        known = self.keys.get(key)
        return known.value if known is not None and key not in self.doubtful else None

    def _xadd(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        stream = self._stream(command[1])
        if stream is not None:
            self._expect(command, reply, command[2])
            stream.entries[command[2]] = command[4]

    def _xreadgroup(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        stream = self._stream(command[7])
        if stream is None:
            return
        waiting = [entry for entry in stream.entries if _order(entry) > _order(stream.last_delivered)][
            : int(command[5])
        ]
        found = [entry[0] for entry in reply[0][1]] if reply else []
        self._expect(command[5:8], found, waiting)
        stream.pending += found
        if found:
            stream.last_delivered = found[-1]

    def _xack(self, command: Sequence[bytes], reply: Any, _sent: float, _acked: float) -> None:
        stream = self._stream(command[1])
        if stream is not None:
            self._expect(command, reply, int(command[3] in stream.pending))
            if command[3] in stream.pending:
                stream.pending.remove(command[3])


def keys_of(command: Sequence[bytes]) -> list[bytes]:
    """Return the keys that a command of this workload touches."""
    name = command[0]
    if name == b"RENAME":
        return [command[1], command[2]]
    if name == b"XGROUP":
        return [command[2]]
    if name == b"XREADGROUP":
        return [command[7]]
    return [command[1]]


def _order(entry: bytes) -> tuple[int, int]:
    first, _, second = entry.partition(b"-")
    return int(first), int(second)


# -- talking to the cache ------------------------------------------------------------------------------------------


class SharedCredentials:
    """Keeps what the callable said, and asks again only for a password that was refused. Safe between threads."""

    def __init__(self, ask: Credentials) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str | None, str]] = {}

    def get(self, resource_id: str) -> tuple[str | None, str]:
        """Return user name and password."""
        with self._lock:
            if resource_id not in self._known:
                self._known[resource_id] = self._ask(resource_id)
            return self._known[resource_id]

    def refused(self, resource_id: str, password: str) -> None:
        """Forget *password*, unless it was replaced already."""
        with self._lock:
            if self._known.get(resource_id, (None, None))[1] == password:
                del self._known[resource_id]


class Refused(Exception):
    """The cache did not let us in; nothing was sent."""


class PlainConnection:
    """One connection of an application with an ordinary client."""

    def __init__(
        self,
        entry: EndpointEntry,
        credentials: SharedCredentials,
        database: int,
        *,
        where: tuple[str, int] | None = None,
    ) -> None:
        self.entry = entry
        host, port = where or (entry.host, entry.port)
        self._reader = hiredis.Reader()
        try:
            self._socket = socket.create_connection((host, port), timeout=SOCKET_TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if entry.tls:
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=entry.host)
        except OSError as error:
            raise Refused(str(error)) from None
        user, password = credentials.get(entry.resource_id)
        try:
            greetings: list[tuple[Any, ...]] = (
                [("AUTH", user, password) if user else ("AUTH", password)] if password else []
            )
            if database:
                greetings.append(("SELECT", database))
            for reply in self.pipeline(greetings):
                if isinstance(reply, hiredis.ReplyError):
                    if str(reply).startswith(("WRONGPASS", "NOAUTH")) or "invalid password" in str(reply):
                        credentials.refused(entry.resource_id, password)
                    raise Refused(str(reply))
        except OSError as error:
            self.close()
            raise Refused(str(error)) from None
        except Refused:
            self.close()
            raise

    def request(self, command: Sequence[bytes]) -> Any:
        """Return the reply; raises OSError when the connection ends first."""
        return self.pipeline([command])[0]

    def pipeline(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """Return the replies of commands sent together."""
        packed = [hiredis.pack_command(tuple(command)) for command in commands]
        if not packed:
            return []
        self._socket.sendall(b"".join(packed))
        return [self._next() for _ in packed]

    def _next(self) -> Any:
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._reader.feed(data)
        return reply

    @property
    def ended(self) -> bool:
        """The server has closed it while nothing was asked: ordinary clients look before they send."""
        ready, _, _ = select.select([self._socket], [], [], 0)
        return bool(ready)

    def close(self) -> None:
        """End it."""
        self._socket.close()


class Sides:
    """Numbers the caches that the Endpoint named, in order: 0, and one more with every switch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[EndpointEntry] = []
        self._generation = -1

    def number(self, document: Endpoint) -> int:
        """Return the number of the cache that *document* names."""
        with self._lock:
            if document.generation > self._generation:
                self._generation = document.generation
                if not self._entries or self._entries[-1] != document.entry:
                    self._entries.append(document.entry)
            return max(index for index, entry in enumerate(self._entries) if entry == document.entry)

    @property
    def entries(self) -> list[EndpointEntry]:
        """The caches so far."""
        with self._lock:
            return list(self._entries)


class _Worker(threading.Thread):
    """One connection of the application: its keys, its commands, what it was told."""

    def __init__(self, number: int, workload: Workload) -> None:
        super().__init__(name=f"workload {number}", daemon=True)
        self.number = number
        self.workload = workload
        self.mode: Mode = workload.mode
        self.random = random.Random(f"{workload.seed}:{number}")
        self.expectation = Expectation()
        self.acknowledged = 0
        self.errors = 0
        self.refused_logins = 0
        self.first_ack: dict[int, float] = {}
        self.last_ack: dict[int, float] = {}
        self.side = 0
        self.database = number % len(workload.databases)
        self.failure: BaseException | None = None
        self.left_behind = 0
        self._cache: str | None = None
        self._sequence = 0
        self._connection: PlainConnection | None = None
        self._queue: list[list[bytes]] = []

    # -- what it does -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        workload = self.workload
        interval_s = workload.connections / workload.rate
        due = time.monotonic() + self.random.random() * interval_s
        try:
            while not workload.stopping.is_set():
                wait_s = due - time.monotonic()
                if wait_s > 0:
                    workload.stopping.wait(wait_s)
                    if workload.stopping.is_set():
                        break
                elif wait_s < -1:
                    due = time.monotonic()  # after an outage it goes on at its rate, it does not catch up
                due += interval_s
                command = self._queue.pop(0) if self._queue else self.choose()
                if self.mode != "plain":
                    self._run_ours(command)
                else:
                    self._run_plain(command)
        except BaseException as error:  # noqa: BLE001  reported by `check`: a dead writer must not look like a calm one
            self.failure = error
        finally:
            if self._connection is not None:
                self._connection.close()

    def key(self, kind: str, count: int) -> bytes:
        """Return one of this connection's keys; they share a slot, as RENAME wants it in a cluster."""
        return b"{%s:%d}:%s:%d" % (self.workload.prefix, self.number, kind.encode(), self.random.randrange(count))

    def choose(self) -> list[bytes]:
        """Return the next command."""
        pick = self.random.random
        value = b"%d-%d" % (self.number, self.random.getrandbits(60))
        if self.workload.new_keys_only:
            self._sequence += 1
            return [b"SET", b"{%s:%d}:n:%d" % (self.workload.prefix, self.number, self._sequence), value]
        roll = pick() * 100
        if roll < 15:
            return [b"SET", self.key("s", 40), value]
        if roll < 22:
            return [b"SET", self.key("s", 40), value, b"EX", b"%d" % self.random.randint(5, 300)]
        if roll < 29:
            return [b"SET", self.key("s", 40), value, b"PX", b"%d" % self.random.randint(1500, 60_000)]
        if roll < 35:
            return [b"DEL", self.key("s", 40)]
        if roll < 41:
            return [b"EXPIRE", self.key("s", 40), b"%d" % self.random.randint(3, 300)]
        if roll < 47:
            source = target = self.key("s", 40)
            while target == source:
                target = self.key("s", 40)
            return [b"RENAME", source, target]
        if roll < 56:
            return [b"HSET", self.key("h", 6), b"f%d" % self.random.randrange(20), value]
        if roll < 60:
            return [b"HDEL", self.key("h", 6), b"f%d" % self.random.randrange(20)]
        if roll < 66:
            return [b"LPUSH", self.key("l", 4), value]
        if roll < 72:
            return [b"RPOP", self.key("l", 4)]
        if roll < 79:
            return [b"ZADD", self.key("z", 4), b"%d" % self.random.randrange(1000), b"m%d" % self.random.randrange(30)]
        if roll < 91:
            return self._stream_command(value)
        if roll < 98:
            return [b"INCR", self.key("c", 6)]
        return [b"DEL", self.key(self.random.choice("hlzc"), 4)]

    def _stream_command(self, value: bytes) -> list[bytes]:
        key = self.key("x", 2)
        known = self.expectation.keys.get(key)
        if key in self.expectation.doubtful or (known is not None and len(known.value.entries) >= LONGEST_STREAM):
            return [b"DEL", key]
        if known is None:
            return [b"XGROUP", b"CREATE", key, b"workers", b"0", b"MKSTREAM"]
        if self.random.random() < 0.55:
            self._sequence += 1
            return [b"XADD", key, b"%d-1" % self._sequence, b"f", value]
        return [b"XREADGROUP", b"GROUP", b"workers", b"c1", b"COUNT", b"2", b"STREAMS", key, b">"]

    def _acknowledge(
        self, command: Sequence[bytes], reply: Any, sent_ms: float, acked_ms: float, side: int | None
    ) -> None:
        now = time.monotonic()
        self.acknowledged += 1
        if side is not None:
            self.first_ack.setdefault(side, now)
            self.last_ack[side] = now
        self.expectation.acknowledged(command, reply, sent_ms, acked_ms)
        if command[0] == b"XREADGROUP" and reply:
            # Half of what was read is acknowledged next; the rest stays pending, and has to be carried too.
            self._queue += [[b"XACK", command[7], b"workers", entry[0]] for entry in reply[0][1][:1]]
        self.workload._log(self, command, reply, side)

    # -- an application with an ordinary client ---------------------------------------------------------------------

    def _run_plain(self, command: list[bytes]) -> None:
        wait_s = 0.002
        while not self.workload.stopping.is_set():
            connection = self._connected()
            if connection is None:
                # There is nothing to be told by when the cache takes us again.
                self.workload.stopping.wait(wait_s)
                wait_s = min(wait_s * 2, 0.1)
                continue
            sent_ms = wall_ms()
            try:
                reply = connection.request(command)
            except OSError as error:
                self._fail(command, type(error).__name__, unknown=True)
                return
            acked_ms = wall_ms()
            if isinstance(reply, hiredis.ReplyError):
                text = str(reply)
                if text.startswith("MOVED "):
                    host, _, port = text.split(" ")[2].rpartition(":")
                    if not self._go_to((host or connection.entry.host, int(port))):
                        self.workload.stopping.wait(wait_s)
                    continue
                if text.encode().startswith(_NOT_EXECUTED):
                    self._fail(command, text, unknown=False)
                    return
            self._acknowledge(command, reply, sent_ms, acked_ms, self.side)
            return

    def _connected(self) -> PlainConnection | None:
        """Return the connection, made anew at the cache that the Endpoint names now; None when it was refused."""
        if self._connection is not None:
            if not self._connection.ended:
                return self._connection
            self._connection.close()
            self._connection = None
        document = self.workload.watcher.refresh()
        try:
            # While it says "hold" keys are being changed: a key fetched now would go round the fence.
            self._connection = PlainConnection(
                document.entry, self.workload.credentials_for(document), self.workload.database(document, self.database)
            )
        except Refused:
            self.refused_logins += 1
            return None
        if self._still_named():
            self.side = self.workload.sides.number(document)
        return self._connection

    def _still_named(self) -> bool:
        """Keep a new connection if the Endpoint names its cache: who stood still may have fetched another's new key."""
        assert self._connection is not None
        if self.workload.watcher.refresh().entry == self._connection.entry:
            return True
        self._connection.close()
        self._connection = None
        return False

    def _go_to(self, where: tuple[str, int]) -> bool:
        assert self._connection is not None
        entry = self._connection.entry
        self._connection.close()
        try:
            self._connection = PlainConnection(entry, self.workload.credentials, 0, where=where)
        except Refused:
            self._connection = None
            return False
        return self._still_named()

    def _fail(self, command: Sequence[bytes], reason: str, *, unknown: bool) -> None:
        self.errors += 1
        if unknown:
            self.expectation.unknown(command)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.workload._log(self, command, None, self.side, error=reason)

    # -- an application with our client -----------------------------------------------------------------------------

    def _run_ours(self, command: list[bytes]) -> None:
        client = self.workload.clients[self.database]
        # redis-py finds the key of a command with two words only if they come as one.
        words = 2 if command[0] == b"XGROUP" else 1
        name, rest = b" ".join(command[:words]).decode(), command[words:]
        before = client.endpoint
        sent_ms = wall_ms()
        try:
            reply = _raw(command, client.execute_command(name, *rest))
        except ResponseError as error:
            if self._found_empty(client):
                self.expectation.unknown(command)  # it was chosen for what the old cache held
                return
            if command[0] != b"RENAME":
                raise
            reply = error
        except RedisError as error:
            self._fail(command, str(error), unknown=not getattr(error, "surely_not_executed", False))
            return
        acked_ms = wall_ms()
        after = client.endpoint
        if self._found_empty(client) and before.entry != after.entry:
            self.expectation.unknown(command)
            return
        # A command that began before a switch and ended after it may have been run by either side.
        side = self.workload.sides.number(after) if before.entry == after.entry else None
        self._acknowledge(command, reply, sent_ms, acked_ms, side)

    def _found_empty(self, client: EndpointRedis) -> bool:
        """Whether the cache changed to one that starts empty; what the old one held is then given up and counted."""
        cache = client.endpoint.entry.resource_id
        changed, self._cache = self._cache not in (None, cache), cache
        if not (self.workload.starts_empty and changed):
            return False
        self.left_behind += len(self.expectation.keys)
        self.expectation = Expectation()
        self._queue.clear()
        return True


def _raw(command: Sequence[bytes], reply: Any) -> Any:
    """Return redis-py's answer in the shape of the protocol."""
    if command[0] in (b"SET", b"RENAME", b"XGROUP"):
        return b"OK" if reply is True else reply
    if command[0] == b"XREADGROUP":
        return [[name, [[entry, fields] for entry, fields in entries]] for name, entries in reply] if reply else None
    return int(reply) if isinstance(reply, bool) else reply


class Workload:
    """
    The application: start it, let it write, stop it, check.

    Args:
        store: the Endpoint it follows.
        credentials: user name and password of a resource id; asked again after a refusal.
        connections: how many write; each owns its keys.
        rate: commands a second, all connections together.
        mode: "plain", "ours" or "dual".
        databases: the databases it writes to, in turn by connection; only 0 where the cache is clustered.
        prefix: what its keys begin with; one of its own for each run, so that nothing of an earlier one is there.
        seed: of what it writes.
        log: where each acknowledged command and each error is written, one JSON object a line.
        starts_empty: the cache after a switch holds nothing; what the old one held is given up and counted.
        new_keys_only: set one new key after another; each write that is lost is one key that lacks.
    """

    def __init__(
        self,
        store: EndpointStore,
        credentials: Credentials,
        *,
        connections: int = 20,
        rate: float = 500,
        mode: Mode = "plain",
        databases: Sequence[int] = (0, 1),
        prefix: str | None = None,
        seed: int = 0,
        log: IO[str] | None = None,
        starts_empty: bool = False,
        new_keys_only: bool = False,
    ) -> None:
        self.watcher = EndpointWatcher(store)
        self.credentials = SharedCredentials(credentials)
        self._credentials = credentials
        self.connections = connections
        self.rate = rate
        self.mode = mode
        self.databases = tuple(databases)
        self.prefix = (prefix or f"app-{secrets.token_hex(3)}").encode()
        self.seed = seed
        self.starts_empty = starts_empty
        self.new_keys_only = new_keys_only
        self.stopping = threading.Event()
        self.sides = Sides()
        self.clients: list[EndpointRedis] = []
        self._store = store
        self._log_file = log
        self._log_lock = threading.Lock()
        self._workers = [_Worker(number, self) for number in range(connections)]
        self._began_at = 0.0
        self._seconds = 0.0

    def start(self) -> None:
        """Begin to write."""
        document = self.watcher.refresh()
        self.sides.number(document)
        if self.mode != "plain":
            client = DualWriteRedis if self.mode == "dual" else EndpointRedis
            self.clients = [
                client(
                    self._store,
                    self._credentials,
                    db=self.database(document, index),
                    socket_timeout=SOCKET_TIMEOUT_S,
                    socket_connect_timeout=SOCKET_TIMEOUT_S,
                )
                for index in range(len(self.databases))
            ]
        self._began_at = time.monotonic()
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """End the writers; every command that was sent has its answer, or is counted as unknown, when this returns."""
        self.stopping.set()
        for worker in self._workers:
            worker.join(timeout=60)
        self._seconds = time.monotonic() - self._began_at
        for client in self.clients:
            client.close()

    def database(self, document: Endpoint, index: int) -> int:
        """Return the database of the *index*-th kind of connection."""
        return 0 if document.entry.clustered else self.databases[index]

    def credentials_for(self, document: Endpoint) -> SharedCredentials:
        """Return where to get credentials from: while there is a hold, only those that are known already."""
        if document.state == "open":
            return self.credentials
        return _KnownOnly(self.credentials)

    def status(self) -> dict[str, Any]:
        """Return the counts so far."""
        return {
            "acknowledged": sum(worker.acknowledged for worker in self._workers),
            "client_errors": sum(worker.errors for worker in self._workers),
            "switches": max(0, len(self.sides.entries) - 1),
        }

    def check(self) -> dict[str, Any]:
        """
        Compare the live cache with what was acknowledged.

        Returns:
            acknowledged, lost, findings (the first few), client_errors, refused_logins, gap_ms (one per switch: last
            acknowledgement of the old cache to the first of the new one), left_behind (keys that a cache which
            starts empty does not have), keys_checked, keys_not_checked, seconds.
        """
        document = self.watcher.wait_until_open(30)
        findings: list[str] = []
        checked = skipped = 0
        nodes: dict[tuple[str, int], PlainConnection] = {}
        try:
            for worker in self._workers:
                if worker.failure is not None:
                    findings.append(f"writer {worker.number} ended: {type(worker.failure).__name__}: {worker.failure}")
                found, count, left = self._check_worker(worker, document, nodes)
                findings += worker.expectation.contradictions + found
                checked += count
                skipped += left
        finally:
            for connection in nodes.values():
                connection.close()
        return {
            **self.status(),
            "lost": len(findings),
            "findings": findings[:20],
            "refused_logins": sum(worker.refused_logins for worker in self._workers),
            "gap_ms": self.gaps_ms(),
            "left_behind": sum(worker.left_behind for worker in self._workers),
            "keys_checked": checked,
            "keys_not_checked": skipped,
            "seconds": round(self._seconds, 3),
            "mode": self.mode,
        }

    def gaps_ms(self) -> list[float]:
        """Return for each switch the ms from the old cache's last acknowledgement to the new one's first."""
        gaps = []
        for side in range(1, len(self.sides.entries)):
            last = [worker.last_ack[side - 1] for worker in self._workers if side - 1 in worker.last_ack]
            first = [worker.first_ack[side] for worker in self._workers if side in worker.first_ack]
            if last and first:
                gaps.append(round((min(first) - max(last)) * 1000, 2))
        return gaps

    def _check_worker(
        self, worker: _Worker, document: Endpoint, nodes: dict[tuple[str, int], PlainConnection]
    ) -> tuple[list[str], int, int]:
        expectation = worker.expectation
        keys = sorted(expectation.touched - expectation.doubtful)
        database = self.database(document, worker.database)
        findings: list[str] = []
        skipped = len(expectation.doubtful)
        checked = 0
        for start in range(0, len(keys), 100):
            batch = keys[start : start + 100]
            asked_ms = wall_ms()
            found = self._read(document, database, batch, nodes)
            answered_ms = wall_ms()
            for key, actual in zip(batch, found, strict=True):
                alive = expectation.alive(key, asked_ms, answered_ms)
                if alive is None:
                    skipped += 1
                    continue
                checked += 1
                wanted = expectation.keys.get(key)
                problem = _difference(wanted if alive else None, actual, asked_ms, answered_ms)
                if problem:
                    findings.append(f"db{database} {key.decode()}: {problem}")
        return findings, checked, skipped

    def _read(
        self, document: Endpoint, database: int, keys: Sequence[bytes], nodes: dict[tuple[str, int], PlainConnection]
    ) -> list[tuple[bytes, Any, int]]:
        """Return type, value and PTTL of *keys* (they share a node)."""
        where = (document.entry.host, document.entry.port)
        while True:
            if where not in nodes:
                nodes[where] = PlainConnection(document.entry, self.credentials, 0, where=where)
            connection = nodes[where]
            if not document.entry.clustered:
                connection.pipeline([("SELECT", database)])
            types = connection.pipeline([("TYPE", key) for key in keys])
            moved = [str(reply) for reply in types if isinstance(reply, hiredis.ReplyError)]
            if moved:
                host, _, port = moved[0].split(" ")[2].rpartition(":")
                where = (host or document.entry.host, int(port))
                continue
            values = connection.pipeline([_reader_of(kind, key) for kind, key in zip(types, keys, strict=True)])
            ttls = connection.pipeline([("PTTL", key) for key in keys])
            results = []
            for key, kind, value, ttl in zip(keys, types, values, ttls, strict=True):
                if kind == b"stream":
                    value = (
                        value,
                        *connection.pipeline(
                            [("XINFO", "GROUPS", key), ("XPENDING", key, "workers", "-", "+", 10_000)]
                        ),
                    )
                results.append((kind, value, ttl))
            return results

    def _log(
        self, worker: _Worker, command: Sequence[bytes], reply: Any, side: int | None, *, error: str | None = None
    ) -> None:
        if self._log_file is None:
            return
        line = {
            "t_ms": round(wall_ms(), 3),
            "connection": worker.number,
            "command": [part.decode("ascii", "replace") for part in command],
            **({"error": error} if error else {"reply": str(reply), "side": side}),
        }
        with self._log_lock:
            self._log_file.write(json.dumps(line) + "\n")


class _KnownOnly(SharedCredentials):
    """Gives what is known and asks for nothing new."""

    def __init__(self, shared: SharedCredentials) -> None:
        self._shared = shared

    def get(self, resource_id: str) -> tuple[str | None, str]:
        with self._shared._lock:
            known = self._shared._known.get(resource_id)
        if known is None:
            raise Refused("the Endpoint says hold: no new key is fetched")
        return known

    def refused(self, resource_id: str, password: str) -> None:
        pass


def _reader_of(kind: bytes, key: bytes) -> tuple[Any, ...]:
    return {
        b"string": ("GET", key),
        b"hash": ("HGETALL", key),
        b"list": ("LRANGE", key, 0, -1),
        b"zset": ("ZRANGE", key, 0, -1, "WITHSCORES"),
        b"stream": ("XRANGE", key, "-", "+"),
    }.get(kind, ("EXISTS", key))


def _difference(
    wanted: Known | None, actual: tuple[bytes, Any, int], asked_ms: float, answered_ms: float
) -> str | None:
    """Tell in what the key on the live cache is not as it must be; None when it is."""
    kind, value, ttl_ms = actual
    if wanted is None:
        return None if kind == b"none" else f"is there ({kind.decode()}), must not be"
    if kind == b"none":
        return f"is missing, must be a {wanted.kind}"
    if kind.decode() != wanted.kind:
        return f"is a {kind.decode()}, must be a {wanted.kind}"
    found: Any = value
    expected: Any = wanted.value
    if wanted.kind == "hash":
        found = dict(zip(value[::2], value[1::2], strict=True))
    elif wanted.kind == "zset":
        found = {member: float(score) for member, score in zip(value[::2], value[1::2], strict=True)}
    elif wanted.kind == "stream":
        entries, groups, pending = value
        group = dict(zip(groups[0][::2], groups[0][1::2], strict=True)) if groups else {}
        found = (
            {entry: fields[1] for entry, fields in entries},
            group.get(b"last-delivered-id"),
            [row[0] for row in pending],
        )
        expected = (wanted.value.entries, wanted.value.last_delivered, sorted(wanted.value.pending, key=_order))
    if found != expected:
        return f"is {_short(found)}, must be {_short(expected)}"
    if wanted.expires is None:
        return None if ttl_ms == -1 else f"expires in {ttl_ms} ms, must not expire"
    if ttl_ms == -1:
        return "does not expire, must"
    early, late = asked_ms + ttl_ms, answered_ms + ttl_ms
    if late < wanted.expires[0] - EXPIRY_TOLERANCE_MS or early > wanted.expires[1] + EXPIRY_TOLERANCE_MS:
        return f"expires {early - wanted.expires[0]:+.0f} ms from when it must"
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


# -- as a process --------------------------------------------------------------------------------------------------


def credentials_from_file(path: Path) -> Credentials:
    """Return credentials from a JSON object of resource id to {"username", "password"}, read anew each time."""

    def ask(resource_id: str) -> tuple[str | None, str]:
        found = json.loads(path.read_text())[resource_id]
        return found.get("username"), found["password"]

    return ask


def credentials_from_azure() -> Credentials:
    """
    Return credentials that ask Azure for the primary key of a cache.

    The environment says where and as whom, as for azure-native: ARM_ENDPOINT, ARM_DISABLE_INSTANCE_DISCOVERY, and what
    azure-identity's EnvironmentCredential reads.
    """
    from azure.identity import DefaultAzureCredential
    from azure.mgmt.redis import RedisManagementClient
    from azure.mgmt.redisenterprise import RedisEnterpriseManagementClient

    endpoint = os.environ.get("ARM_ENDPOINT", "https://management.azure.com").rstrip("/")
    local = os.environ.get("ARM_DISABLE_INSTANCE_DISCOVERY", "").lower() == "true"
    credential = DefaultAzureCredential(disable_instance_discovery=local) if local else DefaultAzureCredential()
    clients: dict[str, Any] = {}

    def ask(resource_id: str) -> tuple[str | None, str]:
        parts = resource_id.strip("/").split("/")
        subscription, group, name = parts[1], parts[3], parts[-1]
        if "/redisenterprise/" in resource_id.lower():
            managed = RedisEnterpriseManagementClient(
                credential, subscription, base_url=endpoint, credential_scopes=[f"{endpoint}/.default"]
            )
            with managed:
                return None, managed.databases.list_keys(group, name, "default").primary_key or ""
        if subscription not in clients:
            clients[subscription] = RedisManagementClient(
                credential, subscription, base_url=endpoint, credential_scopes=[f"{endpoint}/.default"]
            )
        return None, clients[subscription].redis.list_keys(group, name).primary_key

    return ask


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the workload until SIGTERM, SIGINT or --seconds, then check and print the result as JSON."""
    parser = argparse.ArgumentParser(description="An application that writes to a cache and follows the Endpoint.")
    parser.add_argument("--endpoint", type=Path, required=True, help="the Endpoint document")
    parser.add_argument("--rate", type=float, default=500, help="commands a second (default 500)")
    parser.add_argument("--connections", type=int, default=20, help="connections that write (default 20)")
    parser.add_argument("--mode", choices=("plain", "ours", "dual"), default="plain", help="which kind of application")
    parser.add_argument("--databases", default="0,1", help="databases to write to, where not clustered (default 0,1)")
    parser.add_argument("--prefix", help="what its keys begin with (default app- and a number of its own)")
    parser.add_argument("--seed", type=int, default=0, help="seed of what it writes")
    parser.add_argument("--seconds", type=float, help="end by itself after so many seconds")
    parser.add_argument("--progress-s", type=float, help="print the counts to standard error every so many seconds")
    parser.add_argument("--log", type=Path, help="write each acknowledged command here, one JSON object a line")
    parser.add_argument("--credentials", type=Path, help="JSON file with credentials; without it Azure is asked")
    parser.add_argument(
        "--starts-empty",
        action="store_true",
        help="the cache after a switch starts empty (method new-cache; mode ours)",
    )
    parser.add_argument(
        "--new-keys-only",
        action="store_true",
        help="set one new key after another, none twice: each that is lost is one key that lacks",
    )
    options = parser.parse_args(arguments)

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    credentials = credentials_from_file(options.credentials) if options.credentials else credentials_from_azure()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(options.log.open("w", encoding="utf-8")) if options.log else None
        workload = Workload(
            FileEndpointStore(options.endpoint),
            credentials,
            connections=options.connections,
            rate=options.rate,
            mode=options.mode,
            databases=[int(number) for number in options.databases.split(",")],
            prefix=options.prefix,
            seed=options.seed,
            log=log,
            starts_empty=options.starts_empty,
            new_keys_only=options.new_keys_only,
        )
        workload.start()
        print(json.dumps({"started": True, **workload.status()}), file=sys.stderr, flush=True)
        ends_at = time.monotonic() + (options.seconds or float("inf"))
        parent = os.getppid()
        # Nobody would end it any more when who started it is gone.
        while not ended.is_set() and time.monotonic() < ends_at and os.getppid() == parent:
            ended.wait(min(options.progress_s or 1.0, max(0.0, ends_at - time.monotonic())))
            if options.progress_s and not ended.is_set():
                print(json.dumps(workload.status()), file=sys.stderr, flush=True)
        workload.stop()
        result = workload.check()
    print(json.dumps(result), flush=True)
    return 1 if result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
