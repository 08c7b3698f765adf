"""BulkCopy: every key of the source, copied to the target."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.dynamic import Provider, told
from redismove.facts import to_dict
from redismove.steps.bulk_copy import bulk_copy


class BulkCopyProvider(Provider):
    """Copies once; a killed copy goes on from its checkpoint, leaving the state undoes nothing."""

    significant = ("sourceId", "targetId")

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Copy now."""
        del olds
        done = bulk_copy(
            news["sourceId"],
            news["targetId"],
            checkpoint=news["checkpoint"],
            endpoint_file=news["endpointFile"],
            keys_per_s=news.get("keysPerSecond"),
            mb_per_s=news.get("megabytesPerSecond"),
            tell=told,
        )
        return {"carried": to_dict(done)}


class BulkCopy(Resource, name="BulkCopy", module="redismove"):
    """
    The copy of the method `copy`, inside the update.

    What changes on the source afterwards is carried over by `verify` and, to the last write, by the cut-over.
    """

    def __init__(
        self,
        name: str,
        source_id: str,
        target_id: str,
        *,
        checkpoint: str,
        endpoint_file: str,
        keys_per_s: float | None,
        mb_per_s: float | None,
        opts: pulumi.ResourceOptions,
    ) -> None:
        """Copy from *source_id* to *target_id*; *checkpoint* is the file to go on from."""
        super().__init__(
            BulkCopyProvider(),
            name,
            {
                "sourceId": source_id,
                "targetId": target_id,
                "checkpoint": checkpoint,
                "endpointFile": endpoint_file,
                "keysPerSecond": keys_per_s,
                "megabytesPerSecond": mb_per_s,
            },
            opts,
        )
