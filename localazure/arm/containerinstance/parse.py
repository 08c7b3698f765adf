"""
What a container group's body may say.

Sources: "Azure Container Instances resource availability and quota limits" (60 containers a group, 4 CPU and 16 GB),
"Update containers in Azure Container Instances", "Virtual network scenarios and resources" (subnet and group in one
subscription; no probes), naming rules of Microsoft.ContainerInstance, and error texts that users reported.
"""

from __future__ import annotations

import re
from typing import Any

from localazure.arm.containerinstance.errors import (
    InvalidName,
    InvalidOsType,
    InvalidProperty,
    LimitsLessThanRequests,
    NotAvailable,
    RequestsNotSpecified,
)
from localazure.arm.containerinstance.models import RESTART_POLICIES, ContainerGroupRecord, ContainerRecord, Variable
from localazure.arm.http import NotModelled

MOST_CONTAINERS = 60
MOST_CPU = 4.0
MOST_MEMORY_GB = 16.0

_NAME = re.compile(r"(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUBNET = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+"
    r"/subnets/[^/]+",
    re.IGNORECASE,
)
_OF_GROUP = (
    *("volumes", "initContainers", "diagnostics", "dnsConfig", "encryptionProperties", "extensions", "ipAddress"),
    *("confidentialComputeProperties", "containerGroupProfile", "standbyPoolProfile"),
)
_OF_CONTAINER = ("volumeMounts", "livenessProbe", "readinessProbe", "securityContext", "ports", "configMap")


def parse_group(
    body: dict[str, Any], *, subscription_id: str, group: str, name: str, location: str
) -> ContainerGroupRecord:
    """
    Read a PUT's body as a group that does not run yet.

    Raises:
        ArmError: what Azure refuses, or what this stand-in does not do (501).
    """
    if not _NAME.fullmatch(name):
        raise InvalidName("container group", name)
    properties = _object(body.get("properties"))
    if str(properties.get("osType")).lower() not in ("linux", "windows"):
        raise InvalidOsType
    if str(properties["osType"]).lower() == "windows":
        raise NotModelled("a container group of Windows")
    for key in _OF_GROUP:
        if properties.get(key):
            raise NotModelled(f"{key} of a container group")
    policy = properties.get("restartPolicy", "Always")
    if policy not in RESTART_POLICIES:
        raise InvalidProperty(
            "InvalidRestartPolicy",
            f"The restart policy '{policy}' for container group '{name}' is invalid. The value must be one of "
            f"'{','.join(RESTART_POLICIES)}'.",
        )
    given = properties.get("containers")
    if not isinstance(given, list) or not given:
        raise InvalidProperty("MissingContainers", f"The containers of container group '{name}' are not specified.")
    if len(given) > MOST_CONTAINERS:
        raise InvalidProperty(
            "TooManyContainers", f"Container group '{name}' has {len(given)} containers, at most {MOST_CONTAINERS}."
        )
    containers = [_container(_object(entry), name) for entry in given]
    names = [container.name for container in containers]
    if len(set(names)) != len(names):
        raise InvalidProperty("DuplicateContainerName", f"Container names in container group '{name}' are not unique.")
    cpu, memory_gb = sum(c.cpu for c in containers), sum(c.memory_gb for c in containers)
    if cpu > MOST_CPU or memory_gb > MOST_MEMORY_GB:
        raise NotAvailable(location, cpu, memory_gb)
    return ContainerGroupRecord(
        subscription_id=subscription_id,
        resource_group=group,
        name=name,
        location=location,
        tags={str(key): str(value) for key, value in _object(body.get("tags")).items()},
        zones=[str(zone) for zone in body.get("zones") or []],
        identity=body.get("identity"),
        restart_policy=policy,
        sku=str(properties.get("sku") or "Standard"),
        priority=str(properties.get("priority") or "Regular"),
        registries=[_registry(_object(entry), name) for entry in properties.get("imageRegistryCredentials") or []],
        subnet_ids=[_subnet(_object(entry), subscription_id) for entry in properties.get("subnetIds") or []],
        containers=containers,
    )


def _container(entry: dict[str, Any], group: str) -> ContainerRecord:
    name = str(entry.get("name") or "")
    if not _NAME.fullmatch(name):
        raise InvalidName("container", name)
    properties = _object(entry.get("properties"))
    for key in _OF_CONTAINER:
        if properties.get(key):
            raise NotModelled(f"{key} of a container")
    image = properties.get("image")
    if not isinstance(image, str) or not image.strip():
        raise InvalidProperty(
            "MissingImage", f"The 'image' in container '{name}' of container group '{group}' is not specified."
        )
    command = properties.get("command")
    if not command:
        raise NotModelled("a container without a command (no image is pulled: what it would run is not known)")
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise InvalidProperty("InvalidCommand", f"The command of container '{name}' is no list of words.")
    resources = _object(properties.get("resources"))
    requests, limits = _object(resources.get("requests")), _object(resources.get("limits"))
    cpu, memory_gb = _number(requests.get("cpu")), _number(requests.get("memoryInGB"))
    if not cpu or not memory_gb:
        raise RequestsNotSpecified(name, group)
    if requests.get("gpu") or limits.get("gpu"):
        raise NotModelled("a container with a GPU")
    cpu_limit, memory_limit_gb = _number(limits.get("cpu")), _number(limits.get("memoryInGB"))
    if cpu_limit is not None and cpu_limit < cpu:
        raise LimitsLessThanRequests(name, group, "Cpu")
    if memory_limit_gb is not None and memory_limit_gb < memory_gb:
        raise LimitsLessThanRequests(name, group, "MemoryInGB")
    return ContainerRecord(
        name=name,
        image=image,
        command=command,
        environment=_environment(properties.get("environmentVariables") or [], name),
        cpu=cpu,
        memory_gb=memory_gb,
        cpu_limit=cpu_limit,
        memory_limit_gb=memory_limit_gb,
    )


def _environment(given: list[Any], container: str) -> list[Variable]:
    found: dict[str, Variable] = {}
    for entry in map(_object, given):
        name = str(entry.get("name") or "")
        if not _VARIABLE.fullmatch(name):
            raise InvalidProperty(
                "InvalidEnvironmentVariable",
                f"The environment variable name '{name}' in container '{container}' is invalid.",
            )
        # A PUT with what a GET gave: the value of a secret is not known to it, and is empty then.
        value, secure = entry.get("value"), entry.get("secureValue")
        if value is not None and secure is not None:
            raise InvalidProperty(
                "InvalidEnvironmentVariable",
                f"The environment variable '{name}' in container '{container}' has both 'value' and 'secureValue'.",
            )
        if name in found:
            raise InvalidProperty(
                "DuplicateEnvironmentVariable",
                f"The environment variable '{name}' is given twice in container '{container}'.",
            )
        found[name] = Variable(
            name=name,
            value=None if secure is not None else str("" if value is None else value),
            secure_value=None if secure is None else str(secure),
        )
    return list(found.values())


def _registry(entry: dict[str, Any], group: str) -> dict[str, str]:
    server = str(entry.get("server") or "")
    if not server:
        raise InvalidProperty(
            "InvalidImageRegistryCredential", f"A registry credential of container group '{group}' names no server."
        )
    if not entry.get("identity") and not (entry.get("username") and entry.get("password")):
        raise InvalidProperty(
            "InvalidImageRegistryCredential",
            f"The credential for registry '{server}' of container group '{group}' has neither an identity nor a user "
            "name with a password.",
        )
    # The password is a secret: it never comes back, and there is nothing to log in to here.
    return {name: str(entry[name]) for name in ("server", "username", "identity") if entry.get(name)}


def _subnet(entry: dict[str, Any], subscription_id: str) -> dict[str, str]:
    subnet = str(entry.get("id") or "")
    match = _SUBNET.fullmatch(subnet)
    if match is None:
        raise InvalidProperty("InvalidSubnetId", f"'{subnet}' is not the id of a subnet.")
    if match["subscription"].lower() != subscription_id.lower():
        raise InvalidProperty(
            "InvalidSubnetId", f"The subnet '{subnet}' is not in the subscription of the container group."
        )
    return {"id": subnet, **({"name": str(entry["name"])} if entry.get("name") else {})}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
