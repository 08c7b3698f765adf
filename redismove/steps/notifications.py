"""Switching keyspace notifications of the source on, and back to what was set before."""

from __future__ import annotations

from redismove.azure.caches import Caches
from redismove.steps.access import Tell
from redismove.target import notifications_with_ours


def switch_on(source_id: str, *, timeout_s: float, tell: Tell) -> str:
    """
    Make sure that the source announces its changes; return what was set before ("" for off).

    Does nothing where the setting suffices already, nor on a Basic cache, for which Azure refuses it.
    """
    caches = Caches.of(source_id)
    source = caches.settled(source_id, timeout_s=timeout_s, tell=tell)
    before = source.notify_keyspace_events if source else ""
    wanted = notifications_with_ours(before)
    if source is None or wanted == before:
        return before
    if source.sku_name == "Basic":
        tell(f'source "{source.name}" is Basic and cannot notify: the hold will last as long as one comparison')
        return before
    tell(f'source "{source.name}": notify-keyspace-events is "{before}", setting "{wanted}"')
    caches.set_notifications(source_id, wanted, timeout_s=timeout_s)
    return before


def switch_off(source_id: str, before: str, *, timeout_s: float, tell: Tell) -> None:
    """Set what was set *before*; nothing where the source is gone or the setting is that already."""
    caches = Caches.of(source_id)
    source = caches.settled(source_id, timeout_s=timeout_s, tell=tell)
    if source is None or source.notify_keyspace_events == before:
        return
    tell(f'source "{source.name}": setting notify-keyspace-events back to "{before}"')
    caches.set_notifications(source_id, before, timeout_s=timeout_s)
