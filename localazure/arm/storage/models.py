"""Storage accounts, and how ARM shows them."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from pydantic import BaseModel, Field

from localazure.arm.resources.models import resource_id

TYPE = "Microsoft.Storage/storageAccounts"
KINDS = ("Storage", "StorageV2", "BlobStorage", "BlockBlobStorage", "FileStorage")
SKUS = (
    *("Standard_LRS", "Standard_GRS", "Standard_RAGRS", "Standard_ZRS", "Standard_GZRS", "Standard_RAGZRS"),
    *("Premium_LRS", "Premium_ZRS"),
)
PAGE_BLOB_KINDS = ("Storage", "StorageV2")


class AccountRecord(BaseModel):
    """
    One storage account.

    Attributes:
        keys: key1 and key2.
        network_default: whether networks that no rule names get in: Allow or Deny.
        network_bypass: who gets in all the same: AzureServices stands for trusted services.
    """

    subscription_id: str
    resource_group: str
    name: str
    location: str
    tags: dict[str, str] = {}
    kind: str = "StorageV2"
    sku_name: str = "Standard_LRS"
    access_tier: str | None = "Hot"
    hierarchical_namespace: bool = False
    allow_shared_key_access: bool = True
    allow_blob_public_access: bool = False
    https_only: bool = True
    minimum_tls_version: str = "TLS1_2"
    public_network_access: str = "Enabled"
    network_default: str = "Allow"
    network_bypass: str = "AzureServices"
    provisioning_state: str = "Creating"
    created_at: str = ""
    keys: tuple[str, str] = Field(repr=False)
    key_times: tuple[str, str]
    operation_id: str | None = None

    @property
    def id(self) -> str:
        """Give the resource id."""
        return resource_id(self.subscription_id, self.resource_group, TYPE, self.name)

    @property
    def takes_page_blobs(self) -> bool:
        """Tell whether an export can be written there."""
        return self.kind in PAGE_BLOB_KINDS and not self.hierarchical_namespace

    @property
    def open_to_all_networks(self) -> bool:
        """Tell whether no firewall is in the way."""
        return self.public_network_access == "Enabled" and self.network_default == "Allow"

    def render(self, endpoint: str) -> dict[str, Any]:
        """
        Show the account as ARM does.

        Args:
            endpoint: origin of the blobs.
        """
        properties: dict[str, Any] = {
            "provisioningState": self.provisioning_state,
            "creationTime": self.created_at,
            "keyCreationTime": {"key1": self.key_times[0], "key2": self.key_times[1]},
            "primaryLocation": self.location,
            "statusOfPrimary": "available",
            "allowSharedKeyAccess": self.allow_shared_key_access,
            "allowBlobPublicAccess": self.allow_blob_public_access,
            "isHnsEnabled": self.hierarchical_namespace,
            "supportsHttpsTrafficOnly": self.https_only,
            "minimumTlsVersion": self.minimum_tls_version,
            "publicNetworkAccess": self.public_network_access,
            "networkAcls": {
                "bypass": self.network_bypass,
                "defaultAction": self.network_default,
                "ipRules": [],
                "virtualNetworkRules": [],
            },
            "encryption": {
                "keySource": "Microsoft.Storage",
                "services": {"blob": {"enabled": True, "keyType": "Account"}},
            },
            "privateEndpointConnections": [],
        }
        if self.access_tier is not None and self.kind != "Storage":
            properties["accessTier"] = self.access_tier
        if self.provisioning_state == "Succeeded":
            properties["primaryEndpoints"] = {"blob": f"{endpoint}/{self.name}/"}
        return {
            "id": self.id,
            "name": self.name,
            "type": TYPE,
            "location": self.location,
            "tags": self.tags,
            "kind": self.kind,
            "sku": {"name": self.sku_name, "tier": self.sku_name.partition("_")[0]},
            "properties": properties,
        }

    def render_keys(self) -> dict[str, Any]:
        """Show both keys."""
        return {
            "keys": [
                {
                    "keyName": f"key{number + 1}",
                    "value": self.keys[number],
                    "permissions": "FULL",
                    "creationTime": self.key_times[number],
                }
                for number in range(2)
            ]
        }


def new_account_key() -> str:
    """Make an account key: 64 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(64)).decode()
