"""Errors of Microsoft.ContainerInstance. What was seen of codes and texts is marked so; the others have their form."""

from __future__ import annotations

from localazure.arm.http import ArmError


class GroupNotFound(ArmError):
    """ARM's own answer for a container group that is not there."""

    def __init__(self, name: str, group: str) -> None:
        super().__init__(
            404,
            "ResourceNotFound",
            f"The Resource 'Microsoft.ContainerInstance/containerGroups/{name}' under resource group '{group}' was not "
            "found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        )


class ContainerNotFound(ArmError):
    """The group has no such container."""

    def __init__(self, container: str, name: str) -> None:
        super().__init__(
            404, "ContainerNotFound", f"The container '{container}' in container group '{name}' was not found."
        )


class Transitioning(ArmError):
    """The group is being made (code and text as seen)."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            "ContainerGroupTransitioning",
            f"The container group '{name}' is still transitioning, please retry later.",
        )


class InvalidName(ArmError):
    """A name that no container group or container can have."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(
            400,
            "InvalidContainerGroupName" if what == "container group" else "InvalidContainerName",
            f"The {what} name '{name}' is invalid. It must have 1 to 63 lower-case letters, digits and hyphens, with "
            "no hyphen at either end and no two hyphens in a row.",
        )


class InvalidOsType(ArmError):
    """No operating system, or one that does not exist (code and text as seen)."""

    def __init__(self) -> None:
        super().__init__(
            400,
            "InvalidOsType",
            "The 'osType' for container group '<null>' is invalid. The value must be one of 'Windows,Linux'.",
        )


class RequestsNotSpecified(ArmError):
    """A container without CPU and memory (code and text as seen, "contain group" too)."""

    def __init__(self, container: str, name: str) -> None:
        super().__init__(
            400,
            "ResourceRequestsNotSpecified",
            f"The resource requests are not specified in container '{container}' of contain group '{name}'. Both "
            "memory and CPU requests are required since API version '2017-07-01-preview'.",
        )


class LimitsLessThanRequests(ArmError):
    """A limit below what is asked for (code as seen)."""

    def __init__(self, container: str, name: str, which: str) -> None:
        super().__init__(
            400,
            "ResourceLimitsLessThanRequests",
            f"The resource requirement in container '{container}' of contain group '{name}' is invalid. The '{which}' "
            "limit value must be greater than or equal to the request value.",
        )


class NotAvailable(ArmError):
    """More than a region gives one group (text as seen)."""

    def __init__(self, location: str, cpu: float, memory_gb: float) -> None:
        super().__init__(
            409,
            "ServiceUnavailable",
            f"The requested resource is not available in the location '{location}' at this moment. Please retry with a "
            f"different resource request or in another location. Resource requested: '{cpu:g}' CPU '{memory_gb:g}' GB "
            "memory 'Linux' OS",
        )


class InvalidUpdate(ArmError):
    """What can be changed only by deleting the group (text as seen)."""

    def __init__(self, name: str) -> None:
        super().__init__(
            400,
            "InvalidContainerGroupUpdate",
            f"The updates on container group '{name}' are invalid. If you are going to update the os type, restart "
            "policy, network profile, CPU, memory or GPU resources for a container group, you must delete it first and "
            "then create a new one.",
        )


class InvalidProperty(ArmError):
    """A value that is missing or not allowed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(400, code, message)
