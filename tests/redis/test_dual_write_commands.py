"""The table of commands against what real servers say of their own commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from redismove.dataplane.connect import Connection, Server
from redismove.dual_write.commands import TABLE, UNKNOWN, Kind, spec_of, understand
from redismove.dual_write.errors import CommandRefused

pytestmark = pytest.mark.redis

# HTTP verbs that Redis answers by closing the connection.
NO_COMMANDS = {"HOST:", "POST"}

SAMPLES: dict[str, tuple[Any, ...]] = {
    "BITFIELD": ("k1", "SET", "u8", 0, 1),
    "BITOP": ("AND", "k1", "k2", "k3"),
    "BLMPOP": (0, 2, "k1", "k2", "LEFT"),
    "BZMPOP": (0, 2, "k1", "k2", "MIN"),
    "EVAL": ("return 1", 2, "k1", "k2", "x"),
    "EVALSHA": ("ab", 2, "k1", "k2", "x"),
    "FCALL": ("f", 2, "k1", "k2", "x"),
    "GEORADIUS": ("k1", 1, 2, 3, "m", "STORE", "k2"),
    "GEORADIUSBYMEMBER": ("k1", "m", 3, "m", "STOREDIST", "k2"),
    "GEOSEARCHSTORE": ("k1", "k2", "FROMMEMBER", "m", "BYRADIUS", 1, "m"),
    "LMPOP": (2, "k1", "k2", "LEFT"),
    "PFMERGE": ("k1", "k2"),
    "MSET": ("k1", "x", "k2", "x"),
    "MSETEX": (2, "k1", "x", "k2", "x"),
    "MSETNX": ("k1", "x", "k2", "x"),
    "SINTERCARD": (2, "k1", "k2"),
    "SORT": ("k1", "STORE", "k2"),
    "XREAD": ("COUNT", 1, "STREAMS", "k1", "k2", 0, 0),
    "XREADGROUP": ("GROUP", "g", "c", "STREAMS", "k1", "k2", ">", ">"),
    "ZDIFF": (2, "k1", "k2"),
    "ZDIFFSTORE": ("k1", 2, "k2", "k3"),
    "ZINTER": (2, "k1", "k2"),
    "ZINTERCARD": (2, "k1", "k2"),
    "ZINTERSTORE": ("k1", 2, "k2", "k3"),
    "ZMPOP": (2, "k1", "k2", "MIN"),
    "ZUNION": (2, "k1", "k2"),
    "ZUNIONSTORE": ("k1", 2, "k2", "k3"),
}


def commands_of(connection: Connection) -> dict[str, tuple[int, set[str]]]:
    """Every command and subcommand with its arity and flags."""
    found: dict[str, tuple[int, set[str]]] = {}

    def take(row: list[Any]) -> None:
        name = row[0].decode().replace("|", " ").upper()
        flags = {flag.decode() if isinstance(flag, bytes) else str(flag) for flag in row[2]}
        found[name] = (row[1], flags)
        for inner in row[9] if len(row) > 9 else []:
            take(inner)

    for row in connection.call("COMMAND"):
        take(row)
    for name in [name for name in found if any(other.startswith(f"{name} ") for other in found)]:
        if name not in TABLE:
            del found[name]  # a container is no command by itself
    return {name: row for name, row in found.items() if name not in NO_COMMANDS}


@pytest.fixture(params=["6.2", "7.0", "valkey"])
def server(request: pytest.FixtureRequest, opened: Callable[[str, int], Server]) -> Server:
    """A server of each kind."""
    return opened(request.param, 0)


def test_every_command_of_a_server_is_in_the_table(server: Server) -> None:
    found = commands_of(server.connection())
    # Before 7.0 a container's subcommands are not listed: XGROUP is one command there.
    containers = {name.split(" ")[0] for name in TABLE if " " in name}
    unknown = [name for name in found if spec_of(name).reason == UNKNOWN and name not in containers]

    assert unknown == []
    assert len(found) > 200


def test_what_a_server_calls_a_write_is_never_taken_for_a_read(server: Server) -> None:
    wrong = []
    for name, (_, flags) in commands_of(server.connection()).items():
        kind = spec_of(name).kind
        if "write" in flags and kind not in (Kind.WRITE, Kind.REFUSED):
            wrong.append((name, kind))
        # PFCOUNT writes what it has counted.
        if "readonly" in flags and kind not in (Kind.READ, Kind.FIRST, Kind.REFUSED) and name != "PFCOUNT":
            wrong.append((name, kind))

    assert wrong == []


def test_keys_are_where_the_server_says(server: Server) -> None:
    connection = server.connection()
    flagged = server.flavour == "valkey" or server.version >= (7,)
    checked = 0
    for name, (arity, _) in commands_of(connection).items():
        spec = spec_of(name)
        if spec.kind not in (Kind.READ, Kind.WRITE) or spec.keys is None:
            continue
        words = name.split(" ")
        operands = SAMPLES.get(name) or tuple(f"k{number + 1}" for number in range(max(2, abs(arity)) - len(words)))
        command = (*words, *operands)
        call = understand(command)
        ours = {str(key) for key in call.keys}
        if flagged and call.kind is Kind.WRITE:
            reply = connection.call("COMMAND", "GETKEYSANDFLAGS", *command)
            theirs = {key.decode() for key, flags in reply if {"RW", "OW", "RM"} & {_text(flag) for flag in flags}}
            # A script may write every key that it declares; XREADGROUP changes the group that belongs to the key.
            if name in ("EVAL", "EVALSHA", "FCALL", "XREADGROUP"):
                theirs = {key.decode() for key, _ in reply}
            if name == "PFCOUNT":
                theirs = ours
        else:
            theirs = {key.decode() for key in connection.call("COMMAND", "GETKEYS", *command)}
        if flagged or call.kind is Kind.READ:
            assert ours == theirs, command
        else:
            assert ours <= theirs, command
        checked += 1

    assert checked > 130


def _text(flag: Any) -> str:
    return flag.decode() if isinstance(flag, bytes) else str(flag)


def test_what_is_refused_says_why(server: Server) -> None:
    for name in commands_of(server.connection()):
        if spec_of(name).kind is Kind.REFUSED:
            with pytest.raises(CommandRefused, match=rf"^{name} is not possible while two caches are written: .{{12}}"):
                understand((*name.split(" "), "x", "y"))
