"""How the long-running operations of a container group are carried on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localazure.operations import OperationRecord, Operations

if TYPE_CHECKING:
    from localazure.azure import Azure


def register(operations: Operations) -> None:
    """Make the kinds of this room known."""
    operations.register("container_group", Deploy())


class Deploy:
    """Starts the containers of a group that is new or was changed."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Start what does not run; the group may be gone by now."""
        group = azure.world.container_groups.get(operation.subject["group"])
        if group is not None:
            await azure.containers.start(group)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The group is there."""
        self._end(azure, operation, "Succeeded")

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The group is there, and failed."""
        self._end(azure, operation, "Failed")

    def _end(self, azure: Azure, operation: OperationRecord, state: str) -> None:
        group = azure.world.container_groups.get(operation.subject["group"])
        if group is not None and group.operation_id == operation.id:
            group.provisioning_state = state
            group.operation_id = None
