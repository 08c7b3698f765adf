"""CopyJob: a container group in the source's region that copies; BulkCopy waits for it."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_azure_native import containerinstance

from redismove.dataplane.copy_job import ORDER_VARIABLE, SOURCE_PASSWORD_VARIABLE, TARGET_PASSWORD_VARIABLE
from redismove.rules.subjects import carried
from redismove.steps.copy_job import COMMAND, CONTAINER, order_of
from redismove.steps.survey import Survey
from redismove.target import MOVE_TAG


class CopyJob(pulumi.ComponentResource):
    """
    The job of one attempt to copy. It is declared at `replicate` alone: `verify` deletes it.

    The access keys are secret values of its environment: Azure never shows them, and the state has them encrypted.
    """

    group: containerinstance.ContainerGroup

    def __init__(
        self, name: str, survey: Survey, *, needs: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the job that *survey* found to be needed. *needs* must be there first: both caches."""
        super().__init__("redismove:index:CopyJob", name, None, opts)
        move, settings = survey.move, survey.settings
        job, source, target = move.copy_job, move.source, move.target or move.declared_target
        assert job is not None, "the survey says where the copy runs"
        assert source is not None, "the rules of replicate ask for the source"
        assert target is not None, "the rules of replicate ask for the target"
        limits, asked = settings.copy_limits, settings.copy_job
        given = order_of(
            source,
            target,
            attempt=survey.attempt,
            keys_per_s=limits.keys_per_second,
            mb_per_s=limits.megabytes_per_second,
        )
        there = next((group for group in move.copy_groups if group.name == job.name), None)
        self.group = containerinstance.ContainerGroup(
            "copy-job-group",
            resource_group_name=source.resource_group,
            container_group_name=job.name,
            location=job.location,
            tags={MOVE_TAG: survey.move_id},
            os_type=containerinstance.OperatingSystemTypes.LINUX,
            restart_policy=containerinstance.ContainerGroupRestartPolicy.ON_FAILURE,
            containers=[
                containerinstance.ContainerArgs(
                    name=CONTAINER,
                    image=job.image,
                    command=list(COMMAND),
                    resources=containerinstance.ResourceRequirementsArgs(
                        requests=containerinstance.ResourceRequestsArgs(cpu=job.cpu, memory_in_gb=job.memory_gb)
                    ),
                    environment_variables=[
                        _variable(ORDER_VARIABLE, given.order),
                        _secret(SOURCE_PASSWORD_VARIABLE, given.source_key.reveal()),
                        _secret(TARGET_PASSWORD_VARIABLE, given.target_key.reveal()),
                    ],
                )
            ],
            subnet_ids=[containerinstance.ContainerGroupSubnetIdArgs(id=job.subnet_id)] if job.subnet_id else None,
            identity=containerinstance.ContainerGroupIdentityArgs(
                type=containerinstance.ResourceIdentityType.USER_ASSIGNED,
                user_assigned_identities=[asked.registry_identity],
            )
            if asked.registry_identity
            else None,
            image_registry_credentials=[
                containerinstance.ImageRegistryCredentialArgs(server=asked.registry, identity=asked.registry_identity)
            ]
            if asked.registry_identity
            else None,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(needs),
                import_=there.id if there is not None else None,
                # A change restarts the container. A finished copy needs no new keys; one that was made by a killed
                # update cannot be compared with what is declared, as Azure does not show its secrets.
                ignore_changes=["*"] if carried(move) or (there is not None and not survey.recorded.copy_where) else [],
                delete_before_replace=True,
                custom_timeouts=pulumi.CustomTimeouts(create="1h", update="1h", delete="1h"),
            ),
        )
        self.register_outputs({"id": self.group.id})


def _variable(name: str, value: str) -> containerinstance.EnvironmentVariableArgs:
    return containerinstance.EnvironmentVariableArgs(name=name, value=value)


def _secret(name: str, value: str) -> containerinstance.EnvironmentVariableArgs:
    return containerinstance.EnvironmentVariableArgs(name=name, secure_value=pulumi.Output.secret(value))
