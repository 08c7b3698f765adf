"""Copying key by key: that the copy was complete, and what a large one needs."""

from __future__ import annotations

from typing import Final

from redismove import stages
from redismove.facts import CacheFacts, Move
from redismove.rules import pages
from redismove.rules.model import Broken, Level, Rule
from redismove.rules.subjects import (
    absent,
    carried,
    gigabytes,
    known,
    listed,
    source_called,
    subscription_of,
    target_called,
    targets,
)

_COPY: Final = frozenset({stages.COPY})
_JOB_STAGES: Final = frozenset({stages.PREPARE, stages.REPLICATE})
MOST_CPU: Final = 4.0
MOST_MEMORY_GB: Final = 16.0
"""Of a container group by default, in a virtual network too (Resource availability and quota limits for ACI)."""
LARGE_BYTES: Final = 10 * 1024**3
"""Above this a copy is better run near the source than inside `pulumi up`: it takes minutes."""


def _complete(move: Move) -> Broken | None:
    called = f"the copy of {source_called(move)}"
    again = "go back to replicate, which goes on where it was: `pulumi config set redismove:stage replicate`"
    if not carried(move):
        return Broken(thing=called, found="not finished", allowed=f"all keys in {target_called(move)}", cure=again)
    record = known(move.carried)
    if record.keys_written >= record.keys_read:
        return None
    return Broken(
        thing=called,
        found=f"{record.keys_written} of {record.keys_read} keys written",
        allowed="as many as were read",
        cure=again,
    )


def _near_source(move: Move) -> Broken | None:
    used = known(move.source).used_memory_bytes
    if used is None or used <= LARGE_BYTES:
        return None
    return Broken(
        thing=source_called(move),
        found=f"{gigabytes(used)} of data",
        allowed=f"{gigabytes(LARGE_BYTES)} or less for a copy from where `pulumi up` runs",
        cure="run the copy as a job in the source's region: name an image in redismove:copyJob.image",
    )


def _has_job(move: Move) -> bool:
    return move.copy_job is not None and move.source is not None and not carried(move)


def _in_the_region(move: Move) -> Broken | None:
    source, job = known(move.source), known(move.copy_job)
    for name, location in [(job.name, job.location), *((group.name, group.location) for group in move.copy_groups)]:
        if location != source.location:
            return Broken(
                thing=f'container group "{name}" of the copy',
                found=f"region {location}",
                allowed=f"{source.location}, the region of {source_called(move)}",
                cure="delete that container group, and run the same command again",
            )
    return None


def _closed(cache: CacheFacts) -> str:
    """Say what keeps a container without a subnet out, "" where nothing does."""
    if cache.subnet_id:
        return "a cache in a virtual network"
    if cache.public_network_access == "Disabled":
        return "a cache without public network access"
    for_all = any((rule.start_ip, rule.end_ip) == ("0.0.0.0", "255.255.255.255") for rule in cache.firewall_rules)
    return "firewall rules" if cache.firewall_rules and not for_all else ""


def _reaches_both(move: Move) -> Broken | None:
    source, job = known(move.source), known(move.copy_job)
    inside = "or copy from where `pulumi up` runs: redismove:copyJob.where inside"
    if job.subnet_id and subscription_of(job.subnet_id) != job.subscription_id.lower():
        return Broken(
            thing="redismove:copyJob.subnetId",
            found=f"a subnet in subscription {subscription_of(job.subnet_id)}",
            allowed=f"one in {job.subscription_id}, where the container group is",
            cure=f"name a subnet of that subscription in {source.location}, {inside}",
        )
    if job.subnet_id:
        return None
    for called, cache in ((source_called(move), source), *targets(move)):
        why = _closed(cache)
        if why:
            return Broken(
                thing=called,
                found=f"{why}, and a copy job without a subnet, whose addresses nobody knows beforehand",
                allowed="a copy job in a subnet from which both caches can be reached",
                cure=f"name one in {source.location} in redismove:copyJob.subnetId, {inside}",
            )
    return None


def _size_of_job(move: Move) -> Broken | None:
    job = known(move.copy_job)
    for key, found, most, unit in (
        ("cpu", job.cpu, MOST_CPU, "CPUs"),
        ("memoryGb", job.memory_gb, MOST_MEMORY_GB, "GB of memory"),
    ):
        if not 1 <= found <= most:
            return Broken(
                thing=f"redismove:copyJob.{key}",
                found=f"{found:g} {unit}",
                allowed=f"1 to {most:g}",
                cure=f"change it with `pulumi config set --path redismove:copyJob.{key}`",
            )
    return None


def _job_signs_in(move: Move) -> Broken | None:
    for called, cache in ((source_called(move), known(move.source)), *targets(move)):
        if cache.access_keys_disabled:
            return Broken(
                thing=called,
                found="sign-in by access keys disabled, and a copy job, which has nothing else",
                allowed="access keys, or a copy inside the update, which signs in by Entra",
                cure="copy from where `pulumi up` runs: redismove:copyJob.where inside",
            )
    return None


def _job_is_gone(move: Move) -> Broken | None:
    if not move.copy_groups:
        return None
    return Broken(
        thing=f"the copy of {source_called(move)}",
        found=f"container groups that are still there: {listed([group.name for group in move.copy_groups])}",
        allowed="none: a copy that wrote on would write over what applications write",
        cure="take stage verify again, which deletes what this stack declared, and delete others in the portal",
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-C01",
        title="the copy is complete before it is verified",
        source=pages.article("Automate the copying of data; the copy process could take a while to complete."),
        methods=_COPY,
        stages=frozenset({stages.VERIFY}),
        check=_complete,
    ),
    Rule(
        id="RM-C02",
        title="a large copy runs near the source",
        source=pages.article(
            "Create a VM in the region of the existing cache; a powerful one if the dataset is large."
        ),
        methods=_COPY,
        stages=frozenset({stages.PREPARE, stages.REPLICATE}),
        applies=lambda move: absent(move.copy_job) and not absent(move.source) and not carried(move),
        check=_near_source,
        level=Level.ADVISORY,
        severity="low",
    ),
    Rule(
        id="RM-C03",
        title="the copy job runs in the source's region",
        source=pages.article(
            "Create a VM in the region of the existing cache; a powerful one if the dataset is large."
        ),
        methods=_COPY,
        stages=_JOB_STAGES,
        applies=_has_job,
        check=_in_the_region,
    ),
    Rule(
        id="RM-C04",
        title="the copy job can reach both caches",
        source=pages.container_networks(
            "Containers in a subnet communicate with other resources in the virtual network; the subnet and the "
            "container group must be in the same subscription."
        ),
        methods=_COPY,
        stages=_JOB_STAGES,
        applies=_has_job,
        check=_reaches_both,
    ),
    Rule(
        id="RM-C05",
        title="the copy job is of a size that Azure gives a container group",
        source=pages.container_quotas("Linux container groups: at most 4 CPU and 16 GB, in a virtual network too."),
        methods=_COPY,
        stages=_JOB_STAGES,
        applies=_has_job,
        check=_size_of_job,
    ),
    Rule(
        id="RM-C06",
        title="the copy job is gone before applications use the target",
        source=pages.article("Automate the copying of data; the copy process could take a while to complete."),
        methods=_COPY,
        stages=frozenset({stages.CUTOVER, stages.RETIRE, stages.CLEANUP}),
        check=_job_is_gone,
        severity="critical",
    ),
    Rule(
        id="RM-C07",
        title="the copy job can sign in to both caches",
        source=pages.entra("disableAccessKeyAuthentication leaves Microsoft Entra as the only sign-in."),
        methods=_COPY,
        stages=_JOB_STAGES,
        applies=_has_job,
        check=_job_signs_in,
    ),
)
