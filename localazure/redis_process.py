"""
Real redis-servers under the caches: their files, processes, users and replication.

Each cache has one loopback address of its own. A cache that is not clustered is one redis-server on 6380 (TLS) and,
if enabled, 6379; a clustered cache is one redis-server a shard on 15000+i and 13000+i in cluster mode, whose
`nodes.conf` is written by us (the slots of a cache with n shards are always the same, and node ids never change), so
that no cluster has to be "created". A shard of a geo-secondary runs outside cluster mode, because redis-server refuses
REPLICAOF inside it; the module `redis_module.c` gives it the face of a cluster node meanwhile.

A database of Redis Enterprise is one redis-server on 10000, or, under the clustering policy OSSCluster, one a shard on
8500+i in cluster mode.

Data lives in an append-only file without fsync: nothing acknowledged is lost when a process is killed (only when the
machine is), as nothing is lost on Azure where a replica takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Literal

import redis.asyncio
import redis.exceptions
from pydantic import BaseModel

from localazure.certificates import ensure_leaf
from localazure.errors import LocalAzureError
from localazure.home import Home
from localazure.redis_module import ensure_module

TLS_PORT, PLAIN_PORT = 6380, 6379
SHARD_TLS_PORT, SHARD_PLAIN_PORT = 15000, 13000
ENTERPRISE_PORT, ENTERPRISE_SHARD_PORT = 10000, 8500
"""A database of Microsoft.Cache/redisEnterprise: its one port, and the first of the shards' under OSSCluster (85xx)."""
ENTERPRISE_ADMIN_STEP = 1000
"""Where such a database does not speak TLS, redis-server does for us alone, on a port this much higher."""
SLOTS = 16384
CONFIG_FILE = "redis.conf"
ADMIN_USER, REPLICATION_USER = "_admin", "_repl"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
SYNC_TIMEOUT_S = 300.0
POLL_INTERVAL_S = 0.02
IDLE_TIMEOUT_S = 600
"""Azure closes a connection after 10 idle minutes (best practices for connections)."""
_RESERVED_FILES = 32
"""Redis keeps so many for itself."""

BLOCKED = (
    "-acl -bgrewriteaof -bgsave -config -debug -migrate -psync -replicaof -replconf -save -shutdown -slaveof -sync "
    "-failover -module -localazure.clientpause -cluster +cluster|info +cluster|nodes +cluster|slots +cluster|shards "
    "+cluster|keyslot +cluster|myid"
)
"""Commands that Azure blocks, as access rules (its list, plus FAILOVER and MODULE)."""

FACE = "+localazure.refuse +localazure.ok +localazure.moved +localazure.cluster"
"""What `redis_module.c` turns a command into; no rule of a customer can name it."""


ENTERPRISE_BLOCKED = (
    "-acl -bgrewriteaof -bgsave -config +config|get +config|set -debug -migrate -move -psync -replicaof -replconf "
    "-save -shutdown -slaveof -sync -failover -module -swapdb -latency -localazure.clientpause -localazure.configset "
    "-client|pause -client|unpause -client|no-evict -cluster +cluster|info +cluster|nodes +cluster|slots "
    "+cluster|shards +cluster|keyslot +cluster|myid"
)
"""
The same for Redis Enterprise: Azure's list, and what the vendor's list of compatible commands says of CLIENT, MIGRATE
and LATENCY. CONFIG SET answers OK and changes nothing (`redis_module.c`), as was seen. SWAPDB: unknown, blocked here.
"""


class RedisUser(BaseModel):
    """A data-plane user that is not `default`: an Entra principal with an access policy."""

    rules: str
    password_hashes: list[str] = []


class RedisSpec(BaseModel):
    """
    What the redis-servers of one cache must be like; kept in the state, so that they can be started again.

    Attributes:
        folder: name of the folder under `HOME/redis`.
        host: the cache's own loopback address.
        shards: 0 for a cache that is not clustered.
        node_ids: cluster node ids, one a shard.
        primary_host: the geo-primary's address while this cache is a geo-secondary.
        password_hashes: SHA-256 of the two access keys.
        product: "enterprise" for a database of Microsoft.Cache/redisEnterprise.
        encrypted: for "enterprise": its port speaks TLS, else plain; never both.
        one_slot: for "enterprise": commands over several slots are refused though clients see no cluster.
    """

    folder: str
    host: str
    shards: int
    node_ids: list[str]
    databases: int
    maxmemory_bytes: int
    maxclients: int
    maxmemory_policy: str
    notify_keyspace_events: str
    plain_port_enabled: bool
    tls_protocols: str
    client_pause: str
    password_hashes: list[str]
    keys_enabled: bool = True
    users: dict[str, RedisUser] = {}
    primary_host: str | None = None
    product: Literal["redis", "enterprise"] = "redis"
    encrypted: bool = True
    one_slot: bool = False

    @property
    def nodes(self) -> range:
        """Give the indexes of the redis-servers."""
        return range(max(self.shards, 1))

    def tls_port(self, index: int) -> int:
        """Give the TLS port a redis-server listens on."""
        if self.product == "enterprise":
            return self._enterprise_port(index) + (0 if self.encrypted else ENTERPRISE_ADMIN_STEP)
        return SHARD_TLS_PORT + index if self.shards else TLS_PORT

    def plain_port(self, index: int) -> int:
        """Give the plain port a redis-server listens on; 0 when it is not enabled."""
        if self.product == "enterprise":
            return 0 if self.encrypted else self._enterprise_port(index)
        if not self.plain_port_enabled:
            return 0
        return SHARD_PLAIN_PORT + index if self.shards else PLAIN_PORT

    def _enterprise_port(self, index: int) -> int:
        return ENTERPRISE_SHARD_PORT + index if self.shards else ENTERPRISE_PORT

    @property
    def forwards(self) -> dict[int, int]:
        """Give the ports on which no redis-server listens itself, and to which port each is forwarded."""
        if self.product == "enterprise":
            return {ENTERPRISE_PORT: ENTERPRISE_SHARD_PORT} if self.shards else {}
        forwards = {TLS_PORT: SHARD_TLS_PORT} if self.shards else {SHARD_TLS_PORT: TLS_PORT}
        if self.plain_port_enabled:
            forwards |= {PLAIN_PORT: SHARD_PLAIN_PORT} if self.shards else {SHARD_PLAIN_PORT: PLAIN_PORT}
        return forwards

    @property
    def blocked(self) -> str:
        """Give the commands that nobody may use, as access rules."""
        return ENTERPRISE_BLOCKED if self.product == "enterprise" else BLOCKED


def password_hash(password: str) -> str:
    """Give the form in which redis keeps a password."""
    return sha256(password.encode()).hexdigest()


def slot_range(shard: int, shards: int) -> tuple[int, int]:
    """Give first and last slot of a shard; the same rule as in `redis_module.c`."""
    first = -(-SLOTS * shard // shards)
    last = SLOTS - 1 if shard == shards - 1 else -(-SLOTS * (shard + 1) // shards) - 1
    return first, last


def find_redis_server() -> Path:
    """
    Find redis-server: `REDISMOVE_REDIS_SERVER`, `.tools/bin` of the repository, PATH.

    Raises:
        LocalAzureError: there is none.
    """
    override = os.environ.get("REDISMOVE_REDIS_SERVER")
    candidates = [Path(override)] if override else []
    candidates.append(Path(__file__).resolve().parent.parent / ".tools" / "bin" / "redis-server")
    on_path = shutil.which("redis-server")
    if on_path:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise LocalAzureError("no redis-server found in .tools/bin or on PATH: run `make tools`.")


def redis_processes(home: Home) -> dict[str, int]:
    """
    Find every redis-server of a home that runs, whoever started it.

    The process title of each holds the path of its configuration file, so a pid that was given to another program
    is never taken for ours.

    Returns:
        Pid by configuration file.
    """
    prefix = f"{home.redis}{os.sep}"
    found: dict[str, int] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        title = _title(int(entry.name))
        if title.endswith(f"{os.sep}{CONFIG_FILE}") and prefix in title:
            found[title[title.index(prefix) :]] = int(entry.name)
    return found


def process_runs(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _title(pid: int) -> str:
    """Give a process's command line or title, words separated by blanks; empty when it does not run."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    # redis separates the words by NUL until it has set its title, then by a blank.
    words = title.decode("utf-8", "replace").replace("\0", " ").rstrip()
    return words if "redis-server" in words and process_runs(pid) else ""


class RedisFleet:
    """Starts, adopts, configures, links and stops the redis-servers of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._binary = find_redis_server()
        self._module = ensure_module()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._pids: dict[str, int] = redis_processes(home)

    # --- processes

    async def start(self, spec: RedisSpec) -> None:
        """
        Make sure that every redis-server of a cache runs and answers; those that run already are kept.

        Raises:
            LocalAzureError: one does not come up; its last log line is in the message.
        """
        for index in spec.nodes:
            if not self.runs(spec, index):
                self._spawn(spec, index)
        for index in spec.nodes:
            await self._wait_ready(spec, index)

    def runs(self, spec: RedisSpec, index: int) -> bool:
        """Tell whether one redis-server of a cache runs, without connecting to it."""
        config = str(self._folder(spec, index) / CONFIG_FILE)
        child = self._children.get(config)
        if child is not None:
            if child.poll() is None:
                return True
            del self._children[config]
            self._pids.pop(config, None)
            return False
        pid = self._pids.get(config)
        if pid is None:
            return False
        if _title(pid).endswith(config):
            return True
        del self._pids[config]
        return False

    async def stop(self, spec: RedisSpec) -> None:
        """Shut every redis-server of a cache down, with its data on disk."""
        for index in spec.nodes:
            if self.runs(spec, index):
                with contextlib.suppress(redis.exceptions.RedisError, OSError, LocalAzureError, TimeoutError):
                    await self._data_is_on_disk(spec, index)
                self._signal(spec, index, signal.SIGTERM)
        for index in spec.nodes:
            try:
                await _until(lambda index=index: not self.runs(spec, index), STOP_TIMEOUT_S)  # type: ignore[misc]
            except TimeoutError:
                self._signal(spec, index, signal.SIGKILL)
                await _until(lambda index=index: not self.runs(spec, index), STOP_TIMEOUT_S)  # type: ignore[misc]

    async def erase(self, spec: RedisSpec) -> None:
        """End the redis-servers of a cache and remove their data."""
        for index in spec.nodes:
            self._signal(spec, index, signal.SIGKILL)
        for index in spec.nodes:
            await _until(lambda index=index: not self.runs(spec, index), STOP_TIMEOUT_S)  # type: ignore[misc]
        shutil.rmtree(self._home.redis / spec.folder, ignore_errors=True)

    async def restart(self, spec: RedisSpec, nodes: list[int], *, lose_data: bool) -> None:
        """Restart some redis-servers of a cache, as a reboot does; with `lose_data` they come back empty."""
        part = [index for index in spec.nodes if index in nodes]
        for index in part:
            if self.runs(spec, index) and not lose_data:
                await self._data_is_on_disk(spec, index)
            self._signal(spec, index, signal.SIGKILL if lose_data else signal.SIGTERM)
        for index in part:
            await _until(lambda index=index: not self.runs(spec, index), STOP_TIMEOUT_S)  # type: ignore[misc]
            if lose_data:
                self._remove_data(spec, index)
        await self.start(spec)

    @contextlib.asynccontextmanager
    async def admin(self, spec: RedisSpec, index: int) -> AsyncIterator[redis.asyncio.Redis]:
        """Give an administrator's connection to one redis-server; closed afterwards: CLIENT LIST stays clean."""
        client = redis.asyncio.Redis(
            host=spec.host,
            port=spec.tls_port(index),
            username=ADMIN_USER,
            password=self._home.config.redis_admin_secret,
            ssl=True,
            ssl_ca_certs=str(self._home.ca_file),
            socket_timeout=SYNC_TIMEOUT_S,
            socket_connect_timeout=5,
            single_connection_client=True,
            protocol=2,
        )
        try:
            yield client
        finally:
            await client.aclose()

    # --- what a management operation does

    async def apply(self, spec: RedisSpec) -> None:
        """Bring running redis-servers to their specification without a restart."""
        for index in spec.nodes:
            self._write_files(spec, index)
            async with self.admin(spec, index) as client:
                for name, value in (
                    ("maxmemory", str(spec.maxmemory_bytes)),
                    ("maxmemory-policy", spec.maxmemory_policy),
                    ("notify-keyspace-events", spec.notify_keyspace_events),
                    ("maxclients", str(_possible_clients(spec.maxclients))),
                    ("tls-protocols", spec.tls_protocols),
                    ("port", str(spec.plain_port(index))),
                ):
                    current = await client.execute_command("CONFIG", "GET", name)
                    if _text(current[1]) != value:
                        setting = ("LOCALAZURE.CONFIGSET",) if spec.product == "enterprise" else ("CONFIG", "SET")
                        await client.execute_command(*setting, name, value)
                await client.execute_command("LOCALAZURE.CLIENTPAUSE", spec.client_pause)
        await self.apply_users(spec)

    async def apply_users(self, spec: RedisSpec, *, cut: bool = False) -> None:
        """
        Bring the data-plane users to their specification.

        Args:
            spec: the cache.
            cut: also close the connections of `default`, as switching access keys off does. A new key alone leaves
                open connections as they are.
        """
        wanted = [line.split(" ") for line in self._user_lines(spec)]
        for index in spec.nodes:
            self._write_files(spec, index)
            async with self.admin(spec, index) as client:
                names = {_text(name) for name in await client.execute_command("ACL", "USERS")}
                for words in wanted:
                    name, rules = words[1], words[2:]
                    # One command, so there is no moment at which a user has no password: "resetpass" first.
                    await client.execute_command("ACL", "SETUSER", name, "resetpass", *rules)
                    names.discard(name)
                for name in names:
                    await client.execute_command("ACL", "DELUSER", name)
                if cut:
                    await client.execute_command("CLIENT", "KILL", "USER", "default")

    async def start_replication(self, spec: RedisSpec) -> None:
        """
        Make a cache the geo-secondary of `spec.primary_host`: its data goes, the primary's comes.

        Can be called again after a restart.
        """
        if spec.shards:
            if not await self._replicates(spec):
                await self.stop(spec)
                for index in spec.nodes:
                    self._remove_data(spec, index)
            await self.start(spec)
        else:
            await self.start(spec)
            self._write_files(spec, 0)
            async with self.admin(spec, 0) as client:
                await client.execute_command("CONFIG", "SET", "masteruser", REPLICATION_USER)
                await client.execute_command("CONFIG", "SET", "masterauth", self._home.config.redis_replication_secret)
                await client.execute_command("REPLICAOF", spec.primary_host, str(TLS_PORT))

    async def wait_synchronised(self, spec: RedisSpec) -> None:
        """
        Wait until a geo-secondary has its primary's data.

        Raises:
            TimeoutError: not within `SYNC_TIMEOUT_S`.
        """
        for index in spec.nodes:

            async def up(index: int = index) -> bool:
                try:
                    async with self.admin(spec, index) as client:
                        info = await client.info("replication")
                except (redis.exceptions.RedisError, OSError):
                    return False
                return info.get("role") == "slave" and info.get("master_link_status") == "up"

            await _until_async(up, SYNC_TIMEOUT_S)

    async def promote(self, spec: RedisSpec) -> None:
        """
        Make a former geo-secondary an ordinary cache that keeps its data and takes writes.

        `spec.primary_host` is None already. A clustered cache's servers restart in cluster mode on their data.
        """
        if not spec.shards:
            self._write_files(spec, 0)
            async with self.admin(spec, 0) as client:
                await client.execute_command("REPLICAOF", "NO", "ONE")
            return
        if await self._replicates(spec):
            for index in spec.nodes:
                async with self.admin(spec, index) as client:
                    await client.execute_command("REPLICAOF", "NO", "ONE")
        if not await self._in_cluster_mode(spec):
            await self.stop(spec)
        await self.start(spec)

    async def full_resync(self, primary: RedisSpec) -> None:
        """Make a geo-primary's secondary copy everything anew, as an update of either linked cache does."""
        for index in primary.nodes:
            async with self.admin(primary, index) as client:
                before = int((await client.info("stats"))["sync_full"])
                await client.execute_command("DEBUG", "CHANGE-REPL-ID")
                await client.execute_command("CLIENT", "KILL", "TYPE", "replica")

                # Without this, the old connection could still be taken for a synchronised one.
                async def begun(client: redis.asyncio.Redis = client, before: int = before) -> bool:
                    return int((await client.info("stats"))["sync_full"]) > before

                await _until_async(begun, SYNC_TIMEOUT_S)

    async def save_rdb(self, spec: RedisSpec, index: int, file: Path) -> None:
        """
        Write everything one redis-server holds into an RDB file, as it is at this moment.

        Raises:
            LocalAzureError: redis-server could not write it.
            TimeoutError: not within `SYNC_TIMEOUT_S`.
        """
        async with self.admin(spec, index) as client:
            before = int((await client.info("persistence"))["rdb_saves"])
            # SCHEDULE: where the append-only file is being written anew, after that.
            await client.execute_command("BGSAVE", "SCHEDULE")

            async def written() -> bool:
                info = await client.info("persistence")
                if info["rdb_last_bgsave_status"] != "ok":
                    raise LocalAzureError(f"redis-server of {spec.folder} (node {index}) could not write an RDB file.")
                return not int(info["rdb_bgsave_in_progress"]) and int(info["rdb_saves"]) > before

            await _until_async(written, SYNC_TIMEOUT_S)
        os.replace(self._folder(spec, index) / "dump.rdb", file)

    def replace_data(self, spec: RedisSpec, index: int, append_only: Path) -> None:
        """Put the folder of another append-only file in place of a redis-server's own, which does not run."""
        self._remove_data(spec, index)
        os.replace(append_only, self._folder(spec, index) / "appendonlydir")

    async def flush(self, spec: RedisSpec) -> None:
        """Remove every key of a cache."""
        for index in spec.nodes:
            async with self.admin(spec, index) as client:
                await client.execute_command("FLUSHALL")

    # --- files

    def _folder(self, spec: RedisSpec, index: int) -> Path:
        return self._home.redis / spec.folder / str(index)

    def _user_lines(self, spec: RedisSpec) -> list[str]:
        config = self._home.config
        state = "on" if spec.keys_enabled else "off"
        passwords = " ".join(f"#{entry}" for entry in spec.password_hashes)
        replication = password_hash(config.redis_replication_secret)
        lines = [
            f"user default {state} {passwords} ~* &* +@all {spec.blocked}",
            f"user {ADMIN_USER} on #{password_hash(config.redis_admin_secret)} ~* &* +@all",
            f"user {REPLICATION_USER} on #{replication} -@all +psync +replconf +ping",
        ]
        for name, user in spec.users.items():
            if user.password_hashes:
                passwords = " ".join(f"#{entry}" for entry in user.password_hashes)
                lines.append(
                    f"user {name} on {passwords} resetkeys resetchannels &* -@all {user.rules} {FACE} {spec.blocked}"
                )
        return lines

    def _write_files(self, spec: RedisSpec, index: int) -> Path:
        folder = self._folder(spec, index)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate, key = ensure_leaf(self._home, f"redis-{spec.host}", dns=[], addresses=[spec.host])
        follower = spec.primary_host is not None
        cluster_mode = bool(spec.shards) and not follower
        module_arguments = f"pause {spec.client_pause}"
        if spec.product == "enterprise":
            module_arguments += " enterprise one-slot" if spec.one_slot else " enterprise"
        if spec.shards and follower:
            plain_base = SHARD_PLAIN_PORT if spec.plain_port_enabled else 0
            module_arguments += f" cluster {index} {spec.host} {SHARD_TLS_PORT} {plain_base} {' '.join(spec.node_ids)}"
        lines = [
            f"bind {spec.host}",
            f"port {spec.plain_port(index)}",
            f"tls-port {spec.tls_port(index)}",
            f'tls-cert-file "{certificate}"',
            f'tls-key-file "{key}"',
            f'tls-ca-cert-file "{self._home.ca_file}"',
            "tls-auth-clients no",
            "tls-replication yes",
            f'tls-protocols "{spec.tls_protocols}"',
            "protected-mode no",
            "daemonize no",
            # redis_processes() finds the process by this title.
            'proc-title-template "{title} {config-file}"',
            f'dir "{folder}"',
            f'logfile "{folder}/redis.log"',
            f'aclfile "{folder}/users.acl"',
            f'loadmodule "{self._module}" {module_arguments}',
            'save ""',
            "appendonly yes",
            "appendfsync no",
            f"databases {spec.databases}",
            f"maxmemory {spec.maxmemory_bytes}",
            f"maxmemory-policy {spec.maxmemory_policy}",
            f"maxclients {_possible_clients(spec.maxclients)}",
            f'notify-keyspace-events "{spec.notify_keyspace_events}"',
            f"timeout {IDLE_TIMEOUT_S}",
            "enable-debug-command local",
            "shutdown-timeout 2",
            "repl-diskless-sync yes",
            "repl-diskless-sync-delay 0",
            # A geo-secondary answers every command with an error while it copies everything.
            "replica-serve-stale-data no",
        ]
        if cluster_mode:
            lines += [
                "cluster-enabled yes",
                "tls-cluster yes",
                "cluster-config-file nodes.conf",
                "cluster-node-timeout 5000",
                f"cluster-announce-ip {spec.host}",
            ]
        if follower:
            lines += [
                f"masteruser {REPLICATION_USER}",
                f"masterauth {self._home.config.redis_replication_secret}",
                f"replicaof {spec.primary_host} {spec.tls_port(index)}",
            ]
        _write(folder / CONFIG_FILE, "\n".join(lines) + "\n")
        _write(folder / "users.acl", "\n".join(self._user_lines(spec)) + "\n")
        return folder

    def _write_cluster_view(self, spec: RedisSpec, index: int) -> None:
        lines = []
        for shard in spec.nodes:
            first, last = slot_range(shard, spec.shards)
            port = spec.tls_port(shard)
            flags = "myself,master" if shard == index else "master"
            lines.append(
                f"{spec.node_ids[shard]} {spec.host}:{port}@{port + 10000} {flags} - 0 0 {shard + 1} connected "
                f"{first}-{last}"
            )
        lines.append(f"vars currentEpoch {spec.shards} lastVoteEpoch 0")
        _write(self._folder(spec, index) / "nodes.conf", "\n".join(lines) + "\n")

    def _remove_data(self, spec: RedisSpec, index: int) -> None:
        folder = self._folder(spec, index)
        shutil.rmtree(folder / "appendonlydir", ignore_errors=True)
        (folder / "dump.rdb").unlink(missing_ok=True)

    # --- processes, inner part

    def _spawn(self, spec: RedisSpec, index: int) -> None:
        folder = self._write_files(spec, index)
        if spec.shards and spec.primary_host is None:
            self._write_cluster_view(spec, index)
        config = str(folder / CONFIG_FILE)
        with (folder / "redis.log").open("ab") as log:
            child = subprocess.Popen(
                [str(self._binary), config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                # A session of its own: a signal to the server's terminal or group does not reach the data.
                start_new_session=True,
            )
        self._children[config] = child
        self._pids[config] = child.pid

    async def _wait_ready(self, spec: RedisSpec, index: int) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            if not self.runs(spec, index):
                last = self._last_log_line(spec, index)
                raise LocalAzureError(f"redis-server of {spec.folder} (node {index}) ended at its start: {last}.")
            try:
                async with self.admin(spec, index) as client:
                    if int((await client.info("persistence"))["loading"]) == 0:
                        if not spec.shards or spec.primary_host is not None:
                            return
                        if "cluster_state:ok" in _text(await client.execute_command("CLUSTER", "INFO")):
                            return
            except (redis.exceptions.RedisError, OSError):
                pass
            if time.monotonic() > deadline:
                last = self._last_log_line(spec, index)
                raise LocalAzureError(
                    f"redis-server of {spec.folder} (node {index}) was not ready after {READY_TIMEOUT_S:.0f} s: {last}."
                )
            await asyncio.sleep(POLL_INTERVAL_S)

    def _last_log_line(self, spec: RedisSpec, index: int) -> str:
        try:
            lines = (self._folder(spec, index) / "redis.log").read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "no log"

    def _signal(self, spec: RedisSpec, index: int, number: int) -> None:
        if self.runs(spec, index):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pids[str(self._folder(spec, index) / CONFIG_FILE)], number)

    async def _data_is_on_disk(self, spec: RedisSpec, index: int) -> None:
        """Wait until the append-only file is complete: after a full synchronisation it is written in the background."""

        async def complete() -> bool:
            async with self.admin(spec, index) as client:
                info = await client.info("persistence")
                running = int(info["aof_rewrite_in_progress"]) or int(info["aof_rewrite_scheduled"])
                if not running and info.get("aof_last_bgrewrite_status") != "ok":
                    await client.execute_command("BGREWRITEAOF")
                    return False
                return not running

        await _until_async(complete, SYNC_TIMEOUT_S)

    async def _replicates(self, spec: RedisSpec) -> bool:
        for index in spec.nodes:
            if not self.runs(spec, index):
                return False
            async with self.admin(spec, index) as client:
                if (await client.info("replication")).get("role") != "slave":
                    return False
        return True

    async def _in_cluster_mode(self, spec: RedisSpec) -> bool:
        for index in spec.nodes:
            if not self.runs(spec, index):
                return False
            async with self.admin(spec, index) as client:
                mode = await client.execute_command("CONFIG", "GET", "cluster-enabled")
                if _text(mode[1]) != "yes":
                    return False
        return True


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")


def _possible_clients(wanted: int) -> int:
    """Bound a number of clients by what this machine lets a process open: redis-server refuses more in CONFIG SET."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most - _RESERVED_FILES)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def _until(condition: Callable[[], bool], timeout_s: float) -> None:
    async def asynchronous() -> bool:
        return condition()

    await _until_async(asynchronous, timeout_s)


async def _until_async(condition: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:.0f} s")
        await asyncio.sleep(POLL_INTERVAL_S)
