"""Who else is connected to a cache."""

from __future__ import annotations

from redismove.azure.caches import Caches
from redismove.dataplane.connect import Server
from redismove.dataplane.fence import foreign_clients
from redismove.facts import CacheFacts
from redismove.steps.access import address


def clients_of_others(caches: Caches, cache: CacheFacts) -> tuple[str, ...]:
    """
    Return the connections to *cache* that are neither the mover's own nor the service's, as "user at address".

    Every primary is asked.
    """
    with Server.open(address(caches, cache)) as server:
        found: list[str] = []
        for node in server.nodes:
            connection = server.connection(node)
            found += [f"{client.user} at {client.address}" for client in foreign_clients(connection, ())]
        return tuple(found)
