"""Who we are at Azure and where its endpoints are, from the same environment that the azure-native provider reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from azure.core.credentials import TokenCredential
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from azure.mgmt.redis import RedisManagementClient

from redismove.azure.errors import AzureError, told_as_ours
from redismove.facts import MANAGED, REDIS

if TYPE_CHECKING:
    from azure.mgmt.containerinstance import ContainerInstanceManagementClient
    from azure.mgmt.redisenterprise import RedisEnterpriseManagementClient
    from azure.mgmt.storage import StorageManagementClient

PUBLIC_ARM: Final = "https://management.azure.com"


def _environment(*names: str) -> str:
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    return ""


def signed_in_subscription() -> str:
    """
    Return the subscription that the azure-native provider takes from the environment, "" where it names none.

    It makes its requests there, whatever subscription the configuration names for the source.
    """
    return _environment("ARM_SUBSCRIPTION_ID", "AZURE_SUBSCRIPTION_ID")


@dataclass(frozen=True)
class Session:
    """
    One signed-in view of Azure Resource Manager.

    Credentials come from azure-identity: a client secret where the environment has one (AZURE_* or ARM_*), else
    whatever `DefaultAzureCredential` finds (workload identity, managed identity, `az login`). Nothing of them is
    kept in Pulumi's state.
    """

    endpoint: str
    subscription_id: str
    instance_discovery: bool = True

    @classmethod
    def from_environment(cls, subscription_id: str = "") -> Session:
        """
        Read ARM_ENDPOINT, ARM_SUBSCRIPTION_ID and ARM_DISABLE_INSTANCE_DISCOVERY.

        Raises:
            AzureError: no subscription is named anywhere.
        """
        subscription = subscription_id or signed_in_subscription()
        if not subscription:
            raise AzureError(
                "subscription: found none, allowed the id of the source's subscription; set ARM_SUBSCRIPTION_ID, or "
                'for the local Azure run `eval "$(redismove local env)"`'
            )
        return cls(
            endpoint=(_environment("ARM_ENDPOINT") or PUBLIC_ARM).rstrip("/"),
            subscription_id=subscription,
            instance_discovery=_environment("ARM_DISABLE_INSTANCE_DISCOVERY").lower() not in ("true", "1"),
        )

    @cached_property
    def credential(self) -> TokenCredential:
        """The credential of this environment; signing in happens at the first request."""
        tenant = _environment("AZURE_TENANT_ID", "ARM_TENANT_ID")
        client = _environment("AZURE_CLIENT_ID", "ARM_CLIENT_ID")
        secret = _environment("AZURE_CLIENT_SECRET", "ARM_CLIENT_SECRET")
        options: dict[str, Any] = {"disable_instance_discovery": not self.instance_discovery}
        with told_as_ours("signing in to Azure", self.endpoint):
            if tenant and client and secret:
                return ClientSecretCredential(tenant, client, secret, **options)
            return DefaultAzureCredential(exclude_interactive_browser_credential=True, **options)

    @property
    def _options(self) -> dict[str, Any]:
        """What every management client is told besides who we are."""
        elsewhere = {"base_url": self.endpoint, "credential_scopes": [f"{self.endpoint}/.default"]}
        return {"polling_interval": 5, **({} if self.endpoint == PUBLIC_ARM else elsewhere)}

    @cached_property
    def redis(self) -> RedisManagementClient:
        """The client of Microsoft.Cache/redis in this subscription."""
        with told_as_ours("signing in to Azure", self.endpoint):
            return RedisManagementClient(self.credential, self.subscription_id, **self._options)

    @cached_property
    def enterprise(self) -> RedisEnterpriseManagementClient:
        """The client of Microsoft.Cache/redisEnterprise in this subscription."""
        from azure.mgmt.redisenterprise import RedisEnterpriseManagementClient

        with told_as_ours("signing in to Azure", self.endpoint):
            return RedisEnterpriseManagementClient(self.credential, self.subscription_id, **self._options)

    @cached_property
    def storage(self) -> StorageManagementClient:
        """The client of Microsoft.Storage in this subscription."""
        from azure.mgmt.storage import StorageManagementClient

        with told_as_ours("signing in to Azure", self.endpoint):
            return StorageManagementClient(self.credential, self.subscription_id, **self._options)

    @cached_property
    def containers(self) -> ContainerInstanceManagementClient:
        """The client of Microsoft.ContainerInstance in this subscription."""
        from azure.mgmt.containerinstance import ContainerInstanceManagementClient

        with told_as_ours("signing in to Azure", self.endpoint):
            return ContainerInstanceManagementClient(self.credential, self.subscription_id, **self._options)

    def of(self, subscription_id: str) -> Session:
        """Return the session of a subscription, which may be this one."""
        if subscription_id.lower() == self.subscription_id.lower():
            return self
        return Session(self.endpoint, subscription_id, self.instance_discovery)

    def cache_id(self, resource_group: str, name: str, subscription_id: str = "", *, product: str = REDIS) -> str:
        """Return the full resource id of a cache of *product* ("redis" or "managed", as in `CacheFacts`)."""
        kind = "redisEnterprise" if product == MANAGED else "Redis"
        return (
            f"/subscriptions/{subscription_id or self.subscription_id}/resourceGroups/{resource_group}"
            f"/providers/Microsoft.Cache/{kind}/{name}"
        )
