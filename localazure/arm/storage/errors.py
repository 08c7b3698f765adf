"""Errors of Microsoft.Storage, in its own codes."""

from __future__ import annotations

from localazure.arm.http import ArmError


class InvalidAccountName(ArmError):
    """A name that no storage account can have."""

    def __init__(self, name: str) -> None:
        super().__init__(
            400,
            "AccountNameInvalid",
            f"{name} is not a valid storage account name. Storage account name must be between 3 and 24 characters in "
            "length and use numbers and lower-case letters only.",
        )


class AccountTaken(ArmError):
    """Names are unique in the whole cloud."""

    def __init__(self, name: str) -> None:
        super().__init__(409, "StorageAccountAlreadyTaken", f"The storage account named {name} is already taken.")


class AccountNotFound(ArmError):
    """ARM's own answer for an account that is not there."""

    def __init__(self, name: str, group: str) -> None:
        super().__init__(
            404,
            "ResourceNotFound",
            f"The Resource 'Microsoft.Storage/storageAccounts/{name}' under resource group '{group}' was not found. "
            "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        )


class InvalidValue(ArmError):
    """A value that is not allowed."""

    def __init__(self, name: str, allowed: str) -> None:
        super().__init__(
            400, "InvalidValuesForRequestParameters", f"Values for request parameters are invalid: {name}. {allowed}"
        )


class ContainerNotFound(ArmError):
    """The account has no such container."""

    def __init__(self) -> None:
        super().__init__(404, "ContainerNotFound", "The specified container does not exist.")


class StillCreating(ArmError):
    """The account is not ready yet."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            "StorageAccountIsNotProvisioned",
            f"The storage account provisioning state must be 'Succeeded' before executing the operation ({name}).",
        )
