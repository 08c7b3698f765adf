"""How the long-running operations of a storage account are carried on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localazure.errors import LocalAzureError
from localazure.operations import OperationFailed, OperationRecord, Operations

if TYPE_CHECKING:
    from localazure.azure import Azure


def register(operations: Operations) -> None:
    """Make the kinds of this room known."""
    operations.register("storage", CreateAccount())


class CreateAccount:
    """Makes Azurite know a new account."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Start Azurite, or start it again, with the account."""
        del operation
        try:
            await azure.serve_blobs()
        except LocalAzureError as error:
            raise OperationFailed("StorageAccountOperationFailed", str(error)) from None

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The account is ready."""
        account = azure.world.storage_accounts[operation.subject["account"]]
        account.provisioning_state = "Succeeded"
        account.operation_id = None

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """There is no account."""
        azure.world.storage_accounts.pop(operation.subject["account"], None)
