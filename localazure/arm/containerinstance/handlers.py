"""Operations of Microsoft.ContainerInstance/containerGroups, one function each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localazure.arm.containerinstance.errors import (
    ContainerNotFound,
    GroupNotFound,
    InvalidProperty,
    InvalidUpdate,
    Transitioning,
)
from localazure.arm.containerinstance.models import API_VERSIONS, TYPE, ContainerGroupRecord
from localazure.arm.containerinstance.parse import parse_group
from localazure.arm.http import ArmError, base_url, read_body, require_api_version
from localazure.arm.resources.errors import LocationNotAvailable, ResourceGroupBeingDeleted
from localazure.operations import OperationRecord
from localazure.regions import REGIONS, display_name, short_name

if TYPE_CHECKING:
    from localazure.azure import Azure

LOG_BYTES_RUNNING = 4 << 20
LOG_BYTES_OVER = 16 << 10
LOG_LINES_OVER = 1000
"""Source of the three: "Azure Container Instances resource availability and quota limits", unchangeable limits."""


async def put(azure: Azure, request: Request) -> Response:
    """PUT a container group: make it; change one that runs, which restarts it; make one that is over anew."""
    _version(request)
    group = azure.group(request)
    body = await read_body(request)
    if group.state == "Deleting":
        raise ResourceGroupBeingDeleted(group.name)
    location = body.get("location") or group.location
    if not isinstance(location, str) or display_name(location) is None:
        raise LocationNotAvailable(str(location), TYPE, sorted(REGIONS))
    wanted = parse_group(
        body,
        subscription_id=group.subscription_id,
        group=group.name,
        name=request.path_params["name"],
        location=short_name(location),
    )
    existing = azure.find_container_group(request)
    if existing is not None:
        await azure.containers.look(existing)
        if existing.operation_id is not None:
            raise Transitioning(existing.name)
        if existing.location != wanted.location:
            raise ArmError(
                409,
                "InvalidResourceLocation",
                f"The resource '{existing.name}' already exists in location '{existing.location}' in resource group "
                f"'{group.name}'. A resource with the same name cannot be created in location '{wanted.location}'. "
                "Please select a new resource name.",
            )
        if not existing.over:
            if _fixed(existing) != _fixed(wanted):
                raise InvalidUpdate(existing.name)
            if _declared(existing) == _declared(wanted):
                existing.tags = wanted.tags
                azure.save()
                return JSONResponse(existing.render())
        await azure.containers.stop(existing)
    azure.world.container_groups[wanted.key] = wanted
    operation = azure.operations.begin(
        "container_group",
        subscription_id=wanted.subscription_id,
        location=wanted.location,
        subject={"group": wanted.key},
        result="resource",
    )
    wanted.operation_id = operation.id
    shown = wanted.render()
    wanted.provisioning_state = "Creating"
    azure.save()
    return JSONResponse(shown, status_code=201 if existing is None else 200, headers=_poll_headers(request, operation))


async def update_tags(azure: Azure, request: Request) -> Response:
    """PATCH a container group: its tags."""
    _version(request)
    found = _group(azure, request)
    tags = (await read_body(request)).get("tags")
    if isinstance(tags, dict):
        found.tags = {str(name): str(value) for name, value in tags.items()}
    azure.save()
    return JSONResponse(found.render())


async def get(azure: Azure, request: Request) -> Response:
    """GET a container group with its instance view."""
    _version(request)
    found = _group(azure, request)
    await azure.containers.look(found)
    return JSONResponse(found.render())


async def list_by_group(azure: Azure, request: Request) -> Response:
    """GET the container groups of a resource group, without instance views."""
    _version(request)
    groups = azure.container_groups_of(azure.group(request))
    return JSONResponse({"value": [entry.render(view=False) for entry in groups]})


async def list_by_subscription(azure: Azure, request: Request) -> Response:
    """GET the container groups of a subscription, without instance views."""
    _version(request)
    subscription = azure.subscription(request)
    groups = [entry for entry in azure.world.container_groups.values() if entry.subscription_id == subscription]
    return JSONResponse({"value": [entry.render(view=False) for entry in groups]})


async def delete(azure: Azure, request: Request) -> Response:
    """DELETE a container group, its processes and its logs."""
    _version(request)
    azure.group(request)
    found = azure.find_container_group(request)
    if found is None:
        return Response(status_code=204)
    await remove(azure, found)
    return JSONResponse(found.render())


async def remove(azure: Azure, group: ContainerGroupRecord) -> None:
    """End a group's processes and forget it."""
    # First forgotten, then ended: an operation under way must not start it again meanwhile.
    azure.world.container_groups.pop(group.key, None)
    await azure.containers.stop(group)
    azure.containers.forget(group)
    azure.save()


async def start(azure: Azure, request: Request) -> Response:
    """POST start: run a group that was stopped or is over."""
    _version(request)
    found = _group(azure, request)
    await azure.containers.look(found)
    if found.operation_id is not None:
        raise Transitioning(found.name)
    if found.over:
        azure.containers.reset(found)
        await azure.containers.start(found)
        azure.save()
    return Response(status_code=204)


async def stop(azure: Azure, request: Request) -> Response:
    """POST stop: end the containers; the group stays."""
    _version(request)
    found = _group(azure, request)
    if found.operation_id is not None:
        raise Transitioning(found.name)
    found.stopped = True
    await azure.containers.stop(found)
    azure.save()
    return Response(status_code=204)


async def restart(azure: Azure, request: Request) -> Response:
    """POST restart: end the containers and start them again."""
    _version(request)
    found = _group(azure, request)
    if found.operation_id is not None:
        raise Transitioning(found.name)
    await azure.containers.stop(found)
    azure.containers.reset(found)
    await azure.containers.start(found)
    azure.save()
    return Response(status_code=204)


async def get_logs(azure: Azure, request: Request) -> Response:
    """GET the log of a container's last run: its end, as much as the service keeps."""
    _version(request)
    found = _group(azure, request)
    name = request.path_params["container"]
    container = next((entry for entry in found.containers if entry.name == name), None)
    if container is None:
        raise ContainerNotFound(name, found.name)
    await azure.containers.look(found)
    tail = request.query_params.get("tail")
    if tail is not None and not tail.isdigit():
        raise InvalidProperty("InvalidTail", f"The value '{tail}' of 'tail' is no number.")
    over = container.state.phase == "Terminated"
    text = azure.containers.log_text(found, container, LOG_BYTES_OVER if over else LOG_BYTES_RUNNING)
    lines = text.splitlines(keepends=True)
    if over:
        lines = lines[-LOG_LINES_OVER:]
    if tail is not None:
        lines = lines[-int(tail) :] if int(tail) else []
    return JSONResponse({"content": "".join(lines)})


async def get_operation(azure: Azure, request: Request) -> Response:
    """GET the status document of a long-running operation."""
    subscription = azure.subscription(request)
    operation = azure.world.operations.get(request.path_params["operation"].lower())
    if operation is None or operation.subscription_id != subscription:
        raise ArmError(404, "OperationNotFound", f"The operation '{request.path_params['operation']}' was not found.")
    body: dict[str, Any] = {
        "id": request.url.path,
        "status": operation.status,
        "startTime": azure.timestamp(operation.started_at),
        "properties": {"events": []},
    }
    if operation.status == "Failed":
        body["error"] = {"code": operation.error_code, "message": operation.error_message}
    headers = {} if operation.status != "InProgress" else {"Retry-After": "1"}
    return JSONResponse(body, headers=headers)


def _version(request: Request) -> None:
    require_api_version(request, "Microsoft.ContainerInstance", "containerGroups", API_VERSIONS)


def _group(azure: Azure, request: Request) -> ContainerGroupRecord:
    group = azure.group(request)
    found = azure.find_container_group(request)
    if found is None:
        raise GroupNotFound(request.path_params["name"], group.name)
    return found


def _fixed(group: ContainerGroupRecord) -> object:
    """What cannot be changed while it runs."""
    sizes = [(entry.name, entry.cpu, entry.memory_gb) for entry in group.containers]
    return group.os_type, group.restart_policy, group.subnet_ids, sizes


def _declared(group: ContainerGroupRecord) -> object:
    """What a PUT that changes nothing says again; the order of the containers counts."""
    fields = {"name", "image", "command", "environment", "cpu", "memory_gb", "cpu_limit", "memory_limit_gb"}
    containers = [entry.model_dump(include=fields) for entry in group.containers]
    return containers, group.identity, group.registries, group.zones, group.sku, group.priority


def _poll_headers(request: Request, operation: OperationRecord) -> dict[str, str]:
    address = (
        f"{base_url(request)}/subscriptions/{operation.subscription_id}/providers/Microsoft.ContainerInstance/"
        f"locations/{operation.location}/operations/{operation.id}?api-version={request.query_params['api-version']}"
    )
    return {"Azure-AsyncOperation": address, "Retry-After": "1"}
