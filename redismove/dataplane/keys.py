"""
Reading many keys at once: payload and absolute expiry, on one server or on both at the same time.

The expiry is read before the payload and made absolute: PEXPIRETIME where the server has it (7.0), else PTTL between
two TIME readings on the same connection, which say how exact the answer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redismove.dataplane.connect import Connection, Packed, Reply, Server, exchange, pack, time_ms
from redismove.dataplane.errors import ReplyError, explain

NO_EXPIRY = -1
"""The key is there and has no expiry (PTTL's and PEXPIRETIME's own number)."""
NO_KEY = -2
"""The key is not there (PTTL's and PEXPIRETIME's own number)."""
_TIME = b"*1\r\n$4\r\nTIME\r\n"
_SANDWICH_KEYS = 256
"""So many PTTLs stand between two TIMEs."""
_MAX_SLACK_MS = 2
"""A server that paused between two TIMEs for longer is asked again."""


@dataclass
class States:
    """
    What one server has for the asked keys, in their order.

    Attributes:
        payloads: DUMP's answer, None where the key is not there; empty when only expiries were asked.
        expires_at_ms: by the server's own clock; NO_EXPIRY or NO_KEY.
        slack_ms: how much later than said the expiries may be.
    """

    payloads: list[bytes | None]
    expires_at_ms: list[int]
    slack_ms: int = 0


def keyed(command: str, keys: Sequence[bytes]) -> bytes:
    """`COMMAND key` for every key, as RESP; several times quicker than packing them one by one."""
    head = b"*2\r\n$%d\r\n%b\r\n$" % (len(command), command.encode())
    return b"".join([b"%b%d\r\n%b\r\n" % (head, len(key), key) for key in keys])


def read_states(
    requests: Sequence[tuple[Server, Sequence[bytes]]], database: int = 0, *, payloads: bool = True
) -> list[States]:
    """
    Read keys of several servers at the same time.

    Args:
        requests: servers and the keys to read there.
        database: on all of them.
        payloads: also DUMP them; the caller keeps the number of keys so small that the values fit into memory.

    Returns:
        One `States` per request.

    Raises:
        DataPlaneError: a lost connection, or a command that is not allowed.
    """
    parts: list[_Part] = []
    states: list[States] = []
    for server, keys in requests:
        state = States([None] * len(keys) if payloads else [], [NO_KEY] * len(keys))
        states.append(state)
        for connection, indexes in _by_node(server, keys, database):
            parts.append(_Part(server, connection, keys, indexes, state))
    # One connection may stand in two requests (source and target the same server): then one after the other.
    while parts:
        now: list[_Part] = []
        later: list[_Part] = []
        for part in parts:
            (later if any(part.connection is other.connection for other in now) else now).append(part)
        replies = exchange([(part.connection, part.commands(payloads)) for part in now])
        for part, answer in zip(now, replies, strict=True):
            part.take(answer, payloads)
        parts = later
    for (server, keys), state in zip(requests, states, strict=True):
        _settle(server, keys, database, state, payloads)
    return states


def _by_node(server: Server, keys: Sequence[bytes], database: int) -> list[tuple[Connection, Sequence[int]]]:
    if not keys:
        return []
    if not server.clustered:
        return [(server.connection(database=database), range(len(keys)))]
    indexes: dict[tuple[str, int], list[int]] = {}
    nodes = {}
    for index, key in enumerate(keys):
        node = server.node_for(key)
        indexes.setdefault((node.host, node.port), []).append(index)
        nodes[node.host, node.port] = node
    return [(server.connection(nodes[where]), numbers) for where, numbers in indexes.items()]


class _Part:
    """The share of one node in one request."""

    def __init__(
        self, server: Server, connection: Connection, keys: Sequence[bytes], indexes: Sequence[int], state: States
    ) -> None:
        self.connection, self.indexes, self.state = connection, indexes, state
        self.keys = keys if len(indexes) == len(keys) else [keys[index] for index in indexes]
        self.absolute = server.absolute_expiry

    def commands(self, payloads: bool) -> Packed:
        count = len(self.keys)
        if self.absolute:
            data, replies = keyed("PEXPIRETIME", self.keys), count
        else:
            pieces = []
            for start in range(0, count, _SANDWICH_KEYS):
                pieces += [_TIME, keyed("PTTL", self.keys[start : start + _SANDWICH_KEYS]), _TIME]
            data, replies = b"".join(pieces), count + 2 * (len(pieces) // 3)
        if payloads:
            data += keyed("DUMP", self.keys)
            replies += count
        return Packed(data, replies, "DUMP")

    def take(self, replies: list[Reply], payloads: bool) -> None:
        count = len(self.keys)
        if payloads:
            self._store(self.state.payloads, replies[-count:], "DUMP")
            replies = replies[:-count]
        if self.absolute:
            self._store(self.state.expires_at_ms, replies, "PEXPIRETIME")
            return
        values: list[Reply] = []
        for start in range(0, len(replies), _SANDWICH_KEYS + 2):
            piece = replies[start : start + _SANDWICH_KEYS + 2]
            before_ms, after_ms = time_ms(piece[0]), time_ms(piece[-1])
            self.state.slack_ms = max(self.state.slack_ms, after_ms - before_ms)
            values += [before_ms + ttl if isinstance(ttl, int) and ttl >= 0 else ttl for ttl in piece[1:-1]]
        self._store(self.state.expires_at_ms, values, "PTTL")

    def _store(self, into: list[Reply], values: Sequence[Reply], command: str) -> None:
        for index, value in zip(self.indexes, values, strict=True):
            if isinstance(value, ReplyError):
                named = explain(value, self.connection.where, command)
                if named is not value and value.code not in ("CLUSTERDOWN", "LOADING", "MASTERDOWN"):
                    raise named
                if value.code not in _REDIRECTED:
                    raise value
            into[index] = value


_REDIRECTED = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN"})


def _settle(server: Server, keys: Sequence[bytes], database: int, state: States, payloads: bool) -> None:
    """Ask again for what was redirected, appeared in between, or was measured while the server paused."""
    again = [
        index
        for index, expires_at_ms in enumerate(state.expires_at_ms)
        if isinstance(expires_at_ms, ReplyError)
        or (payloads and isinstance(state.payloads[index], ReplyError))
        or (payloads and expires_at_ms == NO_KEY and state.payloads[index] is not None)
    ]
    for index in again:
        expires_at_ms, payload = _read_one(server, keys[index], database)
        state.expires_at_ms[index] = expires_at_ms
        if payloads:
            state.payloads[index] = payload
    if payloads:
        for index, payload in enumerate(state.payloads):
            if payload is None:
                state.expires_at_ms[index] = NO_KEY
    tries = 0
    while state.slack_ms > _MAX_SLACK_MS and tries < 5:
        tries += 1
        expiring = [index for index, expires_at_ms in enumerate(state.expires_at_ms) if expires_at_ms >= 0]
        if not expiring:
            state.slack_ms = 0
            return
        closer = read_states([(server, [keys[index] for index in expiring])], database, payloads=False)[0]
        if closer.slack_ms < state.slack_ms:
            state.slack_ms = closer.slack_ms
            for index, expires_at_ms in zip(expiring, closer.expires_at_ms, strict=True):
                if expires_at_ms >= 0 or not payloads:
                    state.expires_at_ms[index] = expires_at_ms


def _read_one(server: Server, key: bytes, database: int) -> tuple[int, bytes | None]:
    """One key, through redirections; expiry and payload belong together (MULTI)."""
    expiry = ("PEXPIRETIME", key) if server.absolute_expiry else ("PTTL", key)
    # In a cluster TIME must go where the key is, so it stands inside the transaction that the key routes.
    packed = pack([("MULTI",), ("TIME",), expiry, ("DUMP", key), ("EXEC",)])
    replies = server.execute([(key, packed)], database)[0]
    outcome = replies[-1]
    if isinstance(outcome, ReplyError):
        raise explain(outcome, server.address.url, "DUMP")
    now, ttl, payload = outcome
    for reply in (ttl, payload):
        if isinstance(reply, ReplyError):
            raise explain(reply, server.address.url, "DUMP")
    if payload is None:
        return NO_KEY, None
    return (ttl if server.absolute_expiry or ttl < 0 else time_ms(now) + ttl), payload
