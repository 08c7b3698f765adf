"""
Following the Endpoint on asyncio: the twin of `redismove.application`, for the asynchronous dual-write client.

The same promises: a hold is waited for, a command that surely was not executed is tried again, one of unknown outcome
is never repeated unless it only reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  redis-py's own name
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004  redis-py's own name
)

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
from redismove.endpoint import Endpoint, EndpointEntry, EndpointWatcher

AsyncCredentials = Callable[[str], "tuple[str | None, str] | Awaitable[tuple[str | None, str]]"]
"""As `redismove.application.Credentials`; may be a coroutine function. A plain one is called in a thread."""


class _Admitted:
    """A connection that asks before it is used (see `redismove.admission`), and notes what it was given to send."""

    admission: Admission | None = None

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_connected:  # type: ignore[attr-defined]
            return
        with during(None):
            await super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        if self.admission is not None:
            watcher = self.admission.watcher
            assert isinstance(watcher, AsyncWatcher)
            try:
                # Of a remote store too: it takes a journey, but so did the connection.
                self.admission.check_connection(await watcher.read_again())
            except BaseException:
                # Open, it would be used without being asked about again.
                await self.disconnect(nowait=True)  # type: ignore[attr-defined]
                raise

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        attempt = doing.get()
        pieces = [command] if isinstance(command, bytes) else list(command)
        if attempt is None or self.admission is None or is_of_the_client(pieces):
            await super().send_packed_command(pieces, check_health)  # type: ignore[misc]
            return
        attempt.check()
        await self.connect_check_health()
        if check_health:
            with during(None):
                await self.check_health()  # type: ignore[attr-defined]
        try:
            await self._send(pieces, attempt)
        except RedisError as error:
            attempt.note(error)
            raise

    async def _send(self, pieces: list[bytes], attempt: Attempt) -> None:
        assert self.admission is not None
        writer: asyncio.StreamWriter | None = self._writer  # type: ignore[attr-defined]
        if writer is None:
            raise NotSent("the connection was closed before anything was sent")
        watcher = self.admission.watcher
        assert isinstance(watcher, AsyncWatcher)
        # From here to the writing no other task is let in; redis-py's own way with a timeout would let them.
        if not attempt.sent:
            self.admission.check_command(watcher.known_at_last())
            try:
                check_open(writer.get_extra_info("socket"))
            except NotSent:
                await self.disconnect(nowait=True)  # type: ignore[attr-defined]
                raise
        attempt.sent = True
        try:
            writer.writelines(pieces)
            await asyncio.wait_for(writer.drain(), self.socket_timeout)  # type: ignore[attr-defined]
        except BaseException as error:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            if isinstance(error, asyncio.TimeoutError):
                raise TimeoutError("Timeout writing to socket") from None
            if isinstance(error, OSError):
                raise ConnectionError(f"{type(error).__name__} while writing to the connection: {error}") from error
            raise

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)  # type: ignore[misc]
        except RedisError as error:
            if (attempt := doing.get()) is not None:
                attempt.note(error)
            raise


class PlainConnection(_Admitted, Connection):
    """A connection that asks."""


class TLSConnection(_Admitted, SSLConnection):
    """The same over TLS."""


class CachedCredentials(CredentialProvider):
    """Asks the application's callable once, and again after a refusal."""

    def __init__(self, ask: AsyncCredentials, resource_id: str) -> None:
        self._ask = ask
        self._resource_id = resource_id
        self._known: tuple[str | None, str] | None = None

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Not used: the connections are asynchronous."""
        raise NotImplementedError

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return user name and password, or the password alone."""
        if self._known is None:
            if inspect.iscoroutinefunction(self._ask):
                found = await self._ask(self._resource_id)
            else:
                found = await asyncio.to_thread(self._ask, self._resource_id)
                if inspect.isawaitable(found):
                    found = await found
            self._known = found
        user, password = self._known  # type: ignore[misc]  # forgotten only between two logins
        return (user, password) if user else (password,)

    def forget(self) -> None:
        """Ask again at the next login."""
        self._known = None


class AsyncCache:
    """The client for one cache, as the Endpoint named it."""

    def __init__(
        self,
        entry: EndpointEntry,
        credentials: AsyncCredentials,
        options: dict[str, Any],
        admission: Admission | None = None,
    ) -> None:
        self.entry = entry
        self.credentials = CachedCredentials(credentials, entry.resource_id)
        arguments = {
            # redis-py repeats commands by itself otherwise, also those whose outcome is unknown.
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            **options,
            "credential_provider": self.credentials,
        }
        kind: Any = TLSConnection if entry.tls else PlainConnection
        # redis-py makes the connections, and hands them nothing of ours but their class.
        kind = type(kind.__name__, (kind,), {"admission": admission})
        if entry.tls and "ssl_ca_certs" not in options and (authorities := os.environ.get("SSL_CERT_FILE")):
            arguments["ssl_ca_certs"] = authorities
        self.client: redis.asyncio.Redis | RedisCluster
        if entry.clustered:
            arguments.pop("db", None)
            if entry.tls:
                # Nodes announce themselves as addresses; the certificate is for the cache's name, to which all answer.
                arguments["address_remap"] = lambda node: (entry.host, node[1])
            self.client = RedisCluster(host=entry.host, port=entry.port, ssl=entry.tls, **arguments)
            self.client.connection_kwargs["connection_class"] = kind
            for node in self.client.nodes_manager.startup_nodes.values():
                node.connection_class = kind
        else:
            pool = ConnectionPool(host=entry.host, port=entry.port, connection_class=kind, **arguments)
            self.client = redis.asyncio.Redis(connection_pool=pool)

    async def ready(self) -> None:
        """Read the slots of a cluster, where that is not done yet."""
        if isinstance(self.client, RedisCluster):
            await self.client.initialize()

    async def drop_idle(self) -> None:
        """Close what is not in use; what is comes back and is closed by the next call."""
        with contextlib.suppress(RedisError, OSError):
            if isinstance(self.client, RedisCluster):
                await self.client.aclose()
            else:
                await self.client.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Close everything."""
        with contextlib.suppress(RedisError, OSError):
            if isinstance(self.client, RedisCluster):
                await self.client.aclose()
            else:
                await self.client.connection_pool.disconnect()


class AsyncWatcher(EndpointWatcher):
    """
    An `EndpointWatcher` for coroutines: it never sleeps in the loop, and reads a remote store in a thread.

    Args:
        remote: reading the store takes a journey.
    """

    def __init__(self, store: Any, *, poll_s: float, remote: bool) -> None:
        super().__init__(store, poll_s=poll_s)
        self.remote = remote

    async def look(self) -> Endpoint:
        """Return the document, at most `poll_s` old."""
        if not self.remote:
            return self.current()
        document = self._document
        if document is not None and time.monotonic() - self._looked_at < self._poll_s:
            return document
        return await asyncio.to_thread(self.current)

    async def look_again(self) -> Endpoint:
        """Return the document as it is now; of a remote store, at most `poll_s` old."""
        return await self.look() if self.remote else self.refresh()

    def known(self) -> Endpoint:
        """Return the document without a journey: of a remote store the one that was read last."""
        document = self._document
        return document if self.remote and document is not None else self.current()

    async def read_again(self) -> Endpoint:
        """Return the document as it is now, whatever it takes."""
        return await asyncio.to_thread(self.refresh) if self.remote else self.refresh()

    def known_at_last(self) -> Endpoint:
        """As `known`, at most `poll_s` old even if the loop stood still while it was looked at."""
        document = self._document
        return document if self.remote and document is not None else self.current_at_last()

    async def until_open(self, limit_s: float) -> Endpoint:
        """As `wait_until_open`."""
        document = await self.look()
        while self.must_wait(document, limit_s):
            await asyncio.sleep(min(self._poll_s, 0.002) if not self.remote else 0.01)
            document = await self.look_again()
        return document


class AsyncFollower:
    """Runs commands on the cache that the Endpoint names."""

    def __init__(
        self,
        watcher: AsyncWatcher,
        credentials: AsyncCredentials,
        patience_s: float,
        options: dict[str, Any],
        prepare: Callable[[AsyncCache], None],
    ) -> None:
        """Follow; *prepare* is called with every new cache before its first use."""
        self.watcher = watcher
        self.credentials = credentials
        self.options = options
        self.patience_s = patience_s
        self._prepare = prepare
        self._cache: AsyncCache | None = None
        self._left: set[asyncio.Task[None]] = set()

    @property
    def cache(self) -> AsyncCache | None:
        """The cache of the moment, if there was a command yet."""
        return self._cache

    def of(self, entry: EndpointEntry) -> AsyncCache:
        """Return the client for *entry*, which the Endpoint names now."""
        if self._cache is None or self._cache.entry != entry:
            admission = Admission(self.watcher, entry, self.patience_s)
            old, self._cache = self._cache, AsyncCache(entry, self.credentials, self.options, admission)
            self._prepare(self._cache)
            if old is not None:
                self.leave(old)
        return self._cache

    def leave(self, cache: AsyncCache) -> None:
        """Close a cache's idle connections soon."""
        self.later(cache.drop_idle())

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work beside; `aclose` waits for it."""
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:  # no loop runs: nothing is open then
            work.close()
            return
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    async def current(self) -> AsyncCache:
        """Wait for a hold, and return the cache of the moment."""
        cache = self.of((await self.watcher.until_open(self.patience_s)).entry)
        await cache.ready()
        return cache

    async def run(self, send: Callable[[AsyncCache], Awaitable[Any]], *, repeat: bool, whole: bool = True) -> Any:
        """
        Run *send* with the cache of the moment, again while surely nothing was executed.

        Args:
            send: sends a command, or a pipeline.
            repeat: it may be run twice.
            whole: an error reply that a server gives before it runs a command is about all that was sent.
        """
        deadline = time.monotonic() + self.patience_s
        wait_s = 0.002
        while True:
            cache: AsyncCache | None = None
            attempt = Attempt(whole=whole, repeat=repeat)
            try:
                cache = await self.current()
                with during(attempt):
                    return await send(cache)
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
                await self.watcher.look_again()
            finally:
                if cache is not None and cache is not self._cache:
                    self.leave(cache)
            # Until the Endpoint moves on or the cache takes us: there is nothing to be told by.
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 0.25)

    async def aclose(self) -> None:
        """Close the connections."""
        cache, self._cache = self._cache, None
        if cache is not None:
            await cache.aclose()
        if self._left:
            await asyncio.gather(*self._left, return_exceptions=True)
