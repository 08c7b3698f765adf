"""How much a cache holds and how much is written to it, as its own INFO says."""

from __future__ import annotations

from dataclasses import dataclass

from redismove.azure.caches import Caches
from redismove.dataplane.connect import Server
from redismove.facts import CacheFacts
from redismove.steps.access import address


@dataclass(frozen=True)
class Load:
    """What a cache holds (bytes, keys) and what reaches it (bytes a second, reads and writes of all clients)."""

    used_memory_bytes: int
    keys: int
    write_bytes_per_s: float


def load_of(caches: Caches, cache: CacheFacts) -> Load:
    """Read the load of *cache* over all its primaries; DataPlaneError where it cannot be reached."""
    with Server.open(address(caches, cache)) as server:
        memory = sum(int(server.info("memory", node).get("used_memory", "0")) for node in server.nodes)
        incoming = sum(float(server.info("stats", node).get("instantaneous_input_kbps", "0")) for node in server.nodes)
        return Load(
            used_memory_bytes=memory, keys=sum(server.databases().values()), write_bytes_per_s=round(incoming * 1024, 1)
        )
