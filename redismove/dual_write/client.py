"""
The synchronous dual-write client.

    redis = DualWriteRedis("/run/cache/endpoint.json", credentials)
    redis.set("name", "value", ex=3600)

What the Endpoint's `dualWrite` says is done from the next command on: "off" is a client that follows the Endpoint,
"write-both" writes to both caches and reads the first, "read-new" reads the second. The first cache runs every write
and gives every answer to one; the second gets the written keys by value, see `carrying`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import redis
from redis.client import Pipeline
from redis.cluster import RedisCluster
from redis.exceptions import ResponseError, WatchError

from redismove.application import Credentials, EndpointRedis, _Cache
from redismove.dual_write.carrying import Carrying, Side, Verdict
from redismove.dual_write.commands import IN_A_PIPELINE, ONE_CACHE, ONE_NODE, Call, Kind, check_script, understand
from redismove.dual_write.errors import CommandRefused, SecondWriteFailed
from redismove.dual_write.lines import Servers, Worker
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
from redismove.endpoint import (
    Endpoint,
    EndpointEntry,
    EndpointError,
    EndpointStore,
    EndpointWatcher,
    FileEndpointStore,
)


class _Pairing:
    """A first and a second cache that are both written, and what the second one lacks."""

    def __init__(
        self,
        first: EndpointEntry,
        second: EndpointEntry,
        watcher: EndpointWatcher,
        credentials: Credentials,
        options: dict[str, Any],
        settings: DualWriteSettings,
        *,
        remote_store: bool,
    ) -> None:
        self.first = first
        self.second = second
        self.pending = Pending(max_keys=settings.max_pending_keys)
        self.carrying = Carrying(self.pending, settings, second_clustered=second.clustered)
        self._watcher = watcher
        self._credentials = credentials
        self._options = options
        self._settings = settings
        self._remote_store = remote_store
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._reader: _Cache | None = None
        self._ended = False
        self.pending.on_mark(self._wake)

    def reader(self) -> _Cache:
        """Return the application's own connections to the second cache."""
        with self._lock:
            if self._reader is None:
                self._reader = _Cache(self.second, self._credentials, self._options)
            return self._reader

    def forget_reader(self) -> None:
        """Find the second cache and its credentials anew at the next read."""
        with self._lock:
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.drop_idle()

    def wait(self, keys: Sequence[bytes], mark: Mark, seconds: float) -> bool:
        """Wait until the second cache has *keys* as of *mark*; False when it has not in time."""
        if not mark.complete:
            return False
        done = threading.Event()
        waiter = self.pending.wait_for(keys, mark.number, done.set)
        if waiter is None:
            return True
        if Side.SECOND in self.carrying.failing or not done.wait(seconds):
            self.pending.forget(waiter)
            return False
        return True

    def drain(self, seconds: float) -> bool:
        """Wait until nothing is marked."""
        done = threading.Event()
        self.pending.when_idle(done.set)
        return done.wait(seconds)

    def end(self, within_s: float = 0.0) -> None:
        """Carry what is marked for at most so many seconds, and drop the rest; returns at once."""
        with self._lock:
            self._ended = True
            worker = self._worker
            reader, self._reader = self._reader, None
        if worker is not None:
            worker.finish(within_s)
        else:
            self.pending.drop()
        if reader is not None:
            reader.drop_idle()

    def join(self, seconds: float) -> None:
        """Wait for the worker's end."""
        worker = self._worker
        if worker is not None and worker is not threading.current_thread():
            worker.join(seconds)

    def _wake(self) -> None:
        worker = self._worker
        if worker is None or not worker.is_alive():
            worker = self._start()
        if worker is not None:
            worker.wake()

    def _start(self) -> Worker | None:
        with self._lock:
            if self._ended or (self._worker is not None and self._worker.is_alive()):
                return self._worker
            first = Servers(Side.FIRST, self._maker(self.first), self._settings.timeout_s)
            second = Servers(Side.SECOND, self._maker(self.second), self._settings.timeout_s)
            self._worker = Worker(self.carrying, first, second, self._allowed, name="redismove-dual-write")
            self._worker.start()
            return self._worker

    def _maker(self, entry: EndpointEntry) -> Callable[[], _Cache]:
        options = {**self._options, "decode_responses": False, "protocol": 2}
        options.setdefault("socket_timeout", self._settings.timeout_s)
        options.setdefault("socket_connect_timeout", self._settings.timeout_s)
        return lambda: _Cache(entry, self._credentials, options)

    def _allowed(self) -> Verdict:
        try:
            # Reading a remote store for each batch would cost more than it tells: a cut-over gives its notice for
            # longer than an old document is believed.
            document = self._watcher.current() if self._remote_store else self._watcher.refresh()
        except Exception:  # noqa: BLE001  a store of the application's own may fail as it likes: then we do not know
            return Verdict.HOLD
        return verdict(document, self.first, self.second)


class DualWriteRedis(EndpointRedis, redis.Redis):  # type: ignore[override]  # the pool is that of the cache of the moment
    """
    A drop-in for `redis.Redis`, safe between threads, that writes to two caches while the Endpoint says so.

    Args:
        store: where the Endpoint is; a path is a file.
        credentials: user name and password for a cache's resource id; see `redismove.application.Credentials`.
        settings: what happens beside the first cache.
        options: as for `EndpointRedis`: `poll_s`, `patience_s`, `repeatable`, and arguments of redis-py (`db`,
            `decode_responses`, ...).
    """

    connection = None
    auto_close_connection_pool = False
    _single_connection_client = False

    def __init__(
        self,
        store: EndpointStore | str | os.PathLike[str],
        credentials: Credentials,
        *,
        settings: DualWriteSettings | None = None,
        **options: Any,
    ) -> None:
        check_options(options)
        store = store if isinstance(store, EndpointStore) else FileEndpointStore(Path(store))
        self._remote_store = bool(getattr(store, "remote", False))
        if self._remote_store:
            options.setdefault("poll_s", 1.0)
        EndpointRedis.__init__(self, store, credentials, **options)
        self._store = store
        self._settings = settings or DualWriteSettings()
        self._reads_rest = Breaker(self._settings.retry_read_s)
        self._pair: _Pairing | None = None
        self._pair_lock = threading.Lock()
        self._encoder: Any = None
        self._callbacks: dict[str, Callable[..., Any]] = {}
        self._closed = False
        _clients.add(self)

    # -- commands -------------------------------------------------------------------------------------------------

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """
        Run one command: a write on the first cache, its keys carried to the second; a read where the Endpoint says.

        Raises:
            CommandRefused: it has no right meaning on two caches; nothing was sent.
            SecondWriteFailed: only with `when_second_fails="raise"`.
        """
        call = understand(args, allow_flush=self._settings.allow_flush)
        if call.kind is Kind.READ:
            return self._read(call, args, options)
        send = _sender(call, args, options)
        if call.kind is Kind.FIRST:
            return self._run(send, repeat=call.name in self._repeatable)
        return self.write([call], lambda: self._run(send, repeat=False))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Return a pipeline: sent together to one cache, with *transaction* inside MULTI and EXEC."""
        if self._watcher.current().entry.clustered:
            return DualWriteClusterPipeline(self, transaction=transaction)
        return DualWritePipeline(self, transaction, shard_hint)

    def register_script(self, script: Any) -> Any:
        """Return redis-py's Script. Raises CommandRefused for one that openly writes other keys than its KEYS."""
        check_script(script)
        return super().register_script(script)

    def pubsub(self, **options: Any) -> Any:
        """Return redis-py's PubSub on the first cache of this moment; subscribe again after a cut-over."""
        return self._current().client.pubsub(**options)

    def scan_iter(self, match: Any = None, count: int | None = None, _type: str | None = None, **options: Any) -> Any:
        """Iterate over the keys of the cache that is read."""
        cache = self._reading_cache(None)
        if isinstance(cache.client, RedisCluster):
            return cache.client.scan_iter(match=match, count=count, _type=_type, **options)
        return super().scan_iter(match=match, count=count, _type=_type, **options)

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Set how a command's reply is made into a result, for both caches."""
        self._callbacks[command] = callback
        for cache in (self._cache, self._pair and self._pair._reader):
            if cache:
                cache.client.set_response_callback(command, callback)

    def monitor(self) -> NoReturn:
        """Refused: it shows one server's commands."""
        raise CommandRefused("MONITOR", ONE_CACHE)

    def client(self) -> NoReturn:
        """Refused: no connection spans two caches."""
        raise CommandRefused("client()", "no connection spans two caches; use the client itself")

    @classmethod
    def from_url(cls, *_: Any, **__: Any) -> NoReturn:
        """Refused: the Endpoint names the caches."""
        raise CommandRefused("from_url()", "the Endpoint names the caches; give its store, and credentials")

    @classmethod
    def from_pool(cls, *_: Any, **__: Any) -> NoReturn:
        """Refused: the Endpoint names the caches."""
        raise CommandRefused("from_pool()", "the Endpoint names the caches; give its store, and credentials")

    # -- what the second cache lacks ------------------------------------------------------------------------------

    def stats(self) -> DualWriteStats:
        """Return this client's figures."""
        pairing = self._pair
        return statistics(mode_of(self._watcher.current()), None if pairing is None else pairing.carrying)

    def drain(self, timeout_s: float = 30.0) -> bool:
        """
        Wait until the second cache has all that this client wrote.

        Returns:
            False when it has not within *timeout_s*; `stats` says why.
        """
        pairing = self._pairing(self._watcher.current())
        return pairing is None or pairing.drain(timeout_s)

    def reconcile(self) -> None:
        """Ask for a sweep: both caches are compared, and every key that differs is carried. Returns at once."""
        pairing = self._pairing(self._watcher.current())
        if pairing is not None:
            pairing.pending.open_gap()

    def close(self) -> None:
        """Wait for the queue, for at most `drain_s`, and close the connections."""
        self._closed = True
        with self._pair_lock:
            pairing, self._pair = self._pair, None
        if pairing is not None:
            pairing.end(self._settings.drain_s)
            pairing.join(self._settings.drain_s + self._settings.timeout_s)
        EndpointRedis.close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Nobody waits here: the worker carries what is left by itself.
        pairing = getattr(self, "_pair", None)
        if pairing is not None:
            with contextlib.suppress(Exception):
                pairing.end(self._settings.drain_s)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}({self._store!r})>"

    def _after_fork(self) -> None:
        """In a child: the parent's worker is not here, and what it has to carry is its own affair."""
        self._lock = threading.Lock()
        self._pair_lock = threading.Lock()
        self._watcher = EndpointWatcher(self._store, poll_s=self._watcher._poll_s)
        self._pair = None

    # -- following ------------------------------------------------------------------------------------------------

    def _pairing(self, document: Endpoint) -> _Pairing | None:
        """Return the pairing that the Endpoint asks for, made where needed; None while one cache is written."""
        pairing = self._pair
        dual = document.dual_write
        wanted = dual is not None and dual.active and not self._closed
        if pairing is None and not wanted:
            return None
        if pairing is not None and same_caches(document, pairing.first, pairing.second):
            return pairing
        with self._pair_lock:
            # Another thread may have seen a newer document.
            document = self._watcher.current()
            dual = document.dual_write
            pairing = self._pair
            if pairing is not None:
                if same_caches(document, pairing.first, pairing.second):
                    return pairing
                pairing.end()
                self._pair = None
            if dual is None or not dual.active or dual.second is None or self._closed:
                return None
            self._pair = _Pairing(
                document.entry,
                dual.second,
                self._watcher,
                self._credentials,
                self._options,
                self._settings,
                remote_store=self._remote_store,
            )
            if (
                pairing is not None
                and not pairing.pending.idle
                and pairing.first.resource_id == document.entry.resource_id
            ):
                self._pair.pending.open_gap()  # the same caches under other addresses: what was marked is unknown now
            return self._pair

    def _current(self) -> _Cache:
        cache = EndpointRedis._current(self)
        return self._with_callbacks(cache)

    def _with_callbacks(self, cache: _Cache) -> _Cache:
        for command, callback in self._callbacks.items():
            cache.client.set_response_callback(command, callback)
        return cache

    def _encode(self, keys: Iterable[Any]) -> list[bytes]:
        if self._encoder is None:
            self._encoder = self.get_encoder()
        return [bytes(self._encoder.encode(key)) for key in keys]

    # -- writing --------------------------------------------------------------------------------------------------

    def write(self, calls: Sequence[Call], run: Callable[[], Any]) -> Any:
        """
        Run *run*, which sends *calls* to the first cache, and see that their keys reach the second.

        For this package's pipelines; applications use commands.
        """
        keys = self._encode(key for call in calls if call.kind is Kind.WRITE for key in call.keys)
        everything = any(call.everything for call in calls if call.kind is Kind.WRITE)
        before = self._pairing(self._watcher.wait_until_open(self._patience_s))
        try:
            result = run()
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
            self._wait_for_second(pairing, keys, mark, calls)
        return result

    def _mark(
        self, before: _Pairing | None, keys: list[bytes], everything: bool, *, unknown: bool
    ) -> tuple[_Pairing | None, Mark]:
        """Mark keys where both caches were written before the command, or are since."""
        mark = Mark(0)
        try:
            pairing = self._pairing(self._watcher.current())
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

    def _wait_for_second(self, pairing: _Pairing, keys: list[bytes], mark: Mark, calls: Sequence[Call]) -> None:
        seconds = self._settings.wait_for_second_s(mode_of(self._watcher.current()))
        if not seconds or pairing.wait(keys, mark, seconds) or self._settings.when_second_fails == "queue":
            return
        why = pairing.carrying.failing.get(Side.SECOND) or pairing.carrying.refusal or f"not within {seconds:g} s"
        names = ", ".join(sorted({call.name for call in calls}))
        raise SecondWriteFailed(
            f"{names} was done by {pairing.first.host} and is not on {pairing.second.host} yet ({why}); it waits in "
            "the queue, do not send it again"
        )

    # -- reading --------------------------------------------------------------------------------------------------

    def _reading_pairing(self, document: Endpoint, calls: Sequence[Call]) -> _Pairing | None:
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

    def _read(self, call: Call, args: Sequence[Any], options: dict[str, Any]) -> Any:
        if call.cursor:
            return self._iterate(call, args, options)
        return self.read([call], _sender(call, args, options))

    def read(self, calls: Sequence[Call], send: Callable[[Any], Any], *, whole: bool = True) -> Any:
        """
        Run *send* with the client of a cache that has all that this client wrote to the keys of *calls*.

        For this package's pipelines; applications use commands.
        """
        pairing = self._reading_pairing(self._watcher.wait_until_open(self._patience_s), calls)
        if pairing is not None:
            with contextlib.suppress(*CANNOT_ANSWER):
                return self._read_second(pairing, send)
        return self._run(send, repeat=True, whole=whole)

    def _read_second(self, pairing: _Pairing, send: Callable[[Any], Any]) -> Any:
        try:
            return send(self._with_callbacks(pairing.reader()).client)
        except CANNOT_ANSWER:
            self._reads_rest.trip()
            pairing.forget_reader()
            raise

    def _reading_cache(self, role: str | None) -> _Cache:
        """Return the cache on which an iteration begins, or goes on (*role*)."""
        document = self._watcher.wait_until_open(self._patience_s)
        pairing = self._pairing(document)
        if role is None:
            found = self._reading_pairing(document, [Call("SCAN", Kind.READ, everything=True)])
            return self._current() if found is None else found.reader()
        entry = entry_of_role(role, document)
        return pairing.reader() if pairing is not None and entry == pairing.second else self._current()

    def _iterate(self, call: Call, args: Sequence[Any], options: dict[str, Any]) -> Any:
        own, role = cursor_in(args, call)
        entry: EndpointEntry | None = None

        def send(cache: _Cache) -> Any:
            nonlocal entry
            entry = cache.entry
            if call.name == "SCAN" and isinstance(cache.client, RedisCluster):
                raise CommandRefused("SCAN", ONE_NODE)
            return cache.client.execute_command(*own, **options)

        if role is None:
            document = self._watcher.wait_until_open(self._patience_s)
            pairing = self._reading_pairing(document, [call])
            if pairing is not None:
                with contextlib.suppress(*CANNOT_ANSWER):
                    reply = self._read_second(pairing, lambda _: send(pairing.reader()))
                    return (cursor_out(reply[0], pairing.second), *reply[1:])
            reply = self._run(lambda _: send(self._current()), repeat=True)
        else:
            reply = send(self._with_callbacks(self._reading_cache(role)))
        assert entry is not None
        return (cursor_out(reply[0], entry), *reply[1:])


_NOT_EXECUTED = ("Watched variable changed.",)


def _sender(call: Call, args: Sequence[Any], options: dict[str, Any]) -> Callable[[Any], Any]:
    return lambda client: client.execute_command(
        *args, **everywhere(call, options, clustered=isinstance(client, RedisCluster))
    )


class DualWritePipeline(Pipeline):
    """
    redis-py's pipeline on the cache of the moment: WATCH, MULTI, scripts and all.

    With a write in it, or WATCH, it is for the first cache, whatever is read; one that only reads goes where reads go.
    Sent again as a whole when surely nothing of it was executed, else never. WATCH that a cut-over goes through ends in
    a WatchError, as if a key had been changed.
    """

    def __init__(self, owner: DualWriteRedis, transaction: bool, shard_hint: Any) -> None:
        self._owner = owner
        self._calls: list[Call] = []
        self._watched: _Cache | None = None
        client = owner._current().client
        assert isinstance(client, redis.Redis)
        super().__init__(client.connection_pool, client.response_callbacks, transaction, shard_hint)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Add a command, or run it at once between WATCH and MULTI. Raises CommandRefused."""
        name = str(args[0]).upper()
        if name in ("WATCH", "UNWATCH", "DISCARD"):
            if name == "WATCH" and not self.watching:
                self._take(self._owner._current())
            return super().execute_command(*args, **options)
        call = understand(args, allow_flush=self._owner._settings.allow_flush)
        for_a_pipeline(call)
        if self.watching and not self.explicit_transaction:
            return self._at_once(call, args, options)
        self._calls.append(call)
        return super().execute_command(*args, **options)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands and return their replies, in order."""
        calls, self._calls = self._calls, []
        if self.watching:
            if self._owner._current() is not self._watched:
                watched = self._watched
                self.reset()
                if watched is not None:
                    watched.drop_idle()  # its connection has come back just now
                raise WatchError("the cache changed while keys were watched")
            return list(self._owner.write(calls, lambda: super(DualWritePipeline, self).execute(raise_on_error)))
        if not self.command_stack:
            return []
        stack, scripts = self.command_stack, self.scripts

        def send(client: Any) -> list[Any]:
            self._take_client(client)
            self.command_stack, self.scripts = list(stack), set(scripts)
            return list(super(DualWritePipeline, self).execute(raise_on_error))

        try:
            if only_reads(calls):
                return list(self._owner.read(calls, send, whole=False))
            return list(self._owner.write(calls, lambda: self._owner._run(send, repeat=False, whole=False)))
        finally:
            self.reset()

    def reset(self) -> None:  # type: ignore[override]  # as redis-py's own pipeline, beside the command RESET
        """Forget the commands that were added, and what is watched."""
        self._calls = []
        self._watched = None
        super().reset()

    def register_script(self, script: Any) -> Any:
        """As the client's."""
        check_script(script)
        return super().register_script(script)

    def pipeline(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        """Refused."""
        raise CommandRefused("a pipeline in a pipeline", IN_A_PIPELINE)

    def _at_once(self, call: Call, args: Sequence[Any], options: dict[str, Any]) -> Any:
        run = lambda: super(DualWritePipeline, self).execute_command(*args, **options)  # noqa: E731
        return self._owner.write([call], run) if call.kind is Kind.WRITE else run()

    def _take(self, cache: _Cache) -> None:
        self._watched = cache
        self._take_client(cache.client)

    def _take_client(self, client: Any) -> None:
        if self.connection is not None and client.connection_pool is not self.connection_pool:
            self.connection_pool.release(self.connection)
            self.connection = None
        self.connection_pool, self.response_callbacks = client.connection_pool, client.response_callbacks


class DualWriteClusterPipeline(redis.Redis):
    """Commands collected for a pipeline of a cluster's client. WATCH is refused: its keys would be on several nodes."""

    connection = None
    auto_close_connection_pool = False

    def __init__(self, owner: DualWriteRedis, *, transaction: bool) -> None:
        self._owner = owner
        self._transaction = transaction
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._calls: list[Call] = []

    def execute_command(self, *args: Any, **options: Any) -> Self:
        """Add a command. Raises CommandRefused."""
        call = understand(args, allow_flush=self._owner._settings.allow_flush)
        self._calls.append(for_a_pipeline(call, clustered=True))
        self._commands.append((args, options))
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands and return their replies, in order."""
        (calls, self._calls), (commands, self._commands) = (self._calls, []), (self._commands, [])
        if not commands:
            return []

        def send(client: Any) -> list[Any]:
            with client.pipeline(transaction=self._transaction) as pipeline:
                for args, options in commands:
                    pipeline.execute_command(*args, **options)
                return list(pipeline.execute(raise_on_error))

        if only_reads(calls):
            return list(self._owner.read(calls, send, whole=False))
        return list(self._owner.write(calls, lambda: self._owner._run(send, repeat=False, whole=False)))

    def watch(self, *_: Any) -> NoReturn:
        """Refused."""
        raise CommandRefused("WATCH on a cluster", "its transactions are for one slot; use a script with its KEYS")

    def reset(self) -> None:  # type: ignore[override]
        """Forget the commands that were added."""
        self._commands, self._calls = [], []

    def get_encoder(self) -> Any:
        """Return how arguments are encoded."""
        return self._owner.get_encoder()

    def close(self) -> None:
        """Forget the commands that were added."""
        self.reset()

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def __del__(self) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("a pipeline is not iterated over; call execute()")


_clients: weakref.WeakSet[DualWriteRedis] = weakref.WeakSet()


def _drain_at_exit() -> None:
    """The worker is a daemon: give it its time to carry what is left."""
    deadline = time.monotonic() + max((client._settings.drain_s for client in list(_clients)), default=0.0)
    pairings = [client._pair for client in list(_clients) if client._pair is not None]
    for pairing in pairings:
        pairing.end(max(0.0, deadline - time.monotonic()))
    for pairing in pairings:
        pairing.join(max(0.0, deadline - time.monotonic()))


def _forked() -> None:
    for client in list(_clients):
        client._after_fork()


atexit.register(_drain_at_exit)
os.register_at_fork(after_in_child=_forked)
