"""
Makes a cache through ARM, as someone would in the portal, and fills it with keys of every type.

The same number makes the same keys and values; expiries count from the moment of filling.
"""

from __future__ import annotations

import random
import re
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import redis
import requests
from redis.crc import key_slot

from localazure.arm.enterprise.models import SIZES_GB
from localazure.errors import LocalAzureError
from localazure.home import Home
from localazure.launcher import running_pid
from localazure.redis_process import ENTERPRISE_PORT, TLS_PORT

API_VERSION = "2024-11-01"
ENTERPRISE_API_VERSION = "2025-07-01"
CREATE_TIMEOUT_S = 3600.0
POLL_INTERVAL_S = 0.1
BATCH_COMMANDS = 2000
BATCH_BYTES = 4 << 20
SHARE_IN_SECOND_DATABASE = 0.2
SECOND_DATABASE = 3
SHARE_WITH_EXPIRY = 0.4
SHORTEST_EXPIRY_S, LONGEST_EXPIRY_S = 3600, 7 * 24 * 3600
BIG_EVERY = 2500
"""One key in so many is big: a string of 512 KiB, or a hash of 5,000 fields."""

TYPES = (
    # type, share in percent
    ("string", 40),
    ("hash", 18),
    ("list", 10),
    ("set", 9),
    ("zset", 9),
    ("stream", 5),
    ("binary", 4),
    ("bitmap", 2),
    ("hyperloglog", 2),
    ("geo", 1),
)

Command = tuple[bytes | str | int | float, ...]


@dataclass(frozen=True)
class Wish:
    """What the cache is to be like, and what is to be in it."""

    name: str
    keys: int
    sku: str = "P1"
    location: str = "eastus"
    resource_group: str = "rg-demo"
    shards: int = 0
    notify: str = ""
    databases: int | None = None
    zones: str = "none"
    rdb_backup: bool = False
    replicas: int | None = None
    non_ssl_port: bool = False
    subscription: int = 1
    client_pause: str | None = None
    clustering_policy: str = "OSSCluster"
    tags: dict[str, str] = field(default_factory=dict)
    random_seed: int = 1

    @property
    def is_enterprise(self) -> bool:
        """Tell whether a cluster of redisEnterprise is wanted (Azure Managed Redis, or Enterprise before it)."""
        return self.sku in SIZES_GB

    @property
    def port(self) -> int:
        """Give the port that applications use."""
        return ENTERPRISE_PORT if self.is_enterprise else TLS_PORT

    @property
    def is_clustered(self) -> bool:
        """Tell whether clients see a cluster."""
        return self.clustering_policy == "OSSCluster" if self.is_enterprise else self.shards > 0

    @property
    def database_body(self) -> dict[str, Any]:
        """Give the body of the request that makes a cluster's database."""
        return {"properties": {"accessKeysAuthentication": "Enabled", "clusteringPolicy": self.clustering_policy}}

    def body(self) -> dict[str, Any]:
        """
        Give the body of the request that makes the cache.

        Raises:
            LocalAzureError: the size is not written as it must be.
        """
        if self.is_enterprise:
            return {
                "location": self.location,
                "tags": self.tags,
                "sku": {"name": self.sku},
                "properties": {"publicNetworkAccess": "Enabled", "minimumTlsVersion": "1.2"},
            }
        match = re.fullmatch(r"(?:(basic|standard)-)?([CP])(\d)", self.sku, re.IGNORECASE)
        if match is None:
            raise LocalAzureError(
                f"--sku {self.sku!r} is not a size: allowed are C0 to C6, basic-C0 to basic-C6, P1 to P5, and those of "
                "Azure Managed Redis and Enterprise (Balanced_B5, Enterprise_E10)."
            )
        family = match[2].upper()
        tier = "Premium" if family == "P" else (match[1] or "standard").capitalize()
        configuration: dict[str, str] = {}
        if self.notify:
            configuration["notify-keyspace-events"] = self.notify
        if self.databases is not None:
            configuration["databases"] = str(self.databases)
        if self.rdb_backup:
            configuration["rdb-backup-enabled"] = "true"
            configuration["rdb-backup-frequency"] = "60"
            configuration["rdb-storage-connection-string"] = "DefaultEndpointsProtocol=https;AccountName=none"
        properties: dict[str, Any] = {
            "sku": {"name": tier, "family": family, "capacity": int(match[3])},
            "enableNonSslPort": self.non_ssl_port,
            "minimumTlsVersion": "1.2",
            "redisConfiguration": configuration,
        }
        if self.shards:
            properties["shardCount"] = self.shards
        if self.replicas is not None:
            properties["replicasPerPrimary"] = self.replicas
        if self.client_pause is not None:
            properties["redisVersion"] = self.client_pause
        body: dict[str, Any] = {"location": self.location, "tags": self.tags, "properties": properties}
        if self.zones == "none":
            properties["zonalAllocationPolicy"] = "NoZones"
        elif self.zones != "auto":
            body["zones"] = self.zones.split(",")
        return body


def seed(home: Home, wish: Wish) -> str:
    """
    Make a cache and fill it.

    Args:
        home: a local Azure that runs.
        wish: what is wanted.

    Returns:
        One line for a person.

    Raises:
        LocalAzureError: the local Azure does not run, the cache exists, or ARM refuses it (its code and message).
    """
    body = wish.body()
    started = time.monotonic()
    if not home.exists or running_pid(home) is None:
        raise LocalAzureError(f"the local Azure at {home.root} does not run: start it with `redismove local start`.")
    with requests.Session() as session:
        arm = _Arm(home, session, wish)
        cache = arm.create_cluster(body) if wish.is_enterprise else arm.create(body)
        if wish.keys:
            fill(home, cache["hostName"], arm.primary_key(), wish)
    shape = f", {wish.shards} shards" if wish.shards else f", {wish.clustering_policy}" if wish.is_enterprise else ""
    return (
        f"cache {wish.name} ({wish.sku}{shape}, {wish.location}) at {cache['hostName']}:{wish.port} "
        f"holds {wish.keys} keys (made in {time.monotonic() - started:.1f} s)"
    )


class _Arm:
    """The few ARM calls that seeding needs, with a token like any client."""

    def __init__(self, home: Home, session: requests.Session, wish: Wish) -> None:
        self._session = session
        self._wish = wish
        config = home.config
        session.verify = str(home.ca_file)
        session.trust_env = False
        token = session.post(
            f"{home.endpoint}/{config.tenant_id}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": config.client_id,
                "client_secret": config.client_secret,
                "scope": f"{home.endpoint}/.default",
            },
            timeout=30,
        ).json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        subscription = config.subscription_id if wish.subscription == 1 else config.subscription_id_2
        self._group = f"{home.endpoint}/subscriptions/{subscription}/resourceGroups/{wish.resource_group}"
        kind = "redisEnterprise" if wish.is_enterprise else "redis"
        self._cache = f"{self._group}/providers/Microsoft.Cache/{kind}/{wish.name}"
        self._keys = f"{self._cache}/databases/default" if wish.is_enterprise else self._cache
        self._settings = home

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        if self._call("HEAD", self._group, allowed=(204, 404)).status_code == 404:
            self._call("PUT", self._group, {"location": self._wish.location}, allowed=(200, 201))
        if self._call("GET", self._cache, allowed=(200, 404)).status_code == 200:
            raise LocalAzureError(
                f"a cache named {self._wish.name!r} exists in {self._wish.resource_group!r}: choose another name, "
                "or delete it."
            )
        self._call("PUT", self._cache, body, allowed=(201,))
        return self._made(self._cache)

    def create_cluster(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make a cluster and its database; an Enterprise one as somebody could before 2026-04-01."""
        before = self._settings.settings.enterprise_open
        self._settings.change_settings(enterprise_open=True)
        try:
            cluster = self.create(body)
        finally:
            self._settings.change_settings(enterprise_open=before)
        self._call("PUT", self._keys, self._wish.database_body, allowed=(201,))
        self._made(self._keys)
        return cluster

    def _made(self, path: str) -> dict[str, Any]:
        deadline = time.monotonic() + CREATE_TIMEOUT_S
        while True:
            properties: dict[str, Any] = self._call("GET", path, allowed=(200,)).json()["properties"]
            if properties["provisioningState"] == "Succeeded":
                return properties
            if properties["provisioningState"] == "Failed" or time.monotonic() > deadline:
                raise LocalAzureError(
                    f"the cache {self._wish.name!r} was not made: its state is {properties['provisioningState']}; "
                    "see the log "
                    "of the local Azure."
                )
            time.sleep(POLL_INTERVAL_S)

    def primary_key(self) -> str:
        return str(self._call("POST", f"{self._keys}/listKeys", allowed=(200,)).json()["primaryKey"])

    def _call(
        self, method: str, url: str, body: dict[str, Any] | None = None, *, allowed: tuple[int, ...]
    ) -> requests.Response:
        version = ENTERPRISE_API_VERSION if self._wish.is_enterprise else API_VERSION
        response = self._session.request(method, url, params={"api-version": version}, json=body, timeout=60)
        if response.status_code not in allowed:
            error = response.json().get("error", {})
            message = str(error.get("message", "")).partition("\r\n")[0]
            raise LocalAzureError(f"ARM refused {method} of {self._wish.name!r}: {error.get('code')}: {message}")
        return response


def fill(home: Home, host: str, password: str, wish: Wish) -> None:
    """
    Fill a cache with keys.

    Args:
        home: its authority is trusted.
        host: the cache's address.
        password: an access key.
        wish: number of keys, shards, databases, random seed.
    """

    def connect(port: int, database: int) -> redis.Redis:
        return redis.Redis(
            host=host,
            port=port,
            db=database,
            password=password,
            ssl=True,
            ssl_ca_certs=str(home.ca_file),
            ssl_min_version=ssl.TLSVersion.TLSv1_2,
            socket_timeout=60,
            single_connection_client=True,
        )

    lanes: dict[int, _Lane] = {}
    if wish.is_clustered:
        with connect(wish.port, 0) as client:
            slots = client.execute_command("CLUSTER SLOTS")
        ranges = sorted((int(start), int(end), int(node[1])) for (start, end), node in _slot_rows(slots))
        lanes = {port: _Lane(connect(port, 0)) for _, _, port in ranges}
    else:
        second = 0 if wish.is_enterprise else min(SECOND_DATABASE, (wish.databases or 16) - 1)
        lanes = {number: _Lane(connect(wish.port, number)) for number in {0, second}}
        ranges = []
    generator = random.Random(wish.random_seed)
    now_ms = int(time.time() * 1000)
    try:
        for number in range(wish.keys):
            key, commands = _key(generator, number, now_ms)
            if wish.is_clustered:
                slot = key_slot(key)
                lane = next(port for start, end, port in ranges if start <= slot <= end)
                generator.random()
            else:
                names = sorted(lanes)
                lane = names[-1] if generator.random() < SHARE_IN_SECOND_DATABASE else names[0]
            lanes[lane].add(commands)
        for entry in lanes.values():
            entry.send()
    finally:
        for entry in lanes.values():
            entry.client.close()


class _Lane:
    """One connection with commands that wait to be sent together."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._waiting: list[Command] = []
        self._bytes = 0

    def add(self, commands: list[Command]) -> None:
        self._waiting += commands
        self._bytes += sum(len(part) for command in commands for part in command if isinstance(part, (bytes, str)))
        if len(self._waiting) >= BATCH_COMMANDS or self._bytes >= BATCH_BYTES:
            self.send()

    def send(self) -> None:
        if not self._waiting:
            return
        pipeline = self.client.pipeline(transaction=False)
        for command in self._waiting:
            pipeline.execute_command(*command)
        pipeline.execute()
        self._waiting, self._bytes = [], 0


def _slot_rows(slots: Any) -> Iterator[tuple[tuple[int, int], Any]]:
    # redis-py parses CLUSTER SLOTS into a dictionary; raw it is a list.
    if isinstance(slots, dict):
        for (start, end), entry in slots.items():
            yield (start, end), entry["primary"]
    else:
        for row in slots:
            yield (row[0], row[1]), row[2]


def _key(generator: random.Random, number: int, now_ms: int) -> tuple[bytes, list[Command]]:
    """Give one key and the commands that make it; they all name this key alone."""
    kind = generator.choices([name for name, _ in TYPES], [share for _, share in TYPES])[0]
    key = f"{kind}:{number:07d}".encode()
    if kind == "binary":
        key += b":" + struct.pack(">IH", number, generator.randrange(65536)) + b"\x00\xff\r\n"
    commands = _BIG[number // BIG_EVERY % 2](generator, key) if number % BIG_EVERY == BIG_EVERY - 1 else None
    if commands is None:
        commands = _MAKERS[kind](generator, key)
    if generator.random() < SHARE_WITH_EXPIRY:
        expires_in_ms = generator.randint(SHORTEST_EXPIRY_S * 1000, LONGEST_EXPIRY_S * 1000)
        commands.append(("PEXPIREAT", key, now_ms + expires_in_ms))
    return key, commands


def _string(generator: random.Random, key: bytes) -> list[Command]:
    style = generator.randrange(4)
    if style == 0:
        return [("SET", key, generator.randint(-(2**40), 2**40))]
    if style == 1:
        return [("SET", key, generator.randbytes(generator.randint(0, 40)).hex())]
    return [("SET", key, f'{{"user":{generator.randint(1, 10**6)},"cart":"{generator.randbytes(60).hex()}"}}')]


def _binary(generator: random.Random, key: bytes) -> list[Command]:
    return [("SET", key, generator.randbytes(generator.randint(1, 200)))]


def _hash(generator: random.Random, key: bytes) -> list[Command]:
    fields: list[bytes | str | int | float] = []
    for position in range(generator.randint(1, 12)):
        fields += [f"field{position}", generator.randbytes(generator.randint(1, 24))]
    return [("HSET", key, *fields)]


def _list(generator: random.Random, key: bytes) -> list[Command]:
    return [("RPUSH", key, *(generator.randbytes(8) for _ in range(generator.randint(1, 15))))]


def _set(generator: random.Random, key: bytes) -> list[Command]:
    if generator.random() < 0.5:
        return [("SADD", key, *(generator.randint(1, 1000) for _ in range(generator.randint(1, 12))))]
    return [("SADD", key, *(f"member-{generator.randint(1, 1000)}" for _ in range(generator.randint(1, 12))))]


def _zset(generator: random.Random, key: bytes) -> list[Command]:
    pairs: list[bytes | str | int | float] = []
    for position in range(generator.randint(1, 12)):
        score = generator.choice([position, generator.uniform(-1e6, 1e6), float("inf"), -0.5, 1e-12])
        pairs += ["inf" if score == float("inf") else repr(score), f"player-{position}"]
    return [("ZADD", key, *pairs)]


def _stream(generator: random.Random, key: bytes) -> list[Command]:
    count = generator.randint(3, 8)
    entries = [f"{1_700_000_000_000 + position}-{generator.randint(0, 9)}" for position in range(count)]
    commands: list[Command] = [("XADD", key, entry, "event", generator.randbytes(6).hex()) for entry in entries]
    commands.append(("XGROUP", "CREATE", key, "workers", "0"))
    commands.append(("XREADGROUP", "GROUP", "workers", "alice", "COUNT", 2, "STREAMS", key, ">"))
    commands.append(("XACK", key, "workers", entries[0]))
    if generator.random() < 0.3:
        commands.append(("XDEL", key, entries[-1]))
    return commands


def _bitmap(generator: random.Random, key: bytes) -> list[Command]:
    return [("SETBIT", key, generator.randint(0, 4000), 1) for _ in range(4)]


def _hyperloglog(generator: random.Random, key: bytes) -> list[Command]:
    return [("PFADD", key, *(generator.randint(1, 10**9) for _ in range(generator.randint(1, 40))))]


def _geo(generator: random.Random, key: bytes) -> list[Command]:
    places: list[bytes | str | int | float] = []
    for position in range(generator.randint(1, 5)):
        places += [f"{generator.uniform(-179, 179):.5f}", f"{generator.uniform(-84, 84):.5f}", f"place-{position}"]
    return [("GEOADD", key, *places)]


def _big_string(generator: random.Random, key: bytes) -> list[Command]:
    return [("SET", key, generator.randbytes(512 * 1024))]


def _big_hash(generator: random.Random, key: bytes) -> list[Command]:
    commands: list[Command] = []
    for first in range(0, 5000, 1000):
        fields: list[bytes | str | int | float] = []
        for position in range(first, first + 1000):
            fields += [f"field{position}", generator.randbytes(16)]
        commands.append(("HSET", key, *fields))
    return commands


_BIG = (_big_string, _big_hash)
_MAKERS = {
    "string": _string,
    "binary": _binary,
    "hash": _hash,
    "list": _list,
    "set": _set,
    "zset": _zset,
    "stream": _stream,
    "bitmap": _bitmap,
    "hyperloglog": _hyperloglog,
    "geo": _geo,
}
