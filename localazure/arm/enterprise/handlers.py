"""Operations of Microsoft.Cache/redisEnterprise, one function each."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localazure.arm.cache import archive
from localazure.arm.cache.errors import BadRequest, Busy, InvalidParameter, NameNotAvailable, ResourceNotFound
from localazure.arm.cache.handlers import TLS_PROTOCOLS, operation_of, poll_url, retry_after_s
from localazure.arm.cache.models import new_access_key
from localazure.arm.cache.refusals import GUID, POLICY_NAME
from localazure.arm.enterprise import models, parse
from localazure.arm.enterprise.errors import EnterpriseClosed
from localazure.arm.enterprise.models import (
    DATABASE_NAME,
    EVICTION,
    MAX_CLIENTS,
    SHARDS,
    SIZES_GB,
    TYPE,
    USABLE_SHARE,
    AssignmentRecord,
    ClusterRecord,
    DatabaseRecord,
)
from localazure.arm.http import ArmError, read_body, require_api_version
from localazure.arm.resources.errors import LocationNotAvailable, ResourceGroupBeingDeleted
from localazure.operations import OperationRecord
from localazure.redis_process import RedisSpec, password_hash
from localazure.regions import REGIONS, display_name, short_name

if TYPE_CHECKING:
    from localazure.azure import Azure

GB = 1024**3

# --- clusters


async def create_cluster(azure: Azure, request: Request) -> Response:
    """PUT a cluster: make it, or bring an existing one to the body."""
    _version(request)
    group = azure.group(request)
    name = request.path_params["name"]
    body = await read_body(request)
    existing = azure.find_cluster(request)
    if existing is not None:
        return _update_cluster(azure, request, existing, body, status=200)
    if group.state == "Deleting":
        raise ResourceGroupBeingDeleted(group.name)
    location = body.get("location")
    if not isinstance(location, str) or not location:
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    shown = display_name(location)
    if shown is None:
        raise LocationNotAvailable(location, TYPE, sorted(REGIONS))
    parse.cluster_name(name, shown)
    cluster = ClusterRecord(
        subscription_id=group.subscription_id, resource_group=group.name, name=name, location=shown, host=""
    )
    parse.cluster(cluster, body, creating=True, tenant_id=azure.home.config.tenant_id)
    if cluster.is_old and not azure.home.settings.enterprise_open:
        raise EnterpriseClosed
    if any(
        (other.name.lower(), other.location) == (name.lower(), shown)
        for other in azure.world.enterprise_clusters.values()
    ):
        raise NameNotAvailable(name)  # its host name would be the same
    cluster.host = azure.new_address()
    azure.world.enterprise_clusters[cluster.key] = cluster
    operation = _begin(azure, "cluster_create", cluster, result="resource", path=cluster.id)
    azure.save()
    return _accepted(request, operation, JSONResponse(cluster.render(), status_code=201))


async def update_cluster(azure: Azure, request: Request) -> Response:
    """PATCH a cluster."""
    _version(request)
    return _update_cluster(azure, request, _cluster(azure, request), await read_body(request), status=202)


def _update_cluster(
    azure: Azure, request: Request, cluster: ClusterRecord, body: dict[str, Any], *, status: int
) -> Response:
    _check_not_busy(cluster)
    location = body.get("location")
    if location is not None and short_name(str(location)) != short_name(cluster.location):
        raise ArmError(
            409,
            "InvalidResourceLocation",
            f"The resource '{cluster.name}' already exists in location '{short_name(cluster.location)}' in resource "
            f"group '{cluster.resource_group}'. A resource with the same name cannot be created in location "
            f"'{location}'. Please select a new resource name.",
        )
    new = cluster.model_copy(deep=True)
    parse.cluster(new, body, creating=False, tenant_id=azure.home.config.tenant_id)
    scaling = (new.sku_name, new.sku_capacity) != (cluster.sku_name, cluster.sku_capacity)
    azure.world.enterprise_clusters[new.key] = new
    new.provisioning_state, new.resource_state = "Updating", "Scaling" if scaling else "Updating"
    azure.specify_database(new)
    operation = _begin(
        azure, "cluster_update", new, result="resource", path=new.id, duration="scale" if scaling else None
    )
    azure.save()
    return _accepted(request, operation, JSONResponse(new.render(), status_code=status))


async def get_cluster(azure: Azure, request: Request) -> Response:
    """GET a cluster."""
    _version(request)
    return JSONResponse(_cluster(azure, request).render())


async def list_by_group(azure: Azure, request: Request) -> Response:
    """GET the clusters of a resource group."""
    _version(request)
    return JSONResponse({"value": [cluster.render() for cluster in azure.clusters_of(azure.group(request))]})


async def list_by_subscription(azure: Azure, request: Request) -> Response:
    """GET the clusters of a subscription."""
    _version(request)
    subscription = azure.subscription(request)
    found = [
        entry.render() for entry in azure.world.enterprise_clusters.values() if entry.subscription_id == subscription
    ]
    return JSONResponse({"value": found})


async def delete_cluster(azure: Azure, request: Request) -> Response:
    """DELETE a cluster with its database."""
    _version(request)
    cluster = azure.find_cluster(request)
    if cluster is None:
        return Response(status_code=204)
    _check_not_busy(cluster)
    operation = begin_deletion(azure, cluster)
    azure.save()
    return _accepted(request, operation, Response(status_code=202))


def begin_deletion(azure: Azure, cluster: ClusterRecord) -> OperationRecord:
    """Begin to delete a cluster with its database; the caller saves the state."""
    cluster.provisioning_state = cluster.resource_state = "Deleting"
    return _begin(azure, "cluster_delete", cluster, result="nothing")


async def list_skus_for_scaling(azure: Azure, request: Request) -> Response:
    """POST listSkusForScaling: the other SKUs of Azure Managed Redis; which of them Azure would name is not known."""
    _version(request)
    cluster = _cluster(azure, request)
    skus = [
        {"name": name, "sizeInGB": size}
        for name, size in SIZES_GB.items()
        if not name.startswith(models.OLD_FAMILIES) and name != cluster.sku_name
    ]
    return JSONResponse({"skus": [] if cluster.is_old else skus})


# --- databases


async def create_database(azure: Azure, request: Request) -> Response:
    """PUT the database of a cluster: make it, or bring it to the body."""
    _version(request)
    cluster = _cluster(azure, request)
    parse.database_name(request.path_params["database"])
    body = await read_body(request)
    _check_not_busy(cluster)
    if cluster.database is not None:
        return _update_database(azure, request, cluster, body, status=200)
    if cluster.provisioning_state != "Succeeded":
        raise BadRequest(f"The cluster '{cluster.name}' is in the state '{cluster.provisioning_state}'.")
    blank = DatabaseRecord(
        primary_key=new_access_key(), secondary_key=new_access_key(), redis=RedisSpec.model_construct()
    )
    database = parse.database(cluster, blank, body, creating=True)
    shards = SHARDS if database.clustering_policy == "OSSCluster" else 0
    database.redis = RedisSpec(
        # A dot cannot stand in the name of an Azure Cache for Redis.
        folder=f"{cluster.name.lower()}.{short_name(cluster.location)}",
        host=cluster.host,
        shards=shards,
        node_ids=[uuid.uuid4().hex + uuid.uuid4().hex[:8] for _ in range(shards)],
        databases=1,
        maxmemory_bytes=0,
        maxclients=MAX_CLIENTS,
        maxmemory_policy="volatile-lru",
        notify_keyspace_events="",
        plain_port_enabled=False,
        tls_protocols=TLS_PROTOCOLS["1.2"],
        client_pause="6.2",
        password_hashes=[],
        product="enterprise",
        encrypted=database.client_protocol == "Encrypted",
        one_slot=database.clustering_policy == "EnterpriseCluster",
    )
    cluster.database = database
    azure.specify_database(cluster)
    operation = _begin(azure, "database_create", cluster, result="resource", path=cluster.database_id)
    azure.save()
    return _accepted(request, operation, JSONResponse(cluster.render_database(), status_code=201))


async def update_database(azure: Azure, request: Request) -> Response:
    """PATCH the database of a cluster."""
    _version(request)
    cluster, _ = _database(azure, request)
    body = await read_body(request)
    _check_not_busy(cluster)
    return _update_database(azure, request, cluster, body, status=202)


def _update_database(
    azure: Azure, request: Request, cluster: ClusterRecord, body: dict[str, Any], *, status: int
) -> Response:
    before = cluster.database
    assert before is not None
    database = parse.database(cluster, before, body, creating=False)
    cluster.database = database
    database.provisioning_state = database.resource_state = "Updating"
    azure.specify_database(cluster)
    operation = _begin(
        azure,
        "database_update",
        cluster,
        result="resource",
        path=cluster.database_id,
        cut="true" if before.access_keys and not database.access_keys else "false",
    )
    azure.save()
    return _accepted(request, operation, JSONResponse(cluster.render_database(), status_code=status))


async def get_database(azure: Azure, request: Request) -> Response:
    """GET the database of a cluster."""
    _version(request)
    return JSONResponse(_database(azure, request)[0].render_database())


async def list_databases(azure: Azure, request: Request) -> Response:
    """GET the databases of a cluster: the one, or none."""
    _version(request)
    cluster = _cluster(azure, request)
    return JSONResponse({"value": [] if cluster.database is None else [cluster.render_database()]})


async def delete_database(azure: Azure, request: Request) -> Response:
    """DELETE the database of a cluster, with what it holds."""
    _version(request)
    cluster = _cluster(azure, request)
    database = cluster.database
    if database is None or request.path_params["database"].lower() != DATABASE_NAME:
        return Response(status_code=204)
    _check_not_busy(cluster)
    database.provisioning_state = database.resource_state = "Deleting"
    operation = _begin(azure, "database_delete", cluster, result="nothing")
    azure.save()
    return _accepted(request, operation, Response(status_code=202))


async def list_keys(azure: Azure, request: Request) -> Response:
    """POST listKeys; refused where sign-in by keys is off (code and text not confirmed)."""
    _version(request)
    _, database = _database(azure, request)
    if not database.access_keys:
        raise BadRequest("Access keys authentication is disabled for this database.")
    return JSONResponse({"primaryKey": database.primary_key, "secondaryKey": database.secondary_key})


async def regenerate_key(azure: Azure, request: Request) -> Response:
    """POST regenerateKey, which takes its time here; the old key is refused for new logins once it has ended."""
    _version(request)
    cluster, database = _database(azure, request)
    kind = str((await read_body(request)).get("keyType")).lower()
    _check_not_busy(cluster)
    if kind not in ("primary", "secondary"):
        raise InvalidParameter("keyType", "Allowed are Primary and Secondary.")
    if kind == "primary":
        database.primary_key = new_access_key()
    else:
        database.secondary_key = new_access_key()
    azure.specify_database(cluster)
    database.provisioning_state = database.resource_state = "Updating"
    operation = _begin(azure, "database_keys", cluster, result="nothing")
    azure.save()
    return _accepted(request, operation, Response(status_code=202))


async def flush(azure: Azure, request: Request) -> Response:
    """POST flush: remove every key."""
    _version(request)
    cluster, database = _database(azure, request)
    _check_not_busy(cluster)
    database.provisioning_state = database.resource_state = "Updating"
    operation = _begin(azure, "database_flush", cluster, result="nothing")
    azure.save()
    return _accepted(request, operation, Response(status_code=202))


async def import_data(azure: Azure, request: Request) -> Response:
    """POST import: replace everything by what is in RDB files; the database is not there meanwhile."""
    _version(request)
    cluster, database = _database(azure, request)
    urls = (await read_body(request)).get("sasUris")
    _check_not_busy(cluster)
    if not isinstance(urls, list) or not urls:
        raise InvalidParameter("sasUris", "At least one address is required.")
    places = [archive.place(azure, cluster, url, parameter="sasUris", by_identity=False) for url in urls]
    if not all(place.blob for place in places):
        raise InvalidParameter("sasUris", "The address of a blob is expected.")
    database.provisioning_state = database.resource_state = "Updating"
    secrets = {str(number): str(url) for number, url in enumerate(urls)}
    operation = _begin(azure, "database_import", cluster, result="nothing", secrets=secrets)
    azure.save()
    return _accepted(request, operation, Response(status_code=202))


async def export_data(azure: Azure, request: Request) -> Response:
    """POST export: write what each shard holds now into a compressed RDB file of its own; the database serves on."""
    _version(request)
    cluster, database = _database(azure, request)
    url = (await read_body(request)).get("sasUri")
    _check_not_busy(cluster)
    if archive.place(azure, cluster, url, parameter="sasUri", by_identity=False).blob:
        raise InvalidParameter("sasUri", "The address of a container is expected.")
    database.provisioning_state = database.resource_state = "Updating"
    operation = _begin(azure, "database_export", cluster, result="nothing", secrets={"container": str(url)})
    azure.save()
    return _accepted(request, operation, Response(status_code=202))


# --- access policy assignments


async def put_assignment(azure: Azure, request: Request) -> Response:
    """PUT an access policy assignment; the one policy is `default`, everything."""
    _version(request)
    cluster, database = _database(azure, request)
    name = request.path_params["assignment"]
    properties = (await read_body(request)).get("properties")
    _check_not_busy(cluster)
    if not POLICY_NAME.fullmatch(name):
        raise InvalidParameter("accessPolicyAssignmentName", "It has 3 to 63 letters, digits, blanks and hyphens.")
    properties = properties if isinstance(properties, dict) else {}
    if properties.get("accessPolicyName") != "default":
        raise InvalidParameter("properties.accessPolicyName", "The only access policy is 'default'.")
    user = properties.get("user")
    object_id = str(user.get("objectId")) if isinstance(user, dict) else ""
    if not GUID.fullmatch(object_id):
        raise InvalidParameter("properties.user.objectId", "An object id (a GUID) is expected.")
    status = 200 if name.lower() in database.assignments else 201
    assignment = AssignmentRecord(name=name, object_id=object_id, state="Updating")
    database.assignments[name.lower()] = assignment
    operation = _begin(
        azure,
        "database_access",
        cluster,
        result="resource",
        path=f"{cluster.database_id}/accessPolicyAssignments/{name}",
    )
    azure.save()
    return _accepted(request, operation, JSONResponse(cluster.render_assignment(assignment), status_code=status))


async def get_assignment(azure: Azure, request: Request) -> Response:
    """GET an access policy assignment."""
    _version(request)
    cluster, database = _database(azure, request)
    name = request.path_params["assignment"]
    assignment = database.assignments.get(name.lower())
    if assignment is None:
        raise ResourceNotFound(f"{TYPE}/{cluster.name}/accessPolicyAssignments/{name}", cluster.resource_group)
    return JSONResponse(cluster.render_assignment(assignment))


async def list_assignments(azure: Azure, request: Request) -> Response:
    """GET the access policy assignments of a database."""
    _version(request)
    cluster, database = _database(azure, request)
    return JSONResponse({"value": [cluster.render_assignment(entry) for entry in database.assignments.values()]})


async def delete_assignment(azure: Azure, request: Request) -> Response:
    """DELETE an access policy assignment."""
    _version(request)
    cluster, database = _database(azure, request)
    assignment = database.assignments.get(request.path_params["assignment"].lower())
    if assignment is None:
        return Response(status_code=204)
    _check_not_busy(cluster)
    assignment.state = "Deleting"
    operation = _begin(azure, "database_access", cluster, result="nothing")
    azure.save()
    return _accepted(request, operation, Response(status_code=202))


# --- polling


async def get_operation_status(azure: Azure, request: Request) -> Response:
    """GET the status document of a long-running operation."""
    operation = operation_of(azure, request)
    body: dict[str, Any] = {
        "id": request.url.path,
        "name": operation.id,
        "startTime": azure.timestamp(operation.started_at),
        "endTime": azure.timestamp(operation.ended_at),
        "status": operation.status,
    }
    if operation.status == "Failed":
        body["error"] = {"code": operation.error_code, "message": operation.error_message}
    headers = {} if operation.status != "InProgress" else {"Retry-After": str(retry_after_s(operation))}
    return JSONResponse(body, headers=headers)


# --- common parts


def specification(cluster: ClusterRecord, *, memory_scale: float) -> dict[str, Any]:
    """
    Give what a database's redis-servers must be like, from what ARM was told.

    Args:
        cluster: one with a database.
        memory_scale: what its memory is divided by.
    """
    database = cluster.database
    assert database is not None
    shards = max(database.redis.shards, 1)
    return {
        "maxmemory_bytes": int(cluster.memory_gb * USABLE_SHARE * GB / memory_scale / shards),
        "maxmemory_policy": EVICTION[database.eviction_policy],
        "tls_protocols": TLS_PROTOCOLS[cluster.minimum_tls_version],
        "password_hashes": [password_hash(database.primary_key), password_hash(database.secondary_key)],
        "keys_enabled": database.access_keys,
    }


def _version(request: Request) -> None:
    require_api_version(request, "Microsoft.Cache", "redisEnterprise", models.API_VERSIONS)


def _cluster(azure: Azure, request: Request) -> ClusterRecord:
    group = azure.group(request)
    cluster = azure.find_cluster(request)
    if cluster is None:
        raise ResourceNotFound(f"{TYPE}/{request.path_params['name']}", group.name)
    return cluster


def _database(azure: Azure, request: Request) -> tuple[ClusterRecord, DatabaseRecord]:
    cluster = _cluster(azure, request)
    name = request.path_params["database"]
    if cluster.database is None or name.lower() != DATABASE_NAME:
        raise ResourceNotFound(f"{TYPE}/{cluster.name}/databases/{name}", cluster.resource_group)
    return cluster, cluster.database


def _check_not_busy(cluster: ClusterRecord) -> None:
    if cluster.operation_id is not None:
        raise Busy(cluster.id)


def _begin(
    azure: Azure,
    kind: str,
    cluster: ClusterRecord,
    *,
    result: Literal["resource", "nothing"],
    path: str = "",
    duration: str | None = None,
    secrets: dict[str, str] | None = None,
    **more: str,
) -> OperationRecord:
    operation = azure.operations.begin(
        kind,
        subscription_id=cluster.subscription_id,
        location=cluster.location,
        subject={"cluster": cluster.key, **more},
        result=result,
        result_path=path,
        duration=duration,
        secrets=secrets,
    )
    cluster.operation_id = operation.id
    return operation


def _accepted(request: Request, operation: OperationRecord, response: Response) -> Response:
    response.headers["Azure-AsyncOperation"] = poll_url(request, operation, "operationsStatus")
    if response.status_code == 202:
        response.headers["Location"] = poll_url(request, operation, "operationresults")
    response.headers["Retry-After"] = str(retry_after_s(operation))
    return response
