"""Functions: `getRedis`, `listRedisKeys`, `getClientConfig` and their like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localazure.plugin import shape
from localazure.plugin.arm_client import ArmClient
from localazure.plugin.errors import ProviderError
from localazure.plugin.identity import Credential, Settings
from localazure.plugin.resources import find_function
from localazure.plugin.schema import Function
from localazure.plugin.values import Secret


def invoke(
    token: str, arguments: Mapping[str, Any], *, client: ArmClient, credential: Credential, settings: Settings
) -> dict[str, Any]:
    """
    Run one function.

    Args:
        token: such as `azure-native:redis:listRedisKeys`, with or without a version.
        arguments: plain values by their SDK names.
        client: calls ARM.
        credential: whose client configuration or token is asked for.
        settings: the provider's.

    Returns:
        The results by their SDK names; keys and tokens are marked secret.

    Raises:
        ProviderError: the stand-in does not know the function, or Azure refuses.
    """
    if token == "azure-native:authorization:getClientConfig":  # noqa: S105 - a function's name
        claims = credential.claims()
        return {
            "clientId": claims.get("appid") or settings.client_id,
            "objectId": claims.get("oid") or "",
            "subscriptionId": settings.subscription_id,
            "tenantId": claims.get("tid") or settings.tenant_id,
        }
    if token == "azure-native:authorization:getClientToken":  # noqa: S105 - a function's name
        return {"token": Secret(credential.token_for(arguments.get("endpoint") or f"{client.endpoint}/"))}
    function = find_function(token)
    if function is None:
        raise ProviderError(f"the local Azure's provider has no function {token}; see localazure/plugin/README.md")
    return _call(function, arguments, client, settings)


def _call(function: Function, arguments: Mapping[str, Any], client: ArmClient, settings: Settings) -> dict[str, Any]:
    path = shape.resource_path(function.path, settings.subscription_id, arguments)
    query = {name: str(arguments[key]) for name in function.query if (key := name.lstrip("$")) in arguments}
    if function.method == "GET":
        body = client.get(path, function.api_version, query=query)
    else:
        body = client.post(path, function.api_version, {}, query=query)
    results = shape.outputs(function.results, body)
    if function.secret:
        return {key: Secret(value) for key, value in results.items()}
    for prop in function.results:
        if prop.secret and prop.sdk in results:
            results[prop.sdk] = Secret(results[prop.sdk])
    if function.is_getter:
        results["azureApiVersion"] = function.api_version
    return results
