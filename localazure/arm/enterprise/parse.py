"""
Request bodies of clusters and databases, and what Azure refuses of them.

Sources: the TypeSpec and examples of api-version 2025-07-01, the architecture page of Azure Managed Redis, and a report
of what was seen (`clusteringPolicy` that cannot be changed).
"""

from __future__ import annotations

import re
from typing import Any

from localazure.arm.cache import parse
from localazure.arm.cache.errors import BadRequest, InvalidParameter
from localazure.arm.enterprise.errors import CannotBeChanged
from localazure.arm.enterprise.models import (
    CAPACITIES,
    DATABASE_NAME,
    EVICTION,
    NO_CLUSTER_MOST_GB,
    PORT,
    SIZES_GB,
    ClusterRecord,
    DatabaseRecord,
)
from localazure.arm.http import NotModelled

CLUSTER_NAME = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
LONGEST_NAME = 60
LONGEST_NAME_AND_REGION = 62
AOF_FREQUENCIES = ("1s", "always")
RDB_FREQUENCIES = ("1h", "6h", "12h")


def cluster_name(name: str, region: str) -> None:
    """Refuse a name that cannot be a cluster's in a region (display name)."""
    if len(name) > LONGEST_NAME or not CLUSTER_NAME.fullmatch(name):
        raise InvalidParameter(
            "clusterName",
            "A name has 1 to 60 letters, digits and single hyphens, and begins and ends with a letter or digit.",
        )
    if len(name) + len(region) > LONGEST_NAME_AND_REGION:
        raise InvalidParameter("clusterName", f"Name and region together have at most {LONGEST_NAME_AND_REGION} signs.")


def cluster(cluster: ClusterRecord, body: dict[str, Any], *, creating: bool, tenant_id: str) -> None:
    """
    Bring a cluster to what a request says, and refuse what is not allowed.

    Args:
        cluster: changed in place; a copy, so that a refusal changes nothing.
        body: the request.
        creating: for a new cluster.
        tenant_id: for a managed identity.
    """
    properties = _properties(body)
    tags = parse.strings(body, "tags")
    if tags is not None:
        cluster.tags = tags
    cluster.identity = parse.identity(body, cluster.identity, tenant_id)
    _sku(cluster, body.get("sku"), creating=creating)
    if creating and "publicNetworkAccess" not in properties:
        raise InvalidParameter("properties.publicNetworkAccess", "It is required.")
    cluster.public_network_access = parse.choice(
        properties, "publicNetworkAccess", ("Enabled", "Disabled"), cluster.public_network_access
    )
    cluster.minimum_tls_version = parse.choice(
        properties, "minimumTlsVersion", parse.TLS_VERSIONS, cluster.minimum_tls_version
    )
    available = _switch(properties, "highAvailability", cluster.high_availability)
    if not creating and cluster.high_availability and not available:
        raise BadRequest("High availability cannot be disabled on a cluster that has it.")
    cluster.high_availability = available
    zones = body.get("zones")
    if zones is not None:
        if not isinstance(zones, list):
            raise InvalidParameter("zones")
        if not creating and [str(zone) for zone in zones] != cluster.zones:
            raise InvalidParameter("zones", "They can be set only at creation.")
        cluster.zones = [str(zone) for zone in zones]
    if isinstance(properties.get("encryption"), dict):
        cluster.encryption = properties["encryption"]


def _sku(cluster: ClusterRecord, given: Any, *, creating: bool) -> None:
    if given is None and not creating:
        return
    if not isinstance(given, dict):
        raise InvalidParameter("sku", "It is required.")
    name = next((known for known in SIZES_GB if known.lower() == str(given.get("name")).lower()), "")
    if not name:
        raise InvalidParameter("sku.name", "There is no such SKU.")
    steps = next((steps for family, steps in CAPACITIES.items() if name.startswith(family)), ())
    capacity = parse.integer(given, "capacity")
    if steps:
        capacity = steps[0] if capacity is None else capacity
        if capacity not in steps:
            raise InvalidParameter("sku.capacity", f"Allowed are {', '.join(str(step) for step in steps)}.")
    elif capacity is not None:
        raise InvalidParameter("sku.capacity", "It is for Enterprise and EnterpriseFlash SKUs only.")
    if not creating and bool(steps) != cluster.is_old:
        raise NotModelled("Changing a cluster of Azure Cache for Redis Enterprise into Azure Managed Redis")
    cluster.sku_name, cluster.sku_capacity = name, capacity


def database_name(name: str) -> None:
    """Refuse every name but `default`: a cluster has one database."""
    if name.lower() != DATABASE_NAME:
        raise InvalidParameter("databaseName", f"The only database of a cluster is '{DATABASE_NAME}'.")


def database(
    cluster: ClusterRecord, database: DatabaseRecord, body: dict[str, Any], *, creating: bool
) -> DatabaseRecord:
    """
    Give a database as a request asks for it, and refuse what is not allowed.

    Args:
        cluster: whose database it is.
        database: as it is.
        body: the request.
        creating: for a new one.
    """
    properties = _properties(body)
    new = database.model_copy(deep=True)
    if properties.get("geoReplication") is not None:
        raise NotModelled("Active geo-replication")
    policy = parse.choice(
        properties, "clusteringPolicy", ("OSSCluster", "EnterpriseCluster", "NoCluster"), database.clustering_policy
    )
    _modules(properties, policy, creating=creating)
    if parse.integer(properties, "port") not in (None, PORT):
        raise InvalidParameter("properties.port", f"The port is {PORT}.")
    if not creating and policy != database.clustering_policy:
        if database.clustering_policy != "NoCluster":
            raise CannotBeChanged("properties.clusteringPolicy")
        raise NotModelled("Changing the clustering policy of an existing database")
    if policy == "NoCluster" and cluster.memory_gb > NO_CLUSTER_MOST_GB:
        raise InvalidParameter(
            "properties.clusteringPolicy", f"'NoCluster' is for SKUs of at most {NO_CLUSTER_MOST_GB} GB."
        )
    new.clustering_policy = policy
    protocol = parse.choice(properties, "clientProtocol", ("Encrypted", "Plaintext"), database.client_protocol)
    if not creating and protocol != database.client_protocol:
        raise NotModelled("Changing the client protocol of an existing database")
    new.client_protocol = protocol
    new.eviction_policy = parse.choice(properties, "evictionPolicy", tuple(EVICTION), database.eviction_policy)
    new.defer_upgrade = parse.choice(properties, "deferUpgrade", ("Deferred", "NotDeferred"), database.defer_upgrade)
    new.access_keys = _switch(properties, "accessKeysAuthentication", database.access_keys)
    if properties.get("persistence") is not None:
        new.persistence = _persistence(properties["persistence"])
    return new


def _modules(properties: dict[str, Any], policy: str, *, creating: bool) -> None:
    modules = properties.get("modules")
    if not modules:
        return
    names = [str(module.get("name")) for module in modules if isinstance(module, dict)]
    if not creating:
        raise InvalidParameter("properties.modules", "They can be set only at creation.")
    if "RediSearch" in names and policy == "OSSCluster":
        raise InvalidParameter("properties.modules", "RediSearch needs the clustering policy 'EnterpriseCluster'.")
    raise NotModelled(f"The modules {', '.join(names)}")


def _persistence(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InvalidParameter("properties.persistence")
    aof = parse.boolean(given, "aofEnabled", False)
    rdb = parse.boolean(given, "rdbEnabled", False)
    if aof and rdb:
        raise InvalidParameter("properties.persistence", "At most one of AOF and RDB can be enabled.")
    result: dict[str, Any] = {"aofEnabled": aof, "rdbEnabled": rdb}
    if aof:
        result["aofFrequency"] = parse.choice(given, "aofFrequency", AOF_FREQUENCIES, "1s")
    if rdb:
        result["rdbFrequency"] = parse.choice(given, "rdbFrequency", RDB_FREQUENCIES, "1h")
    return result


def _switch(properties: dict[str, Any], name: str, otherwise: bool) -> bool:
    given = parse.choice(properties, name, ("Enabled", "Disabled"), "Enabled" if otherwise else "Disabled")
    return given == "Enabled"


def _properties(body: dict[str, Any]) -> dict[str, Any]:
    properties = body.get("properties")
    if properties is None:
        return {}
    if not isinstance(properties, dict):
        raise InvalidParameter("properties")
    return properties
