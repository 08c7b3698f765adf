"""
The asynchronous dual-write client: the twin of `client`, on redis.asyncio.

    redis = AsyncDualWriteRedis("/run/cache/endpoint.json", credentials)
    await redis.set("name", "value", ex=3600)

For one event loop; `aclose` waits for what is not carried yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import redis.asyncio
from redis.asyncio.client import Pipeline
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError, WatchError

from redismove.application import READS
from redismove.dual_write.aio_follow import AsyncCache, AsyncCredentials, AsyncFollower, AsyncWatcher
from redismove.dual_write.aio_lines import AsyncServers, AsyncWorker
from redismove.dual_write.carrying import Carrying, Side, Verdict
from redismove.dual_write.client import _NOT_EXECUTED
from redismove.dual_write.commands import IN_A_PIPELINE, ONE_CACHE, ONE_NODE, Call, Kind, check_script, understand
from redismove.dual_write.errors import CommandRefused, SecondWriteFailed
from redismove.dual_write.pending import Mark, Pending
from redismove.dual_write.routing import (
    CANNOT_ANSWER,
    Breaker,
    check_options,
    cursor_in,
    cursor_out,
    entry_of_role,
    everywhere,
    for_a_pipeline,
    mode_of,
    only_reads,
    same_caches,
    verdict,
)
from redismove.dual_write.settings import DualWriteSettings
from redismove.dual_write.statistics import DualWriteStats, statistics
from redismove.endpoint import Endpoint, EndpointEntry, EndpointError, EndpointStore, FileEndpointStore

Send = Callable[[AsyncCache], Awaitable[Any]]


class _AsyncPairing:
    """A first and a second cache that are both written, and what the second one lacks."""

    def __init__(
        self, first: EndpointEntry, second: EndpointEntry, follower: AsyncFollower, settings: DualWriteSettings
    ) -> None:
        self.first = first
        self.second = second
        self.pending = Pending(max_keys=settings.max_pending_keys)
        self.carrying = Carrying(self.pending, settings, second_clustered=second.clustered)
        self._follower = follower
        self._settings = settings
        self._worker: AsyncWorker | None = None
        self.reader_cache: AsyncCache | None = None
        self._ended = False
        self.pending.on_mark(self._wake)

    async def reader(self) -> AsyncCache:
        """Return the application's own connections to the second cache."""
        if self.reader_cache is None:
            self.reader_cache = AsyncCache(self.second, self._follower.credentials, self._follower.options)
        await self.reader_cache.ready()
        return self.reader_cache

    def forget_reader(self) -> None:
        """Find the second cache and its credentials anew at the next read."""
        reader, self.reader_cache = self.reader_cache, None
        if reader is not None:
            self._follower.leave(reader)

    async def wait(self, keys: Sequence[bytes], mark: Mark, seconds: float) -> bool:
        """Wait until the second cache has *keys* as of *mark*; False when it has not in time."""
        if not mark.complete:
            return False
        done = asyncio.Event()
        waiter = self.pending.wait_for(keys, mark.number, done.set)
        if waiter is None:
            return True
        try:
            if Side.SECOND in self.carrying.failing:
                return False
            await asyncio.wait_for(done.wait(), seconds)
            return True
        except TimeoutError:
            return False
        finally:
            self.pending.forget(waiter)

    async def drain(self, seconds: float) -> bool:
        """Wait until nothing is marked."""
        done = asyncio.Event()
        self.pending.when_idle(done.set)
        try:
            await asyncio.wait_for(done.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def end(self, within_s: float = 0.0) -> None:
        """Carry what is marked for at most so many seconds, and drop the rest; returns at once."""
        self._ended = True
        if self._worker is not None:
            self._worker.finish(within_s)
            self._follower.later(self._worker.join(within_s + self._settings.timeout_s))
        else:
            self.pending.drop()
        self.forget_reader()

    def _wake(self) -> None:
        if self._worker is None or not self._worker.alive:
            if self._ended:
                return
            first = AsyncServers(Side.FIRST, self._maker(self.first), self._settings.timeout_s)
            second = AsyncServers(Side.SECOND, self._maker(self.second), self._settings.timeout_s)
            self._worker = AsyncWorker(self.carrying, first, second, self._allowed)
        self._worker.wake()

    def _maker(self, entry: EndpointEntry) -> Callable[[], AsyncCache]:
        options = {**self._follower.options, "decode_responses": False, "protocol": 2}
        options.setdefault("socket_timeout", self._settings.timeout_s)
        options.setdefault("socket_connect_timeout", self._settings.timeout_s)
        return lambda: AsyncCache(entry, self._follower.credentials, options)

    async def _allowed(self) -> Verdict:
        try:
            document = await self._follower.watcher.look_again()
        except Exception:  # noqa: BLE001  a store of the application's own may fail as it likes: then we do not know
            return Verdict.HOLD
        return verdict(document, self.first, self.second)


class AsyncDualWriteRedis(redis.asyncio.Redis):
    """
    A drop-in for `redis.asyncio.Redis` that writes to two caches while the Endpoint says so.

    Args:
        store: where the Endpoint is; a path is a file.
        credentials: user name and password for a cache's resource id; a coroutine function, or a plain one, which is
            called in a thread.
        settings: what happens beside the first cache.
        poll_s: how old the Endpoint may be when a command is sent, in seconds; below the notice that a cut-over gives.
        patience_s: how long one command may wait in all, for a hold to end or for a cache to take the connection.
        repeatable: names of further commands that may be run again when their outcome is unknown; reads always are.
        options: arguments of redis-py (`db`, `decode_responses`, ...).
    """

    connection = None
    auto_close_connection_pool = False
    single_connection_client = False

    def __init__(
        self,
        store: EndpointStore | str | os.PathLike[str],
        credentials: AsyncCredentials,
        *,
        settings: DualWriteSettings | None = None,
        poll_s: float | None = None,
        patience_s: float = 30.0,
        repeatable: Collection[str] = READS,
        **options: Any,
    ) -> None:
        check_options(options)
        store = store if isinstance(store, EndpointStore) else FileEndpointStore(Path(store))
        remote = bool(getattr(store, "remote", False))
        poll_s = poll_s if poll_s is not None else 1.0 if remote else 0.005
        watcher = AsyncWatcher(store, poll_s=poll_s, remote=remote)
        self._store = store
        self._watcher = watcher
        self._patience_s = patience_s
        self._repeatable = frozenset(name.upper() for name in repeatable)
        self._settings = settings or DualWriteSettings()
        self._reads_rest = Breaker(self._settings.retry_read_s)
        self._follower = AsyncFollower(watcher, credentials, patience_s, options, self._with_callbacks)
        self._pair: _AsyncPairing | None = None
        self._encoder: Any = None
        self._callbacks: dict[str, Callable[..., Any]] = {}
        self._closed = False

    # -- commands -------------------------------------------------------------------------------------------------

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """
        Run one command: a write on the first cache, its keys carried to the second; a read where the Endpoint says.

        Raises:
            CommandRefused: it has no right meaning on two caches; nothing was sent.
            SecondWriteFailed: only with `when_second_fails="raise"`.
        """
        call = understand(args, allow_flush=self._settings.allow_flush)
        if call.kind is Kind.READ:
            if call.cursor:
                return await self._iterate(call, args, options)
            return await self.read([call], _sender(call, args, options))
        send = _sender(call, args, options)
        if call.kind is Kind.FIRST:
            return await self._follower.run(send, repeat=call.name in self._repeatable)
        return await self.write([call], lambda: self._follower.run(send, repeat=False))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:
        """Return a pipeline: sent together to one cache, with *transaction* inside MULTI and EXEC."""
        if self._watcher.known().entry.clustered:
            return AsyncDualWriteClusterPipeline(self, transaction=transaction)
        return AsyncDualWritePipeline(self, transaction, shard_hint)

    def register_script(self, script: Any) -> Any:
        """Return redis-py's AsyncScript. Raises CommandRefused for one that openly writes other keys than its KEYS."""
        check_script(script)
        return super().register_script(script)

    def pubsub(self, **options: Any) -> Any:
        """Return redis-py's PubSub on the first cache of this moment; subscribe again after a cut-over."""
        return self._now().client.pubsub(**options)  # type: ignore[no-untyped-call]

    def scan_iter(  # type: ignore[override]
        self, match: Any = None, count: int | None = None, _type: str | None = None, **options: Any
    ) -> AsyncIterator[Any]:
        """Iterate over the keys of the cache that is read."""
        return self._scan_iter(match, count, _type, options)

    async def _scan_iter(
        self, match: Any, count: int | None, kind: str | None, options: dict[str, Any]
    ) -> AsyncIterator[Any]:
        cache = await self._reading_cache(None)
        if isinstance(cache.client, RedisCluster):
            found = cache.client.scan_iter(match=match, count=count, _type=kind, **options)
        else:
            found = super().scan_iter(match=match, count=count, _type=kind, **options)
        async for key in found:
            yield key

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Set how a command's reply is made into a result, for both caches."""
        self._callbacks[command] = callback
        for cache in (self._follower.cache, self._pair and self._pair.reader_cache):
            if cache:
                cache.client.set_response_callback(command, callback)

    def monitor(self) -> NoReturn:
        """Refused: it shows one server's commands."""
        raise CommandRefused("MONITOR", ONE_CACHE)

    def client(self) -> NoReturn:
        """Refused: no connection spans two caches."""
        raise CommandRefused("client()", "no connection spans two caches; use the client itself")

    @classmethod
    def from_url(cls, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        """Refused: the Endpoint names the caches."""
        raise CommandRefused("from_url()", "the Endpoint names the caches; give its store, and credentials")

    @classmethod
    def from_pool(cls, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        """Refused: the Endpoint names the caches."""
        raise CommandRefused("from_pool()", "the Endpoint names the caches; give its store, and credentials")

    @property
    def connection_pool(self) -> Any:  # type: ignore[override]
        """The pool of the cache of this moment (redis-py's scripts ask it for the encoding)."""
        # A cluster has one for each node: its AttributeError is what redis-py's scripts want to hear.
        return self._now().client.connection_pool  # type: ignore[union-attr]

    def get_encoder(self) -> Any:
        """Return how arguments are encoded."""
        return self._now().client.get_encoder()

    @property
    def endpoint(self) -> Endpoint:
        """The Endpoint as this client believes it to be now."""
        return self._watcher.known()

    async def initialize(self) -> Self:  # type: ignore[override]
        """Nothing is opened before the first command."""
        return self

    # -- what the second cache lacks ------------------------------------------------------------------------------

    def stats(self) -> DualWriteStats:
        """Return this client's figures."""
        pairing = self._pair
        return statistics(mode_of(self._watcher.known()), None if pairing is None else pairing.carrying)

    async def drain(self, timeout_s: float = 30.0) -> bool:
        """
        Wait until the second cache has all that this client wrote.

        Returns:
            False when it has not within *timeout_s*; `stats` says why.
        """
        pairing = self._pairing(await self._watcher.look())
        return pairing is None or await pairing.drain(timeout_s)

    async def reconcile(self) -> None:
        """Ask for a sweep: both caches are compared, and every key that differs is carried. Returns at once."""
        pairing = self._pairing(await self._watcher.look())
        if pairing is not None:
            pairing.pending.open_gap()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: ARG002  redis-py's own
        """Wait for the queue, for at most `drain_s`, and close the connections."""
        self._closed = True
        pairing, self._pair = self._pair, None
        if pairing is not None:
            pairing.end(self._settings.drain_s)
        await self._follower.aclose()

    async def close(self, close_connection_pool: bool | None = None) -> None:
        """As `aclose`."""
        await self.aclose(close_connection_pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self, *_: Any) -> None:
        pass  # the connections say themselves where they are left open

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}({self._store!r})>"

    # -- following ------------------------------------------------------------------------------------------------

    def _now(self) -> AsyncCache:
        """The cache of the moment, without waiting for a hold: nothing is sent with it."""
        return self._follower.of(self._watcher.known().entry)

    def _with_callbacks(self, cache: AsyncCache) -> None:
        for command, callback in self._callbacks.items():
            cache.client.set_response_callback(command, callback)

    def _pairing(self, document: Endpoint) -> _AsyncPairing | None:
        """Return the pairing that the Endpoint asks for, made where needed; None while one cache is written."""
        pairing = self._pair
        if pairing is not None and same_caches(document, pairing.first, pairing.second):
            return pairing
        newest = self._watcher.known()  # the caller may have waited since
        document = newest if newest.generation > document.generation else document
        if pairing is not None:
            if same_caches(document, pairing.first, pairing.second):
                return pairing
            pairing.end()
            self._pair = None
        dual = document.dual_write
        if dual is None or not dual.active or dual.second is None or self._closed:
            return None
        self._pair = _AsyncPairing(document.entry, dual.second, self._follower, self._settings)
        if pairing is not None and not pairing.pending.idle and pairing.first.resource_id == document.entry.resource_id:
            self._pair.pending.open_gap()  # the same caches under other addresses: what was marked is unknown now
        return self._pair

    def _encode(self, keys: Iterable[Any]) -> list[bytes]:
        if self._encoder is None:
            self._encoder = self.get_encoder()
        return [bytes(self._encoder.encode(key)) for key in keys]

    # -- writing --------------------------------------------------------------------------------------------------

    async def write(self, calls: Sequence[Call], run: Callable[[], Awaitable[Any]]) -> Any:
        """
        Run *run*, which sends *calls* to the first cache, and see that their keys reach the second.

        For this package's pipelines; applications use commands.
        """
        before = self._pairing(await self._watcher.until_open(self._patience_s))
        keys = self._encode(key for call in calls if call.kind is Kind.WRITE for key in call.keys)
        everything = any(call.everything for call in calls if call.kind is Kind.WRITE)
        try:
            result = await run()
        except WatchError as error:
            # redis-py also says so when the connection ended after EXEC was sent.
            if error.args != _NOT_EXECUTED:
                self._mark(before, keys, everything, unknown=True)
            raise
        except ResponseError:
            self._mark(before, keys, everything, unknown=False)  # of a script or a pipeline, something may have been
            raise
        except BaseException as error:
            if not getattr(error, "surely_not_executed", False):
                self._mark(before, keys, everything, unknown=True)
            raise
        pairing, mark = self._mark(before, keys, everything, unknown=False)
        if pairing is not None and keys:
            await self._wait_for_second(pairing, keys, mark, calls)
        return result

    def _mark(
        self, before: _AsyncPairing | None, keys: list[bytes], everything: bool, *, unknown: bool
    ) -> tuple[_AsyncPairing | None, Mark]:
        """Mark keys where both caches were written before the command, or are since."""
        mark = Mark(0)
        try:
            pairing = self._pairing(self._watcher.known())
        except EndpointError:
            pairing = before
        again_after_s = self._settings.settle_s if unknown else None
        for one in {before, pairing} - {None}:
            assert one is not None
            if everything:
                one.pending.open_gap()
            if keys:
                mark = one.pending.mark(keys, again_after_s=again_after_s)
        return pairing, mark

    async def _wait_for_second(
        self, pairing: _AsyncPairing, keys: list[bytes], mark: Mark, calls: Sequence[Call]
    ) -> None:
        seconds = self._settings.wait_for_second_s(mode_of(self._watcher.known()))
        if not seconds or await pairing.wait(keys, mark, seconds) or self._settings.when_second_fails == "queue":
            return
        why = pairing.carrying.failing.get(Side.SECOND) or pairing.carrying.refusal or f"not within {seconds:g} s"
        names = ", ".join(sorted({call.name for call in calls}))
        raise SecondWriteFailed(
            f"{names} was done by {pairing.first.host} and is not on {pairing.second.host} yet ({why}); it waits in "
            "the queue, do not send it again"
        )

    # -- reading --------------------------------------------------------------------------------------------------

    def _reading_pairing(self, document: Endpoint, calls: Sequence[Call]) -> _AsyncPairing | None:
        """Return the pairing whose second cache may answer; None means the first one does."""
        if mode_of(document) != "read-new" or not self._reads_rest.closed:
            return None
        pairing = self._pairing(document)
        if pairing is None:
            return None
        if any(call.everything for call in calls):
            return None if pairing.pending.behind(None) else pairing
        keys = self._encode(key for call in calls for key in call.keys)
        return None if pairing.pending.behind(keys) else pairing

    async def read(self, calls: Sequence[Call], send: Send, *, whole: bool = True) -> Any:
        """
        Run *send* with a cache that has all that this client wrote to the keys of *calls*.

        For this package's pipelines; applications use commands.
        """
        pairing = self._reading_pairing(await self._watcher.until_open(self._patience_s), calls)
        if pairing is not None:
            with contextlib.suppress(*CANNOT_ANSWER):
                return await self._read_second(pairing, send)
        return await self._follower.run(send, repeat=True, whole=whole)

    async def _read_second(self, pairing: _AsyncPairing, send: Send) -> Any:
        try:
            fresh = pairing.reader_cache is None
            cache = await pairing.reader()
            if fresh:
                self._with_callbacks(cache)
            return await send(cache)
        except CANNOT_ANSWER:
            self._reads_rest.trip()
            pairing.forget_reader()
            raise

    async def _reading_cache(self, role: str | None) -> AsyncCache:
        """Return the cache on which an iteration begins, or goes on (*role*)."""
        document = await self._watcher.until_open(self._patience_s)
        pairing = self._pairing(document)
        if role is None:
            found = self._reading_pairing(document, [Call("SCAN", Kind.READ, everything=True)])
            return await self._follower.current() if found is None else await found.reader()
        entry = entry_of_role(role, document)
        if pairing is not None and entry == pairing.second:
            return await pairing.reader()
        return await self._follower.current()

    async def _iterate(self, call: Call, args: Sequence[Any], options: dict[str, Any]) -> Any:
        own, role = cursor_in(args, call)

        async def send(cache: AsyncCache) -> Any:
            if call.name == "SCAN" and isinstance(cache.client, RedisCluster):
                raise CommandRefused("SCAN", ONE_NODE)
            reply = await cache.client.execute_command(*own, **options)
            return (cursor_out(reply[0], cache.entry), *reply[1:])

        if role is None:
            return await self.read([call], send)
        return await send(await self._reading_cache(role))


def _sender(call: Call, args: Sequence[Any], options: dict[str, Any]) -> Send:
    return lambda cache: cache.client.execute_command(
        *args, **everywhere(call, options, clustered=cache.entry.clustered)
    )


class AsyncDualWritePipeline(Pipeline):
    """redis-py's pipeline on the cache of the moment; see `client.DualWritePipeline`."""

    def __init__(self, owner: AsyncDualWriteRedis, transaction: bool, shard_hint: str | None) -> None:
        self._owner = owner
        self._calls: list[Call] = []
        self._watched: AsyncCache | None = None
        client = owner._now().client
        assert isinstance(client, redis.asyncio.Redis)
        super().__init__(client.connection_pool, client.response_callbacks, transaction, shard_hint)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Add a command, or run it at once between WATCH and MULTI. Raises CommandRefused."""
        name = str(args[0]).upper()
        if name in ("WATCH", "UNWATCH", "DISCARD"):
            if name == "WATCH" and not self.watching:
                return self._watch(args, options)
            return super().execute_command(*args, **options)
        call = understand(args, allow_flush=self._owner._settings.allow_flush)
        for_a_pipeline(call)
        if self.watching and not self.explicit_transaction:
            return self._at_once(call, args, options)
        self._calls.append(call)
        return super().execute_command(*args, **options)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands and return their replies, in order."""
        calls, self._calls = self._calls, []
        if self.watching:
            if await self._owner._follower.current() is not self._watched:
                watched = self._watched
                await self.reset()
                if watched is not None:
                    self._owner._follower.leave(watched)  # its connection has come back just now
                raise WatchError("the cache changed while keys were watched")
            run = super().execute
            return list(await self._owner.write(calls, lambda: run(raise_on_error)))
        if not self.command_stack:
            return []
        stack, scripts = self.command_stack, self.scripts
        execute = super().execute

        async def send(cache: AsyncCache) -> list[Any]:
            await self._take(cache)
            self.command_stack, self.scripts = list(stack), set(scripts)
            return list(await execute(raise_on_error))

        try:
            if only_reads(calls):
                return list(await self._owner.read(calls, send, whole=False))
            follow = self._owner._follower
            return list(await self._owner.write(calls, lambda: follow.run(send, repeat=False, whole=False)))
        finally:
            await self.reset()

    async def reset(self) -> None:  # type: ignore[override]  # as redis-py's own pipeline, beside the command RESET
        """Forget the commands that were added, and what is watched."""
        self._calls = []
        self._watched = None
        await super().reset()

    def register_script(self, script: Any) -> Any:
        """As the client's."""
        check_script(script)
        return super().register_script(script)

    def pipeline(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise CommandRefused("a pipeline in a pipeline", IN_A_PIPELINE)

    async def _watch(self, args: Sequence[Any], options: dict[str, Any]) -> Any:
        self._watched = await self._owner._follower.current()
        await self._take(self._watched)
        return await self.immediate_execute_command(*args, **options)

    async def _at_once(self, call: Call, args: Sequence[Any], options: dict[str, Any]) -> Any:
        run = super().immediate_execute_command
        if call.kind is Kind.WRITE:
            return await self._owner.write([call], lambda: run(*args, **options))
        return await run(*args, **options)

    async def _take(self, cache: AsyncCache) -> None:
        client: Any = cache.client
        if self.connection is not None and client.connection_pool is not self.connection_pool:
            await self.connection_pool.release(self.connection)
            self.connection = None
        self.connection_pool, self.response_callbacks = client.connection_pool, client.response_callbacks


class AsyncDualWriteClusterPipeline(redis.asyncio.Redis):
    """Commands collected for a pipeline of a cluster's client. WATCH is refused: its keys would be on several nodes."""

    connection = None
    auto_close_connection_pool = False
    single_connection_client = False

    def __init__(self, owner: AsyncDualWriteRedis, *, transaction: bool) -> None:
        self._owner = owner
        self._transaction = transaction
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._calls: list[Call] = []

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Add a command. Raises CommandRefused."""
        call = understand(args, allow_flush=self._owner._settings.allow_flush)
        self._calls.append(for_a_pipeline(call, clustered=True))
        self._commands.append((args, options))
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands and return their replies, in order."""
        (calls, self._calls), (commands, self._commands) = (self._calls, []), (self._commands, [])
        if not commands:
            return []

        async def send(cache: AsyncCache) -> list[Any]:
            async with cache.client.pipeline(transaction=self._transaction) as pipeline:
                for args, options in commands:
                    pipeline.execute_command(*args, **options)
                return list(await pipeline.execute(raise_on_error))

        if only_reads(calls):
            return list(await self._owner.read(calls, send, whole=False))
        follow = self._owner._follower
        return list(await self._owner.write(calls, lambda: follow.run(send, repeat=False, whole=False)))

    def watch(self, *_: Any) -> NoReturn:
        """Refused."""
        raise CommandRefused("WATCH on a cluster", "its transactions are for one slot; use a script with its KEYS")

    async def reset(self) -> None:  # type: ignore[override]
        """Forget the commands that were added."""
        self._commands, self._calls = [], []

    def get_encoder(self) -> Any:
        """Return how arguments are encoded."""
        return self._owner.get_encoder()

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True

    def __await__(self) -> Any:
        return self._self().__await__()

    async def _self(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reset()

    def __del__(self, *_: Any) -> None:
        pass
