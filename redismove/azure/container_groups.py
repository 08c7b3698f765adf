"""Container groups as far as the mover looks at them: which there are, how their container fares, what it printed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from azure.core.exceptions import ResourceNotFoundError

from redismove.azure.caches import region
from redismove.azure.errors import AzureError, told_as_ours
from redismove.azure.session import Session
from redismove.facts import ContainerGroupFacts

_GROUP_ID: Final = re.compile(
    r"^/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.ContainerInstance/containerGroups/(?P<name>[^/]+)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class GroupId:
    """The parts of a container group's full resource id."""

    subscription_id: str
    resource_group: str
    name: str

    @classmethod
    def parse(cls, group_id: str) -> GroupId:
        """Take a container group's full resource id apart; AzureError where it is none."""
        match = _GROUP_ID.match(group_id)
        if not match:
            raise AzureError(f"resource id: found {group_id!r}, allowed the full id of a container group")
        return cls(match["subscription"], match["group"], match["name"])


@dataclass(frozen=True, kw_only=True)
class GroupState:
    """
    How a container group of one container fares.

    `state` is the group's: Pending, Running, Succeeded, Failed or Stopped; `container` its container's: Waiting,
    Running or Terminated. `exit_code` is that of the last run that ended, None where none has; `restarts` counts since
    the group was started. `why` is what Azure says to a container that does not run.
    """

    state: str
    container: str = ""
    exit_code: int | None = None
    restarts: int = 0
    why: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing will be started again."""
        return self.state in ("Succeeded", "Failed", "Stopped")


class ContainerGroups:
    """The container groups of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _told(self, what: str) -> Any:
        return told_as_ours(what, self._session.endpoint)

    def with_tag(self, subscription_id: str, resource_group: str, tag: str, value: str) -> list[ContainerGroupFacts]:
        """Return the groups of a resource group that have a tag with this value."""
        with self._told(f'listing the container groups of resource group "{resource_group}"'):
            client = self._session.of(subscription_id).containers
            return [
                ContainerGroupFacts(id=group.id or "", name=group.name or "", location=region(group.location))
                for group in client.container_groups.list_by_resource_group(resource_group)
                if (group.tags or {}).get(tag) == value
            ]

    def state(self, group_id: str) -> GroupState | None:
        """Return how a group's first container fares, None where Azure has no such group."""
        parts = GroupId.parse(group_id)
        with self._told(f'reading container group "{parts.name}"'):
            try:
                group = self._client(parts).container_groups.get(parts.resource_group, parts.name)
            except ResourceNotFoundError:
                return None
        state = str(group.instance_view.state if group.instance_view else "") or "Pending"
        view = group.containers[0].instance_view if group.containers else None
        now = view.current_state if view is not None else None
        if view is None or now is None:
            return GroupState(state=state)
        before = view.previous_state
        exit_code = now.exit_code if now.exit_code is not None else before.exit_code if before is not None else None
        return GroupState(
            state=state,
            container=now.state or "",
            exit_code=exit_code,
            restarts=view.restart_count or 0,
            why=now.detail_status or "",
        )

    def log(self, group_id: str, container: str, *, lines: int) -> str:
        """Return the last *lines* of what a container printed, "" where nothing is kept."""
        parts = GroupId.parse(group_id)
        with self._told(f'reading the log of container group "{parts.name}"'):
            try:
                found = self._client(parts).containers.list_logs(
                    parts.resource_group, parts.name, container, tail=lines
                )
            except ResourceNotFoundError:
                return ""
        return found.content or ""

    def start(self, group_id: str, *, timeout_s: float) -> None:
        """Start a group that is over once more."""
        parts = GroupId.parse(group_id)
        with self._told(f'starting container group "{parts.name}"'):
            self._client(parts).container_groups.begin_start(parts.resource_group, parts.name).result(timeout_s)

    def _client(self, parts: GroupId) -> Any:
        return self._session.of(parts.subscription_id).containers
