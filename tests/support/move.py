"""A move under test: a seeded source in the local Azure, a stack, and what both look like from outside."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from azure.mgmt.redis import models

from redismove.azure.caches import Caches
from redismove.azure.session import Session
from redismove.dataplane.connect import Server
from redismove.dataplane.verify import verify
from redismove.facts import CacheFacts, LinkFacts
from redismove.steps.access import address
from tests.support.local_cloud import LocalCloud
from tests.support.stack import Result, Stack

GROUP = "rg-orders"


@dataclass
class Move:
    """One source, one target to be, one stack."""

    cloud: LocalCloud
    stack: Stack
    source_name: str
    target_name: str
    managed: set[str] = field(default_factory=set)
    """The names of those that are clusters of redisEnterprise."""

    @classmethod
    def new(
        cls,
        cloud: LocalCloud,
        folder: Path,
        number: int,
        *,
        keys: int,
        seed: dict[str, object],
        config: dict[str, object],
    ) -> Move:
        """Seed the source and make the stack."""
        source, target = f"orders{number}-eus", f"orders{number}-wus2"
        cloud.seed(source, keys=keys, **{"resource-group": GROUP, "location": "eastus", **seed})
        stack = Stack.new(
            folder,
            cloud,
            **{
                "source": {"resourceGroup": GROUP, "name": source},
                "target": {"resourceGroup": GROUP, "name": target, "location": "westus2"},
                "enableNotifications": True,
                "soakHours": 0,
                "confirmDelete": source,
                **config,
            },
        )
        return cls(cloud, stack, source, target)

    @contextmanager
    def azure(self) -> Iterator[Caches]:
        """The caches of the local Azure, as the mover's own code sees them."""
        before = dict(os.environ)
        os.environ.update(self.cloud.environment)
        try:
            yield Caches(Session.from_environment())
        finally:
            os.environ.clear()
            os.environ.update(before)

    def cache_id(self, name: str) -> str:
        """Return the full resource id of a cache of this move's group."""
        return (
            f"/subscriptions/{self.cloud.environment['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}"
            f"/providers/Microsoft.Cache/{'redisEnterprise' if name in self.managed else 'Redis'}/{name}"
        )

    @property
    def source(self) -> CacheFacts | None:
        """The source as it is now, None where it is gone."""
        with self.azure() as caches:
            return caches.settled(self.cache_id(self.source_name), timeout_s=60)

    @property
    def target(self) -> CacheFacts | None:
        """The target as it is now, None where there is none."""
        with self.azure() as caches:
            return caches.settled(self.cache_id(self.target_name), timeout_s=60)

    @property
    def link(self) -> LinkFacts:
        """The link as it is now."""
        with self.azure() as caches:
            return caches.link(self.cache_id(self.source_name), self.cache_id(self.target_name))

    def go_to(self, *stages: str) -> None:
        """Take these stages, one after the other; each must end well."""
        for stage in stages:
            taken = self.stack.stage(stage)
            assert taken.ok, f"stage {stage}: {taken}"

    def connect(self, name: str) -> Server:
        """Open a cache with its primary key; close it again."""
        with self.azure() as caches:
            cache = caches.settled(self.cache_id(name), timeout_s=60)
            assert cache is not None, f"there is no cache {name}"
            where = dataclasses.replace(address(caches, cache), ca_file=self.cloud.environment["SSL_CERT_FILE"])
            return Server.open(where)

    def signature(self, name: str) -> str:
        """Return the signature of everything a cache holds; equal for equal data."""
        with self.azure(), self.connect(name) as one, self.connect(name) as again:
            return verify(one, again, depth="full").signature

    def writes_of_others(self, name: str) -> dict[str, int]:
        """Return how often each command that writes was called on a cache, from `INFO commandstats`."""
        reading = {
            *("info", "client", "auth", "ping", "select", "scan", "dump", "pttl", "pexpiretime", "ttl", "type", "time"),
            *("cluster", "command", "hello", "config", "psync", "replconf", "acl", "get", "exists", "memory", "strlen"),
            *(
                "hgetall",
                "hmget",
                "lrange",
                "smembers",
                "zrange",
                "xrange",
                "mget",
                "hscan",
                "sscan",
                "zscan",
                "getrange",
            ),
            *("psubscribe", "subscribe", "role", "dbsize", "xinfo", "expiretime", "replicaof", "shutdown", "save"),
            *(
                "readonly",
                "asking",
                "quit",
                "reset",
                "wait",
                "latency",
                "debug",
                "module",
                "bgsave",
                "lastsave",
                "object",
            ),
        }
        with self.azure(), self.connect(name) as server:
            calls: dict[str, int] = {}
            for node in server.nodes:
                for key, value in server.info("commandstats", node).items():
                    command = key.removeprefix("cmdstat_").split("|")[0].lower()
                    if command not in reading and not command.startswith("localazure."):
                        calls[command] = calls.get(command, 0) + int(value.split(",")[0].removeprefix("calls="))
            return calls

    def unlink_by_hand(self) -> None:
        """Remove the link as somebody would in the portal, and wait until it is gone."""
        with self.azure():
            client = Session.from_environment().redis
            client.linked_server.begin_delete(GROUP, self.source_name, self.target_name).result(60)

    def scale_by_hand(self, name: str, capacity: int) -> None:
        """Give a cache another size, P1 to P5, as somebody would in the portal."""
        sku = models.Sku(name="Premium", family="P", capacity=capacity)
        with self.azure():
            client = Session.from_environment().redis
            client.redis.begin_update(GROUP, name, models.RedisUpdateParameters(sku=sku)).result(60)

    def delete_by_hand(self, name: str) -> None:
        """Delete a cache as somebody would in the portal."""
        with self.azure():
            Session.from_environment().redis.redis.begin_delete(GROUP, name).result(60)

    def ask_for_faults(self, method: str, fault: dict[str, Any] | None = None) -> None:
        """POST a fault to the local Azure (started with --admin), or DELETE all of them."""
        with self.azure():
            session = Session.from_environment()
            token = session.credential.get_token(f"{session.endpoint}/.default").token
            answer = requests.request(
                method,
                f"{session.endpoint}/_local/faults",
                json=fault,
                headers={"Authorization": f"Bearer {token}"},
                verify=self.cloud.environment["REQUESTS_CA_BUNDLE"],
                timeout=30,
            )
        assert answer.ok, answer.text

    def resume(self) -> subprocess.CompletedProcess[str]:
        """Run `redismove resume`."""
        return subprocess.run(
            [sys.executable, "-m", "redismove.cli.main", "resume", "--stack", self.stack.name],
            cwd=self.stack.folder,
            env=self.stack.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def arm_get(self, name: str) -> dict[str, Any]:
        """Return a cache as ARM shows it."""
        with self.azure():
            return dict(Session.from_environment().redis.redis.get(GROUP, name).serialize(keep_readonly=True))


def unchanged(result: Result) -> bool:
    """Whether an update or a preview ended well and planned nothing."""
    return (
        result.ok and " changes. " not in result.output and "created" not in result.output.rsplit("Resources:", 1)[-1]
    )
