"""Errors of Microsoft.Cache: codes and sentences as they were seen of the real service (facts: 3.4)."""

from __future__ import annotations

import uuid

from localazure.arm.http import ArmError


def _with_request_id(message: str) -> str:
    return f"{message}\r\nRequestID={uuid.uuid4()}"


class InvalidParameter(ArmError):
    """A value that is not allowed."""

    def __init__(self, parameter: str, detail: str = "") -> None:
        message = f"The value of the parameter '{parameter}' is invalid."
        super().__init__(400, "InvalidRequestBody", _with_request_id(f"{message} {detail}".rstrip()), target=parameter)


class BadRequest(ArmError):
    """What the service does not do in this state or on this tier."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "BadRequest", _with_request_id(message))


class SasUnusable(ArmError):
    """A signed address that an export or import cannot be begun with (code and form as seen of the real service)."""

    def __init__(self, reason: str) -> None:
        message = f"One of the SAS URIs provided could not be used for the following reason: {reason}"
        super().__init__(400, "InvalidRequestBody", _with_request_id(message))


class LinkRefused(ArmError):
    """A geo-replication link that Azure does not make; the reason stands inside the message."""

    def __init__(self, reason: str) -> None:
        inner = f"ExternalReplication request failed with errorcode: BadRequest and message: {reason}"
        message = f"The value of the parameter '{inner}' is invalid."
        super().__init__(400, "InvalidRequestBody", _with_request_id(message), target="linkedServers")


class Busy(ArmError):
    """Another management operation is under way on the cache."""

    def __init__(self, cache_id: str) -> None:
        super().__init__(
            409,
            "Conflict",
            _with_request_id(
                f"The resource '{cache_id}' is busy processing a previous update request or is undergoing system "
                "maintenance. As such, it is currently unable to accept the update request. Please try again later."
            ),
        )


class NameNotAvailable(ArmError):
    """The name is taken; cache names are unique in the whole cloud."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            "NameNotAvailable",
            _with_request_id(
                "An error occurred when trying to reserve the DNS name for the cache. The name may already be in use: "
                f"'{name}' is not available."
            ),
        )


class SettingNotAllowed(BadRequest):
    """A redisConfiguration setting that the tier does not have."""

    def __init__(self, setting: str, tier: str) -> None:
        super().__init__(f"The setting '{setting}' is not allowed on '{tier}' cache instances.")


class SkuFamilyNotSupported(BadRequest):
    """Tier, family and capacity that do not go together, or a step between tiers that does not exist."""

    def __init__(self) -> None:
        super().__init__("Exception of type 'AzCacheRP.Exceptions.SkuFamilyNotSupportedException' was thrown.")


class Retiring(BadRequest):
    """No new caches where the product retires."""

    def __init__(self) -> None:
        super().__init__("Azure Cache for Redis is retiring, create Azure Managed Redis instance instead")


class ResourceNotFound(ArmError):
    """ARM's own answer for a resource that is not there."""

    def __init__(self, resource: str, group: str) -> None:
        super().__init__(
            404,
            "ResourceNotFound",
            f"The Resource '{resource}' under resource group '{group}' was not found. For more details please go to "
            "https://aka.ms/ARMResourceNotFoundFix",
        )
