"""Two caches that can be cut off, stalled and restarted, for the tests of the dual-write client."""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redismove.dataplane.connect import Server
from redismove.dataplane.verify import VerifyReport, verify
from redismove.dual_write import AsyncDualWriteRedis, DualWriteRedis, DualWriteSettings
from redismove.endpoint import EndpointEntry, FileEndpointStore, Role
from tests.support.redis_servers import RedisProcess, free_port, redis_cluster, start_redis

PASSWORD = "secret-of-the-tests"


class Proxy:
    """
    Forwards a port of its own to another one, until it is cut or stalled.

    A cut loses what is on its way, in both directions: what a server ran may never be answered.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = free_port()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._peers: dict[socket.socket, socket.socket] = {}
        self._waiting: dict[socket.socket, bytearray] = {}
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._stalled = False
        self._deaf = False
        self._servers: set[socket.socket] = set()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self.restore()

    def cut(self) -> None:
        """End every connection and take no more."""
        self._order(self._cut)

    def stall(self) -> None:
        """Let nothing through, and leave the connections open."""
        self._order(self._stall)

    def swallow(self) -> None:
        """Let commands through, and no reply to them: they are run, and nobody hears of it."""
        self._order(lambda: setattr(self, "_deaf", True))

    def restore(self) -> None:
        """Let everything through again."""
        self._order(self._restore)

    def close(self) -> None:
        """End the proxy."""
        self._order(self._cut)
        self._order(lambda: setattr(self, "_ended", True))
        self._thread.join(10)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    # -- in the thread of its own ---------------------------------------------------------------------------------

    def _order(self, work: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((work, done))
        self._wake.send(b"x")
        assert done.wait(10)

    def _run(self) -> None:
        while not self._ended:
            for found, events in self._selector.select():
                one = found.fileobj
                assert isinstance(one, socket.socket)
                if one is self._woken:
                    self._woken.recv(4096)
                elif one is self._listener:
                    self._accept(one)
                elif one in self._peers and not self._stalled:
                    self._move(one, events)
            while not self._orders.empty():
                work, done = self._orders.get()
                work()
                done.set()

    def _accept(self, listener: socket.socket) -> None:
        one, _ = listener.accept()
        try:
            other = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
        except OSError:
            one.close()
            return
        self._servers.add(other)
        for end, peer in ((one, other), (other, one)):
            end.setblocking(False)
            self._peers[end] = peer
            self._waiting[end] = bytearray()
            self._watch(end)

    def _move(self, one: socket.socket, events: int) -> None:
        peer = self._peers[one]
        try:
            if events & selectors.EVENT_READ:
                chunk = one.recv(1 << 16)
                if not chunk:
                    return self._drop(one)
                if not (self._deaf and one in self._servers):
                    self._waiting[peer] += chunk
            for end in (one, peer):
                if self._waiting[end]:
                    with contextlib.suppress(BlockingIOError):
                        del self._waiting[end][: end.send(self._waiting[end])]
                self._watch(end)
        except BlockingIOError:
            return None
        except OSError:
            return self._drop(one)

    def _watch(self, end: socket.socket) -> None:
        events = 0 if self._stalled else selectors.EVENT_READ
        if self._waiting[end] and not self._stalled:
            events |= selectors.EVENT_WRITE
        known = self._selector.get_map().get(end)
        if known is None:
            if events:
                self._selector.register(end, events)
        elif not events:
            self._selector.unregister(end)
        elif known.events != events:
            self._selector.modify(end, events)

    def _drop(self, one: socket.socket) -> None:
        for end in (one, self._peers[one]):
            if end in self._selector.get_map():
                self._selector.unregister(end)
            self._servers.discard(end)
            self._peers.pop(end, None)
            self._waiting.pop(end, None)
            end.close()

    def _stall(self) -> None:
        self._stalled = True
        for end in list(self._peers):
            self._watch(end)

    def _cut(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        while self._peers:
            self._drop(next(iter(self._peers)))

    def _restore(self) -> None:
        self._stalled = self._deaf = False
        for end in list(self._peers):
            self._watch(end)
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            self._selector.register(self._listener, selectors.EVENT_READ)


@dataclass(repr=False)
class Caches:
    """An old and a new cache behind proxies, and the Endpoint that names them."""

    processes: list[RedisProcess]
    proxies: list[Proxy]
    entries: list[EndpointEntry]
    endpoint: FileEndpointStore
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def old(self) -> RedisProcess:
        """The server of the cache that is moved."""
        return self.processes[0]

    @property
    def new(self) -> RedisProcess:
        """The server of the cache that it moves to."""
        return self.processes[1]

    def mode(self, mode: Any) -> None:
        """Switch every client."""
        self.endpoint.set_dual_write(mode, self.entries[1])

    def client(self, *, settings: DualWriteSettings | None = None, **options: Any) -> DualWriteRedis:
        """A client that looks at the Endpoint before each command."""
        options.setdefault("poll_s", 0.0)
        options.setdefault("patience_s", 5.0)
        made = DualWriteRedis(self.endpoint, credentials, settings=settings or quick(), **options)
        self.stack.callback(made.close)
        return made

    def async_client(self, *, settings: DualWriteSettings | None = None, **options: Any) -> AsyncDualWriteRedis:
        """The same on asyncio; the caller closes it."""
        options.setdefault("poll_s", 0.0)
        options.setdefault("patience_s", 5.0)
        return AsyncDualWriteRedis(self.endpoint, credentials, settings=settings or quick(), **options)

    def command(self, side: int, *command: Any, database: int = 0) -> Any:
        """Run a command at a server itself, past its proxy."""
        with self.processes[side].connect(database) as connection:
            return connection.call(*command)

    def compare(self) -> VerifyReport:
        """Compare every key of both, by value."""
        with Server.open(self.old.address) as old, Server.open(self.new.address) as new:
            return verify(old, new, depth="full")

    def reset(self) -> None:
        """Empty both, and point at the old one alone."""
        for proxy in self.proxies:
            proxy.restore()
        for side in (0, 1):
            self.command(side, "FLUSHALL")
        self.endpoint.path.unlink(missing_ok=True)
        self.endpoint.put(self.entries[0])


def credentials(_resource_id: str) -> tuple[str | None, str]:
    """What an application is asked for."""
    return None, PASSWORD


def quick(**changes: Any) -> DualWriteSettings:
    """Settings with short times."""
    return DualWriteSettings(**{"timeout_s": 1.0, "settle_s": 0.2, "retry_read_s": 0.05, **changes})


@contextmanager
def caches(folder: Path, kinds: Sequence[str] = ("7.0", "7.0"), *, options: Sequence[str] = ()) -> Iterator[Caches]:
    """Two servers of these kinds for the length of a block; everything ends with it."""
    with ExitStack() as stack:
        processes, proxies, entries = [], [], []
        roles: tuple[Role, Role] = ("source", "target")
        for kind, role in zip(kinds, roles, strict=True):
            process = start_redis(kind, password=PASSWORD, options=options)
            stack.callback(process.stop)
            proxy = Proxy(process.port)
            stack.callback(proxy.close)
            processes.append(process)
            proxies.append(proxy)
            entries.append(entry(role, proxy.port))
        endpoint = FileEndpointStore(folder / "endpoint.json")
        endpoint.put(entries[0])
        here = Caches(processes, proxies, entries, endpoint)
        stack.enter_context(here.stack)
        yield here


@contextmanager
def clustered_caches(folder: Path, old_shards: int, new_shards: int) -> Iterator[Caches]:
    """The same with clusters; 0 shards is a single server. No proxies."""
    with ExitStack() as stack:
        processes, entries = [], []
        for shards, role in ((old_shards, "source"), (new_shards, "target")):
            if shards:
                process = stack.enter_context(redis_cluster(shards, password=PASSWORD)).nodes[0]
            else:
                process = start_redis(password=PASSWORD)
                stack.callback(process.stop)
            processes.append(process)
            entries.append(entry(role, process.port, clustered=shards > 0))  # type: ignore[arg-type]
        endpoint = FileEndpointStore(folder / "endpoint.json")
        endpoint.put(entries[0])
        here = Caches(processes, [], entries, endpoint)
        stack.enter_context(here.stack)
        yield here


def entry(role: Role, port: int, *, clustered: bool = False) -> EndpointEntry:
    """What the Endpoint says of a server on this machine."""
    return EndpointEntry(host="127.0.0.1", port=port, tls=False, clustered=clustered, resource_id=f"/{role}", role=role)
