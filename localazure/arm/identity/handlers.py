"""The two addresses a confidential client asks: the openid configuration and the token endpoint."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localazure.arm.http import base_url
from localazure.arm.identity.errors import oauth_error
from localazure.arm.identity.models import STORAGE_AUDIENCES, TOKEN_LIFETIME_S

if TYPE_CHECKING:
    from localazure.azure import Azure


async def openid_configuration(_azure: Azure, request: Request) -> Response:
    """Say where tokens are to be had."""
    tenant = request.path_params["tenant"]
    base = f"{base_url(request)}/{tenant}"
    return JSONResponse(
        {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["HS256"],
            "scopes_supported": ["openid"],
        }
    )


async def token(azure: Azure, request: Request) -> Response:
    """Give a token for the service principal's id and secret."""
    config = azure.home.config
    form = {name: values[0] for name, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
    tenant = request.path_params["tenant"]
    if tenant.lower() != config.tenant_id:
        return oauth_error(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
    if form.get("grant_type") != "client_credentials":
        return oauth_error(
            400,
            "unsupported_grant_type",
            70003,
            "The app requested an unsupported grant type; only client_credentials.",
        )
    if form.get("client_id", "").lower() != config.client_id:
        return oauth_error(
            400,
            "unauthorized_client",
            700016,
            f"Application with identifier '{form.get('client_id', '')}' was not found in the directory '{tenant}'.",
        )
    if not hmac.compare_digest(form.get("client_secret", "").encode(), config.client_secret.encode()):
        return oauth_error(
            401,
            "invalid_client",
            7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
            f"not the client secret ID, for a secret added to app '{config.client_id}'.",
        )
    scopes = form.get("scope", form.get("resource", "")).split()
    audience = next((scope.removesuffix("/.default") for scope in scopes if scope.endswith("/.default")), "")
    audience = audience or form.get("resource", "")
    if not audience:
        return oauth_error(
            400, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid."
        )
    # Azurite takes tokens of Azure's own authorities alone, whose names these are for Storage.
    for_storage = audience.rstrip("/") in STORAGE_AUDIENCES
    issuer = f"https://sts.windows.net/{tenant}/" if for_storage else f"{base_url(request)}/{tenant}/v2.0"
    access_token = azure.identity.issue(audience, issuer)
    await azure.redis_token_issued(audience, access_token)
    return JSONResponse(
        {
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME_S,
            "ext_expires_in": TOKEN_LIFETIME_S,
            "access_token": access_token,
        }
    )
