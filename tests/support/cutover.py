"""Two caches, an Endpoint, and applications as processes of their own: what the tests of the cut-over stand on."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redismove.dataplane.connect import Connection, Node, ServerAddress
from redismove.dataplane.cutover import CutOver, CutoverEvent, CutoverLimits, CutoverReport
from redismove.dataplane.fence import KeyName
from redismove.dataplane.slots import slot_of
from redismove.endpoint import EndpointEntry, FileEndpointStore, Role
from tests.support.redis_servers import ROOT, RedisProcess, redis_cluster, redis_server

ADMIN = "_admin"
"""The service's own user: it changes keys, and the fence leaves its connections alone."""


@dataclass
class Cache:
    """One cache with two access keys, as Azure has them; also the `KeyRotation` of it."""

    name: str
    role: Role
    processes: list[RedisProcess]
    clustered: bool
    keys: dict[str, str]
    admins: list[Connection]
    credentials: Path
    regenerated: list[str] = field(default_factory=list)

    @property
    def address(self) -> ServerAddress:
        """How the mover logs in: with the primary key."""
        return ServerAddress("127.0.0.1", self.processes[0].port).with_password(self.keys["Primary"])

    @property
    def entry(self) -> EndpointEntry:
        """What the Endpoint says of it."""
        return EndpointEntry(
            host="127.0.0.1",
            port=self.processes[0].port,
            tls=False,
            clustered=self.clustered,
            resource_id=f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Cache/redis/{self.name}",
            role=self.role,
        )

    def current(self) -> dict[str, str]:
        """Return the keys, as listKeys does."""
        return dict(self.keys)

    def regenerate(self, name: KeyName) -> str:
        """Replace a key at every node, as regenerateKey does: open connections stay."""
        old, new = self.keys[name], secrets.token_hex(8)
        for admin in self.admins:
            admin.call("ACL", "SETUSER", "default", f"<{old}", f">{new}")
        self.keys[name] = new
        self.regenerated.append(name)
        self.publish()
        return new

    def publish(self) -> None:
        """Tell applications the primary key, as listKeys would."""
        found = json.loads(self.credentials.read_text()) if self.credentials.exists() else {}
        found[self.entry.resource_id] = {"username": None, "password": self.keys["Primary"]}
        new = self.credentials.with_suffix(".new")
        new.write_text(json.dumps(found))
        new.replace(self.credentials)

    def admin_for(self, key: bytes) -> Connection:
        """Return the service's own connection to the node of a key."""
        if not self.clustered:
            return self.admins[0]
        return self.admins[[node.number for node in _shares(len(self.admins)) if slot_of(key) in node.slots][0]]


@dataclass(frozen=True)
class _Share:
    number: int
    slots: range


def _shares(count: int) -> list[_Share]:
    bounds = [round(16384 * number / count) for number in range(count + 1)]
    return [_Share(number, range(bounds[number], bounds[number + 1])) for number in range(count)]


@contextmanager
def cache(name: str, role: Role, kind: str, folder: Path, *, clustered: bool = False, notify: str = "KA") -> Iterator[Cache]:
    """A cache for the length of a block."""
    with ExitStack() as stack:
        if clustered:
            processes = stack.enter_context(redis_cluster(3, kind)).nodes
        else:
            processes = [stack.enter_context(redis_server(kind))]
        keys = {"Primary": secrets.token_hex(8), "Secondary": secrets.token_hex(8)}
        admins = []
        for process in processes:
            connection = process.connect()
            connection.call("ACL", "SETUSER", ADMIN, "on", ">service", "~*", "&*", "+@all")
            connection.call("AUTH", ADMIN, "service")
            connection.call("CONFIG", "SET", "notify-keyspace-events", notify)
            connection.call("ACL", "SETUSER", "default", "resetpass", f">{keys['Primary']}", f">{keys['Secondary']}")
            admins.append(connection)
            stack.callback(connection.close)
        made = Cache(name, role, processes, clustered, keys, admins, folder / "credentials.json")
        made.publish()
        yield made


class Writers:
    """The application of `tools/workload.py` as a process."""

    def __init__(self, world: World, options: Sequence[str]) -> None:
        command = [sys.executable, str(ROOT / "tools" / "workload.py"), "--endpoint", str(world.endpoint.path)]
        command += ["--credentials", str(world.credentials), *options]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert '"started"' in line, line + self._process.stderr.read()

    def stop(self) -> dict[str, Any]:
        """End it and return what it found."""
        self._process.send_signal(signal.SIGTERM)
        output, errors = self._process.communicate(timeout=60)
        assert output, errors
        result: dict[str, Any] = json.loads(output)
        return result

    def kill(self) -> None:
        """End it whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@dataclass
class World:
    """A source, a target and an Endpoint that names the source."""

    source: Cache
    target: Cache
    endpoint: FileEndpointStore
    credentials: Path
    events: list[CutoverEvent] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    def writers(self, mode: str = "plain", *, rate: int = 500, connections: int = 20, seed: int = 0) -> Writers:
        """Start an application."""
        options = ["--mode", mode, "--rate", str(rate), "--connections", str(connections), "--seed", str(seed)]
        writers = Writers(self, options)
        self.stack.callback(writers.kill)
        return writers

    def fill(self, count: int, cache: Cache | None = None, prefix: str = "k") -> None:
        """Write *count* keys of all types to a cache (the source), in two databases where it has them."""
        cache = cache or self.source
        for database in (0,) if cache.clustered else (0, 1):
            by_admin: dict[int, list[tuple[Any, ...]]] = {}
            for number in range(count // (1 if cache.clustered else 2)):
                key = f"{prefix}:{number}".encode()
                admin = cache.admin_for(key)
                by_admin.setdefault(cache.admins.index(admin), []).extend(_filling(key, number))
            for index, commands in by_admin.items():
                admin = cache.admins[index]
                admin.select(database)
                admin.pipeline(commands)
                admin.select(0)

    def cut(self, kind: type[CutOver] = CutOver, *, back: bool = False, **options: Any) -> CutoverReport:
        """Cut over, or back."""
        source, target = (self.target, self.source) if back else (self.source, self.target)
        self.events.clear()
        options.setdefault("keys", source)
        options.setdefault("limits", CutoverLimits(total_s=60))
        return kind(
            source.address,
            target.address,
            endpoint=self.endpoint,
            source_entry=source.entry,
            target_entry=target.entry,
            on_event=self.events.append,
            **options,
        ).run()


def _filling(key: bytes, number: int) -> list[tuple[Any, ...]]:
    kind = number % 6
    value = f"value-{number}"
    if kind == 0:
        return [("SET", key, value)]
    if kind == 1:
        return [("SET", key, value, "EX", 1000 + number)]
    if kind == 2:
        return [("HSET", key, "a", value, "b", number)]
    if kind == 3:
        return [("RPUSH", key, value, number)]
    if kind == 4:
        return [("ZADD", key, number, value), ("PEXPIRE", key, 3_600_000 + number)]
    return [("SADD", key, value, number)]


@contextmanager
def world(folder: Path, *, source: str = "7.0", target: str = "7.0", clustered: bool = False) -> Iterator[World]:
    """Two caches and an Endpoint for the length of a block; every process is ended with it."""
    with ExitStack() as stack:
        one = stack.enter_context(cache("one", "source", source, folder, clustered=clustered))
        two = stack.enter_context(cache("two", "target", target, folder, clustered=clustered))
        endpoint = FileEndpointStore(folder / "endpoint.json")
        endpoint.put(one.entry)
        made = World(one, two, endpoint, folder / "credentials.json")
        stack.enter_context(made.stack)
        yield made


__all__ = ["Cache", "Connection", "Node", "World", "Writers", "cache", "world"]
