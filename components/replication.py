"""Which component carries the data, by method: the only place where a method has a component."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pulumi

from components.bulk_copy import BulkCopy
from components.copy_job import CopyJob
from components.dual_write import DualWriteWindow
from components.geo_replication_link import GeoReplicationLink
from components.guards import Guards
from components.rdb_transfer import RdbTransfer
from redismove import stages
from redismove.steps.rdb import Transfer
from redismove.steps.survey import Survey

Declare = Callable[[Survey, Guards, Sequence[pulumi.Resource], pulumi.ResourceOptions], list[pulumi.Resource]]


def _geo_replication(
    survey: Survey, guards: Guards, needs: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    move = survey.move
    assert move.source is not None, "the rules of replicate ask for the source"
    assert move.declared_target is not None, "the rules of replicate ask for the target"
    link = GeoReplicationLink(
        "geo-replication",
        move.source,
        move.declared_target,
        live=move.link,
        settle_s=survey.settings.settle_minutes * 60,
        hooks=guards.link,
        needs=needs,
        opts=opts,
    )
    return [link.link, link.ready]


def _copy(
    survey: Survey, guards: Guards, needs: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    del guards  # a job is not what a move could lose
    copy = survey.settings.copy_limits
    job = None
    if survey.move.copy_job is not None and survey.move.stage == stages.REPLICATE:
        job = CopyJob("copy-job", survey, needs=needs, opts=opts)
    done = BulkCopy(
        "bulk-copy",
        survey.move.source_id,
        survey.move.target_id,
        checkpoint=f".redismove/copy-{survey.move.stack}.json",
        endpoint_file=survey.endpoint_document,
        keys_per_s=copy.keys_per_second,
        mb_per_s=copy.megabytes_per_second,
        job_group_id=job.group.id if job is not None else "",
        attempt=survey.attempt,
        silence_s=survey.settings.settle_minutes * 60,
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(depends_on=[*needs, *([job.group] if job is not None else [])])
        ),
    )
    return [done]


def _rdb(
    survey: Survey, guards: Guards, needs: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    del guards  # its files are not what a move could lose
    move, storage = survey.move, survey.settings.storage
    done = RdbTransfer(
        "rdb-transfer",
        Transfer(
            source_id=move.source_id,
            target_id=move.target_id,
            source_account=storage.source,
            target_account=storage.target,
            container=storage.container,
            move_id=survey.move_id,
            attempt=survey.attempt,
            endpoint_file=survey.endpoint_document,
            by_identity=move.consent.managed_identity,
            erases_foreign=not move.target_made_by_stack,
            keep_blobs=storage.keep_blobs,
            timeout_s=survey.settings.settle_minutes * 60,
        ),
        remove_files=move.stage == stages.CLEANUP,
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=list(needs))),
    )
    return [done]


def _dual_write(
    survey: Survey, guards: Guards, needs: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    del guards  # nothing of it is ever deleted in Azure
    window = DualWriteWindow(
        "dual-write",
        survey.move.source_id,
        survey.move.target_id,
        endpoint_file=survey.endpoint_document,
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=list(needs))),
    )
    return [window]


_BY_METHOD: dict[str, Declare] = {
    stages.GEO_REPLICATION: _geo_replication,
    stages.COPY: _copy,
    stages.RDB: _rdb,
    stages.DUAL_WRITE: _dual_write,
}


def declare_replication(
    survey: Survey, guards: Guards, needs: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Declare what carries the data by the method of *survey*; return what the evidence depends on."""
    return _BY_METHOD[survey.move.method](survey, guards, needs, opts)
