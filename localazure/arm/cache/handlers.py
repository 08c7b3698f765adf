"""Operations of Microsoft.Cache/redis, one function each."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localazure.arm.cache import archive, models, parse, refusals
from localazure.arm.cache.errors import (
    BadRequest,
    InvalidParameter,
    LinkRefused,
    NameNotAvailable,
    ResourceNotFound,
    Retiring,
)
from localazure.arm.cache.models import (
    BUILT_IN_POLICIES,
    MAX_CLIENTS,
    TYPE,
    AssignmentRecord,
    CacheRecord,
    LinkRecord,
    PolicyRecord,
    PrivateEndpointRecord,
)
from localazure.arm.http import ArmError, NotModelled, base_url, read_body, require_api_version
from localazure.arm.resources.errors import LocationNotAvailable, ResourceGroupBeingDeleted
from localazure.operations import OperationRecord
from localazure.redis_process import RedisSpec, password_hash
from localazure.regions import REGIONS, display_name, short_name

if TYPE_CHECKING:
    from localazure.azure import Azure

RESOURCE_ID = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Cache/redis/(?P<name>[^/]+)",
    re.IGNORECASE,
)
TLS_PROTOCOLS = {
    "1.0": "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3",
    "1.1": "TLSv1.1 TLSv1.2 TLSv1.3",
    "1.2": "TLSv1.2 TLSv1.3",
}


# --- caches


async def create(azure: Azure, request: Request) -> Response:
    """PUT a cache: make it, or bring an existing one to the body."""
    _version(request)
    group = azure.group(request)
    name = request.path_params["name"]
    body = await read_body(request)
    existing = azure.world.caches.get(name.lower())
    if existing is not None and (existing.subscription_id, existing.resource_group.lower()) == (
        group.subscription_id,
        group.name.lower(),
    ):
        return _update(azure, request, existing, body, replacing=True)
    if group.state == "Deleting":
        raise ResourceGroupBeingDeleted(group.name)
    refusals.check_name(name)
    location = body.get("location")
    if not isinstance(location, str) or not location:
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    shown = display_name(location)
    if shown is None:
        raise LocationNotAvailable(location, TYPE, sorted(REGIONS))
    settings = azure.home.settings
    if short_name(location) in {short_name(entry) for entry in settings.retired}:
        raise Retiring
    if existing is not None:
        raise NameNotAvailable(name)
    cache = CacheRecord(
        subscription_id=group.subscription_id,
        resource_group=group.name,
        name=name,
        location=shown,
        sku_name="Basic",
        sku_family="C",
        sku_capacity=0,
        redis_version=settings.client_pause,
        primary_key=models.new_access_key(),
        secondary_key=models.new_access_key(),
        redis=RedisSpec.model_construct(),
    )
    parse.apply_properties(
        cache, body, creating=True, default_version=settings.client_pause, tenant_id=azure.home.config.tenant_id
    )
    cache.redis_version = settings.redis_version_by_cache.get(name, cache.redis_version)
    cache.redis = RedisSpec(
        folder=name.lower(),
        host=azure.new_address(),
        shards=cache.shard_count,
        node_ids=[uuid.uuid4().hex + uuid.uuid4().hex[:8] for _ in range(cache.shard_count)],
        databases=parse.databases(cache),
        maxmemory_bytes=0,
        maxclients=0,
        maxmemory_policy="volatile-lru",
        notify_keyspace_events="",
        plain_port_enabled=False,
        tls_protocols=TLS_PROTOCOLS["1.2"],
        client_pause="6.0",
        password_hashes=[],
    )
    azure.specify(cache)
    azure.world.caches[name.lower()] = cache
    operation = _begin(azure, "create", cache, result="resource")
    azure.save()
    return _accepted(request, operation, JSONResponse(cache.render(with_keys=True), status_code=201))


async def update(azure: Azure, request: Request) -> Response:
    """PATCH a cache."""
    _version(request)
    cache = _cache(azure, request)
    return _update(azure, request, cache, await read_body(request), replacing=False)


def _update(azure: Azure, request: Request, cache: CacheRecord, body: dict[str, Any], *, replacing: bool) -> Response:
    refusals.check_not_busy(cache)
    location = body.get("location")
    if location is not None and short_name(str(location)) != short_name(cache.location):
        raise ArmError(
            409,
            "InvalidResourceLocation",
            f"The resource '{cache.name}' already exists in location '{short_name(cache.location)}' in resource group "
            f"'{cache.resource_group}'. A resource with the same name cannot be created in location '{location}'. "
            "Please "
            "select a new resource name.",
        )
    properties = body.get("properties") or {}
    if isinstance(properties, dict):
        for name, before in (("subnetId", cache.subnet_id), ("staticIP", cache.static_ip)):
            if properties.get(name) is not None and properties[name] != before:
                raise InvalidParameter(f"properties.{name}", "It can be set only at creation.")
    if replacing and body.get("zones") is not None and [str(zone) for zone in body["zones"]] != cache.zones:
        raise InvalidParameter("zones", "They can be set only at creation.")
    new = cache.model_copy(deep=True)
    parse.apply_properties(
        new,
        body,
        creating=False,
        default_version=max(cache.redis_version, azure.home.settings.client_pause),
        tenant_id=azure.home.config.tenant_id,
    )
    refusals.check_update_while_linked(cache, new)
    if new.shard_count != cache.shard_count:
        if cache.shard_count and not new.shard_count:
            raise BadRequest("Clustering cannot be disabled on a clustered cache.")
        raise NotModelled("Changing the number of shards of an existing cache")
    scaling = (new.sku_name, new.sku_capacity) != (cache.sku_name, cache.sku_capacity)
    entra = new.entra_enabled != cache.entra_enabled
    cut = new.disable_access_key_authentication != cache.disable_access_key_authentication
    azure.specify(new)
    azure.world.caches[cache.name.lower()] = new
    operation = _begin(
        azure,
        "update",
        new,
        result="resource",
        state="Scaling" if scaling else "ConfiguringAAD" if entra else "Updating",
        duration="scale" if scaling else "entra" if entra else "update",
        cut="true" if cut else "false",
        reboot="true" if entra else "false",
    )
    azure.save()
    status = 200 if replacing else 202
    return _accepted(request, operation, JSONResponse(new.render(with_keys=True), status_code=status))


async def get(azure: Azure, request: Request) -> Response:
    """GET a cache."""
    _version(request)
    return JSONResponse(_cache(azure, request).render())


async def list_by_group(azure: Azure, request: Request) -> Response:
    """GET the caches of a resource group."""
    _version(request)
    group = azure.group(request)
    caches = [cache.render() for cache in azure.caches_of(group)]
    return JSONResponse({"value": caches})


async def list_by_subscription(azure: Azure, request: Request) -> Response:
    """GET the caches of a subscription."""
    _version(request)
    subscription = azure.subscription(request)
    caches = [cache.render() for cache in azure.world.caches.values() if cache.subscription_id == subscription]
    return JSONResponse({"value": caches})


async def delete(azure: Azure, request: Request) -> Response:
    """DELETE a cache."""
    _version(request)
    azure.group(request)
    cache = azure.find_cache(request)
    if cache is None:
        return Response(status_code=204)
    refusals.check_delete(cache)
    refusals.check_not_busy(cache)
    operation = _begin(azure, "delete", cache, result="nothing", state="Deleting")
    azure.save()
    return _accepted_without_body(request, operation)


async def list_keys(azure: Azure, request: Request) -> Response:
    """POST listKeys."""
    _version(request)
    cache = _cache(azure, request)
    return JSONResponse({"primaryKey": cache.primary_key, "secondaryKey": cache.secondary_key})


async def regenerate_key(azure: Azure, request: Request) -> Response:
    """
    POST regenerateKey: the old key is refused at once for new logins.

    Connections that are open stay open. What Azure does with them is not confirmed.
    """
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    kind = str((await read_body(request)).get("keyType")).lower()
    if kind not in ("primary", "secondary"):
        raise InvalidParameter("keyType", "Allowed are Primary and Secondary.")
    if kind == "primary":
        cache.primary_key = models.new_access_key()
    else:
        cache.secondary_key = models.new_access_key()
    azure.specify(cache)
    # Saved first: after a kill in between, the next start brings redis to what the state says.
    azure.save()
    await azure.fleet.apply_users(cache.redis)
    return JSONResponse({"primaryKey": cache.primary_key, "secondaryKey": cache.secondary_key})


async def flush(azure: Azure, request: Request) -> Response:
    """POST flush: remove every key."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    refusals.check_flush(cache)
    operation = _begin(azure, "flush", cache, result="status", state="Updating")
    azure.save()
    response = Response(status_code=202)
    return _accepted(request, operation, response)


async def force_reboot(azure: Azure, request: Request) -> Response:
    """POST forceReboot: restart redis-servers; AllNodes loses the data, as nothing is left that has it."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    body = await read_body(request)
    kinds = {"primarynode": "PrimaryNode", "secondarynode": "SecondaryNode", "allnodes": "AllNodes"}
    kind = kinds.get(str(body.get("rebootType")).lower())
    if kind is None:
        raise InvalidParameter("rebootType", "Allowed are PrimaryNode, SecondaryNode and AllNodes.")
    if kind == "SecondaryNode":
        raise NotModelled("Rebooting a replica (replicas are not run)")
    nodes = list(cache.redis.nodes)
    if body.get("shardId") is not None:
        shard = parse.integer({"shardId": body["shardId"]}, "shardId")
        if shard not in nodes or not cache.shard_count:
            raise InvalidParameter("shardId")
        nodes = [int(shard)]
    loses = kind == "AllNodes" or cache.sku_name == "Basic"
    # An operation, though Azure answers at once: the cache is busy meanwhile, and a kill does not leave it half up.
    operation = _begin(
        azure,
        "reboot",
        cache,
        result="nothing",
        nodes=" ".join(str(node) for node in nodes),
        loses="true" if loses else "false",
    )
    azure.save()
    await azure.operations.wait(operation)
    if operation.status == "Failed":
        raise ArmError(409, "Conflict", operation.error_message or "")
    return JSONResponse({"message": f"Successfully restarted the redis cache '{cache.name}' ({kind})."})


async def import_data(azure: Azure, request: Request) -> Response:
    """POST import: replace everything by what is in RDB files; the cache is not there meanwhile."""
    _version(request)
    cache = _cache(azure, request)
    body = await read_body(request)
    refusals.check_not_busy(cache)
    refusals.check_import(cache)
    parse.rdb_format(body)
    by_identity = parse.by_identity(cache, body)
    files = body.get("files")
    if not isinstance(files, list) or not files:
        raise InvalidParameter("files", "At least one file is required.")
    places = [archive.place(azure, cache, url, parameter="files", by_identity=by_identity) for url in files]
    if not all(place.blob for place in places):
        raise InvalidParameter("files", "The address of a blob is expected.")
    operation = _begin(
        azure,
        "import",
        cache,
        result="nothing",
        state="Updating",
        identity="true" if by_identity else "false",
        secrets={str(number): str(url) for number, url in enumerate(files)},
    )
    azure.save()
    return _accepted_without_body(request, operation)


async def export_data(azure: Azure, request: Request) -> Response:
    """POST export: write what each shard holds now into an RDB file of its own; the cache serves on."""
    _version(request)
    cache = _cache(azure, request)
    body = await read_body(request)
    refusals.check_not_busy(cache)
    refusals.check_premium_operation(cache, "export")
    parse.rdb_format(body)
    by_identity = parse.by_identity(cache, body)
    prefix = body.get("prefix")
    if not isinstance(prefix, str) or not prefix:
        raise InvalidParameter("prefix", "It is required.")
    url = body.get("container")
    if archive.place(azure, cache, url, parameter="container", by_identity=by_identity).blob:
        raise InvalidParameter("container", "The address of a container is expected.")
    operation = _begin(
        azure,
        "export",
        cache,
        result="nothing",
        state="Updating",
        prefix=prefix,
        identity="true" if by_identity else "false",
        secrets={"container": str(url)},
    )
    azure.save()
    return _accepted_without_body(request, operation)


async def check_name_availability(azure: Azure, request: Request) -> Response:
    """POST checkNameAvailability: 200 without a body when the name is free."""
    _version(request)
    azure.subscription(request)
    body = await read_body(request)
    if str(body.get("type")).lower() != TYPE.lower():
        raise InvalidParameter("type", f"Only '{TYPE}' is allowed.")
    name = str(body.get("name"))
    refusals.check_name(name)
    if name.lower() in azure.world.caches:
        raise NameNotAvailable(name)
    return Response(status_code=200)


async def list_upgrade_notifications(azure: Azure, request: Request) -> Response:
    """GET the upgrade notices: there are none, nothing is ever patched."""
    _version(request)
    _cache(azure, request)
    return JSONResponse({"value": []})


# --- geo-replication links


async def put_link(azure: Azure, request: Request) -> Response:
    """PUT a link, addressed to the cache that is to be the primary. Not idempotent."""
    _version(request)
    primary = _cache(azure, request)
    refusals.check_not_busy(primary)
    properties = (await read_body(request)).get("properties")
    if not isinstance(properties, dict):
        raise InvalidParameter("properties", "It is required.")
    linked_id, location = properties.get("linkedRedisCacheId"), properties.get("linkedRedisCacheLocation")
    match = RESOURCE_ID.fullmatch(str(linked_id).rstrip("/"))
    if match is None:
        raise InvalidParameter("properties.linkedRedisCacheId", "The resource id of a cache is expected.")
    if not isinstance(location, str) or not location:
        raise InvalidParameter("properties.linkedRedisCacheLocation", "It is required.")
    role = str(properties.get("serverRole")).lower()
    if role not in ("primary", "secondary"):
        raise InvalidParameter("properties.serverRole", "Allowed are Primary and Secondary.")
    if match["name"].lower() != request.path_params["linked"].lower():
        raise InvalidParameter("linkedServerName", "It must be the name of the linked cache.")
    if match["subscription"].lower() != primary.subscription_id.lower():
        raise LinkRefused(
            "Cannot create geo-replication link, since both caches must be in the same subscription: "
            f"'{primary.name}' is in '{primary.subscription_id}', the linked cache is in '{match['subscription']}'."
        )
    secondary = azure.world.caches.get(match["name"].lower())
    if (
        secondary is None
        or secondary.subscription_id.lower() != match["subscription"].lower()
        or secondary.resource_group.lower() != match["group"].lower()
    ):
        raise LinkRefused(f"Cannot create geo-replication link, since the linked cache '{linked_id}' was not found.")
    if secondary is primary:
        raise LinkRefused(
            f"Cannot create geo-replication link, since the cache '{primary.name}' cannot be linked to itself."
        )
    if role == "primary":
        raise NotModelled("A link whose linked cache is to be the primary (geo-failover)")
    refusals.check_link(primary, secondary, location)
    refusals.check_not_busy(secondary)
    for cache in (primary, secondary):
        if cache.provisioning_state != "Succeeded":
            raise LinkRefused(
                f"Cannot create geo-replication link, since the cache '{cache.name}' is in the state "
                f"'{cache.provisioning_state}', not 'Succeeded'."
            )
    primary.links[secondary.name.lower()] = LinkRecord(
        name=secondary.name,
        linked_id=secondary.id,
        linked_location=secondary.location,
        role="Secondary",
        state="Creating",
        primary_host=primary.redis.host,
    )
    secondary.links[primary.name.lower()] = LinkRecord(
        name=primary.name,
        linked_id=primary.id,
        linked_location=primary.location,
        role="Primary",
        state="Creating",
        primary_host=primary.redis.host,
    )
    link = primary.links[secondary.name.lower()]
    operation = _begin_pair(azure, "link", primary, secondary, "Linking", result="resource")
    operation.result_path = f"{primary.id}/linkedServers/{secondary.name}"
    azure.save()
    return _accepted(request, operation, JSONResponse(models.render_link(primary, link), status_code=201))


async def get_link(azure: Azure, request: Request) -> Response:
    """GET a link, from either side."""
    _version(request)
    cache = _cache(azure, request)
    return JSONResponse(models.render_link(cache, _link(cache, request)))


async def list_links(azure: Azure, request: Request) -> Response:
    """GET the links of a cache."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_premium_operation(cache, "linkedServers")
    return JSONResponse({"value": [models.render_link(cache, link) for link in cache.links.values()]})


async def delete_link(azure: Azure, request: Request) -> Response:
    """DELETE a link, addressed to the primary; GET is 404 when it is gone."""
    _version(request)
    primary = _cache(azure, request)
    link = _link(primary, request)
    if link.role == "Primary":
        raise BadRequest(
            f"The geo-replication link must be deleted on its primary cache '{link.name}'; '{primary.name}' is "
            "the secondary."
        )
    secondary = azure.world.caches[link.name.lower()]
    refusals.check_not_busy(primary)
    refusals.check_not_busy(secondary)
    link.state = "Deleting"
    secondary.links[primary.name.lower()].state = "Deleting"
    operation = _begin_pair(azure, "unlink", primary, secondary, "Unlinking", result="nothing")
    azure.save()
    return _accepted_without_body(request, operation)


# --- children that are answered at once


async def put_firewall_rule(azure: Azure, request: Request) -> Response:
    """PUT a firewall rule; control plane only, every connection comes from loopback."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    name = request.path_params["rule"]
    if not refusals.RULE_NAME.fullmatch(name):
        raise InvalidParameter("ruleName", "Letters, digits and underscores are allowed.")
    start, end = parse.firewall_rule(await read_body(request))
    status = 200 if name.lower() in cache.firewall_rules else 201
    cache.firewall_rules[name.lower()] = (name, start, end)
    azure.save()
    return JSONResponse(models.render_firewall_rule(cache, (name, start, end)), status_code=status)


async def get_firewall_rule(azure: Azure, request: Request) -> Response:
    """GET a firewall rule."""
    _version(request)
    cache = _cache(azure, request)
    rule = cache.firewall_rules.get(request.path_params["rule"].lower())
    if rule is None:
        raise ResourceNotFound(f"{TYPE}/{cache.name}/firewallRules/{request.path_params['rule']}", cache.resource_group)
    return JSONResponse(models.render_firewall_rule(cache, rule))


async def list_firewall_rules(azure: Azure, request: Request) -> Response:
    """GET the firewall rules of a cache."""
    _version(request)
    cache = _cache(azure, request)
    return JSONResponse({"value": [models.render_firewall_rule(cache, rule) for rule in cache.firewall_rules.values()]})


async def delete_firewall_rule(azure: Azure, request: Request) -> Response:
    """DELETE a firewall rule."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    gone = cache.firewall_rules.pop(request.path_params["rule"].lower(), None)
    azure.save()
    return Response(status_code=200 if gone else 204)


async def put_patch_schedule(azure: Azure, request: Request) -> Response:
    """PUT the patch schedule; control plane only, nothing is ever patched."""
    _version(request)
    cache = _cache(azure, request)
    _default_schedule(request)
    refusals.check_not_busy(cache)
    status = 200 if cache.patch_schedule is not None else 201
    cache.patch_schedule = parse.patch_schedule(await read_body(request))
    azure.save()
    return JSONResponse(models.render_patch_schedule(cache), status_code=status)


async def get_patch_schedule(azure: Azure, request: Request) -> Response:
    """GET the patch schedule."""
    _version(request)
    cache = _cache(azure, request)
    _default_schedule(request)
    if cache.patch_schedule is None:
        raise ResourceNotFound(f"{TYPE}/{cache.name}/patchSchedules/default", cache.resource_group)
    return JSONResponse(models.render_patch_schedule(cache))


async def list_patch_schedules(azure: Azure, request: Request) -> Response:
    """GET the patch schedules of a cache: the one, or none."""
    _version(request)
    cache = _cache(azure, request)
    return JSONResponse({"value": [] if cache.patch_schedule is None else [models.render_patch_schedule(cache)]})


async def delete_patch_schedule(azure: Azure, request: Request) -> Response:
    """DELETE the patch schedule."""
    _version(request)
    cache = _cache(azure, request)
    _default_schedule(request)
    refusals.check_not_busy(cache)
    status = 204 if cache.patch_schedule is None else 200
    cache.patch_schedule = None
    azure.save()
    return Response(status_code=status)


# --- access policies and assignments


async def put_access_policy(azure: Azure, request: Request) -> Response:
    """PUT an access policy."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    name = request.path_params["policy"]
    if name.lower() in {built_in.lower() for built_in in BUILT_IN_POLICIES}:
        raise BadRequest(f"The access policy '{name}' is built in and cannot be changed.")
    if not refusals.POLICY_NAME.fullmatch(name):
        raise InvalidParameter("accessPolicyName", "It has 3 to 63 letters, digits, blanks and hyphens.")
    properties = (await read_body(request)).get("properties")
    permissions = properties.get("permissions") if isinstance(properties, dict) else None
    if not isinstance(permissions, str) or not permissions.strip():
        raise InvalidParameter("properties.permissions", "It is required.")
    await azure.check_rules(cache, permissions)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    status = 200 if name.lower() in cache.access_policies else 201
    policy = PolicyRecord(name=name, permissions=permissions, state="Updating")
    cache.access_policies[name.lower()] = policy
    operation = _begin(azure, "access", cache, result="resource", state="Updating")
    operation.result_path = f"{cache.id}/accessPolicies/{name}"
    azure.save()
    return _accepted(request, operation, JSONResponse(models.render_policy(cache, policy), status_code=status))


async def get_access_policy(azure: Azure, request: Request) -> Response:
    """GET an access policy, built in or custom."""
    _version(request)
    cache = _cache(azure, request)
    name = request.path_params["policy"].lower()
    if name in cache.access_policies:
        return JSONResponse(models.render_policy(cache, cache.access_policies[name]))
    for built_in in _built_in_policies():
        if built_in.name.lower() == name:
            return JSONResponse(models.render_policy(cache, built_in, kind="BuiltIn"))
    raise ResourceNotFound(f"{TYPE}/{cache.name}/accessPolicies/{request.path_params['policy']}", cache.resource_group)


async def list_access_policies(azure: Azure, request: Request) -> Response:
    """GET the access policies of a cache: three that are built in, and the custom ones."""
    _version(request)
    cache = _cache(azure, request)
    value = [models.render_policy(cache, policy, kind="BuiltIn") for policy in _built_in_policies()]
    value += [models.render_policy(cache, policy) for policy in cache.access_policies.values()]
    return JSONResponse({"value": value})


async def delete_access_policy(azure: Azure, request: Request) -> Response:
    """DELETE an access policy that nobody is assigned to."""
    _version(request)
    cache = _cache(azure, request)
    name = request.path_params["policy"].lower()
    if name in {built_in.lower() for built_in in BUILT_IN_POLICIES}:
        raise BadRequest(f"The access policy '{request.path_params['policy']}' is built in and cannot be deleted.")
    policy = cache.access_policies.get(name)
    if policy is None:
        return Response(status_code=204)
    refusals.check_not_busy(cache)
    users = [entry.name for entry in cache.access_policy_assignments.values() if entry.policy.lower() == name]
    if users:
        raise BadRequest(f"The access policy '{policy.name}' cannot be deleted: it is assigned by {', '.join(users)}.")
    policy.state = "Deleting"
    operation = _begin(azure, "access", cache, result="nothing", state="Updating")
    azure.save()
    return _accepted_without_body(request, operation)


async def put_assignment(azure: Azure, request: Request) -> Response:
    """PUT an access policy assignment; one a principal."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    name = request.path_params["assignment"]
    if not refusals.POLICY_NAME.fullmatch(name):
        raise InvalidParameter("accessPolicyAssignmentName", "It has 3 to 63 letters, digits, blanks and hyphens.")
    properties = (await read_body(request)).get("properties")
    properties = properties if isinstance(properties, dict) else {}
    for field in ("objectId", "objectIdAlias", "accessPolicyName"):
        if not isinstance(properties.get(field), str) or not properties[field]:
            raise InvalidParameter(f"properties.{field}", "It is required.")
    object_id, policy = properties["objectId"], properties["accessPolicyName"]
    if not refusals.GUID.fullmatch(object_id):
        raise InvalidParameter("properties.objectId", "An object id (a GUID) is expected.")
    known = {entry.lower(): entry for entry in BUILT_IN_POLICIES}
    known |= {key: entry.name for key, entry in cache.access_policies.items()}
    if policy.lower() not in known:
        raise InvalidParameter("properties.accessPolicyName", f"There is no access policy '{policy}'.")
    for other in cache.access_policy_assignments.values():
        if other.name.lower() != name.lower() and other.object_id.lower() == object_id.lower():
            raise BadRequest(
                f"Invalid access policy assignment: there are duplicate entries for the object id '{object_id}' "
                f"('{other.name}')."
            )
    status = 200 if name.lower() in cache.access_policy_assignments else 201
    assignment = AssignmentRecord(
        name=name,
        object_id=object_id,
        alias=properties["objectIdAlias"],
        policy=known[policy.lower()],
        state="Updating",
    )
    cache.access_policy_assignments[name.lower()] = assignment
    operation = _begin(azure, "access", cache, result="resource", state="Updating")
    operation.result_path = f"{cache.id}/accessPolicyAssignments/{name}"
    azure.save()
    body = JSONResponse(models.render_assignment(cache, assignment), status_code=status)
    return _accepted(request, operation, body)


async def get_assignment(azure: Azure, request: Request) -> Response:
    """GET an access policy assignment."""
    _version(request)
    cache = _cache(azure, request)
    name = request.path_params["assignment"]
    assignment = cache.access_policy_assignments.get(name.lower())
    if assignment is None:
        raise ResourceNotFound(f"{TYPE}/{cache.name}/accessPolicyAssignments/{name}", cache.resource_group)
    return JSONResponse(models.render_assignment(cache, assignment))


async def list_assignments(azure: Azure, request: Request) -> Response:
    """GET the access policy assignments of a cache."""
    _version(request)
    cache = _cache(azure, request)
    value = [models.render_assignment(cache, entry) for entry in cache.access_policy_assignments.values()]
    return JSONResponse({"value": value})


async def delete_assignment(azure: Azure, request: Request) -> Response:
    """DELETE an access policy assignment."""
    _version(request)
    cache = _cache(azure, request)
    assignment = cache.access_policy_assignments.get(request.path_params["assignment"].lower())
    if assignment is None:
        return Response(status_code=204)
    refusals.check_not_busy(cache)
    assignment.state = "Deleting"
    operation = _begin(azure, "access", cache, result="nothing", state="Updating")
    azure.save()
    return _accepted_without_body(request, operation)


# --- private endpoints


async def put_private_endpoint(azure: Azure, request: Request) -> Response:
    """PUT a private endpoint's connection; control plane only, refused while linked."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    name = request.path_params["connection"]
    body = await read_body(request)
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise InvalidParameter("properties", "It is required.")
    state = properties.get("privateLinkServiceConnectionState")
    if not isinstance(state, dict):
        raise InvalidParameter("properties.privateLinkServiceConnectionState", "It is required.")
    status = parse.choice(state, "status", ("Pending", "Approved", "Rejected"), "Approved")
    existing = cache.private_endpoints.get(name.lower())
    if existing is None:
        refusals.check_private_endpoint(cache)
    endpoint = properties.get("privateEndpoint")
    endpoint_id = endpoint.get("id") if isinstance(endpoint, dict) else None
    if endpoint_id is None:
        endpoint_id = (
            existing.endpoint_id
            if existing
            else f"{azure.group(request).id}/providers/Microsoft.Network/" + (f"privateEndpoints/{name}")
        )
    entry = PrivateEndpointRecord(
        name=name,
        endpoint_id=str(endpoint_id),
        status=status,
        description=str(state.get("description") or ""),
        state="Creating",
    )
    cache.private_endpoints[name.lower()] = entry
    operation = _begin(azure, "private_endpoint", cache, result="resource", state="Updating", name=name.lower())
    operation.result_path = f"{cache.id}/privateEndpointConnections/{name}"
    azure.save()
    code = 200 if existing else 201
    return _accepted(request, operation, JSONResponse(models.render_private_endpoint(cache, entry), status_code=code))


async def get_private_endpoint(azure: Azure, request: Request) -> Response:
    """GET a private endpoint's connection."""
    _version(request)
    cache = _cache(azure, request)
    name = request.path_params["connection"]
    entry = cache.private_endpoints.get(name.lower())
    if entry is None:
        raise ResourceNotFound(f"{TYPE}/{cache.name}/privateEndpointConnections/{name}", cache.resource_group)
    return JSONResponse(models.render_private_endpoint(cache, entry))


async def list_private_endpoints(azure: Azure, request: Request) -> Response:
    """GET the private endpoints' connections of a cache."""
    _version(request)
    cache = _cache(azure, request)
    value = [models.render_private_endpoint(cache, entry) for entry in cache.private_endpoints.values()]
    return JSONResponse({"value": value})


async def delete_private_endpoint(azure: Azure, request: Request) -> Response:
    """DELETE a private endpoint's connection."""
    _version(request)
    cache = _cache(azure, request)
    refusals.check_not_busy(cache)
    gone = cache.private_endpoints.pop(request.path_params["connection"].lower(), None)
    azure.save()
    return Response(status_code=200 if gone else 204)


async def list_private_link_resources(azure: Azure, request: Request) -> Response:
    """GET what a private endpoint can be made to: the one group `redisCache`."""
    _version(request)
    cache = _cache(azure, request)
    return JSONResponse(
        {
            "value": [
                {
                    "id": f"{cache.id}/privateLinkResources/redisCache",
                    "name": "redisCache",
                    "type": f"{TYPE}/privateLinkResources",
                    "properties": {
                        "groupId": "redisCache",
                        "requiredMembers": ["redisCache"],
                        "requiredZoneNames": ["privatelink.redis.cache.windows.net"],
                    },
                }
            ]
        }
    )


# --- polling


async def get_async_operation(azure: Azure, request: Request) -> Response:
    """GET the status document of a long-running operation."""
    operation = operation_of(azure, request)
    body: dict[str, Any] = {
        "id": request.url.path,
        "name": operation.id,
        "status": operation.status,
        "startTime": azure.timestamp(operation.started_at),
        "endTime": azure.timestamp(operation.ended_at),
        "percentComplete": None,
        "properties": None,
        "error": None,
    }
    if operation.status == "Failed":
        body["error"] = {"code": operation.error_code, "message": operation.error_message}
    headers = {} if operation.status != "InProgress" else {"Retry-After": str(retry_after_s(operation))}
    return JSONResponse(body, headers=headers)


async def get_operation_result(azure: Azure, request: Request) -> Response:
    """GET the result of a long-running operation: 202 while it runs, 409 when it failed."""
    operation = operation_of(azure, request)
    if operation.status == "InProgress":
        headers = {"Location": str(request.url), "Retry-After": str(retry_after_s(operation))}
        return Response(status_code=202, headers=headers)
    if operation.status == "Failed":
        # Azure answers 409 Conflict to the polling request, whatever the cause.
        raise ArmError(409, "Conflict", operation.error_message or "")
    if operation.result == "status":
        return JSONResponse({"status": "Succeeded"})
    if operation.result == "resource":
        body = azure.resource_at(operation)
        if body is not None:
            return JSONResponse(body)
    return Response(status_code=200)


# --- common parts


def _version(request: Request) -> None:
    require_api_version(request, "Microsoft.Cache", "Redis", models.API_VERSIONS)


def _cache(azure: Azure, request: Request) -> CacheRecord:
    group = azure.group(request)
    cache = azure.find_cache(request)
    if cache is None:
        raise ResourceNotFound(f"{TYPE}/{request.path_params['name']}", group.name)
    return cache


def _link(cache: CacheRecord, request: Request) -> LinkRecord:
    name = request.path_params["linked"]
    link = cache.links.get(name.lower())
    if link is None:
        raise ResourceNotFound(f"{TYPE}/{cache.name}/linkedServers/{name}", cache.resource_group)
    return link


def _default_schedule(request: Request) -> None:
    if request.path_params["schedule"].lower() != "default":
        raise InvalidParameter("name", "The only patch schedule is 'default'.")


def _built_in_policies() -> list[PolicyRecord]:
    return [PolicyRecord(name=name, permissions=permissions) for name, permissions in BUILT_IN_POLICIES.items()]


def _begin(
    azure: Azure,
    kind: str,
    cache: CacheRecord,
    *,
    result: Literal["resource", "status", "nothing"],
    state: str | None = None,
    duration: str | None = None,
    secrets: dict[str, str] | None = None,
    **more: str,
) -> OperationRecord:
    if state is not None:
        cache.provisioning_state = state
    operation = azure.operations.begin(
        kind,
        subscription_id=cache.subscription_id,
        location=cache.location,
        subject={"cache": cache.name.lower(), **more},
        result=result,
        result_path=cache.id,
        duration=duration,
        secrets=secrets,
    )
    cache.operation_id = operation.id
    return operation


def _begin_pair(
    azure: Azure,
    kind: str,
    primary: CacheRecord,
    secondary: CacheRecord,
    state: str,
    *,
    result: Literal["resource", "nothing"],
) -> OperationRecord:
    operation = azure.operations.begin(
        kind,
        subscription_id=primary.subscription_id,
        location=primary.location,
        subject={"primary": primary.name.lower(), "secondary": secondary.name.lower()},
        result=result,
    )
    for cache in (primary, secondary):
        cache.provisioning_state = state
        cache.operation_id = operation.id
    return operation


def operation_of(azure: Azure, request: Request) -> OperationRecord:
    """Give the operation that a polling request is about; 404 where there is none."""
    subscription = azure.subscription(request)
    operation = azure.world.operations.get(request.path_params["operation"].lower())
    if operation is None or operation.subscription_id != subscription:
        raise ArmError(404, "OperationNotFound", f"The operation '{request.path_params['operation']}' was not found.")
    return operation


def retry_after_s(operation: OperationRecord) -> int:
    """Say when a client is to ask again."""
    # An integer of at least 1, or clients fall back to waits of their own (10 to 30 s).
    return max(1, min(15, round(operation.duration_s / 10)))


def poll_url(request: Request, operation: OperationRecord, kind: str) -> str:
    """Give an absolute polling address of an operation, on the host that the client used."""
    version = request.query_params["api-version"]
    location = operation.location.replace(" ", "%20")
    return (
        f"{base_url(request)}/subscriptions/{operation.subscription_id}/providers/Microsoft.Cache/locations/{location}/"
        f"{kind}/{operation.id}?api-version={version}"
    )


def _accepted(request: Request, operation: OperationRecord, response: Response) -> Response:
    response.headers["Azure-AsyncOperation"] = poll_url(request, operation, "asyncOperations")
    response.headers["Location"] = poll_url(request, operation, "operationresults")
    response.headers["Retry-After"] = str(retry_after_s(operation))
    return response


def _accepted_without_body(request: Request, operation: OperationRecord) -> Response:
    return Response(
        status_code=202,
        headers={
            "Location": poll_url(request, operation, "operationresults"),
            "Retry-After": str(retry_after_s(operation)),
        },
    )


def specification(cache: CacheRecord, *, memory_scale: float, client_pause: str) -> dict[str, Any]:
    """
    Give what a cache's redis-servers must be like, from what ARM was told.

    Args:
        cache: the cache.
        memory_scale: what its memory is divided by.
        client_pause: semantics of CLIENT PAUSE.
    """
    configuration = cache.redis_configuration
    return {
        "maxmemory_bytes": int(cache.memory_mb * 1024 * 1024 / memory_scale),
        "maxclients": MAX_CLIENTS[cache.sku_family][cache.sku_capacity],
        "maxmemory_policy": configuration.get("maxmemory-policy", "volatile-lru"),
        "notify_keyspace_events": configuration.get("notify-keyspace-events", ""),
        "plain_port_enabled": cache.enable_non_ssl_port,
        "tls_protocols": TLS_PROTOCOLS[cache.minimum_tls_version],
        "client_pause": client_pause,
        "password_hashes": [password_hash(cache.primary_key), password_hash(cache.secondary_key)],
        "keys_enabled": not cache.disable_access_key_authentication,
    }
