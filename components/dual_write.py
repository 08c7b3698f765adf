"""DualWriteWindow: applications write to both caches while it is declared."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.dynamic import Provider, told
from redismove.facts import to_dict
from redismove.steps.dual_write_window import close_window, open_window


class DualWriteWindowProvider(Provider):
    """Opens the window through the Endpoint; leaving the state closes it."""

    significant = ("sourceId", "targetId")

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Open the window."""
        del olds
        opened = open_window(news["sourceId"], news["targetId"], endpoint_file=news["endpointFile"], tell=told)
        return {"carried": to_dict(opened)}

    def undo(self, olds: dict[str, Any]) -> None:
        """Close it."""
        close_window(olds["sourceId"], endpoint_file=olds["endpointFile"])


class DualWriteWindow(Resource, name="DualWriteWindow", module="redismove"):
    """
    The window of the method `dual-write`. The cut-over ends it by sending applications to the target alone.

    Applications need `redismove.dual_write`; what they did not write to both is carried by `verify` and the cut-over.
    """

    def __init__(
        self, name: str, source_id: str, target_id: str, *, endpoint_file: str, opts: pulumi.ResourceOptions
    ) -> None:
        """Have applications that follow *endpoint_file* write to both caches."""
        super().__init__(
            DualWriteWindowProvider(),
            name,
            {"sourceId": source_id, "targetId": target_id, "endpointFile": endpoint_file},
            opts,
        )
