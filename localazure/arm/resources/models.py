"""Subscriptions and resource groups, and how ARM shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

API_VERSIONS_MESSAGE = "any api-version is taken for subscriptions and resource groups"
PROVIDERS = {
    "microsoft.cache": ("Microsoft.Cache", ["Redis", "redisEnterprise"]),
    "microsoft.storage": ("Microsoft.Storage", ["storageAccounts"]),
    "microsoft.containerinstance": ("Microsoft.ContainerInstance", ["containerGroups"]),
    "microsoft.resources": ("Microsoft.Resources", ["resourceGroups", "subscriptions"]),
}


def resource_id(subscription_id: str, group: str, resource_type: str, name: str) -> str:
    """Give the id of a resource in a group, in the capitals in which Azure answers."""
    return f"/subscriptions/{subscription_id}/resourceGroups/{group}/providers/{resource_type}/{name}"


class GroupRecord(BaseModel):
    """One resource group."""

    subscription_id: str
    name: str
    location: str
    tags: dict[str, str] = {}
    state: str = "Succeeded"
    managed_by: str | None = None

    @property
    def id(self) -> str:
        """Give the resource id."""
        return f"/subscriptions/{self.subscription_id}/resourceGroups/{self.name}"

    def render(self) -> dict[str, Any]:
        """Show the group as ARM does."""
        body: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.location,
            "tags": self.tags,
            "properties": {"provisioningState": self.state},
        }
        if self.managed_by:
            body["managedBy"] = self.managed_by
        return body


def render_subscription(subscription_id: str, tenant_id: str, name: str) -> dict[str, Any]:
    """Show a subscription as ARM does."""
    return {
        "id": f"/subscriptions/{subscription_id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": subscription_id,
        "tenantId": tenant_id,
        "displayName": name,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def render_provider(subscription_id: str, namespace: str) -> dict[str, Any] | None:
    """Show a resource provider, registered; None for one that is not modelled."""
    entry = PROVIDERS.get(namespace.lower())
    if entry is None:
        return None
    name, types = entry
    return {
        "id": f"/subscriptions/{subscription_id}/providers/{name}",
        "namespace": name,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationRequired",
        "resourceTypes": [{"resourceType": kind, "locations": [], "apiVersions": ["2024-11-01"]} for kind in types],
    }
