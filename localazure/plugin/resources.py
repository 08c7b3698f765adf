"""
What the stand-in knows: one row for each resource type, one for each function that is not a plain getter.

A getter (`getRedis` for `Redis`) comes with its resource's row. The property names on both sides, what replaces and the
api-versions follow the OpenAPI documents behind pulumi-azure-native 3.29 (Azure/azure-rest-api-specs, for
Microsoft.Cache/redis stable/2024-11-01/redis.json) and the real provider's own list
(pulumi-azure-native, provider/pkg/gen/replacement.go). tests/unit/test_plugin_resources.py compares every row with the
SDK, and the Redis rows with azure-mgmt-redis.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from localazure.plugin.schema import (
    Function,
    Prop,
    ResourceType,
    anything,
    flag,
    integer,
    many,
    obj,
    read_only,
    table,
    text,
    within,
)

GROUP: Final = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"
CACHE: Final = GROUP + "/providers/Microsoft.Cache"
STORAGE: Final = GROUP + "/providers/Microsoft.Storage/storageAccounts/{accountName}"

# --- parts that many rows share

NAME_AND_TYPE: Final = read_only(text("name"), text("type"))
SYSTEM_DATA: Final = read_only(
    obj(
        "systemData",
        text("createdAt"),
        text("createdBy"),
        text("createdByType"),
        text("lastModifiedAt"),
        text("lastModifiedBy"),
        text("lastModifiedByType"),
    )
)
TAGS: Final = table("tags")
ZONES: Final = many("zones")
STATE: Final = read_only(text("provisioningState"))


def identity(**more: object) -> Prop:
    """A managed identity: system assigned, user assigned or both."""
    return obj(
        "identity",
        text("type", required=True),
        Prop("userAssignedIdentities", "id_set"),
        *read_only(text("principalId"), text("tenantId")),
        **more,
    )


PRIVATE_ENDPOINT_CONNECTION: Final = (
    *within(
        "properties",
        obj(
            "privateLinkServiceConnectionState",
            text("status"),
            text("description"),
            text("actionsRequired"),
            required=True,
        ),
        *read_only(obj("privateEndpoint", text("id")), many("groupIds"), text("provisioningState")),
    ),
    *NAME_AND_TYPE,
    *SYSTEM_DATA,
)
# as part of a cache's answer the connection carries its id
PRIVATE_ENDPOINT_CONNECTIONS: Final = many(
    "privateEndpointConnections", obj("", text("id"), *PRIVATE_ENDPOINT_CONNECTION), read_only=True
)
ACCESS_KEYS: Final = read_only(text("primaryKey"), text("secondaryKey"))

# --- Microsoft.Cache/redis

REDIS_VERSION: Final = "2024-11-01"
REDIS: Final = CACHE + "/redis/{name}"
REDIS_CHILD: Final = CACHE + "/redis/{cacheName}"

REDIS_CONFIGURATION: Final = obj(
    "redisConfiguration",
    text("rdb-backup-enabled"),
    text("rdb-backup-frequency"),
    text("rdb-backup-max-snapshot-count"),
    text("rdb-storage-connection-string"),
    text("aof-backup-enabled"),
    text("aof-storage-connection-string-0"),
    text("aof-storage-connection-string-1"),
    text("maxfragmentationmemory-reserved"),
    text("maxmemory-policy"),
    text("maxmemory-reserved"),
    text("maxmemory-delta"),
    text("notify-keyspace-events"),
    text("preferred-data-persistence-auth-method"),
    text("authnotrequired"),
    text("storage-subscription-id"),
    text("aad-enabled"),
    *read_only(text("maxclients"), text("preferred-data-archive-auth-method"), text("zonal-configuration")),
)

REDIS_ROWS: Final = (
    ResourceType(
        "redis",
        "Redis",
        REDIS,
        REDIS_VERSION,
        (
            text("location", required=True, replaces=True),
            ZONES,
            TAGS,
            identity(),
            *within(
                "properties",
                obj(
                    "sku",
                    text("name", required=True),
                    text("family", required=True),
                    integer("capacity", required=True),
                    required=True,
                ),
                text(
                    "subnetId",
                    pattern="^/subscriptions/[^/]*/resourceGroups/[^/]*/providers/Microsoft.(ClassicNetwork|Network)"
                    "/virtualNetworks/[^/]*/subnets/[^/]*$",
                ),
                text("staticIP", replaces=True, pattern=r"^\d+\.\d+\.\d+\.\d+$"),
                REDIS_CONFIGURATION,
                text("redisVersion"),
                flag("enableNonSslPort", default=False),
                integer("replicasPerMaster"),
                integer("replicasPerPrimary"),
                table("tenantSettings"),
                integer("shardCount"),
                text("minimumTlsVersion"),
                text("publicNetworkAccess", default="Enabled"),
                text("updateChannel"),
                flag("disableAccessKeyAuthentication", default=False),
                text("zonalAllocationPolicy"),
                *STATE,
                *read_only(
                    text("hostName"),
                    integer("port"),
                    integer("sslPort"),
                    obj("accessKeys", *ACCESS_KEYS, secret=True),
                    many("linkedServers", obj("", text("id"))),
                    many(
                        "instances",
                        obj(
                            "",
                            integer("sslPort"),
                            integer("nonSslPort"),
                            text("zone"),
                            integer("shardId"),
                            flag("isMaster"),
                            flag("isPrimary"),
                        ),
                    ),
                ),
                PRIVATE_ENDPOINT_CONNECTIONS,
            ),
            *NAME_AND_TYPE,
            *SYSTEM_DATA,
        ),
    ),
    ResourceType(
        "redis",
        "LinkedServer",
        REDIS + "/linkedServers/{linkedServerName}",
        REDIS_VERSION,
        (
            *within(
                "properties",
                # the document marks the location alone as create-only; Azure refuses a change of the others
                text("linkedRedisCacheId", required=True),
                text("linkedRedisCacheLocation", required=True, replaces=True),
                text("serverRole", required=True),
                *read_only(text("geoReplicatedPrimaryHostName"), text("primaryHostName")),
                *STATE,
            ),
            *NAME_AND_TYPE,
            *SYSTEM_DATA,
        ),
    ),
    ResourceType(
        "redis",
        "FirewallRule",
        REDIS_CHILD + "/firewallRules/{ruleName}",
        REDIS_VERSION,
        (
            *within("properties", text("startIP", required=True), text("endIP", required=True)),
            *NAME_AND_TYPE,
            *SYSTEM_DATA,
        ),
    ),
    ResourceType(
        "redis",
        "PatchSchedule",
        REDIS + "/patchSchedules/{default}",
        REDIS_VERSION,
        (
            *within(
                "properties",
                many(
                    "scheduleEntries",
                    obj(
                        "",
                        text("dayOfWeek", required=True),
                        integer("startHourUtc", required=True),
                        text("maintenanceWindow"),
                    ),
                    required=True,
                ),
            ),
            *read_only(text("location")),
            *NAME_AND_TYPE,
            *SYSTEM_DATA,
        ),
    ),
    ResourceType(
        "redis",
        "AccessPolicy",
        REDIS_CHILD + "/accessPolicies/{accessPolicyName}",
        REDIS_VERSION,
        (
            # `properties.type` (BuiltIn or Custom) clashes with the resource's own `type`, which wins
            *within("properties", text("permissions", required=True), *STATE),
            *NAME_AND_TYPE,
            *SYSTEM_DATA,
        ),
    ),
    ResourceType(
        "redis",
        "AccessPolicyAssignment",
        REDIS_CHILD + "/accessPolicyAssignments/{accessPolicyAssignmentName}",
        REDIS_VERSION,
        (
            *within(
                "properties",
                text("objectId", required=True),
                text("objectIdAlias", required=True),
                text(
                    "accessPolicyName",
                    required=True,
                    pattern="^([a-zA-Z0-9][a-zA-Z0-9- ]*[a-zA-Z0-9]|[a-zA-Z0-9])$",
                ),
                *STATE,
            ),
            *NAME_AND_TYPE,
            *SYSTEM_DATA,
        ),
    ),
    ResourceType(
        "redis",
        "PrivateEndpointConnection",
        REDIS_CHILD + "/privateEndpointConnections/{privateEndpointConnectionName}",
        REDIS_VERSION,
        PRIVATE_ENDPOINT_CONNECTION,
    ),
)

# --- Microsoft.Cache/redisEnterprise (Azure Managed Redis)

ENTERPRISE_VERSION: Final = "2025-07-01"
ENTERPRISE: Final = CACHE + "/redisEnterprise/{clusterName}"
DATABASE: Final = ENTERPRISE + "/databases/{databaseName}"

ENTERPRISE_ROWS: Final = (
    ResourceType(
        "redisenterprise",
        "RedisEnterprise",
        ENTERPRISE,
        ENTERPRISE_VERSION,
        (
            text("location", required=True, replaces=True),
            obj("sku", text("name", required=True), integer("capacity"), required=True),
            ZONES,
            TAGS,
            identity(),
            *within(
                "properties",
                text("highAvailability"),
                text("minimumTlsVersion"),
                text("publicNetworkAccess", required=True),
                obj(
                    "encryption",
                    obj(
                        "customerManagedKeyEncryption",
                        obj(
                            "keyEncryptionKeyIdentity",
                            text("userAssignedIdentityResourceId"),
                            text("identityType"),
                        ),
                        text("keyEncryptionKeyUrl"),
                    ),
                ),
                *STATE,
                *read_only(
                    text("hostName"),
                    text("redundancyMode"),
                    text("resourceState"),
                    text("redisVersion"),
                ),
                PRIVATE_ENDPOINT_CONNECTIONS,
            ),
            *read_only(text("kind")),
            *NAME_AND_TYPE,
        ),
    ),
    ResourceType(
        "redisenterprise",
        "Database",
        DATABASE,
        ENTERPRISE_VERSION,
        (
            *within(
                "properties",
                text("accessKeysAuthentication"),
                text("clientProtocol"),
                integer("port", replaces=True),
                text("clusteringPolicy"),
                text("evictionPolicy"),
                obj(
                    "persistence",
                    flag("aofEnabled"),
                    flag("rdbEnabled"),
                    text("aofFrequency"),
                    text("rdbFrequency"),
                ),
                many(
                    "modules",
                    obj("", text("name", required=True), text("args"), *read_only(text("version"))),
                    replaces=True,
                ),
                obj(
                    "geoReplication",
                    text("groupNickname", replaces=True),
                    many("linkedDatabases", obj("", text("id"), *read_only(text("state")))),
                ),
                text("deferUpgrade"),
                *STATE,
                *read_only(text("resourceState"), text("redisVersion")),
            ),
            *NAME_AND_TYPE,
            *SYSTEM_DATA,
        ),
    ),
    ResourceType(
        "redisenterprise",
        "AccessPolicyAssignment",
        DATABASE + "/accessPolicyAssignments/{accessPolicyAssignmentName}",
        ENTERPRISE_VERSION,
        (
            *within(
                "properties",
                text("accessPolicyName", required=True, pattern="^([a-zA-Z0-9][a-zA-Z0-9- ]*[a-zA-Z0-9]|[a-zA-Z0-9])$"),
                obj("user", text("objectId"), required=True),
                *STATE,
            ),
            *NAME_AND_TYPE,
        ),
    ),
)

# --- what stands around the caches

STORAGE_VERSION: Final = "2024-01-01"
CONFIGURATION_VERSION: Final = "2024-05-01"
CONFIGURATION: Final = GROUP + "/providers/Microsoft.AppConfiguration/configurationStores/{configStoreName}"
# no hyphen in the name: the SDK's 2024-05-01-preview, see the module's documentation
CONTAINER_VERSION: Final = "2024-05-01-preview"

CONTAINER_FIELDS: Final = (
    text("image"),
    many("command"),
    anything("environmentVariables"),
    anything("volumeMounts"),
    anything("securityContext"),
    *read_only(anything("instanceView")),
)

OTHER_ROWS: Final = (
    ResourceType(
        "resources",
        "ResourceGroup",
        GROUP,
        "2024-03-01",
        (
            text("location", required=True, replaces=True),
            text("managedBy"),
            TAGS,
            *read_only(obj("properties", text("provisioningState"))),
            *NAME_AND_TYPE,
        ),
    ),
    ResourceType(
        "storage",
        "StorageAccount",
        STORAGE,
        STORAGE_VERSION,
        (
            text("location", required=True, replaces=True),
            text("kind", required=True),
            obj("sku", text("name", required=True), *read_only(text("tier")), required=True),
            obj("extendedLocation", text("name"), text("type")),
            TAGS,
            identity(),
            *within(
                "properties",
                text("accessTier"),
                text("allowedCopyScope"),
                flag("allowBlobPublicAccess"),
                flag("allowCrossTenantReplication"),
                flag("allowSharedKeyAccess"),
                anything("azureFilesIdentityBasedAuthentication"),
                obj("customDomain", text("name", required=True), Prop("useSubDomainName", "boolean")),
                flag("defaultToOAuthAuthentication"),
                text("dnsEndpointType"),
                flag("enableExtendedGroups"),
                anything("encryption"),
                anything("immutableStorageWithVersioning"),
                flag("isHnsEnabled", replaces=True),
                flag("isLocalUserEnabled"),
                flag("isNfsV3Enabled", sdk="enableNfsV3"),
                flag("isSftpEnabled"),
                anything("keyPolicy"),
                text("largeFileSharesState"),
                text("minimumTlsVersion"),
                anything("networkAcls", sdk="networkRuleSet"),
                text("publicNetworkAccess"),
                anything("routingPreference"),
                anything("sasPolicy"),
                flag("supportsHttpsTrafficOnly", sdk="enableHttpsTrafficOnly"),
                anything("storageAccountSkuConversionStatus", read_only=True),
                *STATE,
                *read_only(
                    flag("accountMigrationInProgress"),
                    anything("blobRestoreStatus"),
                    text("creationTime"),
                    flag("failoverInProgress"),
                    anything("geoReplicationStats"),
                    flag("isSkuConversionBlocked"),
                    anything("keyCreationTime"),
                    text("lastGeoFailoverTime"),
                    anything("primaryEndpoints"),
                    text("primaryLocation"),
                    anything("privateEndpointConnections"),
                    anything("secondaryEndpoints"),
                    text("secondaryLocation"),
                    text("statusOfPrimary"),
                    text("statusOfSecondary"),
                ),
            ),
            *NAME_AND_TYPE,
        ),
    ),
    ResourceType(
        "storage",
        "BlobContainer",
        STORAGE + "/blobServices/default/containers/{containerName}",
        STORAGE_VERSION,
        (
            *within(
                "properties",
                text("defaultEncryptionScope"),
                flag("denyEncryptionScopeOverride"),
                flag("enableNfsV3AllSquash"),
                flag("enableNfsV3RootSquash"),
                obj(
                    "immutableStorageWithVersioning",
                    flag("enabled"),
                    *read_only(text("timeStamp"), text("migrationState")),
                ),
                table("metadata"),
                text("publicAccess"),
                *read_only(
                    flag("deleted"),
                    text("deletedTime"),
                    flag("hasImmutabilityPolicy"),
                    flag("hasLegalHold"),
                    anything("immutabilityPolicy"),
                    text("lastModifiedTime"),
                    text("leaseDuration"),
                    text("leaseState"),
                    text("leaseStatus"),
                    anything("legalHold"),
                    integer("remainingRetentionDays"),
                    text("version"),
                ),
            ),
            *read_only(text("etag")),
            *NAME_AND_TYPE,
        ),
    ),
    ResourceType(
        "appconfiguration",
        "ConfigurationStore",
        CONFIGURATION,
        CONFIGURATION_VERSION,
        (
            text("location", required=True, replaces=True),
            obj("sku", text("name", required=True), required=True),
            TAGS,
            identity(),
            *within(
                "properties",
                text("createMode", write_only=True),
                anything("dataPlaneProxy"),
                flag("disableLocalAuth", default=False),
                flag("enablePurgeProtection", default=False),
                anything("encryption"),
                text("publicNetworkAccess"),
                integer("softDeleteRetentionInDays", default=7, replaces=True),
                *STATE,
                *read_only(text("creationDate"), text("endpoint"), anything("privateEndpointConnections")),
            ),
            *NAME_AND_TYPE,
            *SYSTEM_DATA,
        ),
    ),
    ResourceType(
        "appconfiguration",
        "KeyValue",
        CONFIGURATION + "/keyValues/{keyValueName}",
        CONFIGURATION_VERSION,
        (
            *within(
                "properties",
                text("value"),
                text("contentType"),
                table("tags"),
                *read_only(text("key"), text("label"), text("eTag"), text("lastModified"), flag("locked")),
            ),
            *NAME_AND_TYPE,
        ),
    ),
    ResourceType(
        "containerinstance",
        "ContainerGroup",
        GROUP + "/providers/Microsoft.ContainerInstance/containerGroups/{containerGroupName}",
        CONTAINER_VERSION,
        (
            text("location", replaces=True),
            TAGS,
            ZONES,
            identity(),
            *within(
                "properties",
                many(
                    "containers",
                    obj(
                        "",
                        text("name", required=True),
                        *within(
                            "properties",
                            *CONTAINER_FIELDS,
                            anything("configMap"),
                            anything("ports"),
                            anything("resources"),
                            anything("livenessProbe"),
                            anything("readinessProbe"),
                        ),
                    ),
                    required=True,
                ),
                many("initContainers", obj("", text("name", required=True), *within("properties", *CONTAINER_FIELDS))),
                anything("confidentialComputeProperties"),
                anything("containerGroupProfile"),
                anything("diagnostics"),
                anything("dnsConfig"),
                anything("encryptionProperties"),
                many(
                    "extensions",
                    obj(
                        "",
                        text("name", required=True),
                        *within(
                            "properties",
                            text("extensionType"),
                            text("version"),
                            anything("settings"),
                            anything("protectedSettings"),
                        ),
                    ),
                ),
                anything("imageRegistryCredentials"),
                anything("ipAddress"),
                text("osType"),
                text("priority"),
                text("restartPolicy"),
                text("sku"),
                anything("standbyPoolProfile"),
                anything("subnetIds"),
                anything("volumes"),
                *STATE,
                *read_only(anything("instanceView"), flag("isCreatedFromStandbyPool")),
            ),
            *NAME_AND_TYPE,
        ),
    ),
)

ROWS: Final[tuple[ResourceType, ...]] = (*REDIS_ROWS, *ENTERPRISE_ROWS, *OTHER_ROWS)


def _getter(row: ResourceType) -> Function:
    results = (*row.body, text("id", read_only=True))
    return Function(row.module, f"get{row.name}", row.path, row.api_version, "GET", results, is_getter=True)


FUNCTIONS: Final[tuple[Function, ...]] = (
    *(_getter(row) for row in ROWS),
    Function("redis", "listRedisKeys", REDIS + "/listKeys", REDIS_VERSION, "POST", ACCESS_KEYS, secret=True),
    Function(
        "redisenterprise",
        "listDatabaseKeys",
        DATABASE + "/listKeys",
        ENTERPRISE_VERSION,
        "POST",
        ACCESS_KEYS,
        secret=True,
    ),
    Function(
        "storage",
        "listStorageAccountKeys",
        STORAGE + "/listKeys",
        STORAGE_VERSION,
        "POST",
        read_only(anything("keys")),
        query=("$expand",),
        secret=True,
    ),
    Function(
        "appconfiguration",
        "listConfigurationStoreKeys",
        CONFIGURATION + "/listKeys",
        CONFIGURATION_VERSION,
        "POST",
        read_only(anything("value"), text("nextLink")),
        secret=True,
    ),
)

_ROW_BY_TOKEN: Final = {row.token: row for row in ROWS}
_FUNCTION_BY_TOKEN: Final = {function.token: function for function in FUNCTIONS}
_VERSIONED: Final = re.compile(
    r"^(?P<package>[^:]+):(?P<module>[^:/]+)/v(?P<date>\d{8})(?P<preview>[a-z]*):(?P<name>.+)$"
)


def _split_version(token: str) -> tuple[str, str | None]:
    """Turn `azure-native:redis/v20241101:Redis` into its plain token and the api-version `2024-11-01`."""
    match = _VERSIONED.match(token)
    if match is None:
        return token, None
    date = match["date"]
    version = f"{date[:4]}-{date[4:6]}-{date[6:]}" + (f"-{match['preview']}" if match["preview"] else "")
    return f"{match['package']}:{match['module']}:{match['name']}", version


def find_resource(token: str) -> ResourceType | None:
    """Find the row of a type token, with or without a version in it; None when the stand-in does not know it."""
    plain_token, version = _split_version(token)
    row = _ROW_BY_TOKEN.get(plain_token)
    return replace(row, api_version=version) if row is not None and version is not None else row


def find_function(token: str) -> Function | None:
    """Find the row of a function token, with or without a version in it; None when the stand-in does not know it."""
    plain_token, version = _split_version(token)
    function = _FUNCTION_BY_TOKEN.get(plain_token)
    return replace(function, api_version=version) if function is not None and version is not None else function
