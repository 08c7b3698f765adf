"""
Puts the contents of RDB files into a cache in place of what it holds.

Helper redis-servers on the cache's own address read the files; from them the append-only file of each of its own
redis-servers is made, which is down meanwhile: nobody can connect while a cache is imported into. One file for a cache
that is not clustered is taken over as it is; else every key goes where its slot is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import redis.asyncio
import redis.exceptions
from redis.crc import key_slot

from localazure.errors import LocalAzureError
from localazure.home import Home
from localazure.redis_process import (
    CONFIG_FILE,
    STOP_TIMEOUT_S,
    RedisFleet,
    RedisSpec,
    find_redis_server,
    process_runs,
    redis_processes,
    slot_range,
)

READER_PORT, BUILDER_PORT = 17000, 18000
MOST_DATABASES = 1024
LOAD_TIMEOUT_S = 600.0
POLL_INTERVAL_S = 0.05
BATCH = 500


class NotLoadable(Exception):
    """redis-server does not read a file; its own reason."""


def work_folder(home: Home, spec: RedisSpec) -> Path:
    """Give the folder of a cache in which its exports and imports happen."""
    return home.redis / spec.folder / "transfer"


def clear(home: Home, spec: RedisSpec) -> Path:
    """End what a killed import left and give an empty folder to work in."""
    folder = work_folder(home, spec)
    for config, pid in redis_processes(home).items():
        if config.startswith(f"{folder}{os.sep}"):
            _kill(pid)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder


async def replace_data(home: Home, fleet: RedisFleet, spec: RedisSpec, files: Sequence[Path]) -> None:
    """
    Replace everything in a cache by what is in RDB files; its redis-servers are down meanwhile.

    Args:
        home: the home.
        fleet: runs the cache's redis-servers.
        spec: the cache.
        files: all files; keys of databases that the cache does not have are left out.

    Raises:
        NotLoadable: redis-server does not read a file; the cache is back with what it held.
    """
    await fleet.stop(spec)
    try:
        made = await _build(home, spec, files)
    except BaseException:
        await fleet.start(spec)
        raise
    for index, append_only in made.items():
        fleet.replace_data(spec, index, append_only)
    await fleet.start(spec)


async def _build(home: Home, spec: RedisSpec, files: Sequence[Path]) -> dict[int, Path]:
    """Make the append-only files; give their folders by redis-server."""
    folder = work_folder(home, spec)
    limit = 1 if spec.shards else spec.databases
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for number, file in enumerate(files):
            helper = Helper(home, spec.host, READER_PORT + number, folder / f"reader-{number}")
            await stack.enter_async_context(helper.running(file))
            await helper.drop_databases_from(limit)
            readers.append(helper)
        if len(readers) == 1 and not spec.shards:
            await readers[0].write_append_only()
            return {0: readers[0].folder / "appendonlydir"}
        builders = []
        for index in spec.nodes:
            helper = Helper(home, spec.host, BUILDER_PORT + index, folder / f"builder-{index}")
            await stack.enter_async_context(helper.running(None, databases=limit))
            builders.append(helper)
        for reader in readers:
            await _deal_out(reader, builders, spec)
        return {index: builder.folder / "appendonlydir" for index, builder in enumerate(builders)}


async def _deal_out(reader: Helper, builders: Sequence[Helper], spec: RedisSpec) -> None:
    """Copy every key of a helper to the one that stands for the shard of its slot."""
    owner = [0] * 16384
    if spec.shards:
        for index in spec.nodes:
            first, last = slot_range(index, spec.shards)
            owner[first : last + 1] = [index] * (last - first + 1)
    for database in await reader.databases():
        async with contextlib.AsyncExitStack() as stack:
            source = await stack.enter_async_context(reader.client(database))
            targets = [await stack.enter_async_context(builder.client(database)) for builder in builders]
            cursor, first = 0, True
            while cursor or first:
                first = False
                cursor, keys = await source.scan(cursor, count=BATCH)
                pipeline = source.pipeline(transaction=False)
                for key in keys:
                    pipeline.execute_command("PEXPIRETIME", key)
                    pipeline.execute_command("DUMP", key)
                answers = await pipeline.execute()
                writing = [target.pipeline(transaction=False) for target in targets]
                for number, key in enumerate(keys):
                    expires_ms, payload = answers[2 * number : 2 * number + 2]
                    if payload is not None:
                        shard = owner[key_slot(key)]
                        words = ("RESTORE", key, max(int(expires_ms), 0), payload, "ABSTTL", "REPLACE")
                        writing[shard].execute_command(*words)
                await asyncio.gather(*(entry.execute() for entry in writing if len(entry)))


class Helper:
    """A redis-server beside a cache's own, on the cache's address and with the home's own password."""

    def __init__(self, home: Home, host: str, port: int, folder: Path) -> None:
        self._home = home
        self._host = host
        self._port = port
        self.folder = folder

    @contextlib.asynccontextmanager
    async def running(self, file: Path | None, *, databases: int = MOST_DATABASES) -> AsyncIterator[None]:
        """
        Run it, on an RDB file or empty with an append-only file; it is shut down with its data on disk.

        Raises:
            NotLoadable: it does not come up with the file.
        """
        self.folder.mkdir(mode=0o700)
        if file is not None:
            os.replace(file, self.folder / "dump.rdb")
        config = self.folder / CONFIG_FILE
        config.touch(mode=0o600)
        config.write_text(
            "\n".join(
                [
                    f"bind {self._host}",
                    f"port {self._port}",
                    f"requirepass {self._home.config.redis_admin_secret}",
                    "daemonize no",
                    'proc-title-template "{title} {config-file}"',
                    f'dir "{self.folder}"',
                    f'logfile "{self.folder}/redis.log"',
                    'save ""',
                    f"appendonly {'no' if file is not None else 'yes'}",
                    "appendfsync no",
                    f"databases {databases}",
                ]
            )
            + "\n",
            "utf-8",
        )
        child = self._spawn(config)
        try:
            await self._wait_ready(child)
            yield
        finally:
            child.terminate()
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while child.poll() is None:
                if time.monotonic() > deadline:
                    child.kill()
                await asyncio.sleep(POLL_INTERVAL_S)

    def _spawn(self, config: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(find_redis_server()), str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
        )

    @contextlib.asynccontextmanager
    async def client(self, database: int = 0) -> AsyncIterator[redis.asyncio.Redis]:
        """Connect to it."""
        client = redis.asyncio.Redis(
            host=self._host,
            port=self._port,
            db=database,
            password=self._home.config.redis_admin_secret,
            socket_timeout=LOAD_TIMEOUT_S,
            single_connection_client=True,
            protocol=2,
        )
        try:
            yield client
        finally:
            await client.aclose()

    async def databases(self) -> list[int]:
        """Give the numbers of the databases that hold keys."""
        async with self.client() as client:
            return sorted(int(name.removeprefix("db")) for name in await client.info("keyspace"))

    async def drop_databases_from(self, limit: int) -> None:
        """Remove the keys of databases whose number is `limit` or higher: Azure leaves them out and says nothing."""
        for database in await self.databases():
            if database >= limit:
                async with self.client(database) as client:
                    await client.execute_command("FLUSHDB")

    async def write_append_only(self) -> None:
        """Write an append-only file of everything it holds."""
        async with self.client() as client:
            await client.execute_command("CONFIG", "SET", "appendonly", "yes")
            deadline = time.monotonic() + LOAD_TIMEOUT_S
            while True:
                info = await client.info("persistence")
                if not int(info["aof_rewrite_in_progress"]) and not int(info["aof_rewrite_scheduled"]):
                    if info["aof_last_bgrewrite_status"] == "ok":
                        return
                    raise LocalAzureError(f"redis-server could not write {self.folder}: see redis.log there.")
                if time.monotonic() > deadline:
                    raise LocalAzureError(f"redis-server did not write {self.folder} within {LOAD_TIMEOUT_S:.0f} s.")
                await asyncio.sleep(POLL_INTERVAL_S)

    async def _wait_ready(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while True:
            if child.poll() is not None:
                raise NotLoadable(self._last_log_line())
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                async with self.client() as client:
                    if int((await client.info("persistence"))["loading"]) == 0:
                        return
            if time.monotonic() > deadline:
                raise NotLoadable(f"not loaded within {LOAD_TIMEOUT_S:.0f} s")
            await asyncio.sleep(POLL_INTERVAL_S)

    def _last_log_line(self) -> str:
        try:
            lines = (self.folder / "redis.log").read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return "no log"
        told = [line.partition(" # ")[2] for line in lines if " # " in line and "Terminating" not in line]
        return told[-1] if told else "no reason in its log"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while process_runs(pid) and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(POLL_INTERVAL_S)
