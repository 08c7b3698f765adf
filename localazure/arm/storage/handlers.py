"""
Operations of Microsoft.Storage/storageAccounts, one function each.

Any api-version is taken: what is served here has not changed since 2019. Containers are made and listed in Azurite;
blobs are asked for there, by their own addresses.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localazure.arm.http import ArmError, base_url, read_body
from localazure.arm.resources.errors import LocationNotAvailable, ResourceGroupBeingDeleted
from localazure.arm.storage.errors import (
    AccountNotFound,
    AccountTaken,
    ContainerNotFound,
    InvalidAccountName,
    InvalidValue,
    StillCreating,
)
from localazure.arm.storage.models import KINDS, SKUS, TYPE, AccountRecord, new_account_key
from localazure.operations import OperationRecord
from localazure.regions import REGIONS, display_name, short_name

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

    from localazure.azure import Azure

ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}")
CONTAINER_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
BLOB_TIMEOUT_S = 30

_T = TypeVar("_T")


# --- accounts


async def create(azure: Azure, request: Request) -> Response:
    """PUT an account: make it, or bring an existing one to the body."""
    _version(request)
    group = azure.group(request)
    name = request.path_params["name"]
    body = await read_body(request)
    existing = azure.find_account(request)
    if existing is not None:
        _apply(existing, body, creating=False)
        azure.save()
        return JSONResponse(existing.render(azure.azurite.endpoint))
    if group.state == "Deleting":
        raise ResourceGroupBeingDeleted(group.name)
    if not ACCOUNT_NAME.fullmatch(name):
        raise InvalidAccountName(name)
    if name in azure.world.storage_accounts:
        raise AccountTaken(name)
    location = body.get("location")
    if not isinstance(location, str) or not location:
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    if display_name(location) is None:
        raise LocationNotAvailable(location, TYPE, sorted(REGIONS))
    now = azure.timestamp(time.time()) or ""
    account = AccountRecord(
        subscription_id=group.subscription_id,
        resource_group=group.name,
        name=name,
        location=short_name(location),
        created_at=now,
        keys=(new_account_key(), new_account_key()),
        key_times=(now, now),
    )
    _apply(account, body, creating=True)
    azure.world.storage_accounts[name] = account
    operation = azure.operations.begin(
        "storage",
        subscription_id=account.subscription_id,
        location=account.location,
        subject={"account": name},
        result="resource",
    )
    account.operation_id = operation.id
    azure.save()
    return Response(status_code=202, headers=_poll_headers(request, operation))


async def update(azure: Azure, request: Request) -> Response:
    """PATCH an account."""
    _version(request)
    account = _account(azure, request)
    _apply(account, await read_body(request), creating=False)
    azure.save()
    return JSONResponse(account.render(azure.azurite.endpoint))


async def get(azure: Azure, request: Request) -> Response:
    """GET an account."""
    _version(request)
    return JSONResponse(_account(azure, request).render(azure.azurite.endpoint))


async def list_by_group(azure: Azure, request: Request) -> Response:
    """GET the accounts of a resource group."""
    _version(request)
    accounts = azure.accounts_of(azure.group(request))
    return JSONResponse({"value": [account.render(azure.azurite.endpoint) for account in accounts]})


async def list_by_subscription(azure: Azure, request: Request) -> Response:
    """GET the accounts of a subscription."""
    _version(request)
    subscription = azure.subscription(request)
    accounts = [entry for entry in azure.world.storage_accounts.values() if entry.subscription_id == subscription]
    return JSONResponse({"value": [account.render(azure.azurite.endpoint) for account in accounts]})


async def delete(azure: Azure, request: Request) -> Response:
    """DELETE an account with all its blobs; at once, as on Azure."""
    _version(request)
    azure.group(request)
    account = azure.find_account(request)
    if account is None:
        return Response(status_code=204)
    if account.operation_id is not None:
        raise StillCreating(account.name)
    await remove(azure, account)
    return Response(status_code=200)


async def remove(azure: Azure, account: AccountRecord) -> None:
    """Delete an account with all its blobs."""

    def empty(blobs: BlobServiceClient) -> None:
        for container in blobs.list_containers():
            blobs.delete_container(container.name)

    await _ask(azure, account, empty)
    azure.world.storage_accounts.pop(account.name, None)
    azure.save()
    await azure.serve_blobs()


async def list_keys(azure: Azure, request: Request) -> Response:
    """POST listKeys."""
    _version(request)
    account = _account(azure, request)
    if account.operation_id is not None:
        raise StillCreating(account.name)
    return JSONResponse(account.render_keys())


async def regenerate_key(azure: Azure, request: Request) -> Response:
    """POST regenerateKey: the old key, and every SAS signed with it, is refused from then on."""
    _version(request)
    account = _account(azure, request)
    name = str((await read_body(request)).get("keyName")).lower()
    if name not in ("key1", "key2"):
        raise InvalidValue("keyName", "Allowed are key1 and key2.")
    number = int(name[-1]) - 1
    new, now = new_account_key(), azure.timestamp(time.time()) or ""
    account.keys = (new, account.keys[1]) if number == 0 else (account.keys[0], new)
    account.key_times = (now, account.key_times[1]) if number == 0 else (account.key_times[0], now)
    azure.save()
    await azure.serve_blobs()
    return JSONResponse(account.render_keys())


async def check_name_availability(azure: Azure, request: Request) -> Response:
    """POST checkNameAvailability."""
    _version(request)
    azure.subscription(request)
    name = str((await read_body(request)).get("name"))
    body: dict[str, Any] = {"nameAvailable": True}
    for error, applies in (
        (InvalidAccountName(name), not ACCOUNT_NAME.fullmatch(name)),
        (AccountTaken(name), name in azure.world.storage_accounts),
    ):
        if applies:
            reason = "AccountNameInvalid" if error.status == 400 else "AlreadyExists"
            body = {"nameAvailable": False, "reason": reason, "message": error.message}
            break
    return JSONResponse(body)


async def get_operation(azure: Azure, request: Request) -> Response:
    """GET the result of a long-running operation: 202 while it runs, then the account."""
    subscription = azure.subscription(request)
    operation = azure.world.operations.get(request.path_params["operation"].lower())
    if operation is None or operation.subscription_id != subscription:
        raise ArmError(404, "OperationNotFound", f"The operation '{request.path_params['operation']}' was not found.")
    if operation.status == "InProgress":
        return Response(status_code=202, headers=_poll_headers(request, operation))
    if operation.status == "Failed":
        raise ArmError(409, operation.error_code or "Conflict", operation.error_message or "")
    account = azure.world.storage_accounts.get(operation.subject["account"])
    return Response(status_code=200) if account is None else JSONResponse(account.render(azure.azurite.endpoint))


# --- blob service and containers


async def get_blob_service(azure: Azure, request: Request) -> Response:
    """GET the properties of the blob service: nothing of it can be changed."""
    _version(request)
    account = _account(azure, request)
    service = request.path_params.get("service", "default")
    return JSONResponse(
        {
            "id": f"{account.id}/blobServices/{service}",
            "name": service,
            "type": f"{TYPE}/blobServices",
            "properties": {"cors": {"corsRules": []}, "deleteRetentionPolicy": {"enabled": False}},
        }
    )


async def put_container(azure: Azure, request: Request) -> Response:
    """PUT a container."""
    _version(request)
    account = _account(azure, request)
    name = request.path_params["container"]
    if not CONTAINER_NAME.fullmatch(name):
        raise InvalidValue("containerName", "It has 3 to 63 lower-case letters, digits and single hyphens.")

    def make(blobs: BlobServiceClient) -> int:
        container = blobs.get_container_client(name)
        if container.exists():
            return 200
        container.create_container()
        return 201

    status = await _ask(azure, account, make)
    return JSONResponse(_container(account, name), status_code=status)


async def get_container(azure: Azure, request: Request) -> Response:
    """GET a container."""
    _version(request)
    account = _account(azure, request)
    name = request.path_params["container"]
    if not await _ask(azure, account, lambda blobs: blobs.get_container_client(name).exists()):
        raise ContainerNotFound
    return JSONResponse(_container(account, name))


async def list_containers(azure: Azure, request: Request) -> Response:
    """GET the containers of an account."""
    _version(request)
    account = _account(azure, request)
    names = await _ask(azure, account, lambda blobs: [container.name for container in blobs.list_containers()])
    return JSONResponse({"value": [_container(account, name) for name in names]})


async def delete_container(azure: Azure, request: Request) -> Response:
    """DELETE a container with its blobs."""
    _version(request)
    account = _account(azure, request)
    name = request.path_params["container"]

    def remove_it(blobs: BlobServiceClient) -> int:
        container = blobs.get_container_client(name)
        if not container.exists():
            return 204
        container.delete_container()
        return 200

    return Response(status_code=await _ask(azure, account, remove_it))


# --- common parts


def blob_service(azure: Azure, account: AccountRecord) -> BlobServiceClient:
    """Open an account's blobs as the service itself does, with a key."""
    # Not at the start of the server: it takes a second that most homes do not need.
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient(
        f"{azure.azurite.endpoint}/{account.name}",
        credential=AzureNamedKeyCredential(account.name, account.keys[0]),
        connection_verify=str(azure.home.ca_file),
        connection_timeout=BLOB_TIMEOUT_S,
        read_timeout=BLOB_TIMEOUT_S,
        use_env_settings=False,
    )


async def _ask(azure: Azure, account: AccountRecord, question: Callable[[BlobServiceClient], _T]) -> _T:
    """Ask Azurite something about an account, without holding up other requests."""
    from azure.core.exceptions import HttpResponseError

    if account.operation_id is not None:
        raise StillCreating(account.name)
    await azure.serve_blobs()

    def ask() -> _T:
        with blob_service(azure, account) as blobs:
            return question(blobs)

    try:
        async with azure.azurite.in_use():
            return await asyncio.to_thread(ask)
    except HttpResponseError as error:
        raise ArmError(error.status_code or 400, str(error.error_code or "BlobServiceError"), error.reason) from None


def _version(request: Request) -> None:
    if not request.query_params.get("api-version"):
        raise ArmError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )


def _account(azure: Azure, request: Request) -> AccountRecord:
    group = azure.group(request)
    account = azure.find_account(request)
    if account is None:
        raise AccountNotFound(request.path_params["name"], group.name)
    return account


def _apply(account: AccountRecord, body: dict[str, Any], *, creating: bool) -> None:
    """Take over what a body says; what it does not name stays."""
    if body.get("kind") is not None:
        account.kind = _one_of("kind", body["kind"], KINDS)
    elif creating:
        raise InvalidValue("kind", f"Allowed are {', '.join(KINDS)}.")
    sku = body.get("sku")
    if isinstance(sku, dict) and sku.get("name") is not None:
        account.sku_name = _one_of("sku.name", sku["name"], SKUS)
    elif creating:
        raise InvalidValue("sku", f"Allowed are {', '.join(SKUS)}.")
    if isinstance(body.get("tags"), dict):
        account.tags = {str(name): str(value) for name, value in body["tags"].items()}
    properties = body.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    if properties.get("isHnsEnabled") is not None:
        if not creating and bool(properties["isHnsEnabled"]) != account.hierarchical_namespace:
            raise InvalidValue("properties.isHnsEnabled", "It can be set only at creation.")
        account.hierarchical_namespace = bool(properties["isHnsEnabled"])
    for name, field in (
        ("allowSharedKeyAccess", "allow_shared_key_access"),
        ("allowBlobPublicAccess", "allow_blob_public_access"),
        ("supportsHttpsTrafficOnly", "https_only"),
    ):
        if properties.get(name) is not None:
            setattr(account, field, bool(properties[name]))
    for name, field in (("minimumTlsVersion", "minimum_tls_version"), ("accessTier", "access_tier")):
        if properties.get(name) is not None:
            setattr(account, field, str(properties[name]))
    if properties.get("publicNetworkAccess") is not None:
        account.public_network_access = _one_of(
            "properties.publicNetworkAccess", properties["publicNetworkAccess"], ("Enabled", "Disabled")
        )
    acls = properties.get("networkAcls")
    if isinstance(acls, dict):
        account.network_default = _one_of(
            "properties.networkAcls.defaultAction", acls.get("defaultAction", "Allow"), ("Allow", "Deny")
        )
        account.network_bypass = str(acls.get("bypass", account.network_bypass))


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    for word in allowed:
        if word.lower() == str(value).lower():
            return word
    raise InvalidValue(name, f"Allowed are {', '.join(allowed)}.")


def _container(account: AccountRecord, name: str) -> dict[str, Any]:
    return {
        "id": f"{account.id}/blobServices/default/containers/{name}",
        "name": name,
        "type": f"{TYPE}/blobServices/containers",
        "etag": "0",
        "properties": {"publicAccess": "None", "leaseState": "Available", "leaseStatus": "Unlocked", "deleted": False},
    }


def _poll_headers(request: Request, operation: OperationRecord) -> dict[str, str]:
    location = (
        f"{base_url(request)}/subscriptions/{operation.subscription_id}/providers/Microsoft.Storage/locations/"
        f"{operation.location}/asyncoperations/{operation.id}?monitor=true"
        f"&api-version={request.query_params['api-version']}"
    )
    return {"Location": location, "Retry-After": str(max(1, min(15, round(operation.duration_s / 10))))}
