"""Endpoint: where applications are sent; changing it is the cut-over."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.dynamic import Provider, told
from redismove.steps.cutover import Cutover, publish, switch


class EndpointProvider(Provider):
    """Publishes the source at first; a change of side is the cut-over, forward or back, and can be run again."""

    significant = ("active", "sourceId", "targetId", "file", "requestedAt")

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Send applications to the side that is asked for."""
        asked = Cutover(
            source_id=news["sourceId"],
            target_id=news["targetId"],
            endpoint_file=news["file"],
            limit_s=news["limitSeconds"],
            hold_ms=int(news["holdMilliseconds"]),
            hold=news["hold"],
            accept_open_fence=bool(news.get("acceptOpenFence")),
            carry=bool(news["carry"]),
            count_loss=bool(news.get("countLoss")),
            write_both=bool(news.get("writeBoth")),
        )
        if news["active"] == "source" and (olds is None or olds.get("active") == "source"):
            return {"cutover": (olds or {}).get("cutover") or {}, **publish(asked, tell=told)}
        return switch(asked, to=news["active"], tell=told)

    def identity(self, news: dict[str, Any]) -> str:
        """The file is the thing: one Endpoint a file."""
        return f"Endpoint:{news['file']}"


class Endpoint(Resource, name="Endpoint", module="redismove"):
    """
    The Endpoint that applications read. It stays when the stack is removed: applications still need it.

    Outputs: `host`, `port`, `tls`, `resourceId` of the cache in use, and `cutover`, what the last cut-over recorded.
    """

    host: pulumi.Output[str]
    port: pulumi.Output[float]
    resourceId: pulumi.Output[str]  # noqa: N815 - the name of the output
    cutover: pulumi.Output[dict[str, Any] | None]

    def __init__(
        self,
        name: str,
        *,
        active: str,
        source_id: str,
        target_id: str,
        file: str,
        carry: bool,
        count_loss: bool,
        write_both: bool,
        limit_s: float,
        hold_ms: int,
        hold: str,
        accept_open_fence: bool,
        requested_at_s: float,
        opts: pulumi.ResourceOptions,
    ) -> None:
        """
        Declare that applications use side *active* ("source" or "target").

        *file* is the Endpoint document. *carry* says whether the cut-over carries data (all but new-cache do);
        with *count_loss* one to the target only counts what the target lacks (rdb without catch-up); with *write_both*
        one back to the source has applications write to both caches again (dual-write).
        *limit_s* bounds everything before the switch, *hold_ms* how long writes are held, *hold* is "auto",
        "pause-write" or "fence"; with *accept_open_fence* a source that neither can hold is only cut.
        *requested_at_s* (Unix time) changes where the document must be put right though the side stays.
        """
        super().__init__(
            EndpointProvider(),
            name,
            {
                "active": active,
                "sourceId": source_id,
                "targetId": target_id,
                "file": file,
                "carry": carry,
                "countLoss": count_loss,
                "writeBoth": write_both,
                "limitSeconds": limit_s,
                "holdMilliseconds": hold_ms,
                "hold": hold,
                "acceptOpenFence": accept_open_fence,
                "requestedAt": requested_at_s,
                "host": None,
                "port": None,
                "tls": None,
                "resourceId": None,
                "cutover": None,
            },
            opts,
        )
