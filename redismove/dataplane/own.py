"""Our own connections to a server, with the ids by which the fence spares them."""

from __future__ import annotations

from typing import Any, Self

from redismove.dataplane.connect import Connection, Node, Secret, Server, ServerAddress


class OwnServer(Server):
    """A server that remembers the id of every connection of ours."""

    def __init__(self, address: ServerAddress, **options: Any) -> None:
        super().__init__(address, **options)
        self._ids: dict[tuple[str, int], set[int]] = {}

    @classmethod
    def open_own(cls, address: ServerAddress) -> Self:
        """Connect as `open` does, and remember the connections made."""
        server = cls.open(address)
        assert isinstance(server, cls)
        for connection in server.own_connections():
            server._remember(connection)
        return server

    def own_ids(self, connection: Connection) -> set[int]:
        """Return the ids of our connections at the primary behind *connection*."""
        return self._ids.setdefault((connection.host, connection.port), set())

    def new_connection(self, node: Node | None = None, database: int = 0) -> Connection:
        """A further connection to a node, remembered; the caller closes it."""
        return self._remember(super().new_connection(node, database))

    def refresh_nodes(self) -> None:
        """
        Read the cluster's primaries and slots again.

        A connection through the cache's front port is ended then: it stands in some primary's list of clients, under an
        id that we could not tell from the ids of others.
        """
        super().refresh_nodes()
        if self.clustered:
            nodes = {(node.host, node.port) for node in self.nodes}
            for host, port in [where for where in self._connections if where not in nodes]:
                self._forget(host, port)

    def _connection_to(self, host: str, port: int) -> Connection:
        known = self._connections.get((host, port))
        connection = super()._connection_to(host, port)
        return connection if connection is known else self._remember(connection)

    def _remember(self, connection: Connection) -> Connection:
        self.own_ids(connection).add(connection.client_id())
        return connection


class OwnSource:
    """
    Our side of a server that is to be closed: readers, one control connection a primary, a password that changes.

    Attributes:
        address: logs in with the password of the moment.
        server: for reading.
    """

    def __init__(self, address: ServerAddress) -> None:
        self._password = address.password.reveal() if address.password is not None else ""
        self._by_key = address.username is None and address.password is not None
        self.address = address.with_password(Secret(lambda: self._password)) if self._by_key else address
        self.server = OwnServer.open_own(self.address)
        self._controls: dict[tuple[str, int], Connection] = {}

    def use(self, password: str) -> None:
        """Log in with *password* from now on (an access key; users have theirs); open connections stay."""
        if self._by_key:
            self._password = password

    def controls(self) -> list[Connection]:
        """Return one connection to each primary for CLIENT and INFO; one that broke is made anew."""
        found = []
        for node in self.server.nodes:
            connection = self._controls.get((node.host, node.port))
            if connection is not None and connection.login_is_over:
                connection.close()
            if connection is None or connection.closed_because is not None:
                connection = self._controls[node.host, node.port] = self.server.new_connection(node)
            found.append(connection)
        return found

    def close(self) -> None:
        """End every connection."""
        for connection in self._controls.values():
            connection.close()
        self.server.close()
