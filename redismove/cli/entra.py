"""Logging in to a cache with an Entra token."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from redismove.dataplane.connect import Secret, ServerAddress


class EntraChoice(str, Enum):
    """Which side takes Entra tokens."""

    source = "source"
    target = "target"
    both = "both"


def with_token(address: ServerAddress, choice: EntraChoice | None, side: EntraChoice) -> ServerAddress:
    """
    Where *choice* names *side*, the same address with the Entra token of this environment.

    Who is signed in is the user name where the URL gives none.
    """
    if choice not in (side, EntraChoice.both):
        return address
    from redismove.azure.tokens import RedisToken, object_id

    return replace(address, username=address.username or object_id(), password=Secret(RedisToken()))
