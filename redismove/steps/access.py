"""How the mover reaches a cache: its address, and a key or token that is read when needed and kept nowhere."""

from __future__ import annotations

from collections.abc import Callable

from redismove.azure.caches import Caches
from redismove.azure.tokens import RedisToken, object_id
from redismove.dataplane.connect import Secret, ServerAddress
from redismove.facts import MANAGED, CacheFacts


def address(caches: Caches, cache: CacheFacts, *, which: str = "Primary") -> ServerAddress:
    """
    Return where *cache* is and how to log in, with its *which* ("Primary" or "Secondary") access key.

    A cache that takes no access keys is signed in to by Entra, as the principal of this environment.

    TLS always, but where a managed database was made without: a second, plain port is the applications' affair.
    """
    if cache.access_keys_disabled:
        username, password = object_id(), Secret(RedisToken())
    else:
        keys = caches.access_keys(cache.id)
        username, password = None, Secret(keys[0] if which == "Primary" else keys[1])
    return ServerAddress(
        host=cache.host_name,
        port=cache.ssl_port,
        tls=cache.speaks_tls,
        username=username,
        password=password,
        clustered=cache.is_clustered,
    )


def notifies(cache: CacheFacts) -> str | None:
    """
    Return `notify-keyspace-events` of *cache* where Azure tells it; None: the server itself is to be asked.

    Microsoft.Cache/redis blocks CONFIG and tells it in the resource; redisEnterprise 2025-07-01 does not tell it, and
    answers CONFIG GET.
    """
    return None if cache.product == MANAGED else cache.notify_keyspace_events


class AccessKeys:
    """The access keys of one cache as the cut-over's fence turns them; *timeout_s* bounds each change."""

    def __init__(self, caches: Caches, cache_id: str, *, timeout_s: float) -> None:
        self._caches = caches
        self._cache_id = cache_id
        self._timeout_s = timeout_s

    def current(self) -> dict[str, str]:
        """Return the keys as they are now, by name ("Primary", "Secondary")."""
        primary, secondary = self._caches.access_keys(self._cache_id)
        return {"Primary": primary, "Secondary": secondary}

    def regenerate(self, name: str) -> str:
        """Replace the key *name* ("Primary" or "Secondary") and return the new one; the old one no longer logs in."""
        return self._caches.regenerate_key(self._cache_id, name, timeout_s=self._timeout_s)


Tell = Callable[[str], None]
