"""Errors of ARM itself about subscriptions and groups."""

from __future__ import annotations

from localazure.arm.http import ArmError


class SubscriptionNotFound(ArmError):
    """No such subscription for this principal."""

    def __init__(self, subscription_id: str) -> None:
        super().__init__(404, "SubscriptionNotFound", f"The subscription '{subscription_id}' could not be found.")


class ResourceGroupNotFound(ArmError):
    """No such resource group."""

    def __init__(self, name: str) -> None:
        super().__init__(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


class ResourceGroupBeingDeleted(ArmError):
    """The group is going; nothing can be made in it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            "ResourceGroupBeingDeleted",
            f"The resource group '{name}' is in deprovisioning state and cannot perform this operation.",
        )


class LocationNotAvailable(ArmError):
    """A region that does not exist, or is written wrongly."""

    def __init__(self, location: str, resource_type: str, known: list[str]) -> None:
        super().__init__(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{location}' is not available for resource type '{resource_type}'. List of "
            "available "
            f"regions for the resource type is '{','.join(known)}'.",
        )
