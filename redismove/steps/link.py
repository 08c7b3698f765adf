"""Waiting for a geo-replication link to stand, or to be gone."""

from __future__ import annotations

import time
from collections.abc import Callable

from redismove.azure.caches import CacheId, Caches
from redismove.azure.errors import AzureError
from redismove.steps.access import Tell

_TELL_EVERY_S = 15.0


def _called(source_id: str, target_id: str) -> str:
    return f'link "{CacheId.parse(source_id).name}"-"{CacheId.parse(target_id).name}"'


def wait_until_linked(source_id: str, target_id: str, *, timeout_s: float, tell: Tell) -> None:
    """
    Wait until the link and both caches say Succeeded. The PUT of a link may end before the link does.

    Raises:
        AzureError: the link failed, vanished, or was not there in time.
    """
    caches = Caches.of(source_id)
    names = _called(source_id, target_id)
    _wait(lambda: _linked(caches, source_id, target_id, names), names, "Succeeded", timeout_s, tell)


def wait_until_unlinked(source_id: str, target_id: str, *, timeout_s: float, tell: Tell) -> None:
    """
    Wait until the link's GET says 404 and both caches say Succeeded; only then may a cache be deleted.

    Raises:
        AzureError: it was not gone in time.
    """
    caches = Caches.of(source_id)
    names = _called(source_id, target_id)
    _wait(lambda: _unlinked(caches, source_id, target_id), names, "gone, both caches Succeeded", timeout_s, tell)


def _linked(caches: Caches, source_id: str, target_id: str, names: str) -> str:
    link = caches.link(source_id, target_id)
    if not link.exists or link.provisioning_state == "Failed":
        found = link.provisioning_state or "no link"
        raise AzureError(
            f"{names}: found {found}, allowed Succeeded; look at the activity log of both caches, go back to "
            "prepare, then link again"
        )
    if link.provisioning_state != "Succeeded":
        return f"the link is {link.provisioning_state}"
    return _busy(caches, source_id, target_id)


def _unlinked(caches: Caches, source_id: str, target_id: str) -> str:
    link = caches.link(source_id, target_id)
    if link.exists:
        return f"the link is {link.provisioning_state}"
    return _busy(caches, source_id, target_id)


def _busy(caches: Caches, *cache_ids: str) -> str:
    for cache_id in cache_ids:
        state = caches.state(cache_id)
        if state not in ("Succeeded", ""):
            return f'cache "{CacheId.parse(cache_id).name}" is {state}'
    return ""


def _wait(ask: Callable[[], str], names: str, wanted: str, timeout_s: float, tell: Tell) -> None:
    started = last_told = time.monotonic()
    pause_s = 0.25
    while True:
        waiting_for = ask()
        if not waiting_for:
            return
        now = time.monotonic()
        if now - started > timeout_s:
            raise AzureError(
                f"{names}: {waiting_for} after {timeout_s:.0f} s, allowed {wanted}; wait for it in the portal, then "
                "run the same "
                "command again"
            )
        if now - last_told > _TELL_EVERY_S:
            tell(f"{names}: {waiting_for}; {now - started:.0f} s")
            last_told = now
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 10.0)
