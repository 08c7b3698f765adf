"""Entra tokens for Redis: a user (object id) and a password that ends, from the credentials of this environment."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from functools import cache
from typing import Final

from azure.core.credentials import AccessToken

from redismove.azure.errors import AzureError, told_as_ours
from redismove.azure.session import Session

SCOPE: Final = "https://redis.azure.com/.default"
"""The audience of Azure Cache for Redis and Azure Managed Redis (learn.microsoft.com, cache-azure-active-directory)."""


@cache
def _session() -> Session:
    # A token for Redis needs no subscription; the credential is chosen as for Azure Resource Manager.
    return Session.from_environment("none")


def _token() -> AccessToken:
    with told_as_ours("getting an Entra token for Redis", SCOPE):
        return _session().credential.get_token(SCOPE)


@dataclass(frozen=True)
class RedisToken:
    """The current token and its end whenever it is called; may be sent to another process, which signs in itself."""

    def __call__(self) -> tuple[str, float]:
        """Return the token and when it ends (Unix time in s); azure-identity renews it in time."""
        found = _token()
        return found.token, float(found.expires_on)


def object_id() -> str:
    """
    Return the object id of who is signed in: the user name at the cache.

    Raises:
        AzureError: nobody is signed in, or the token does not say.
    """
    try:
        payload = _token().token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["oid"])
    except (ValueError, KeyError, IndexError):
        raise AzureError(
            "object id: found none in the Entra token, allowed the id of a user or principal; "
            "put it into the URL: rediss://OBJECT_ID@host:port"
        ) from None
