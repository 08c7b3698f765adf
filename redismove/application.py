"""
A Redis client for applications that follows the Endpoint: the same calls before, during and after a cut-over.

    redis = follow_endpoint("/run/cache/endpoint.json", credentials)
    redis.set("name", "value")

What it promises: while the Endpoint says "hold" a command waits, for a bounded time; after the switch it goes to the
new cache; a command that surely was not executed (no connection, refused login, a server that refused it whole) is
tried again; a command whose outcome is unknown is never repeated unless its name was given as repeatable. So a cut-over
that gives its notice costs the application a short wait and no error.

What it does not: `pubsub()` and `connection_pool` belong to the cache of the moment and end with it, and `WATCH` is
refused, because a transaction cannot span two caches.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.commands import CoreCommands
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  redis-py's own name
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004  redis-py's own name
)
from redis.retry import Retry

from redismove.admission import (
    REFUSED_WHOLE,
    Admission,
    Attempt,
    NotSent,
    check_open,
    doing,
    during,
    is_of_the_client,
)
from redismove.endpoint import Endpoint, EndpointEntry, EndpointStore, EndpointWatcher, FileEndpointStore
from redismove.errors import RedismoveError

Credentials = Callable[[str], tuple[str | None, str]]
"""Returns user name (None with an access key) and password for a cache's resource id; asked again after a refusal."""

_READS: Final = """
    BITCOUNT BITPOS DBSIZE DUMP EXISTS EXPIRETIME GEOPOS GEOSEARCH GET GETBIT GETRANGE HEXISTS HGET
    HGETALL HKEYS HLEN HMGET HSTRLEN HVALS INFO KEYS LINDEX LLEN LPOS LRANGE MGET PEXPIRETIME PING PTTL
    SCARD SDIFF SINTER SISMEMBER SMEMBERS SMISMEMBER SRANDMEMBER STRLEN SUNION TTL TYPE XINFO XLEN
    XPENDING XRANGE XREVRANGE ZCARD ZCOUNT ZRANGE ZRANK ZREVRANK ZSCORE
"""
READS: Final = frozenset(_READS.split())
"""Commands that may be run twice without harm."""

_Result = TypeVar("_Result")


class CannotFollow(RedismoveError):
    """Something that has no meaning on a connection that may change its cache."""


class _Admitted:
    """A connection that asks before it is used (see `redismove.admission`), and notes what it was given to send."""

    admission: Admission | None = None

    def connect_check_health(self, *args: Any, **kwargs: Any) -> Any:
        if self._sock is not None:  # type: ignore[attr-defined]
            return
        with during(None):
            super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        if self.admission is not None:
            try:
                self.admission.check_connection(self.admission.watcher.refresh())
            except BaseException:
                # Open, it would be used without being asked about again.
                self.disconnect()  # type: ignore[attr-defined]
                raise

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        attempt = doing.get()
        pieces = [command] if isinstance(command, bytes) else list(command)
        if attempt is None or self.admission is None or is_of_the_client(pieces):
            super().send_packed_command(pieces, check_health)  # type: ignore[misc]
            return
        attempt.check()
        if check_health:
            with during(None):
                self.check_health()  # type: ignore[attr-defined]
        try:
            self._send(pieces, attempt)
        except RedisError as error:
            attempt.note(error)
            raise

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except RedisError as error:
            if (attempt := doing.get()) is not None:
                attempt.note(error)
            raise

    def _send(self, pieces: list[bytes], attempt: Attempt) -> None:
        assert self.admission is not None
        self.connect_check_health(check_health=False)
        sock = self._sock  # type: ignore[attr-defined]
        timeout_s = sock.gettimeout()
        sent = 0
        try:
            # Python waits for a socket with a timeout before it sends, and lets other threads in meanwhile; so the
            # first bytes are sent without one. Nobody is let in between the questions and the sending.
            sock.settimeout(0)
            if not attempt.sent:
                self.admission.check_command(self.admission.watcher.current_at_last())
                check_open(sock)
            attempt.sent = True
            sent = sock.send(pieces[0])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except BaseException as error:
            self.disconnect()  # type: ignore[attr-defined]
            if isinstance(error, OSError):
                raise ConnectionError(f"{type(error).__name__} while writing to the connection: {error}") from error
            raise
        sock.settimeout(timeout_s)
        rest = [pieces[0][sent:], *pieces[1:]] if sent < len(pieces[0]) else pieces[1:]
        if rest:
            super().send_packed_command(rest, check_health=False)  # type: ignore[misc]


class _PlainConnection(_Admitted, Connection):
    """A connection that asks."""


class _TLSConnection(_Admitted, SSLConnection):
    """The same over TLS."""


class _CachedCredentials(CredentialProvider):
    """Asks the application's callable once, and again after a refusal."""

    def __init__(self, ask: Credentials, resource_id: str) -> None:
        self._ask = ask
        self._resource_id = resource_id
        self._known: tuple[str | None, str] | None = None
        self._lock = threading.Lock()

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        with self._lock:
            if self._known is None:
                self._known = self._ask(self._resource_id)
            user, password = self._known
        return (user, password) if user else (password,)

    def forget(self) -> None:
        with self._lock:
            self._known = None


class _Cache:
    """The client for one cache, as the Endpoint named it."""

    def __init__(
        self,
        entry: EndpointEntry,
        credentials: Credentials,
        options: dict[str, Any],
        admission: Admission | None = None,
    ) -> None:
        self.entry = entry
        self.credentials = _CachedCredentials(credentials, entry.resource_id)
        kind = _TLSConnection if entry.tls else _PlainConnection
        arguments = {
            # redis-py repeats commands by itself otherwise, also those whose outcome is unknown.
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            **options,
            "credential_provider": self.credentials,
            # redis-py makes the connections, and hands them nothing of ours but their class.
            "connection_class": type(kind.__name__, (kind,), {"admission": admission}),
        }
        if entry.tls and "ssl_ca_certs" not in options and (authorities := os.environ.get("SSL_CERT_FILE")):
            arguments["ssl_ca_certs"] = authorities
        self.client: redis.Redis | RedisCluster
        if entry.clustered:
            arguments.pop("db", None)
            if entry.tls:
                # Nodes announce themselves as addresses; the certificate is for the cache's name, to which all answer.
                arguments["address_remap"] = lambda node: (entry.host, node[1])
            # Only made from a URL does the cluster's client take a class of connections (TLS is the class's affair).
            self.client = RedisCluster(url=f"redis://{entry.host}:{entry.port}", **arguments)
        else:
            self.client = redis.Redis(connection_pool=ConnectionPool(host=entry.host, port=entry.port, **arguments))

    def pools(self) -> list[ConnectionPool]:
        """Return the pools: one, or one for each node of a cluster."""
        if isinstance(self.client, RedisCluster):
            clients = [node.redis_connection for node in self.client.get_nodes()]
            return [client.connection_pool for client in clients if client is not None]
        return [self.client.connection_pool]

    def drop_idle(self) -> None:
        """Close what is not in use; what is comes back and is closed by the next call."""
        for pool in self.pools():
            pool.disconnect(inuse_connections=False)

    def warm_up(self, like: _Cache | None) -> None:
        """Open as many connections as *like* has, so that the first commands need not wait for TLS and login."""
        used = (
            [len(pool._available_connections) + len(pool._in_use_connections) for pool in like.pools()] if like else []
        )
        for pool in self.pools():
            opened: list[Any] = []
            try:
                opened.extend(pool.get_connection() for _ in range(max(used, default=1)))
            finally:
                for connection in opened:
                    pool.release(connection)


class EndpointRedis(CoreCommands):
    """
    A redis-py client, synchronous and safe between threads, that follows an Endpoint.

    Args:
        store: where the Endpoint is.
        credentials: user name and password for a resource id; see `Credentials`.
        poll_s: how old the Endpoint may be when a command is sent, in seconds; below the notice that a cut-over gives.
        patience_s: how long one command may wait in all, for a hold to end or for a cache to take the connection.
        repeatable: names of commands that may be run again when their outcome is unknown; the plain reads by default.
        options: further arguments of `redis.Redis` or `redis.RedisCluster` (`db`, `decode_responses`, ...).
    """

    def __init__(
        self,
        store: EndpointStore,
        credentials: Credentials,
        *,
        poll_s: float = 0.005,
        patience_s: float = 30.0,
        repeatable: Collection[str] = READS,
        **options: Any,
    ) -> None:
        self._watcher = EndpointWatcher(store, poll_s=poll_s)
        self._credentials = credentials
        self._patience_s = patience_s
        self._repeatable = frozenset(name.upper() for name in repeatable)
        self._options = options
        self._lock = threading.Lock()
        self._cache: _Cache | None = None
        self._prepared: _Cache | None = None
        self._announced: EndpointEntry | None = None

    _event_dispatcher: Any = None

    # -- what the command methods of redis-py need ----------------------------------------------------------------

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run one command on the cache that the Endpoint names."""
        name = str(args[0].decode() if isinstance(args[0], bytes) else args[0]).split(" ", 1)[0].upper()
        if name == "WATCH":
            raise CannotFollow("WATCH cannot span a change of caches; use a Lua script or a plain MULTI pipeline")
        return self._run(lambda client: client.execute_command(*args, **options), repeat=name in self._repeatable)

    def pipeline(self, transaction: bool = True) -> EndpointPipeline:
        """Return a pipeline: its commands are sent together, to one cache."""
        return EndpointPipeline(self, transaction=transaction)

    def pubsub(self, **options: Any) -> Any:
        """Return redis-py's PubSub on the cache of this moment; subscribe again after a switch."""
        return self._current().client.pubsub(**options)

    @property
    def connection_pool(self) -> Any:
        """The pool of the cache of this moment (redis-py's scripts ask it for the encoding)."""
        client = self._current().client
        # A cluster has one for each node: its AttributeError is what redis-py's scripts want to hear.
        return client.connection_pool  # type: ignore[union-attr]

    def get_encoder(self) -> Any:
        """Return how arguments are encoded."""
        return self._current().client.get_encoder()

    # -- following ------------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> Endpoint:
        """The Endpoint as this client believes it to be now."""
        return self._watcher.current()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            caches = (self._cache, self._prepared)
            self._cache = self._prepared = None
        for cache in caches:
            if cache is not None:
                cache.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _current(self) -> _Cache:
        document = self._watcher.current()
        if document.next != self._announced:
            self._announced = document.next
            if document.next is not None:
                threading.Thread(target=self._prepare, args=(document.next,), daemon=True).start()
        entry = self._watcher.wait_until_open(self._patience_s).entry
        cache = self._cache
        if cache is not None and cache.entry == entry:
            return cache
        with self._lock:
            if self._cache is None or self._cache.entry != entry:
                old, prepared = self._cache, self._prepared
                if prepared is None or prepared.entry != entry:
                    prepared = self._open(entry)
                self._cache, self._prepared = prepared, None
                if old is not None:
                    old.drop_idle()
            return self._cache

    def _open(self, entry: EndpointEntry) -> _Cache:
        admission = Admission(self._watcher, entry, self._patience_s)
        return _Cache(entry, self._credentials, self._options, admission)

    def _prepare(self, entry: EndpointEntry) -> None:
        """Fetch the credentials of the cache that is announced, and connect to it."""
        try:
            cache = self._open(entry)
            cache.warm_up(self._cache)
        except Exception:  # noqa: BLE001  it is not needed yet; whatever is wrong is met again, and told, when it is
            return
        with self._lock:
            self._prepared = cache

    def _run(self, send: Callable[[Any], _Result], *, repeat: bool, whole: bool = True) -> _Result:
        deadline = time.monotonic() + self._patience_s
        wait_s = 0.002
        while True:
            cache: _Cache | None = None
            # A cluster's client reads the slots when it is made: no command of the caller's is sent by that.
            attempt = Attempt(whole=whole, repeat=repeat)
            try:
                cache = self._current()
                with during(attempt):
                    return send(cache.client)
            except (
                NotSent,
                ConnectionError,
                TimeoutError,
                AuthenticationError,
                RedisClusterException,
                *REFUSED_WHOLE,
            ) as error:
                unsent, told = attempt.outcome(error)
                if not (unsent or repeat) or time.monotonic() >= deadline:
                    if told is error:
                        raise
                    raise told from error
                if isinstance(error, AuthenticationError) and cache is not None:
                    cache.credentials.forget()
                self._watcher.refresh()
            finally:
                if cache is not None and cache is not self._cache:
                    cache.drop_idle()
            # Until the Endpoint moves on or the cache takes us: there is nothing to be told by.
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, 0.25)


class EndpointPipeline(CoreCommands):
    """
    Commands sent together by `execute`, to one cache; with *transaction* inside MULTI and EXEC.

    Sent again as a whole when surely nothing of it was executed, else never.
    """

    _event_dispatcher: Any = None

    def __init__(self, owner: EndpointRedis, *, transaction: bool) -> None:
        self._owner = owner
        self._transaction = transaction
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def execute_command(self, *args: Any, **options: Any) -> Self:
        """Add a command."""
        if str(args[0]).upper() == "WATCH":
            raise CannotFollow("WATCH cannot span a change of caches; use a Lua script or a plain MULTI pipeline")
        self._commands.append((args, options))
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands and return their replies, in order."""
        commands, self._commands = self._commands, []

        def send(client: Any) -> list[Any]:
            with client.pipeline(transaction=self._transaction) as pipeline:
                for args, options in commands:
                    pipeline.execute_command(*args, **options)
                return list(pipeline.execute(raise_on_error))

        return self._owner._run(send, repeat=False, whole=False) if commands else []

    def reset(self) -> None:  # type: ignore[override]  # redis-py's pipelines have it, beside the command RESET
        """Forget the commands that were added."""
        self._commands = []

    def __len__(self) -> int:
        return len(self._commands)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reset()


def follow_endpoint(path: str | os.PathLike[str], credentials: Credentials, **options: Any) -> EndpointRedis:
    """Return a client that follows the Endpoint in the file *path*; *options* as for `EndpointRedis`."""
    return EndpointRedis(FileEndpointStore(path), credentials, **options)
