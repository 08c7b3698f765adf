"""Tokens: made and checked with the home's own key, so that a token of another home, or an old one, is refused."""

from __future__ import annotations

import base64
import hmac
import json
import time
import uuid
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from localazure.arm.identity.errors import token_refused
from localazure.home import Home

TOKEN_LIFETIME_S = 3599
REDIS_AUDIENCES = ("https://redis.azure.com", "acca5fbb-b7e4-4009-81f1-37e38fd66d78")
STORAGE_AUDIENCES = ("https://storage.azure.com", "e406a681-f3d4-42a8-90b6-c2b029497af1")
PUBLIC_PATHS = ("/metadata/", "/.well-known/", "/oauth2/")


class Identity:
    """The one tenant with its one service principal."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._key = bytes.fromhex(home.config.token_signing_key)

    def issue(self, audience: str, issuer: str) -> str:
        """
        Make an access token.

        Args:
            audience: the resource it is for.
            issuer: address of the authority that the client used.
        """
        config = self._home.config
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": issuer,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_LIFETIME_S,
            "appid": config.client_id,
            "oid": config.object_id,
            "sub": config.object_id,
            "tid": config.tenant_id,
            "idtyp": "app",
            "uti": uuid.uuid4().hex,
            "ver": "1.0",
        }
        head = _encode(json.dumps({"typ": "JWT", "alg": "HS256"}).encode())
        body = _encode(json.dumps(claims).encode())
        return f"{head}.{body}.{self._sign(f'{head}.{body}')}"

    def claims(self, token: str) -> dict[str, Any] | None:
        """Give what a token says; None when this home did not make it or its time is over."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(signed), signature):
            return None
        try:
            claims = json.loads(_decode(signed.partition(".")[2]))
        except ValueError:
            return None
        return claims if claims.get("exp", 0) > time.time() else None

    def refuse(self, request: Request) -> Response | None:
        """Give the refusal of a request without a usable token for ARM; None when it may pass."""
        path = request.url.path.lower()
        if any(part in path for part in PUBLIC_PATHS) and not path.startswith("/subscriptions"):
            return None
        authority = f"https://{request.headers.get('host', '')}/{self._home.config.tenant_id}"
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return token_refused(
                authority, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        claims = self.claims(token.strip())
        if claims is None:
            return token_refused(
                authority,
                "InvalidAuthenticationToken",
                "The access token is invalid, expired or of another local Azure.",
            )
        if str(claims["aud"]).rstrip("/") in (*REDIS_AUDIENCES, *STORAGE_AUDIENCES):
            return token_refused(
                authority,
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource: it is for data, not for ARM.",
            )
        return None

    def _sign(self, signed: str) -> str:
        return _encode(hmac.new(self._key, signed.encode(), sha256).digest())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
