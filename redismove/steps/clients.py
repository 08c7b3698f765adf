"""Who else is connected to a cache."""

from __future__ import annotations

import uuid

from redismove.azure.caches import Caches
from redismove.dataplane.connect import Server
from redismove.dataplane.fence import foreign_clients
from redismove.facts import CacheFacts
from redismove.steps.access import address


def clients_of_others(caches: Caches, cache: CacheFacts) -> tuple[str, ...]:
    """
    Return the connections to *cache* that are neither the mover's own nor the service's, as "user at address".

    Every primary is asked. Ours are known by a name they are given, since one of them may reach a primary through the
    cache's front port and another one directly.
    """
    ours = f"redismove-{uuid.uuid4().hex}"
    with Server.open(address(caches, cache)) as server:
        asking = [server.connection(node) for node in server.nodes]
        for connection in server.own_connections():
            connection.call("CLIENT", "SETNAME", ours)
        return tuple(
            f"{client.user} at {client.address}"
            for connection in asking
            for client in foreign_clients(connection, ())
            if client.name != ours
        )
