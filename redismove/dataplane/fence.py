"""
Close a server to everybody but ourselves: new access keys, and every connection but ours cut.

Both are needed, and the keys come first where nothing else holds the writes: an open connection stays logged in when
its key changes, and a cut client comes back at once with a key that still works. Connections are cut by id, from a list
of everything but our own: `CLIENT KILL TYPE normal` spares subscribers, of which a RESP3 one can write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from redismove.dataplane.connect import Connection, Packed, exchange, pack
from redismove.dataplane.errors import DataPlaneError, ReplyError, explain

KeyName = Literal["Primary", "Secondary"]

SYSTEM_USERS: frozenset[str] = frozenset({"_repl", "_admin"})
"""Users of the service itself; their connections are never cut. Which ones a service has is the caller's to say."""


class FenceFailed(DataPlaneError):
    """A server could not be closed to everybody but ourselves."""


class KeyRotation(Protocol):
    """The two access keys of a cache. On Azure: listKeys and regenerateKey."""

    def current(self) -> Mapping[str, str]:
        """Return the keys as they are now, by name ("Primary", "Secondary")."""
        ...

    def regenerate(self, name: KeyName) -> str:
        """Replace one key; when this returns the old one is refused. Return the new one."""
        ...


@dataclass(frozen=True)
class Client:
    """One connection as CLIENT LIST shows it."""

    id: int
    address: str
    user: str
    flags: str
    name: str = ""

    @property
    def is_replication(self) -> bool:
        """A replica's link to us (S) or ours to a primary (M)."""
        return "S" in self.flags or "M" in self.flags

    @property
    def is_closing(self) -> bool:
        """Already cut, or gone by itself: Redis takes no further command from it and frees it next (flag A)."""
        return "A" in self.flags


def parse_client_list(reply: bytes) -> list[Client]:
    """Return the connections in a CLIENT LIST reply."""
    clients = []
    for line in reply.decode("utf-8", "replace").splitlines():
        fields = dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
        if "id" not in fields:
            continue
        clients.append(
            Client(
                id=int(fields["id"]),
                address=fields.get("addr", ""),
                user=fields.get("user", "default"),
                flags=fields.get("flags", ""),
                name=fields.get("name", ""),
            )
        )
    return clients


def foreign_clients(
    connection: Connection, own_ids: Collection[int], *, system_users: Collection[str] = SYSTEM_USERS
) -> list[Client]:
    """
    Return the connections of one primary that are neither ours nor the service's own.

    Args:
        connection: one of ours, to the primary that is asked.
        own_ids: the ids of our connections there; *connection*'s own is always spared.
        system_users: user names of the service; replication links are spared whatever their user.
    """
    return _foreign(own_ids, _lists([connection])[0], system_users)


def _lists(connections: Sequence[Connection]) -> list[tuple[int, list[Client]]]:
    """Ask every primary at once: the id of the connection that asks, and all clients there."""
    answers = exchange([(connection, pack([("CLIENT", "ID"), ("CLIENT", "LIST")])) for connection in connections])
    for connection, replies in zip(connections, answers, strict=True):
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise explain(reply, connection.where, "CLIENT LIST")
    return [(int(own_id), parse_client_list(clients)) for own_id, clients in answers]


def _foreign(own_ids: Collection[int], listed: tuple[int, list[Client]], system_users: Collection[str]) -> list[Client]:
    own_id, clients = listed
    return [
        client
        for client in clients
        if client.id != own_id
        and client.id not in own_ids
        and not client.is_replication
        and not client.is_closing
        and client.user not in system_users
    ]


def newest_ids(connections: Sequence[Connection]) -> dict[tuple[str, int], int]:
    """Return the highest id among the clients of each primary (host, port); who comes later has a higher one."""
    return {
        (connection.host, connection.port): max(client.id for client in clients)
        for connection, (_, clients) in zip(connections, _lists(connections), strict=True)
    }


def cut_refusal(connections: Iterable[Connection]) -> str | None:
    """
    Tell why connections cannot be cut on a server; None when they can. Cuts nobody.

    Without CLIENT KILL there is no fence: open connections stay logged in when keys change.
    """
    for connection in connections:
        for command in (("CLIENT", "LIST"), ("CLIENT", "KILL", "ID", str(2**62))):
            (reply,) = connection.pipeline([command])
            if isinstance(reply, ReplyError):
                return str(explain(reply, connection.where, " ".join(command[:2])))
    return None


def wait_until_refused(
    connections: Iterable[Connection], passwords: Collection[str], *, timeout_s: float = 60.0
) -> None:
    """
    Return when every primary refuses *passwords*: a change of keys may reach a service's nodes later than its caller.

    Args:
        connections: one of ours to each primary, logged in as the default user; a refused try changes nothing for it.
        passwords: the old keys.
        timeout_s: how long to wait.

    Raises:
        FenceFailed: an old key still works after that.
    """
    deadline = time.monotonic() + timeout_s
    for connection in connections:
        while any(
            not isinstance(reply, ReplyError)
            for reply in connection.pipeline([("AUTH", password) for password in passwords])
        ):
            if time.monotonic() >= deadline:
                raise FenceFailed(f"{connection.where} still takes an access key that was changed {timeout_s:g} s ago")
            time.sleep(0.01)


@dataclass
class CutResult:
    """What cutting found: connections cut, rounds it took, and how many of those cut had come without a key."""

    cut: int = 0
    rounds: int = 0
    without_key: int = 0


def cut_foreign(
    connections: Sequence[Connection],
    own_ids: Callable[[Connection], Collection[int]],
    *,
    system_users: Collection[str] = SYSTEM_USERS,
    until_alone: bool = True,
    newest_with_key: Callable[[Connection], int | None] = lambda _: None,
    timeout_s: float = 10.0,
) -> CutResult:
    """
    Cut every connection but ours and the service's own, at each primary, until CLIENT LIST shows no other.

    Args:
        connections: one of ours to each primary.
        own_ids: the ids of our connections at a connection's primary.
        system_users: users of the service, whose connections are spared.
        until_alone: False cuts once and does not look again (nobody is promised to be gone).
        newest_with_key: at a connection's primary, an id given out after every old key was refused: who has a higher
            one came without a key, and does not count as somebody who is still there. None where no key was changed.
        timeout_s: how long others may keep coming back.

    Raises:
        FenceFailed: others were still there when the time was over.
    """
    result = CutResult()
    deadline = time.monotonic() + timeout_s
    todo = list(connections)
    while todo:
        kills: list[tuple[Connection, Packed]] = []
        for connection, listed in zip(todo, _lists(todo), strict=True):
            found = _foreign(own_ids(connection), listed, system_users)
            newest = newest_with_key(connection)
            inside = [client for client in found if newest is None or client.id <= newest]
            if not found or (not inside and result.rounds):
                continue
            if inside and time.monotonic() >= deadline:
                others = ", ".join(f"{client.user}@{client.address}" for client in inside[:3])
                raise FenceFailed(
                    f"{connection.where}: {len(inside)} connections of others are still there after {timeout_s:g} s "
                    f"of cutting (first: {others}); stop those applications, or change their credentials"
                )
            kills.append((connection, pack([("CLIENT", "KILL", "ID", client.id) for client in found])))
            result.without_key += len(found) - len(inside)
        for (connection, _), replies in zip(kills, exchange(kills), strict=True):
            for reply in replies:
                if isinstance(reply, ReplyError):
                    raise FenceFailed(str(explain(reply, connection.where, "CLIENT KILL")))
                result.cut += int(reply)
        todo = [connection for connection, _ in kills] if until_alone else []
        result.rounds += 1
    return result
