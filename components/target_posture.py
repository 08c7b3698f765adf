"""TargetPosture: what the target gets back once no link forbids it, and at the end what the source had."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.dynamic import Provider, told
from redismove.steps.posture import Posture, put_on, take_off


class TargetPostureProvider(Provider):
    """Switches persistence on and notifications back through ARM; leaving the state switches persistence off."""

    significant = ("targetId", "persistence", "accountId", "frequencyMinutes", "snapshots", "notifications")

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Set what the target lacks."""
        if olds and olds.get("persistence") and olds["persistence"] != news["persistence"]:
            take_off(news["targetId"], timeout_s=news["settleSeconds"], tell=told)
        put_on(
            Posture(
                target_id=news["targetId"],
                persistence=news["persistence"],
                account_id=news["accountId"],
                frequency_minutes=int(news["frequencyMinutes"]),
                snapshots=int(news["snapshots"]),
                notifications=news.get("notifications"),
            ),
            timeout_s=news["settleSeconds"],
            tell=told,
        )
        return {}

    def undo(self, olds: dict[str, Any]) -> None:
        """Switch persistence off: before a new link it has to be."""
        if olds.get("persistence"):
            take_off(olds["targetId"], timeout_s=olds["settleSeconds"], tell=told)

    def identity(self, news: dict[str, Any]) -> str:
        """One a target."""
        return f"TargetPosture:{news['targetId']}"


class TargetPosture(Resource, name="TargetPosture", module="redismove"):
    """
    Persistence and notifications of the target, from `cutover` on.

    The storage account's key is read when it is needed and stands in no state; so this is not a part of the cache's own
    declaration, whose later differences in redisConfiguration are ignored from there on.
    """

    def __init__(self, name: str, posture: Posture, settle_s: float, opts: pulumi.ResourceOptions) -> None:
        """Ask for *posture*; *settle_s* bounds the wait for Azure, in seconds."""
        super().__init__(
            TargetPostureProvider(),
            name,
            {
                "targetId": posture.target_id,
                "persistence": posture.persistence,
                "accountId": posture.account_id,
                "frequencyMinutes": posture.frequency_minutes,
                "snapshots": posture.snapshots,
                "notifications": posture.notifications,
                "settleSeconds": settle_s,
            },
            opts,
        )
