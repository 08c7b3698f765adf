"""The one document: its name, addresses and suffixes."""

from __future__ import annotations

from typing import Any

CLOUD_NAME = "LocalAzure"


def endpoints(base: str, tenant_id: str) -> dict[str, Any]:
    """
    Give the cloud's addresses in the form of api-version 2022-09-01 (one object, not a list).

    Args:
        base: origin the client used, without a trailing slash.
        tenant_id: the tenant.
    """
    return {
        "name": CLOUD_NAME,
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            # Pulumi's provider takes the first one without looking whether there is one.
            "audiences": [base, "https://management.core.windows.net/", "https://management.azure.com/"],
            "tenant": tenant_id,
            "identityProvider": "AAD",
        },
        "resourceManager": base,
        "graph": base,
        "graphAudience": base,
        "microsoftGraphResourceId": base,
        "gallery": base,
        "batch": base,
        "media": base,
        "sqlManagement": base,
        "vmImageAliasDoc": base,
        "activeDirectoryDataLake": base,
        "appInsightsResourceId": base,
        "appInsightsTelemetryChannelResourceId": base,
        "attestationResourceId": base,
        "synapseAnalyticsResourceId": base,
        "logAnalyticsResourceId": base,
        "ossrDbmsResourceId": base,
        "suffixes": {
            "storage": "core.localazure.invalid",
            "keyVaultDns": "vault.localazure.invalid",
            "sqlServerHostname": "database.localazure.invalid",
            "acrLoginServer": "azurecr.localazure.invalid",
            "mhsmDns": "managedhsm.localazure.invalid",
        },
    }
