"""BulkCopy: every key of the source, copied to the target."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.dynamic import Provider, told
from redismove.errors import RedismoveError
from redismove.facts import to_dict
from redismove.steps.bulk_copy import bulk_copy
from redismove.steps.copy_job import wait_for_copy_job, withdraw_permit


class BulkCopyProvider(Provider):
    """Copies once, or waits for the job that does; killed it goes on, and leaving the state undoes nothing."""

    significant = ("sourceId", "targetId")

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Copy now, or wait for the job."""
        del olds
        if news["jobGroupId"]:
            done = wait_for_copy_job(
                news["sourceId"],
                news["targetId"],
                group_id=news["jobGroupId"],
                attempt=news["attempt"],
                endpoint_file=news["endpointFile"],
                silence_s=news["silenceSeconds"],
                tell=told,
            )
        else:
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

    def undo(self, olds: dict[str, Any]) -> None:
        """Send the job away; its container group goes after this. A target that refuses does not stop the way back."""
        if not olds.get("jobGroupId"):
            return
        try:
            withdraw_permit(olds["targetId"])
        except RedismoveError as error:
            told(f"the permit of the copy job was not withdrawn: {error}")


class BulkCopy(Resource, name="BulkCopy", module="redismove"):
    """
    The copy of the method `copy`, inside the update or by a job that the update waits for.

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
        job_group_id: pulumi.Input[str],
        attempt: str,
        silence_s: float,
        opts: pulumi.ResourceOptions,
    ) -> None:
        """
        Copy from *source_id* to *target_id*; *checkpoint* is the file to go on from.

        With a *job_group_id* the container group of that id copies, as *attempt* of this move, and is waited for until
        nothing is heard of it for *silence_s* seconds.
        """
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
                "jobGroupId": job_group_id,
                "attempt": attempt,
                "silenceSeconds": silence_s,
            },
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="72h", update="72h"))
            ),
        )
