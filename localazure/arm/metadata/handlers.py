"""Serves the cloud's addresses; needs no token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localazure.arm.http import base_url
from localazure.arm.metadata.models import endpoints

if TYPE_CHECKING:
    from localazure.azure import Azure


async def get_endpoints(azure: Azure, request: Request) -> Response:
    """Give the addresses, built from the origin that the client used."""
    return JSONResponse(endpoints(base_url(request), azure.home.config.tenant_id))
