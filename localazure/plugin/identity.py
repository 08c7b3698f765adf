"""
Who the provider is and where its Azure is: settings, the cloud's metadata, tokens.

Source: provider/pkg/azure/cloud/cloud.go and provider/pkg/provider/auth_azidentity.go of pulumi-azure-native; of its
ways to sign in the stand-in has one, client id and secret.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from localazure.plugin.errors import ArmError, ConfigurationError, SignInError
from localazure.plugin.transport import Transport, require_loopback

METADATA_VERSION = "2022-09-01"


@dataclass(frozen=True)
class Settings:
    """The provider's configuration; a setting of the program's provider goes before the environment."""

    metadata_host: str
    subscription_id: str
    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)
    location: str | None = None

    @classmethod
    def read(cls, configured: Mapping[str, Any]) -> Settings:
        """
        Read the settings.

        Args:
            configured: the provider's own, by their SDK names (`subscriptionId`).

        Raises:
            ConfigurationError: one that is needed is missing.
        """

        def get(name: str, variable: str) -> str:
            value = configured.get(name)
            return value if isinstance(value, str) and value else os.environ.get(variable, "")

        required = {
            "metadata_host": ("metadataHost", "ARM_METADATA_HOSTNAME"),
            "subscription_id": ("subscriptionId", "ARM_SUBSCRIPTION_ID"),
            "tenant_id": ("tenantId", "ARM_TENANT_ID"),
            "client_id": ("clientId", "ARM_CLIENT_ID"),
            "client_secret": ("clientSecret", "ARM_CLIENT_SECRET"),
        }
        values = {key: get(*names) for key, names in required.items()}
        missing = [
            f"{variable} (or azure-native:{name})" for key, (name, variable) in required.items() if not values[key]
        ]
        if missing:
            raise ConfigurationError(
                f'the local Azure\'s provider needs {", ".join(missing)}; run eval "$(redismove local env)"'
            )
        return cls(**values, location=configured.get("location") or None)


@dataclass(frozen=True)
class Cloud:
    """Where the cloud's services are, from its metadata document."""

    name: str
    resource_manager: str
    authority: str
    audience: str


def read_cloud(transport: Transport, host: str) -> Cloud:
    """
    Ask *host* for the cloud's metadata.

    Raises:
        ConfigurationError: the document is not usable, or names an address that is not on this machine.
    """
    origin = host if "://" in host else f"https://{host}"
    answer = transport.request("GET", f"{origin}/metadata/endpoints?api-version={METADATA_VERSION}")
    try:
        document = answer.object()
        authentication = document["authentication"]
        cloud = Cloud(
            str(document.get("name", "")),
            document["resourceManager"].rstrip("/"),
            authentication["loginEndpoint"].rstrip("/"),
            authentication["audiences"][0],
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{origin}/metadata/endpoints answered HTTP {answer.status} without a usable document ({error!r}); "
            "is ARM_METADATA_HOSTNAME the address of the local Azure?"
        ) from error
    require_loopback(cloud.resource_manager)
    require_loopback(cloud.authority)
    return cloud


class Credential:
    """A service principal's tokens, kept until shortly before they expire; safe to use from many threads."""

    RENEW_BEFORE_S = 300

    def __init__(self, transport: Transport, cloud: Cloud, settings: Settings) -> None:
        self._transport = transport
        self._cloud = cloud
        self._settings = settings
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at_s = 0.0

    def __repr__(self) -> str:
        return f"Credential(client_id={self._settings.client_id!r})"

    def token(self) -> str:
        """
        Return a token for ARM.

        Raises:
            SignInError: the authority refuses.
        """
        with self._lock:
            if time.monotonic() >= self._renew_at_s:
                # azidentity builds the scope like this, a slash at the audience's end makes it two
                self._token, lifetime_s = self._sign_in(f"{self._cloud.audience}/.default")
                self._renew_at_s = time.monotonic() + max(1, lifetime_s - self.RENEW_BEFORE_S)
            return self._token

    def forget(self) -> None:
        """Sign in anew for the next token: ARM has refused the present one."""
        with self._lock:
            self._renew_at_s = 0.0

    def token_for(self, resource: str) -> str:
        """Return a token for another resource, such as `https://localhost:8443/`."""
        return self._sign_in(f"{resource}/.default")[0]

    def claims(self) -> dict[str, Any]:
        """Read the claims of ARM's token: `appid`, `oid`, `tid`."""
        parts = self.token().split(".")
        try:
            padded = parts[1] + "=" * (-len(parts[1]) % 4)
            claims = json.loads(base64.urlsafe_b64decode(padded))
        except (IndexError, ValueError) as error:
            raise SignInError("the authority's token is no JSON web token, so its claims cannot be read") from error
        return claims if isinstance(claims, dict) else {}

    def _sign_in(self, scope: str) -> tuple[str, float]:
        base = f"{self._cloud.authority}/{self._settings.tenant_id}"
        discovery = self._transport.request("GET", f"{base}/v2.0/.well-known/openid-configuration")
        endpoint = discovery.object().get("token_endpoint")
        if discovery.status != 200 or not isinstance(endpoint, str):
            reason = ArmError.from_answer(discovery.status, discovery.body)
            raise SignInError(f"tenant {self._settings.tenant_id!r} is not known at {self._cloud.authority}: {reason}")
        answer = self._transport.request(
            "POST",
            endpoint,
            form={
                "client_id": self._settings.client_id,
                "client_secret": self._settings.client_secret,
                "grant_type": "client_credentials",
                "scope": scope,
            },
        )
        body = answer.object()
        if answer.status != 200 or not isinstance(body.get("access_token"), str):
            reason_text = " ".join(str(body.get("error_description") or body.get("error") or "").split())
            raise SignInError(
                f"cannot sign in as client {self._settings.client_id!r} of tenant {self._settings.tenant_id!r}: "
                f"{reason_text or f'HTTP {answer.status}'}"
            )
        return body["access_token"], float(body.get("expires_in", 3600))
