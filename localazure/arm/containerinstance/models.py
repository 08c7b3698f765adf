"""Container groups, and how ARM shows them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from localazure.arm.resources.models import resource_id

TYPE = "Microsoft.ContainerInstance/containerGroups"
API_VERSIONS = ("2023-05-01", "2024-05-01-preview")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
KEEP_EVENTS = 20

Phase = Literal["Waiting", "Running", "Terminated"]


class Variable(BaseModel):
    """One environment variable; a secret one is shown by its name alone."""

    name: str
    value: str | None = None
    secure_value: str | None = Field(default=None, repr=False)

    def render(self) -> dict[str, Any]:
        """Show it as ARM does: a secure value never comes back."""
        return {"name": self.name} if self.secure_value is not None else {"name": self.name, "value": self.value}


class Event(BaseModel):
    """Something that happened to a container."""

    name: str
    kind: Literal["Normal", "Warning"]
    message: str
    at: float

    def render(self) -> dict[str, Any]:
        """Show it as ARM does."""
        at = shown_time(self.at)
        return {
            "count": 1,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "name": self.name,
            "message": self.message,
            "type": self.kind,
        }


class State(BaseModel):
    """Where a container is; times are seconds since 1970."""

    phase: Phase = "Waiting"
    detail: str = ""
    exit_code: int | None = None
    started_at: float | None = None
    finished_at: float | None = None

    def render(self) -> dict[str, Any]:
        """Show it as ARM does."""
        shown: dict[str, Any] = {"state": self.phase, "detailStatus": self.detail}
        if self.started_at is not None:
            shown["startTime"] = shown_time(self.started_at)
        if self.phase == "Terminated":
            shown["exitCode"] = self.exit_code
            shown["finishTime"] = shown_time(self.finished_at)
        return shown


class ContainerRecord(BaseModel):
    """
    One container: a process of this machine.

    Attributes:
        image: looked at only to be named.
        pid: of the process that waits for the command, the leader of a session of its own; None: none runs.
        previous: how the run before ended.
        restart_at: when the restart policy starts it again (seconds since 1970).
    """

    name: str
    image: str
    command: list[str]
    environment: list[Variable] = []
    cpu: float
    memory_gb: float
    cpu_limit: float | None = None
    memory_limit_gb: float | None = None
    pid: int | None = None
    state: State = State()
    previous: State | None = None
    restarts: int = 0
    restart_at: float | None = None
    events: list[Event] = []

    def note(self, name: str, message: str, kind: Literal["Normal", "Warning"] = "Normal") -> None:
        """Add an event; the oldest go."""
        self.events = [*self.events, Event(name=name, kind=kind, message=message, at=time.time())][-KEEP_EVENTS:]

    def render(self, *, view: bool) -> dict[str, Any]:
        """Show it as ARM does; *view* with its instance view, which lists leave out."""
        resources: dict[str, Any] = {"requests": {"cpu": self.cpu, "memoryInGB": self.memory_gb}}
        limits = {"cpu": self.cpu_limit, "memoryInGB": self.memory_limit_gb}
        if any(limit is not None for limit in limits.values()):
            resources["limits"] = {name: limit for name, limit in limits.items() if limit is not None}
        properties: dict[str, Any] = {
            "image": self.image,
            "command": self.command,
            "ports": [],
            "environmentVariables": [variable.render() for variable in self.environment],
            "resources": resources,
        }
        if view:
            seen: dict[str, Any] = {
                "restartCount": self.restarts,
                "currentState": self.state.render(),
                "events": [event.render() for event in self.events],
            }
            if self.previous is not None:
                seen["previousState"] = self.previous.render()
            properties["instanceView"] = seen
        return {"name": self.name, "properties": properties}


class ContainerGroupRecord(BaseModel):
    """
    One container group.

    Attributes:
        stopped: by a request; nothing is restarted until it is started again.
        identity: as it was given; `registries` and `subnet_ids` too, without passwords.
    """

    subscription_id: str
    resource_group: str
    name: str
    location: str
    tags: dict[str, str] = {}
    zones: list[str] = []
    identity: dict[str, Any] | None = None
    os_type: str = "Linux"
    restart_policy: str = "Always"
    sku: str = "Standard"
    priority: str = "Regular"
    registries: list[dict[str, str]] = []
    subnet_ids: list[dict[str, str]] = []
    containers: list[ContainerRecord]
    provisioning_state: str = "Pending"
    stopped: bool = False
    operation_id: str | None = None

    @property
    def key(self) -> str:
        """Give what it is filed under; names are unique in a resource group."""
        return f"{self.subscription_id}/{self.resource_group}/{self.name}".lower()

    @property
    def id(self) -> str:
        """Give the resource id."""
        return resource_id(self.subscription_id, self.resource_group, TYPE, self.name)

    @property
    def over(self) -> bool:
        """Tell whether every container has ended for good, or it was stopped."""
        return self.stopped or all(
            container.state.phase == "Terminated" and container.restart_at is None for container in self.containers
        )

    @property
    def state(self) -> str:
        """Give the state of its instance view."""
        if self.stopped:
            return "Stopped"
        if self.provisioning_state in ("Pending", "Creating"):
            return "Pending"
        if self.over:
            return "Succeeded" if all(container.state.exit_code == 0 for container in self.containers) else "Failed"
        return "Running"

    def render(self, *, view: bool = True) -> dict[str, Any]:
        """Show it as ARM does; *view* with the instance views, which lists leave out."""
        properties: dict[str, Any] = {
            "provisioningState": self.provisioning_state,
            "sku": self.sku,
            "priority": self.priority,
            "osType": self.os_type,
            "restartPolicy": self.restart_policy,
            "initContainers": [],
            "containers": [container.render(view=view) for container in self.containers],
        }
        if self.registries:
            properties["imageRegistryCredentials"] = self.registries
        if self.subnet_ids:
            properties["subnetIds"] = self.subnet_ids
        if view:
            properties["instanceView"] = {"state": self.state, "events": []}
        body: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "type": TYPE,
            "location": self.location,
            "tags": self.tags,
            "properties": properties,
        }
        if self.zones:
            body["zones"] = self.zones
        if self.identity is not None:
            body["identity"] = self.identity
        return body


def shown_time(seconds: float | None) -> str | None:
    """Show a time as this provider does, without fractions of a second."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
