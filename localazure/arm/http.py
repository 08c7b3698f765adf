"""What every ARM answer has in common: error bodies, headers, tokens, case-insensitive paths, the request log."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from localazure.azure import Azure
    from localazure.faults import Fault

Handler = Callable[["Azure", Request], Awaitable[Response]]


class ArmError(Exception):
    """An answer that is an ARM error: status, code and message as a client shows them."""

    def __init__(self, status: int, code: str, message: str, *, target: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target

    def response(self) -> Response:
        """Render the error body that every ARM client reads."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target is not None:
            error["target"] = self.target
        return JSONResponse({"error": error}, status_code=self.status)


class NotModelled(ArmError):
    """Something Azure has and this stand-in does not: never a made-up success."""

    def __init__(self, what: str) -> None:
        super().__init__(
            501, "NotImplemented", f"{what} is not modelled by the local Azure (see localazure/COVERAGE.md)."
        )


class ArmRoute(Route):
    """A route that matches paths in any case, as ARM does; names keep the case they were sent in."""

    def __init__(self, path: str, handler: Handler, methods: list[str]) -> None:
        async def endpoint(request: Request) -> Response:
            # Read before the handler looks at the state: no other request comes between its checks and its changes.
            await request.body()
            return await handler(request.app.state.azure, request)

        super().__init__(path, endpoint, methods=methods)
        if "HEAD" not in methods and self.methods:
            self.methods.discard("HEAD")
        self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE)


async def read_body(request: Request) -> dict[str, Any]:
    """
    Read a JSON object from a request.

    Raises:
        ArmError: 400, there is none.
    """
    raw = await request.body()
    try:
        body = json.loads(raw or b"null")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ArmError(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: a JSON object is expected.",
        )
    return body


def require_api_version(request: Request, provider: str, resource_type: str, known: tuple[str, ...]) -> str:
    """
    Check the api-version of a request.

    Raises:
        ArmError: 400, it is missing or not one of the known ones.
    """
    version = request.query_params.get("api-version")
    if not version:
        raise ArmError(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if version not in known:
        raise ArmError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for API version '{version}' for type '{resource_type}' in "
            "namespace "
            f"'{provider}'. The supported api-versions are '{', '.join(known)}'.",
        )
    return version


def base_url(request: Request) -> str:
    """Give the origin the client itself used, for absolute polling addresses."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


async def _discard(_: Message) -> None:
    """Drop an answer that the client is not to get."""


class _Answer:
    """An answer that is kept to be changed."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    async def take(self, message: Message) -> None:
        """Keep one part of it."""
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


class ArmMiddleware:
    """Around every request: path clean-up, token check, common headers, errors, one line in the request log."""

    def __init__(self, app: ASGIApp, azure: Azure) -> None:
        self._app = app
        self._azure = azure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        # azure-cli asks for `//metadata/endpoints` when its endpoint ends in a slash.
        scope["path"] = re.sub(r"/{2,}", "/", scope["path"])
        if len(scope["path"]) > 1:
            scope["path"] = scope["path"].rstrip("/")
        request = Request(scope, receive)
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                headers["x-ms-request-id"] = request_id
                headers["x-ms-correlation-request-id"] = request.headers.get("x-ms-correlation-request-id", request_id)
                headers["x-ms-routing-request-id"] = f"LOCAL:{datetime.now(UTC):%Y%m%dT%H%M%SZ}:{request_id}"
                headers["Cache-Control"] = "no-cache"
                headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
            await message_sender(message)

        message_sender = send
        try:
            refusal = self._azure.identity.refuse(request)
            if refusal is not None:
                await refusal(scope, receive, send_with_headers)
            elif (fault := self._azure.fault_for(request)) is not None:
                await self._serve_with_fault(fault, scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        finally:
            self._azure.log_request(request, request_id, status, (time.monotonic() - started) * 1000)

    async def _serve_with_fault(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        from localazure.faults import operation_fault

        if fault.kind == "delay":
            await asyncio.sleep(fault.delay_s)
        elif fault.kind == "operation":
            operation_fault.set(fault.outcome)
        if fault.kind in ("delay", "operation"):
            await self._app(scope, receive, send)
            return
        if fault.kind == "answer":
            answer = _Answer()
            await self._app(scope, receive, answer.take)
            await fault.changed(answer.status, answer.body)(scope, receive, send)
            return
        if fault.applied:
            await self._app(scope, receive, _discard)
        if fault.kind == "status":
            await fault.response()(scope, receive, send)
            return
        # ASGI has no way to hang up; the object behind `receive` is uvicorn's and holds the connection.
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        if transport is not None:
            transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass
