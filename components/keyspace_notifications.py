"""KeyspaceNotifications: has the source tell of its changes, where the configuration consents."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.dynamic import Provider, told
from redismove.steps.notifications import switch_off, switch_on


class KeyspaceNotificationsProvider(Provider):
    """Switches `notify-keyspace-events` on through ARM, and back to what it was when it leaves the state."""

    significant = ("sourceId",)

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Switch on; what was set before is remembered from the first time."""
        before = switch_on(news["sourceId"], timeout_s=news["settleSeconds"], tell=told)
        return {"before": (olds or {}).get("before", before)}

    def undo(self, olds: dict[str, Any]) -> None:
        """Put back what was set before; a source that is gone needs nothing."""
        switch_off(olds["sourceId"], olds.get("before", ""), timeout_s=olds["settleSeconds"], tell=told)


class KeyspaceNotifications(Resource, name="KeyspaceNotifications", module="redismove"):
    """
    The one change to the source's configuration that a move makes, and only with `redismove:enableNotifications`.

    It comes before the link: on a linked pair an update of either cache causes a full synchronisation.
    """

    def __init__(self, name: str, source_id: str, settle_s: float, opts: pulumi.ResourceOptions) -> None:
        """Switch on for *source_id*; *settle_s* bounds the wait for Azure, in seconds."""
        super().__init__(
            KeyspaceNotificationsProvider(), name, {"sourceId": source_id, "settleSeconds": settle_s}, opts
        )
