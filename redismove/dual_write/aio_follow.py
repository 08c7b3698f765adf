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
from typing import Any, Final

import redis.asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004  redis-py's own name
    MasterDownError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004  redis-py's own name
)

from redismove.endpoint import Endpoint, EndpointEntry, EndpointWatcher

AsyncCredentials = Callable[[str], "tuple[str | None, str] | Awaitable[tuple[str | None, str]]"]
"""As `redismove.application.Credentials`; may be a coroutine function. A plain one is called in a thread."""

_REFUSED_WHOLE: Final = (ReadOnlyError, BusyLoadingError, MasterDownError)
"""Error replies by which a server says that it ran nothing."""


class _NeverSent:
    """Marks the errors of connecting and logging in: no command of the caller had been sent by then."""

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().connect_check_health(*args, **kwargs)  # type: ignore[misc]
        except (RedisError, OSError) as error:
            error.surely_not_executed = True  # type: ignore[union-attr]
            raise


class PlainConnection(_NeverSent, Connection):
    """A connection that tells an unsent command from one of unknown outcome."""


class TLSConnection(_NeverSent, SSLConnection):
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

    def __init__(self, entry: EndpointEntry, credentials: AsyncCredentials, options: dict[str, Any]) -> None:
        self.entry = entry
        self.credentials = CachedCredentials(credentials, entry.resource_id)
        arguments = {
            # redis-py repeats commands by itself otherwise, also those whose outcome is unknown.
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            **options,
            "credential_provider": self.credentials,
        }
        kind = TLSConnection if entry.tls else PlainConnection
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

    async def until_open(self, limit_s: float) -> Endpoint:
        """As `wait_until_open`."""
        document = await self.look()
        while document.state == "hold":
            held_since = self._held_since
            allowed_s = limit_s if document.hold_ms is None else min(limit_s, document.hold_ms / 1000)
            if held_since is None or time.monotonic() - held_since[1] >= allowed_s:
                return document
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
            old, self._cache = self._cache, AsyncCache(entry, self.credentials, self.options)
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
            built = False
            try:
                cache = await self.current()
                built = True
                return await send(cache)
            except (
                ConnectionError,
                TimeoutError,
                AuthenticationError,
                RedisClusterException,
                *_REFUSED_WHOLE,
            ) as error:
                unsent = not built or getattr(error, "surely_not_executed", False)
                unsent = unsent or (whole and isinstance(error, _REFUSED_WHOLE))
                if not (unsent or repeat) or time.monotonic() >= deadline:
                    raise
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
