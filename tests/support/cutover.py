"""Two caches, an Endpoint, and applications as processes of their own: what the tests of the cut-over stand on."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redismove.dataplane.connect import Connection, Secret, ServerAddress
from redismove.dataplane.cutover import CutOver, CutoverEvent, CutoverLimits, CutoverReport
from redismove.dataplane.fence import KeyName
from redismove.dataplane.slots import slot_of
from redismove.endpoint import EndpointEntry, FileEndpointStore, Role
from tests.support.redis_servers import ROOT, TlsFiles, redis_cluster, redis_server

ADMIN = "_admin"
"""The service's own user: it changes keys, and the fence leaves its connections alone."""


def _replace(path: Path, content: object) -> None:
    """Write JSON so that a reader, or a kill, finds the old or the new, whole."""
    new = path.with_suffix(f".{os.getpid()}.new")
    new.write_text(json.dumps(content))
    new.replace(path)


class Cache:
    """
    One cache with two access keys, as Azure has them; also the `KeyRotation` of it.

    Everything that must outlive a killed process stands in files of the folder.
    """

    def __init__(self, folder: Path, role: Role) -> None:
        self.folder = folder
        self.role = role
        state = json.loads((folder / f"{role}.json").read_text())
        self.ports: list[int] = state["ports"]
        self.clustered: bool = state["clustered"]
        self.ca_file: str | None = state["ca_file"]
        self.admins = [Connection(self._address(port, ADMIN, "service")) for port in self.ports]

    @classmethod
    def make(
        cls, folder: Path, role: Role, ports: Sequence[int], *, clustered: bool, ca_file: str | None, notify: str
    ) -> Cache:
        """Give the servers on *ports*, which have no password yet, a service user and two keys."""
        keys = {"Primary": secrets.token_hex(8), "Secondary": secrets.token_hex(8)}
        for port in ports:
            with Connection(ServerAddress("127.0.0.1", port, tls=ca_file is not None, ca_file=ca_file)) as connection:
                connection.call("ACL", "SETUSER", ADMIN, "on", ">service", "~*", "&*", "+@all")
                connection.call("CONFIG", "SET", "notify-keyspace-events", notify)
                connection.call("ACL", "SETUSER", "default", "resetpass", *(f">{key}" for key in keys.values()))
        state = {"ports": list(ports), "clustered": clustered, "ca_file": ca_file}
        (folder / f"{role}.json").write_text(json.dumps(state))
        (folder / f"{role}-keys.json").write_text(json.dumps(keys))
        made = cls(folder, role)
        made._publish()
        return made

    def _address(self, port: int, username: str | None, password: str) -> ServerAddress:
        return ServerAddress("127.0.0.1", port, self.ca_file is not None, username, Secret(password), self.ca_file)

    @property
    def keys(self) -> dict[str, str]:
        """The two keys."""
        found: dict[str, str] = json.loads((self.folder / f"{self.role}-keys.json").read_text())
        return found

    @property
    def address(self) -> ServerAddress:
        """How the mover logs in: with the primary key."""
        return self._address(self.ports[0], None, self.keys["Primary"])

    @property
    def entry(self) -> EndpointEntry:
        """What the Endpoint says of it."""
        return EndpointEntry(
            host="127.0.0.1",
            port=self.ports[0],
            tls=self.ca_file is not None,
            clustered=self.clustered,
            resource_id=f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Cache/redis/{self.role}",
            role=self.role,
        )

    def current(self) -> dict[str, str]:
        """Return the keys, as listKeys does."""
        return self.keys

    def regenerate(self, name: KeyName) -> str:
        """Replace a key at every node, as regenerateKey does: open connections stay."""
        keys = {**self.keys, name: secrets.token_hex(8)}
        _replace(self.folder / f"{self.role}-keys.json", keys)
        self.finish_regenerating()
        return keys[name]

    def finish_regenerating(self) -> None:
        """
        Give every node the keys on record.

        Azure finishes a regenerateKey whatever becomes of who asked for it; here that process does it itself, so the
        next one has to finish what a killed one began.
        """
        for admin in self.admins:
            admin.call("ACL", "SETUSER", "default", "resetpass", *(f">{key}" for key in self.keys.values()))
        self._publish()

    def _publish(self) -> None:
        """Tell applications the primary key, as listKeys would."""
        path = self.folder / "credentials.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        found[self.entry.resource_id] = {"username": None, "password": self.keys["Primary"]}
        _replace(path, found)

    def admin_of(self, key: bytes) -> int:
        """Return the number of the node that serves a key."""
        count = len(self.ports)
        return min(slot_of(key) * count // 16384, count - 1) if self.clustered else 0

    def command(self, *command: Any, database: int = 0) -> Any:
        """Run a command at the first node as the service's own user."""
        self.admins[0].select(database)
        try:
            return self.admins[0].call(*command)
        finally:
            self.admins[0].select(0)

    def close(self) -> None:
        """End the service's own connections."""
        for admin in self.admins:
            admin.close()


class Writers:
    """The application of `tools/workload.py` as a process."""

    def __init__(self, folder: Path, options: Sequence[str], environment: dict[str, str]) -> None:
        command = [sys.executable, str(ROOT / "tools" / "workload.py"), "--endpoint", str(folder / "endpoint.json")]
        command += ["--credentials", str(folder / "credentials.json"), "--progress-s", "0.05", *options]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        self._lines = self._said = b""
        self.status: dict[str, Any] = {}
        self.wait_for(0)

    def wait_for(self, acknowledged: int, *, more: bool = False, timeout_s: float = 30.0) -> None:
        """Wait until so many commands were acknowledged (*more*: from now on)."""
        assert self._process.stderr is not None
        if more:
            self._drain()
            acknowledged += self.status.get("acknowledged", 0)
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stderr, selectors.EVENT_READ)
            while self.status.get("acknowledged", -1) < acknowledged:
                assert time.monotonic() < deadline, f"only {self.status} after {timeout_s} s"
                if selector.select(0.2) and not self._drain():
                    raise AssertionError(f"the application ended: {self._said.decode()}")

    def _drain(self) -> bool:
        """Read what it has said; False when it will say no more."""
        assert self._process.stderr is not None
        descriptor = self._process.stderr.fileno()
        os.set_blocking(descriptor, False)
        try:
            while chunk := os.read(descriptor, 1 << 16):
                self._lines += chunk
                self._said = (self._said + chunk)[-4000:]
        except BlockingIOError:
            pass
        else:
            return False
        finally:
            *lines, self._lines = self._lines.split(b"\n")
            for line in lines:
                if line.startswith(b"{"):
                    self.status = json.loads(line)
        return True

    def stop(self) -> dict[str, Any]:
        """End it and return what it found."""
        self._process.send_signal(signal.SIGTERM)
        output, errors = self._process.communicate(timeout=60)
        assert output, errors.decode()
        result: dict[str, Any] = json.loads(output)
        return result

    def stand_still(self) -> None:
        """Stop it wherever it is, as a collection of garbage or a busy machine would."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@dataclass
class World:
    """A source, a target and an Endpoint that names the source."""

    folder: Path
    source: Cache
    target: Cache
    endpoint: FileEndpointStore
    events: list[CutoverEvent] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def attach(cls, folder: Path) -> World:
        """Return the world that another process made in *folder*."""
        return cls(
            folder, Cache(folder, "source"), Cache(folder, "target"), FileEndpointStore(folder / "endpoint.json")
        )

    def writers(self, mode: str = "plain", *, rate: int = 500, connections: int = 20, seed: int = 0) -> Writers:
        """Start an application."""
        options = ["--mode", mode, "--rate", str(rate), "--connections", str(connections), "--seed", str(seed)]
        environment = {"SSL_CERT_FILE": self.source.ca_file} if self.source.ca_file else {}
        writers = Writers(self.folder, options, environment)
        self.stack.callback(writers.kill)
        return writers

    def fill(self, count: int, cache: Cache | None = None, prefix: str = "k") -> None:
        """Write *count* keys of all types to a cache (the source), in two databases where it has them."""
        cache = cache or self.source
        databases = (0,) if cache.clustered else (0, 1)
        for database in databases:
            by_node: dict[int, list[tuple[Any, ...]]] = {}
            for number in range(count // len(databases)):
                key = f"{prefix}:{number}".encode()
                by_node.setdefault(cache.admin_of(key), []).extend(_filling(key, number))
            for node, commands in by_node.items():
                admin = cache.admins[node]
                admin.select(database)
                admin.pipeline(commands)
                admin.select(0)

    def cut(self, kind: type[CutOver] = CutOver, *, back: bool = False, **options: Any) -> CutoverReport:
        """Cut over, or back."""
        for cache in (self.source, self.target):
            cache.finish_regenerating()
        source, target = (self.target, self.source) if back else (self.source, self.target)
        self.events.clear()
        options.setdefault("keys", source)
        options.setdefault("limits", CutoverLimits(total_s=60))
        options.setdefault("on_event", self.events.append)
        return kind(
            source.address,
            target.address,
            endpoint=self.endpoint,
            source_entry=source.entry,
            target_entry=target.entry,
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
def world(
    folder: Path,
    *,
    source: str = "7.0",
    target: str = "7.0",
    clustered: bool = False,
    tls: TlsFiles | None = None,
    notify: str = "KA",
) -> Iterator[World]:
    """Two caches and an Endpoint for the length of a block; every process is ended with it."""
    with ExitStack() as stack:
        caches = []
        roles: tuple[tuple[Role, str], ...] = (("source", source), ("target", target))
        for role, kind in roles:
            if clustered:
                processes = stack.enter_context(redis_cluster(3, kind)).nodes
            else:
                processes = [stack.enter_context(redis_server(kind, **({"tls": tls} if tls else {})))]
            made = Cache.make(
                folder,
                role,
                [process.port for process in processes],
                clustered=clustered,
                ca_file=str(tls.authority) if tls else None,
                notify=notify if role == "source" else "KA",
            )
            stack.callback(made.close)
            caches.append(made)
        endpoint = FileEndpointStore(folder / "endpoint.json")
        endpoint.put(caches[0].entry)
        here = World(folder, caches[0], caches[1], endpoint)
        stack.enter_context(here.stack)
        yield here
