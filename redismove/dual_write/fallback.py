"""
Reading a linked pair: from the secondary near by, and from the primary while the secondary cannot answer.

    redis = ReadFallbackRedis(primary=follow_endpoint(...), secondary=Redis(host=..., ...))

A geo-secondary "throws errors on any Redis operation against it" during a full synchronisation, and applications
"should be built to fall back to the Geo-Primary" then (Azure's article on moving caches, Passive geo-replication). What
exactly it says is not documented, so any error of the secondary makes the read go to the primary, whose answer, or
error, is the application's. After an error that is about the server the secondary is left alone for a while.

Writes and everything else go to the primary. The pair replicates asynchronously: a read from the secondary may be older
than a write just made. Where it must not be, read from `primary` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import redis
import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from redismove.dual_write.commands import IN_A_PIPELINE, Call, Kind, spec_of, split, understand
from redismove.dual_write.errors import CommandRefused
from redismove.dual_write.routing import CANNOT_ANSWER, Breaker, only_reads


@dataclass
class FallbackCounters:
    """
    What has happened so far.

    Attributes:
        secondary: reads that the secondary answered.
        fallen_back: reads that it failed, answered by the primary.
        primary: reads that were not tried on the secondary, because it had failed just before.
        last_error: what it said the last time.
    """

    secondary: int = 0
    fallen_back: int = 0
    primary: int = 0
    last_error: str = ""


class _Choice:
    """What both clients decide alike."""

    def __init__(self, rest_s: float) -> None:
        self.counters = FallbackCounters()
        self.breaker = Breaker(rest_s)

    def readable(self, args: Sequence[Any]) -> bool:
        """Whether the secondary may answer. Iterations stay where their cursor is valid: on the primary."""
        name, _, _ = split(args)
        if spec_of(name).kind is Kind.REFUSED:
            return False  # whatever the primary makes of it
        try:
            call = understand(args, allow_flush=True)
        except CommandRefused:
            return False
        return self.all_readable([call])

    def all_readable(self, calls: Sequence[Call]) -> bool:
        if not only_reads(calls) or any(call.cursor for call in calls):
            return False
        if self.breaker.closed:
            return True
        self.counters.primary += 1
        return False

    def failed(self, error: BaseException) -> None:
        self.counters.fallen_back += 1
        self.counters.last_error = f"{type(error).__name__}: {str(error)[:160]}"
        if isinstance(error, CANNOT_ANSWER) or not isinstance(error, ResponseError):
            self.breaker.trip()


class ReadFallbackRedis(redis.Redis):
    """
    A drop-in for `redis.Redis` on a linked pair.

    Args:
        primary: a client of the primary, best one that follows the Endpoint; it is closed with this one.
        secondary: a client of the secondary with the same options (`db`, `decode_responses`, ...); closed too. Give it
            short timeouts and no retries: it is not the last resort.
        rest_s: after an error about the server, reads go to the primary for so many seconds.
    """

    connection = None
    auto_close_connection_pool = False
    _single_connection_client = False

    def __init__(self, primary: Any, secondary: Any, *, rest_s: float = 1.0) -> None:
        self.primary = primary
        self.secondary = secondary
        self._choice = _Choice(rest_s)

    @property
    def counters(self) -> FallbackCounters:
        """Where reads went."""
        return self._choice.counters

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a read on the secondary, or on the primary where that fails; everything else on the primary."""
        if self._choice.readable(args):
            try:
                result = self.secondary.execute_command(*args, **dict(options))
                self._choice.counters.secondary += 1
                return result
            except (RedisError, OSError) as error:
                self._choice.failed(error)
        return self.primary.execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:  # noqa: ARG002  redis-py's own
        """Return a pipeline; one that only reads is for the secondary."""
        return ReadFallbackPipeline(self, transaction)

    def pubsub(self, **options: Any) -> Any:
        """Return the primary's PubSub."""
        return self.primary.pubsub(**options)

    @property
    def connection_pool(self) -> Any:  # type: ignore[override]
        """The primary's pool (redis-py's scripts ask it for the encoding)."""
        return self.primary.connection_pool

    def get_encoder(self) -> Any:
        """Return how arguments are encoded."""
        return self.primary.get_encoder()

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Set how a command's reply is made into a result, for both caches."""
        for client in (self.primary, self.secondary):
            client.set_response_callback(command, callback)

    def close(self) -> None:
        """Close both clients."""
        self.secondary.close()
        self.primary.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        pass

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}({self.primary!r}, {self.secondary!r})>"


class _Collected:
    """Commands that were added to a pipeline."""

    def __init__(self, owner: Any, transaction: bool) -> None:
        self._owner = owner
        self._transaction = transaction
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def watch(self, *_: Any) -> NoReturn:
        """Refused: a transaction that watches keys is the primary's from its beginning."""
        raise CommandRefused("WATCH", "use primary.pipeline() for a transaction that watches keys")

    multi = watch

    def _add(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if str(args[0]).upper() in ("WATCH", "UNWATCH", "MULTI"):
            self.watch()
        self._commands.append((args, options))

    def _taken(self) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        commands, self._commands = self._commands, []
        return commands

    def _readable(self, commands: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> bool:
        calls = []
        for args, _ in commands:
            try:
                calls.append(understand(args, allow_flush=True))
            except CommandRefused:
                return False
        return bool(self._owner._choice.all_readable(calls))

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True


class ReadFallbackPipeline(_Collected, redis.Redis):
    """Commands sent together, to the secondary where all of them read, else to the primary."""

    connection = None
    auto_close_connection_pool = False

    def execute_command(self, *args: Any, **options: Any) -> Self:
        """Add a command."""
        self._add(args, options)
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands and return their replies, in order."""
        commands = self._taken()
        if not commands:
            return []
        if self._readable(commands):
            try:
                replies = self._send(self._owner.secondary, commands, raise_on_error=True)
                self._owner.counters.secondary += len(commands)
                return replies
            except (RedisError, OSError) as error:
                self._owner._choice.failed(error)
        return self._send(self._owner.primary, commands, raise_on_error)

    def _send(self, client: Any, commands: Sequence[Any], raise_on_error: bool) -> list[Any]:
        with client.pipeline(transaction=self._transaction) as pipeline:
            for args, options in commands:
                pipeline.execute_command(*args, **dict(options))
            return list(pipeline.execute(raise_on_error))

    def pipeline(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        """Refused."""
        raise CommandRefused("a pipeline in a pipeline", IN_A_PIPELINE)

    def get_encoder(self) -> Any:
        """Return how arguments are encoded."""
        return self._owner.get_encoder()

    def reset(self) -> None:  # type: ignore[override]
        """Forget the commands that were added."""
        self._commands = []

    def close(self) -> None:
        """Forget the commands that were added."""
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def __del__(self) -> None:
        pass


class AsyncReadFallbackRedis(redis.asyncio.Redis):
    """A drop-in for `redis.asyncio.Redis` on a linked pair; see `ReadFallbackRedis`."""

    connection = None
    auto_close_connection_pool = False
    single_connection_client = False

    def __init__(self, primary: Any, secondary: Any, *, rest_s: float = 1.0) -> None:
        self.primary = primary
        self.secondary = secondary
        self._choice = _Choice(rest_s)

    @property
    def counters(self) -> FallbackCounters:
        """Where reads went."""
        return self._choice.counters

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a read on the secondary, or on the primary where that fails; everything else on the primary."""
        if self._choice.readable(args):
            try:
                result = await self.secondary.execute_command(*args, **dict(options))
                self._choice.counters.secondary += 1
                return result
            except (RedisError, OSError) as error:
                self._choice.failed(error)
        return await self.primary.execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:  # noqa: ARG002  redis-py's own
        """Return a pipeline; one that only reads is for the secondary."""
        return AsyncReadFallbackPipeline(self, transaction)

    def pubsub(self, **options: Any) -> Any:
        """Return the primary's PubSub."""
        return self.primary.pubsub(**options)

    @property
    def connection_pool(self) -> Any:  # type: ignore[override]
        """The primary's pool (redis-py's scripts ask it for the encoding)."""
        return self.primary.connection_pool

    def get_encoder(self) -> Any:
        """Return how arguments are encoded."""
        return self.primary.get_encoder()

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Set how a command's reply is made into a result, for both caches."""
        for client in (self.primary, self.secondary):
            client.set_response_callback(command, callback)

    async def initialize(self) -> Self:  # type: ignore[override]
        """Nothing is opened before the first command."""
        return self

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: ARG002  redis-py's own
        """Close both clients."""
        await self.secondary.aclose()
        await self.primary.aclose()

    async def close(self, close_connection_pool: bool | None = None) -> None:
        """As `aclose`."""
        await self.aclose(close_connection_pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self, *_: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}({self.primary!r}, {self.secondary!r})>"


class AsyncReadFallbackPipeline(_Collected, redis.asyncio.Redis):  # type: ignore[misc]  # redis-py's own stubs
    """Commands sent together, to the secondary where all of them read, else to the primary."""

    connection = None
    auto_close_connection_pool = False
    single_connection_client = False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Add a command."""
        self._add(args, options)
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands and return their replies, in order."""
        commands = self._taken()
        if not commands:
            return []
        if self._readable(commands):
            try:
                replies = await self._send(self._owner.secondary, commands, raise_on_error=True)
                self._owner.counters.secondary += len(commands)
                return replies
            except (RedisError, OSError) as error:
                self._owner._choice.failed(error)
        return await self._send(self._owner.primary, commands, raise_on_error)

    async def _send(self, client: Any, commands: Sequence[Any], raise_on_error: bool) -> list[Any]:
        async with client.pipeline(transaction=self._transaction) as pipeline:
            for args, options in commands:
                pipeline.execute_command(*args, **dict(options))
            return list(await pipeline.execute(raise_on_error))

    def pipeline(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise CommandRefused("a pipeline in a pipeline", IN_A_PIPELINE)

    def get_encoder(self) -> Any:
        """Return how arguments are encoded."""
        return self._owner.get_encoder()

    async def reset(self) -> None:  # type: ignore[override]
        """Forget the commands that were added."""
        self._commands = []

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
