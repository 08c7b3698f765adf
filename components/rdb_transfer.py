"""RdbTransfer: the source's data, exported to blobs, copied to the target's region and imported there."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.dynamic import Provider, told
from redismove.azure.caches import same
from redismove.errors import RedismoveError
from redismove.steps.rdb import Transfer, remove_files, transfer


def _asked(inputs: dict[str, Any]) -> Transfer:
    return Transfer(
        source_id=inputs["sourceId"],
        target_id=inputs["targetId"],
        source_account=inputs["sourceAccount"],
        target_account=inputs["targetAccount"],
        container=inputs["container"],
        move_id=inputs["moveId"],
        attempt=inputs["attempt"],
        endpoint_file=inputs["endpointFile"],
        by_identity=bool(inputs["byIdentity"]),
        erases_foreign=bool(inputs["erasesForeign"]),
        keep_blobs=bool(inputs["keepBlobs"]),
        timeout_s=inputs["timeoutSeconds"],
    )


class RdbTransferProvider(Provider):
    """Brings the data over once and deletes the files when they are no longer needed; both can be run again."""

    significant = ("sourceId", "targetId", "removeFiles", "keepBlobs")

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Bring the data over; where that is done already, only delete the files if that is asked for."""
        done = (olds or {}).get("carried")
        moved = done and same(done["source_id"], news["sourceId"]) and same(done["target_id"], news["targetId"])
        result = (
            {name: (olds or {}).get(name) for name in ("carried", "files", "bytes", "kept")}
            if moved
            else transfer(_asked(news), tell=told)
        )
        if news["removeFiles"]:
            remove_files(_asked(news), tell=told)
        return result

    def undo(self, olds: dict[str, Any]) -> None:
        """Delete the files: the next transfer makes new ones. Storage that refuses does not stop the way back."""
        try:
            remove_files(_asked(olds), tell=told)
        except RedismoveError as error:
            told(f"the files of the export were not deleted: {error}")


class RdbTransfer(Resource, name="RdbTransfer", module="redismove"):
    """
    The transfer of the method `rdb`, inside the update.

    What is written to the source after the export began is carried over by `verify` and, to the last write, by the
    cut-over. Outputs: `carried`, `files`, `bytes`, and `kept`, the files with what a target held before.
    """

    def __init__(self, name: str, asked: Transfer, *, remove_files: bool, opts: pulumi.ResourceOptions) -> None:
        """Do what *asked* says; *remove_files*: the files are no longer needed."""
        super().__init__(
            RdbTransferProvider(),
            name,
            {
                "sourceId": asked.source_id,
                "targetId": asked.target_id,
                "sourceAccount": asked.source_account,
                "targetAccount": asked.target_account,
                "container": asked.container,
                "moveId": asked.move_id,
                "attempt": asked.attempt,
                "endpointFile": asked.endpoint_file,
                "byIdentity": asked.by_identity,
                "erasesForeign": asked.erases_foreign,
                "keepBlobs": asked.keep_blobs,
                "timeoutSeconds": asked.timeout_s,
                "removeFiles": remove_files,
            },
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="24h", update="24h"))
            ),
        )
