"""Switching keyspace notifications of the source on, and back to what was set before."""

from __future__ import annotations

from typing import Final

from redismove.azure.caches import CacheId, Caches
from redismove.azure.session import Session
from redismove.steps.access import Tell

WANTED: Final = "KEA"
"""Keyspace and keyevent channels, all classes: what following the source's changes needs."""


def tells_enough(events: str) -> bool:
    """Whether the setting *events* announces every change on the keyspace channel."""
    return "K" in events and ("A" in events or set("g$lshzxet") <= set(events))


def switch_on(source_id: str, *, timeout_s: float, tell: Tell) -> str:
    """
    Make sure that the source announces its changes; return what was set before ("" for off).

    Does nothing where the setting suffices already.
    """
    caches = Caches(Session.from_environment(CacheId.parse(source_id).subscription_id))
    source = caches.settled(source_id, timeout_s=timeout_s, tell=tell)
    before = source.notify_keyspace_events if source else ""
    if source is None or tells_enough(before):
        return before
    wanted = "".join(dict.fromkeys(before + WANTED))
    tell(f'source "{source.name}": notify-keyspace-events is "{before}", setting "{wanted}"')
    caches.set_notifications(source_id, wanted, timeout_s=timeout_s)
    return before


def switch_off(source_id: str, before: str, *, timeout_s: float, tell: Tell) -> None:
    """Set what was set *before*; nothing where the source is gone or the setting is that already."""
    caches = Caches(Session.from_environment(CacheId.parse(source_id).subscription_id))
    source = caches.settled(source_id, timeout_s=timeout_s, tell=tell)
    if source is None or source.notify_keyspace_events == before:
        return
    tell(f'source "{source.name}": setting notify-keyspace-events back to "{before}"')
    caches.set_notifications(source_id, before, timeout_s=timeout_s)
