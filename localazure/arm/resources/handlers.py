"""Operations on subscriptions, providers and resource groups."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localazure.arm.containerinstance.handlers import remove as remove_container_group
from localazure.arm.enterprise.handlers import begin_deletion
from localazure.arm.http import ArmError, base_url, read_body
from localazure.arm.resources.errors import LocationNotAvailable, ResourceGroupBeingDeleted
from localazure.arm.resources.models import GroupRecord, render_provider, render_subscription
from localazure.arm.storage.handlers import remove as remove_account
from localazure.operations import OperationRecord, Operations
from localazure.regions import REGIONS, display_name, short_name

if TYPE_CHECKING:
    from localazure.azure import Azure

GROUP_NAME = re.compile(r"[\w().-]{0,89}[\w()-]")
CHECK_INTERVAL_S = 0.2


def register(operations: Operations) -> None:
    """Make the kinds of this room known."""
    operations.register("delete_group", DeleteGroup())


async def list_subscriptions(azure: Azure, _request: Request) -> Response:
    """GET the subscriptions: two, both of the one service principal."""
    value = [_subscription(azure, entry) for entry in azure.subscriptions]
    return JSONResponse({"value": value, "count": {"type": "Total", "value": len(value)}})


async def get_subscription(azure: Azure, request: Request) -> Response:
    """GET a subscription."""
    return JSONResponse(_subscription(azure, azure.subscription(request)))


async def list_tenants(azure: Azure, _request: Request) -> Response:
    """GET the tenants: the one."""
    tenant = azure.home.config.tenant_id
    return JSONResponse({"value": [{"id": f"/tenants/{tenant}", "tenantId": tenant, "displayName": "Local Azure"}]})


async def list_locations(azure: Azure, request: Request) -> Response:
    """GET the regions."""
    subscription = azure.subscription(request)
    return JSONResponse(
        {
            "value": [
                {
                    "id": f"/subscriptions/{subscription}/locations/{name}",
                    "name": name,
                    "type": "Region",
                    "displayName": shown,
                    "regionalDisplayName": shown,
                    "metadata": {"regionType": "Physical"},
                }
                for name, (shown, _) in REGIONS.items()
            ]
        }
    )


async def get_provider(azure: Azure, request: Request) -> Response:
    """GET a resource provider, or POST register: they are registered from the start."""
    subscription = azure.subscription(request)
    namespace = request.path_params["namespace"]
    body = render_provider(subscription, namespace)
    if body is None:
        raise ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.")
    return JSONResponse(body)


async def list_providers(azure: Azure, request: Request) -> Response:
    """GET the resource providers."""
    subscription = azure.subscription(request)
    names = ("Microsoft.Cache", "Microsoft.Storage", "Microsoft.ContainerInstance", "Microsoft.Resources")
    return JSONResponse({"value": [render_provider(subscription, name) for name in names]})


async def put_group(azure: Azure, request: Request) -> Response:
    """PUT a resource group."""
    subscription = azure.subscription(request)
    name = request.path_params["group"]
    if not GROUP_NAME.fullmatch(name):
        raise ArmError(400, "InvalidResourceGroup", f"The provided resource group name '{name}' is not allowed.")
    body = await read_body(request)
    location = body.get("location")
    if not isinstance(location, str) or display_name(location) is None:
        raise LocationNotAvailable(str(location), "Microsoft.Resources/resourceGroups", sorted(REGIONS))
    tags = body.get("tags") or {}
    existing = azure.find_group(subscription, name)
    if existing is not None:
        if existing.state == "Deleting":
            raise ResourceGroupBeingDeleted(existing.name)
        if existing.location != short_name(location):
            raise ArmError(
                409,
                "InvalidResourceGroupLocation",
                f"Invalid resource group location '{location}'. The Resource group already exists in location "
                f"'{existing.location}'.",
            )
        existing.tags = tags
        group, status = existing, 200
    else:
        group = GroupRecord(subscription_id=subscription, name=name, location=short_name(location), tags=tags)
        group.managed_by = body.get("managedBy")
        azure.world.groups[f"{subscription}/{name.lower()}"] = group
        status = 201
    azure.save()
    return JSONResponse(group.render(), status_code=status)


async def patch_group(azure: Azure, request: Request) -> Response:
    """PATCH a resource group: its tags."""
    group = azure.group(request)
    body = await read_body(request)
    if group.state == "Deleting":
        raise ResourceGroupBeingDeleted(group.name)
    if isinstance(body.get("tags"), dict):
        group.tags = body["tags"]
    azure.save()
    return JSONResponse(group.render())


async def get_group(azure: Azure, request: Request) -> Response:
    """GET a resource group."""
    return JSONResponse(azure.group(request).render())


async def head_group(azure: Azure, request: Request) -> Response:
    """HEAD a resource group: 204 when it is there, 404 when not."""
    group = azure.find_group(azure.subscription(request), request.path_params["group"])
    return Response(status_code=404 if group is None else 204)


async def list_groups(azure: Azure, request: Request) -> Response:
    """GET the resource groups of a subscription."""
    subscription = azure.subscription(request)
    groups = [group.render() for group in azure.world.groups.values() if group.subscription_id == subscription]
    return JSONResponse({"value": groups})


async def delete_group(azure: Azure, request: Request) -> Response:
    """
    DELETE a resource group with what is in it.

    As the documentation says of linked caches: other resources go, the group stays in `Deleting`, the linked caches
    keep running until they are unlinked.
    """
    group = azure.group(request)
    if group.state == "Deleting":
        raise ResourceGroupBeingDeleted(group.name)
    group.state = "Deleting"
    operation = azure.operations.begin(
        "delete_group",
        subscription_id=group.subscription_id,
        location=group.location,
        subject={"group": f"{group.subscription_id}/{group.name.lower()}"},
        result="nothing",
    )
    azure.save()
    return Response(status_code=202, headers=_poll_headers(request, operation))


async def get_group_operation(azure: Azure, request: Request) -> Response:
    """GET the result of a group's deletion."""
    azure.subscription(request)
    operation = azure.world.operations.get(request.path_params["operation"].lower())
    if operation is None:
        raise ArmError(404, "OperationNotFound", f"The operation '{request.path_params['operation']}' was not found.")
    if operation.status == "InProgress":
        return Response(status_code=202, headers=_poll_headers(request, operation))
    if operation.status == "Failed":
        raise ArmError(409, operation.error_code or "Conflict", operation.error_message or "")
    return Response(status_code=200)


async def list_group_resources(azure: Azure, request: Request) -> Response:
    """GET the resources of a group."""
    group = azure.group(request)
    found = [cache.render() for cache in azure.caches_of(group)]
    found += [cluster.render() for cluster in azure.clusters_of(group)]
    found += [account.render(azure.azurite.endpoint) for account in azure.accounts_of(group)]
    found += [entry.render(view=False) for entry in azure.container_groups_of(group)]
    return JSONResponse({"value": [_resource(entry) for entry in found]})


async def list_resources(azure: Azure, request: Request) -> Response:
    """GET the resources of a subscription."""
    subscription = azure.subscription(request)
    world = azure.world
    found = [cache.render() for cache in world.caches.values() if cache.subscription_id == subscription]
    found += [entry.render() for entry in world.enterprise_clusters.values() if entry.subscription_id == subscription]
    found += [
        account.render(azure.azurite.endpoint)
        for account in world.storage_accounts.values()
        if account.subscription_id == subscription
    ]
    found += [
        entry.render(view=False) for entry in world.container_groups.values() if entry.subscription_id == subscription
    ]
    return JSONResponse({"value": [_resource(entry) for entry in found]})


class DeleteGroup:
    """Deletes what is in a group, waits for linked caches to be unlinked, then deletes the group."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Delete one thing after another, until none is left."""
        group = azure.world.groups.get(operation.subject["group"])
        while group is not None:
            for entry in azure.container_groups_of(group):
                await remove_container_group(azure, entry)
            caches, accounts = azure.caches_of(group), azure.accounts_of(group)
            clusters = azure.clusters_of(group)
            if not caches and not accounts and not clusters:
                return
            for cluster in clusters:
                if cluster.operation_id is None:
                    begin_deletion(azure, cluster)
                    azure.save()
            for account in accounts:
                if account.operation_id is None:
                    await remove_account(azure, account)
            for cache in caches:
                if not cache.links and cache.operation_id is None:
                    cache.provisioning_state = "Deleting"
                    part = azure.operations.begin(
                        "delete",
                        subscription_id=cache.subscription_id,
                        location=cache.location,
                        subject={"cache": cache.name.lower()},
                        result="nothing",
                    )
                    cache.operation_id = part.id
                    azure.save()
            await asyncio.sleep(CHECK_INTERVAL_S)

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """The group is gone."""
        azure.world.groups.pop(operation.subject["group"], None)

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """The group stays."""
        group = azure.world.groups.get(operation.subject["group"])
        if group is not None:
            group.state = "Succeeded"


def _subscription(azure: Azure, subscription_id: str) -> dict[str, Any]:
    config = azure.home.config
    number = 1 + azure.subscriptions.index(subscription_id)
    return render_subscription(subscription_id, config.tenant_id, f"Local subscription {number}")


def _resource(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] for name in ("id", "name", "type", "location", "tags")}


def _poll_headers(request: Request, operation: OperationRecord) -> dict[str, str]:
    version = request.query_params.get("api-version", "2024-11-01")
    subscription = f"{base_url(request)}/subscriptions/{operation.subscription_id}"
    location = f"{subscription}/operationresults/{operation.id}?api-version={version}"
    return {"Location": location, "Retry-After": "1"}
