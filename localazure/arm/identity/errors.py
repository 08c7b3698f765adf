"""Errors of Entra ID: OAuth's form at the token endpoint, ARM's form where a token is asked for."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response


def oauth_error(status: int, error: str, number: int, description: str) -> Response:
    """Render an error of the token endpoint; clients show the description as it is."""
    trace = str(uuid.uuid4())
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    return JSONResponse(
        {
            "error": error,
            "error_description": f"AADSTS{number}: {description} Trace ID: {trace} Timestamp: {now}",
            "error_codes": [number],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": trace,
        },
        status_code=status,
    )


def token_refused(authority: str, code: str, message: str) -> Response:
    """Render ARM's answer to a request without a usable token."""
    return JSONResponse(
        {"error": {"code": code, "message": message}},
        status_code=401,
        headers={
            "WWW-Authenticate": f'Bearer authorization_uri="{authority}", error="invalid_token", '
            f'error_description="{message}"'
        },
    )
