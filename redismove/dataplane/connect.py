"""
Connections to Redis servers: raw, checked, and never silently renewed.

A client that reconnects by itself hides a gap in what was sent or notified, so a `Connection` that breaks stays
broken and says so. All sockets are non-blocking underneath: `exchange` sends and receives at the same time on any
number of connections, so a pipeline of any size cannot dead-lock, and two servers work while one of them answers.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, NoReturn, Self
from urllib.parse import unquote, urlsplit

import hiredis

from redismove.dataplane.errors import (
    AddressInvalid,
    AuthenticationFailed,
    CertificateRejected,
    ClusterMoved,
    ConnectionLost,
    ConnectionRefused,
    DataPlaneError,
    LoginDue,
    ProtocolViolation,
    ReplyError,
    ServerNotReady,
    ServerTimeout,
    explain,
)
from redismove.dataplane.slots import slot_of
from redismove.errors import RedismoveError

Argument = bytes | str | int | float
Command = Sequence[Argument]
Reply = Any
"""What hiredis makes of RESP2: bytes, int, list, None, or a `ReplyError` (as a value, in pipelines)."""

CONNECT_TIMEOUT_S = 15.0
"""Azure asks clients for at least 10 to 15 s (azure-docs, cache-best-practices-connection)."""
REPLY_TIMEOUT_S = 60.0
"""No byte in either direction for so long means the server or the line is gone."""
RENEW_LOGIN_BEFORE_S = 300.0
"""A token is renewed so long before its end; one that lives shorter in the last quarter of its life."""
_LONG_LINE_MS = 10.0
_RECEIVE_BYTES = 1 << 18
_SEND_BYTES = 1 << 18


class Secret:
    """A password, access key or token that shows itself only when asked by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str | Callable[[], str | tuple[str, float]]) -> None:
        """
        Hold a fixed value, or a function that returns the current one, or that and when it ends (Unix time in s).

        Where the end is known, open connections log in again before it: an Entra token ends, and Azure then cuts them.
        """
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self.current()[0]

    def current(self) -> tuple[str, float | None]:
        """The value itself, and when it ends (Unix time in s) where that is known."""
        value = self._value() if callable(self._value) else self._value
        return (value, None) if isinstance(value, str) else value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(Secret)


@dataclass(frozen=True)
class ServerAddress:
    """
    Where a Redis server is and how to log in; safe to print.

    Attributes:
        host: name or IP address; the certificate is checked against it.
        port: TCP port.
        tls: TLS with certificate and host name checked.
        username: ACL user, or the object id of an Entra principal; None for a plain access key.
        password: access key, password or token.
        ca_file: extra authorities (PEM); None means the system's, or what SSL_CERT_FILE names.
        clustered: True or False to force it, None to ask the server.
    """

    host: str
    port: int = 6379
    tls: bool = False
    username: str | None = None
    password: Secret | None = field(default=None)
    ca_file: str | None = None
    clustered: bool | None = None

    @classmethod
    def from_url(cls, url: str, *, ca_file: str | None = None, clustered: bool | None = None) -> ServerAddress:
        """
        Read `redis://[user][:password@]host[:port]` or `rediss://...` (TLS).

        Raises:
            AddressInvalid: another scheme, no host, a bad port, or a database in the path (all of them are moved).
        """
        parts = urlsplit(url)
        shown = f"{parts.scheme or '?'}://{parts.hostname or '?'}"
        if parts.scheme not in ("redis", "rediss"):
            raise AddressInvalid(
                f"{shown} is not a Redis URL; write redis://host:port or, with TLS, rediss://host:port."
            )
        if not parts.hostname:
            raise AddressInvalid(f"{shown} names no host; write {parts.scheme}://host:port.")
        if parts.path.strip("/") or parts.query:
            raise AddressInvalid(
                f"{shown} has {'a database number' if parts.path.strip('/') else 'options'} behind the address; "
                "leave it out: every database is read, and no option is known here."
            )
        tls = parts.scheme == "rediss"
        try:
            port = parts.port
        except ValueError:
            raise AddressInvalid(f"{shown} has a port that is not a number from 1 to 65535; give one.") from None
        password = unquote(parts.password) if parts.password else None
        return cls(
            host=parts.hostname,
            port=port or (6380 if tls else 6379),
            tls=tls,
            username=unquote(parts.username) if parts.username else None,
            password=Secret(password) if password else None,
            ca_file=ca_file,
            clustered=clustered,
        )

    def with_password(self, password: str | Secret) -> ServerAddress:
        """The same address with another access key, password or token."""
        return replace(self, password=password if isinstance(password, Secret) else Secret(password))

    @property
    def url(self) -> str:
        """The address without any secret, for messages."""
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.url


class Packed(NamedTuple):
    """Commands already encoded as RESP: their bytes, how many replies they will have, and a name for messages."""

    data: bytes
    replies: int
    name: str = "a command"


def pack(commands: Iterable[Command]) -> Packed:
    """Encode commands for `exchange`."""
    parts: list[bytes] = []
    name = ""
    for command in commands:
        if not parts:
            name = _name(command)
        parts.append(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type] # its stub says 1-tuple
    return Packed(b"".join(parts), len(parts), name)


def _name(command: Command) -> str:
    head = command[0]
    return (head.decode("ascii", "replace") if isinstance(head, bytes) else str(head)).upper()


_tls_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """
    One context for all connections that trust the same authorities: to read those takes longer than to connect.

    It is made anew when a file of authorities was replaced, or the environment names another one.
    """
    named = [ca_file, *(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))]
    stamps: list[object] = []
    for path in named:
        try:
            found = os.stat(path) if path else None
        except OSError:
            found = None
        stamps.append(found and (found.st_ino, found.st_mtime_ns, found.st_size))
    key = (*named, *stamps)
    context = _tls_contexts.get(key)
    if context is None:
        context = _tls_contexts[key] = ssl.create_default_context(cafile=ca_file)
    return context


class Connection:
    """
    One connection to one Redis server: RESP2, TLS when the address says so, logged in.

    It never reconnects: after any error of the line every further use raises `ConnectionLost`.
    """

    def __init__(
        self,
        address: ServerAddress,
        *,
        host: str | None = None,
        port: int | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        timeout_s: float = REPLY_TIMEOUT_S,
    ) -> None:
        """
        Connect, check the certificate, log in.

        Args:
            address: how to log in, and the name the certificate must carry.
            host: connect here instead (a node of a cluster that `address` belongs to).
            port: the node's port.
            connect_timeout_s: for TCP, TLS and login together, each.
            timeout_s: longest time without a byte while a reply is due.

        Raises:
            ConnectionRefused, CertificateRejected, AuthenticationFailed, ServerTimeout, ProtocolViolation.
        """
        self.address = address
        self.host = host or address.host
        self.port = port or address.port
        self.timeout_s = timeout_s
        self.database = 0
        self.closed_because: str | None = None
        self._login_due_at = self._login_ends_at = math.inf
        self._reader = hiredis.Reader(protocolError=_Malformed, replyError=ReplyError)
        self._socket = self._connect(connect_timeout_s)
        self._tls = isinstance(self._socket, ssl.SSLSocket)
        self.last_used = time.monotonic()
        try:
            self.timeout_s = connect_timeout_s
            self.authenticate()
            self.timeout_s = timeout_s
        except ConnectionLost as error:
            self.close()
            if self.address.tls:
                raise
            raise ConnectionLost(f"{error} If the port speaks TLS, write rediss://.") from None
        except BaseException:
            self.close()
            raise

    # -- opening and closing ------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """host:port for messages."""
        return f"{self.host}:{self.port}"

    def _connect(self, timeout_s: float) -> socket.socket:
        try:
            raw = socket.create_connection((self.host, self.port), timeout=timeout_s)
        except socket.gaierror:
            raise ConnectionRefused(f"{self.where} has no address in DNS; check the host name.") from None
        except TimeoutError:
            raise ServerTimeout(
                f"{self.where} did not accept a connection within {timeout_s:g} s; check host, port and firewall rules."
            ) from None
        except OSError as error:
            raise ConnectionRefused(
                f"{self.where} refused the connection ({error.strerror or error}); check that it runs, and the port."
            ) from None
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.address.tls:
            raw = self._wrap(raw)
        raw.setblocking(False)
        return raw

    def _wrap(self, raw: socket.socket) -> ssl.SSLSocket:
        try:
            # Nodes of a cluster are announced as IP addresses; the certificate carries the cache's own name.
            return _tls_context(self.address.ca_file).wrap_socket(raw, server_hostname=self.address.host)
        except ssl.SSLCertVerificationError as error:
            raw.close()
            raise CertificateRejected(
                f"{self.where} showed a certificate that is not accepted for {self.address.host} "
                f"({error.verify_message}); "
                "use the name it was made for, or give its authority (ca_file, SSL_CERT_FILE)."
            ) from None
        except (ssl.SSLError, ConnectionError) as error:
            raw.close()
            raise CertificateRejected(
                f"{self.where} does not speak TLS ({getattr(error, 'reason', None) or error}); "
                "use the TLS port, or redis:// for a port without TLS."
            ) from None
        except TimeoutError:
            raw.close()
            raise ServerTimeout(
                f"{self.where} did not finish the TLS handshake in time; check that the port is a TLS port."
            ) from None
        except OSError as error:
            raw.close()
            raise ConnectionRefused(f"{self.where} ended the TLS handshake ({error}); try again.") from None

    def authenticate(self) -> None:
        """Log in with the address's current secret (again, when a token was renewed)."""
        secret = self.address.password
        self._login_due_at = self._login_ends_at = math.inf
        if secret is not None:
            user = self.address.username
            try:
                value, ends_at = secret.current()
            except RedismoveError as error:
                raise AuthenticationFailed(f"{self.where}: there is no token to log in with ({error}).") from None
            reply = self.pipeline([("AUTH", user, value) if user else ("AUTH", value)])[0]
            if ends_at is not None:
                lives_s = ends_at - time.time()
                self._login_ends_at = time.monotonic() + lives_s
                self._login_due_at = self._login_ends_at - min(RENEW_LOGIN_BEFORE_S, lives_s / 4)
        else:
            reply = self.pipeline([("PING",)])[0]
        if isinstance(reply, ReplyError):
            named = explain(reply, self.where, "AUTH")
            if isinstance(named, AuthenticationFailed | ServerNotReady | ConnectionRefused) or secret is None:
                if secret is None and not isinstance(named, AuthenticationFailed | ServerNotReady | ConnectionRefused):
                    return  # a server that loads or has no PING for us: later calls say what is wrong
                raise named
            raise AuthenticationFailed(f"{self.where} refused the login ({reply}); check user name and key.")

    @property
    def login_is_due(self) -> bool:
        """The token of this connection ends soon. `call` and `pipeline` renew it; who reads by himself has to."""
        return time.monotonic() >= self._login_due_at

    @property
    def login_is_over(self) -> bool:
        """The token of this connection has ended: the server cuts it, or has done so."""
        return time.monotonic() >= self._login_ends_at

    def close(self) -> None:
        """End the connection; safe to call twice."""
        if self.closed_because is None:
            self.closed_because = "it was closed by this program"
        with contextlib.suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The socket's descriptor, for `select` and friends."""
        return self._socket.fileno()

    def __repr__(self) -> str:
        return f"Connection({self.where}, db={self.database}{'' if self.closed_because is None else ', closed'})"

    # -- commands -----------------------------------------------------------------------------------------------

    def call(self, *command: Argument) -> Reply:
        """
        Run one command and return its reply.

        Raises:
            DataPlaneError: the named error for an error reply (`ReplyError` where there is no better name).
        """
        reply = exchange([(self, pack([command]))])[0][0]
        if isinstance(reply, ReplyError):
            raise explain(reply, self.where, _name(command))
        return reply

    def pipeline(self, commands: Iterable[Command]) -> list[Reply]:
        """Run commands without waiting in between; error replies come back as `ReplyError` values, in their place."""
        return exchange([(self, pack(commands))])[0]

    def select(self, database: int) -> None:
        """Use another database (nothing is sent when it is in use already)."""
        if database != self.database:
            self.call("SELECT", database)
            self.database = database

    def client_id(self) -> int:
        """The server's number for this connection (CLIENT ID)."""
        return int(self.call("CLIENT", "ID"))

    def send(self, *command: Argument) -> None:
        """Send one command without reading (for subscriptions); read with `read_reply`."""
        data = memoryview(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type] # its stub says 1-tuple
        deadline = time.monotonic() + self.timeout_s
        while data:
            sent = self.send_some(data)
            data = data[sent:]
            if data and not sent:
                self._wait(select.POLLOUT, deadline)

    def read_reply(self, timeout_s: float | None = None) -> Reply:
        """
        The next reply or push message; None when nothing came within `timeout_s`.

        Raises:
            ConnectionLost: the connection ended.
        """
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            reply = self._gets()
            if reply is not _NOTHING:
                return reply
            if self._receive():
                continue
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return None
            poller = select.poll()
            poller.register(self._socket, select.POLLIN)
            poller.poll(remaining_s * 1000)

    # -- bytes --------------------------------------------------------------------------------------------------

    def _lost(self, reason: str) -> ConnectionLost:
        if self.closed_because is None:
            self.closed_because = reason
            with contextlib.suppress(OSError):
                self._socket.close()
        return ConnectionLost(
            f"The connection to {self.where} ended ({self.closed_because}); "
            "check the server and the line, then run again."
        )

    def _gets(self) -> Reply:
        try:
            reply = self._reader.gets()
        except _Malformed:
            self.close()
            raise ProtocolViolation(
                f"{self.where} does not answer as a Redis server does; "
                f"check the port{'' if self.address.tls else ', and use rediss:// if it speaks TLS'}."
            ) from None
        return _NOTHING if reply is False else reply

    def send_some(self, data: memoryview) -> int:
        """
        Send as much as the socket takes now; 0 when it takes nothing.

        Raises:
            ConnectionLost: the connection ended.
        """
        self.check_open()
        try:
            sent = self._socket.send(data[:_SEND_BYTES])
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise self._lost(_reason(error)) from None
        self.last_used = time.monotonic()
        return sent

    def _receive(self) -> bool:
        """Take what the socket has into the reader; False when it has nothing now."""
        self.check_open()
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise self._lost(_reason(error)) from None
        if not data:
            raise self._lost("the server closed it")
        self.last_used = time.monotonic()
        self._reader.feed(data)
        return True

    def receive_into(self, room: memoryview) -> int:
        """
        Receive as much as there is now into `room`; 0 when there is nothing.

        For programs that parse by themselves; never mixed with replies that `call` or `pipeline` wait for. Where room
        was full, there may be more: on a TLS connection ask `holds_received` before waiting for the socket.

        Raises:
            ConnectionLost: the connection ended.
            LoginDue: its token ends soon.
        """
        self.check_open()
        if self.login_is_due:
            raise LoginDue(f"The token of the connection to {self.where} ends soon; open it again.")
        received = 0
        try:
            # TLS gives one record of at most 16 KiB at a time.
            while received < len(room):
                size = self._socket.recv_into(room[received:])
                if not size:
                    raise self._lost("the server closed it")
                received += size
                if not self._tls:
                    break
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            raise self._lost(_reason(error)) from None
        if received:
            self.last_used = time.monotonic()
        return received

    @property
    def holds_received(self) -> bool:
        """TLS has decrypted more than `receive_into` had room for; the socket will not tell of it."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _wait(self, events: int, deadline: float) -> None:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            self.give_up()
        poller = select.poll()
        poller.register(self._socket, events)
        poller.poll(remaining_s * 1000)

    def give_up(self) -> NoReturn:
        """Close it and raise `ServerTimeout`."""
        self.close()
        raise ServerTimeout(
            f"{self.where} did not answer within {self.timeout_s:g} s; check its load and the line, then run again."
        )

    def check_open(self) -> None:
        """
        Nothing, on an open connection.

        Raises:
            ConnectionLost: it was closed or has broken before.
        """
        if self.closed_because is not None:
            raise self._lost(self.closed_because)


class _Malformed(Exception):
    """hiredis met bytes that are not RESP."""


_NOTHING = object()


def _reason(error: OSError) -> str:
    return error.strerror or getattr(error, "reason", None) or type(error).__name__


def exchange(requests: Sequence[tuple[Connection, Packed]]) -> list[list[Reply]]:
    """
    Send to several connections and read all their replies, at the same time.

    Never blocks on sending while replies wait to be read, so neither side can fill both buffers.

    Args:
        requests: each connection at most once.

    Returns:
        One list of replies per request, in its order; error replies are `ReplyError` values.

    Raises:
        ConnectionLost, ServerTimeout, ProtocolViolation.
    """
    results: list[list[Reply]] = [[] for _ in requests]
    states: dict[int, _Exchange] = {}
    for connection, _ in requests:
        if connection.login_is_due:
            connection.authenticate()
    try:
        for result, (connection, packed) in zip(results, requests, strict=True):
            connection.check_open()
            if packed.replies:
                states[connection.fileno()] = _Exchange(connection, memoryview(packed.data), packed.replies, result)
        _drive(states)
    except BaseException:
        # Replies that are still on their way would be taken for answers to the next command.
        for state in states.values():
            state.connection.close()
        raise
    return results


def _drive(states: dict[int, _Exchange]) -> None:
    """Send and receive until every state has its replies; the finished ones are taken out."""
    poller = select.poll()
    for descriptor, state in list(states.items()):
        state.push()
        if state.pull():
            del states[descriptor]
        else:
            poller.register(descriptor, state.events())
    while states:
        ready = poller.poll(max(state.connection.timeout_s for state in states.values()) * 1000)
        if not ready:
            next(iter(states.values())).connection.give_up()
        for descriptor, event in ready:
            state = states[descriptor]
            before = state.events()
            if event & select.POLLOUT:
                state.push()
            if state.pull():
                poller.unregister(descriptor)
                del states[descriptor]
            elif state.events() != before:
                poller.modify(descriptor, state.events())


class _Exchange:
    """What is left to send to and to read from one connection."""

    __slots__ = ("connection", "data", "expected", "result")

    def __init__(self, connection: Connection, data: memoryview, expected: int, result: list[Reply]) -> None:
        self.connection, self.data, self.expected, self.result = connection, data, expected, result

    def events(self) -> int:
        return select.POLLIN | select.POLLOUT if self.data else select.POLLIN

    def push(self) -> None:
        while self.data:
            sent = self.connection.send_some(self.data)
            if not sent:
                return
            self.data = self.data[sent:]

    def pull(self) -> bool:
        """Read what is there; True when every reply has come."""
        gets, result, expected = self.connection._gets, self.result, self.expected
        while True:
            while len(result) < expected:
                reply = gets()
                if reply is _NOTHING:
                    break
                result.append(reply)
            if len(result) >= expected:
                return True
            if not self.connection._receive():
                return False


@dataclass(frozen=True)
class Node:
    """A primary: where it is, its id (cluster) and the slot ranges it serves, both ends included."""

    host: str
    port: int
    node_id: str = ""
    slots: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Server:
    """
    One logical Redis: a single server, or all primaries of a cluster.

    `Server.open(address)` logs in, finds version and primaries. Connections made by `connection()` are kept, one per
    node; `new_connection()` gives further ones that the caller closes.
    """

    def __init__(self, address: ServerAddress, *, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.nodes: list[Node] = []
        self.clustered = False
        self.version: tuple[int, ...] = (0,)
        self.flavour: Literal["redis", "valkey"] = "redis"
        self._connections: dict[tuple[str, int], Connection] = {}
        self._slot_nodes: list[Node | None] = []
        self._databases_there: set[int] = set()
        self.round_trip_s: float | None = None
        """What `clock` measured last."""

    @classmethod
    def open(cls, address: ServerAddress, *, timeout_s: float = REPLY_TIMEOUT_S) -> Server:
        """
        Connect, log in, and find out version and primaries.

        Raises:
            DataPlaneError: one of its named kinds.
        """
        server = cls(address, timeout_s=timeout_s)
        try:
            first = Connection(address, timeout_s=timeout_s)
            server._connections[(first.host, first.port)] = first
            info = parse_info(first.call("INFO"))
            server.flavour = "valkey" if "valkey_version" in info else "redis"
            version = info.get("valkey_version") or info.get("redis_version", "0")
            server.version = tuple(int(part) for part in version.split(".") if part.isdigit())
            if address.clustered is None:
                server.clustered = info.get("cluster_enabled", "0") == "1"
            else:
                server.clustered = address.clustered
            if server.clustered:
                server.refresh_nodes()
            else:
                server.nodes = [Node(address.host, address.port)]
        except BaseException:
            server.close()
            raise
        return server

    # -- topology -----------------------------------------------------------------------------------------------

    def refresh_nodes(self) -> None:
        """Read the cluster's primaries and slots again (after MOVED, or a failover)."""
        if not self.clustered:
            return
        failure: DataPlaneError | None = None
        candidates = [(node.host, node.port) for node in self.nodes] + [(self.address.host, self.address.port)]
        for host, port in candidates:
            try:
                rows = self._connection_to(host, port).call("CLUSTER", "SLOTS")
            except DataPlaneError as error:
                failure = error
                self._forget(host, port)
                continue
            ranges: dict[tuple[str, int, str], list[tuple[int, int]]] = {}
            for first, last, primary, *_replicas in rows:
                name = primary[0].decode() if primary[0] else ""
                where = name if name not in ("", "?") else host
                node_id = primary[2].decode() if len(primary) > 2 else ""
                ranges.setdefault((where, int(primary[1]), node_id), []).append((int(first), int(last)))
            if not ranges:
                failure = ServerNotReady(
                    f"{host}:{port} is in cluster mode but serves no slot; finish the cluster first."
                )
                continue
            self.nodes = [
                Node(where, node_port, node_id, tuple(sorted(slots)))
                for (where, node_port, node_id), slots in sorted(ranges.items(), key=lambda item: min(item[1]))
            ]
            table: list[Node | None] = [None] * 16384
            for node in self.nodes:
                for first, last in node.slots:
                    table[first : last + 1] = [node] * (last - first + 1)
            self._slot_nodes = table
            return
        raise failure or ServerNotReady(f"{self.address.host}:{self.address.port} does not tell its cluster's nodes.")

    def node_for(self, key: bytes) -> Node:
        """The primary that serves a key."""
        if not self.clustered:
            return self.nodes[0]
        node = self._slot_nodes[slot_of(key)]
        if node is None:
            raise ServerNotReady(
                f"{self.address.host}:{self.address.port}: slot {slot_of(key)} is served by nobody; "
                "mend the cluster first."
            )
        return node

    # -- connections --------------------------------------------------------------------------------------------

    def connection(self, node: Node | None = None, database: int | None = None) -> Connection:
        """The kept connection to a node (default: the only or first one), on `database` when given."""
        node = node or self.nodes[0]
        connection = self._connection_to(node.host, node.port)
        if database is not None:
            connection.select(database)
        return connection

    def new_connection(self, node: Node | None = None, database: int = 0) -> Connection:
        """A further connection to a node; the caller closes it."""
        node = node or self.nodes[0]
        connection = Connection(self.address, host=node.host, port=node.port, timeout_s=self.timeout_s)
        connection.select(database)
        return connection

    def own_connections(self) -> list[Connection]:
        """The kept connections that are open."""
        return [connection for connection in self._connections.values() if connection.closed_because is None]

    def _connection_to(self, host: str, port: int) -> Connection:
        connection = self._connections.get((host, port))
        if connection is not None and connection.login_is_over:
            self._forget(host, port)
            connection = None
        if connection is None:
            connection = Connection(self.address, host=host, port=port, timeout_s=self.timeout_s)
            self._connections[(host, port)] = connection
        return connection

    def _forget(self, host: str, port: int) -> None:
        connection = self._connections.pop((host, port), None)
        if connection is not None:
            connection.close()

    def forget_broken(self) -> None:
        """Drop kept connections that have broken, so that the next use opens new ones."""
        for (host, port), connection in list(self._connections.items()):
            if connection.closed_because is not None:
                self._forget(host, port)

    def close(self) -> None:
        """End every kept connection."""
        for connection in self._connections.values():
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        version = ".".join(map(str, self.version))
        return f"Server({self.address.url}, {self.flavour} {version}, {len(self.nodes)} primaries)"

    # -- questions ----------------------------------------------------------------------------------------------

    def info(self, section: str | None = None, node: Node | None = None) -> dict[str, str]:
        """INFO of one node as a dictionary."""
        return parse_info(self.connection(node).call("INFO", *([section] if section else [])))

    def run_id(self, node: Node | None = None) -> str:
        """Changes when the node's process is another one."""
        return self.info("server", node).get("run_id", "")

    def role(self, node: Node | None = None) -> str:
        """`master` or `slave`."""
        return self.info("replication", node).get("role", "")

    def databases(self) -> dict[int, int]:
        """Keys per database in use, over all primaries (INFO keyspace; expired keys not yet removed are counted)."""
        counts: dict[int, int] = {}
        for node in self.nodes:
            for name, value in self.info("keyspace", node).items():
                if name.startswith("db") and name[2:].isdigit():
                    fields = dict(part.split("=", 1) for part in value.split(","))
                    counts[int(name[2:])] = counts.get(int(name[2:]), 0) + int(fields.get("keys", "0"))
        return dict(sorted(counts.items()))

    def has_database(self, database: int) -> bool:
        """SELECT works (clusters and Azure Managed Redis have database 0 alone)."""
        if database == 0 or self.clustered:
            return database == 0
        if database in self._databases_there:
            return True
        connection = self.connection()
        if isinstance(connection.pipeline([("SELECT", database)])[0], ReplyError):
            return False
        connection.database = database
        self._databases_there.add(database)
        return True

    @property
    def absolute_expiry(self) -> bool:
        """PEXPIRETIME is there (Redis 7.0, Valkey)."""
        return self.flavour == "valkey" or self.version >= (7,)

    def now_ms(self, node: Node | None = None) -> int:
        """The server's clock (TIME) in ms."""
        return time_ms(self.connection(node).call("TIME"))

    def clock(self, node: Node | None = None, *, tries: int = 5) -> ClockReading:
        """How far the server's clock is ahead of ours, from the quickest of some TIME calls."""
        best: ClockReading | None = None
        connection = self.connection(node)
        for number in range(tries):
            if best is not None and number > 1 and best.uncertainty_ms > _LONG_LINE_MS:
                break  # a long line is as long the third time
            before = time.time()
            server_ms = _time_us(connection.call("TIME")) / 1000
            after = time.time()
            reading = ClockReading(server_ms - (before + after) * 500, (after - before) * 500)
            if best is None or reading.uncertainty_ms < best.uncertainty_ms:
                best = reading
        assert best is not None
        self.round_trip_s = best.uncertainty_ms * 2 / 1000
        return best

    # -- commands by key ----------------------------------------------------------------------------------------

    def execute(
        self, commands: Sequence[tuple[bytes, Command | Packed]], database: int = 0, *, deadline_s: float = 30.0
    ) -> list[Reply]:
        """
        Run commands, each at the primary that serves its key, and follow MOVED, ASK and failovers.

        Only for commands that may be run twice: after a lost connection to a cluster's node they are.

        Args:
            commands: pairs of key and command, or several commands packed together (MULTI ... EXEC of one slot).
            database: 0 in clusters.
            deadline_s: how long a cluster may be moving before this gives up.

        Returns:
            Replies in the same order (a list of them for a pack of several); error replies as `ReplyError` values.
        """
        packed = [command if isinstance(command, Packed) else pack([command]) for _, command in commands]
        if not self.clustered:
            return _divide(packed, exchange([(self.connection(database=database), _join(packed))])[0])
        results: list[Reply] = [None] * len(packed)
        todo = list(range(len(packed)))
        deadline = time.monotonic() + deadline_s
        pause_s = 0.002
        while todo:
            again, asked, reason = self._execute_once(commands, packed, todo, results)
            for index, where in asked:
                results[index] = self._ask(where, packed[index])
            if not again:
                return results
            if time.monotonic() > deadline:
                raise ClusterMoved(
                    f"The cluster at {self.address.host}:{self.address.port} did not settle within {deadline_s:g} s "
                    f"({reason}); wait until its slots are served and run again."
                )
            # A failover takes seconds: ask again with growing distance, never later than the deadline.
            select.select([], [], [], pause_s)
            pause_s = min(pause_s * 2, 0.25)
            with contextlib.suppress(DataPlaneError):
                self.refresh_nodes()
            todo = again
        return results

    def _execute_once(
        self,
        commands: Sequence[tuple[bytes, Command | Packed]],
        packed: Sequence[Packed],
        todo: Sequence[int],
        results: list[Reply],
    ) -> tuple[list[int], list[tuple[int, str]], str]:
        again: list[int] = []
        asked: list[tuple[int, str]] = []
        requests, owners, reason = self._requests(commands, packed, todo, again)
        try:
            replies = exchange(requests)
        except (ConnectionLost, ServerTimeout) as error:
            for connection, _ in requests:
                if connection.closed_because is not None:
                    self._forget(connection.host, connection.port)
            return again + [index for indexes in owners for index in indexes], [], str(error)
        for indexes, node_replies in zip(owners, replies, strict=True):
            for index, reply in zip(indexes, _divide([packed[i] for i in indexes], node_replies), strict=True):
                moving = _moving(reply)
                if moving is None:
                    results[index] = reply
                    continue
                reason = str(moving)
                if moving.code == "ASK" and packed[index].replies == 1:
                    asked.append((index, reason.split(" ")[2]))
                else:
                    again.append(index)
        return sorted(again), asked, reason

    def _requests(
        self,
        commands: Sequence[tuple[bytes, Command | Packed]],
        packed: Sequence[Packed],
        todo: Sequence[int],
        again: list[int],
    ) -> tuple[list[tuple[Connection, Packed]], list[list[int]], str]:
        """Commands by node; those whose node cannot be reached now go to `again`, with a reason."""
        by_node: dict[Node, list[int]] = {}
        reason = ""
        for index in todo:
            try:
                by_node.setdefault(self.node_for(commands[index][0]), []).append(index)
            except ServerNotReady as error:
                again.append(index)
                reason = str(error)
        requests: list[tuple[Connection, Packed]] = []
        owners: list[list[int]] = []
        for node, indexes in by_node.items():
            try:
                requests.append((self.connection(node), _join([packed[index] for index in indexes])))
                owners.append(indexes)
            except (AuthenticationFailed, CertificateRejected):
                raise
            except DataPlaneError as error:
                again.extend(indexes)
                reason = str(error)
        return requests, owners, reason

    def _ask(self, where: str, packed: Packed) -> Reply:
        host, _, port = where.rpartition(":")
        connection = self._connection_to(host or self.address.host, int(port))
        return exchange([(connection, Packed(pack([("ASKING",)]).data + packed.data, 2))])[0][1]

    def scan(self, node: Node, database: int = 0, *, count: int = 1000, cursor: bytes = b"0") -> Iterator[list[bytes]]:
        """The keys of one primary and database in batches (a key may come twice; batches may be empty)."""
        connection = self.connection(node)
        while True:
            connection.select(database)
            cursor, keys = connection.call("SCAN", cursor, "COUNT", count)
            yield keys
            if cursor == b"0":
                return


def _join(packed: Sequence[Packed]) -> Packed:
    return Packed(b"".join(item.data for item in packed), sum(item.replies for item in packed))


def _divide(packed: Sequence[Packed], replies: list[Reply]) -> list[Reply]:
    """Give each pack its replies: one as itself, several as a list."""
    if len(packed) == len(replies):
        return replies
    divided: list[Reply] = []
    position = 0
    for item in packed:
        divided.append(replies[position] if item.replies == 1 else replies[position : position + item.replies])
        position += item.replies
    return divided


def _moving(reply: Reply) -> ReplyError | None:
    """The reply that says "not here, not now", if there is one."""
    for item in reply if isinstance(reply, list) else (reply,):
        if isinstance(item, ReplyError) and item.code in _MOVING:
            return item
    return None


_MOVING = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY"})


@dataclass(frozen=True)
class ClockReading:
    """A server's clock minus ours, in ms, and how wrong that may be (half the round trip)."""

    offset_ms: float
    uncertainty_ms: float


def clock_skew_ms(source: Server, target: Server) -> int:
    """
    How many ms the target's clock is ahead of the source's; 0 when what is measured cannot be told from 0.

    Over a long line the measurement is worse than what NTP keeps, so only a difference that is certain counts.
    """
    source_clock, target_clock = source.clock(), target.clock()
    skew_ms = target_clock.offset_ms - source_clock.offset_ms
    if abs(skew_ms) <= source_clock.uncertainty_ms + target_clock.uncertainty_ms + 5:
        return 0
    return round(skew_ms)


def _time_us(reply: Reply) -> int:
    return int(reply[0]) * 1_000_000 + int(reply[1])


def time_ms(reply: Reply) -> int:
    """Milliseconds of a TIME reply."""
    return _time_us(reply) // 1000


def parse_info(reply: bytes) -> dict[str, str]:
    """INFO's text as a dictionary (section headings dropped)."""
    values: dict[str, str] = {}
    for line in reply.decode("utf-8", "replace").splitlines():
        name, separator, value = line.partition(":")
        if separator and not line.startswith("#"):
            values[name] = value
    return values


def wait_until_all_answer(servers: Sequence[Server], deadline: float) -> None:
    """
    Wait until every primary answers again, whoever that is by now.

    Args:
        servers: their broken connections are forgotten, their nodes asked anew.
        deadline: monotonic time.

    Raises:
        AuthenticationFailed, CertificateRejected: at once; waiting does not mend it.
        DataPlaneError: the last one, at the deadline.
    """
    while True:
        try:
            for server in servers:
                server.forget_broken()
                server.refresh_nodes()
                for node in server.nodes:
                    server.connection(node).call("PING")
            return
        except (AuthenticationFailed, CertificateRejected):
            raise
        except DataPlaneError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
