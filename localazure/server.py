"""The server process: one home, one HTTPS port on loopback, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from localazure.arm.cache.routes import ROUTES as CACHE_ROUTES
from localazure.arm.containerinstance.routes import ROUTES as CONTAINER_ROUTES
from localazure.arm.enterprise.routes import ROUTES as ENTERPRISE_ROUTES
from localazure.arm.http import ArmError, ArmMiddleware, NotModelled
from localazure.arm.identity.routes import ROUTES as IDENTITY_ROUTES
from localazure.arm.metadata.routes import ROUTES as METADATA_ROUTES
from localazure.arm.resources.routes import ROUTES as RESOURCE_ROUTES
from localazure.arm.storage.routes import ROUTES as STORAGE_ROUTES
from localazure.azure import Azure
from localazure.certificates import ensure_authority, ensure_leaf
from localazure.errors import LocalAzureError
from localazure.faults import ROUTES as FAULT_ROUTES
from localazure.home import LOCK_HOST_OCTET, LOCK_PORT, Home

GRACE_S = 2


def application(azure: Azure) -> Starlette:
    """Make the web application of a local Azure."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await azure.start()
        yield
        await azure.stop()

    async def arm_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ArmError)
        return error.response()

    async def local_error(_: Request, error: Exception) -> Response:
        return ArmError(400, "LocalAzureError", str(error)).response()

    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        if "/providers/" in path.lower():
            return NotModelled(f"{request.method} {path.lower().partition('/providers/')[2]}").response()
        return ArmError(404, "NotFound", f"No resource was found at {request.method} {path}.").response()

    async def defect(_: Request, error: Exception) -> Response:
        azure.log("".join(traceback.format_exception(error)))
        # Not 500: every client would try again, for minutes. It is a defect of the stand-in, and says so.
        message = f"the local Azure failed ({type(error).__name__}); see {azure.home.server_log}."
        return ArmError(400, "LocalAzureDefect", message).response()

    app = Starlette(
        routes=[
            *(*METADATA_ROUTES, *RESOURCE_ROUTES, *CACHE_ROUTES, *STORAGE_ROUTES, *CONTAINER_ROUTES),
            *(*ENTERPRISE_ROUTES, *FAULT_ROUTES, *IDENTITY_ROUTES),
        ],
        middleware=[Middleware(ArmMiddleware, azure=azure)],
        lifespan=lifespan,
    )
    app.state.azure = azure
    app.add_exception_handler(ArmError, arm_error)
    app.add_exception_handler(LocalAzureError, local_error)
    app.add_exception_handler(HTTPException, no_route)
    # Not for `Exception`: Starlette would answer and raise again.
    for kind in (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ):
        app.add_exception_handler(kind, defect)
    return app


def serve(home: Home) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Raises:
        LocalAzureError: another server has this home, or its port or address prefix is taken.
    """
    home.create()
    lock = home.lock_file.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise LocalAzureError(f"a local Azure already runs on {home.root}.") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    os.set_inheritable(lock.fileno(), False)
    ensure_authority(home)
    certificate, key = ensure_leaf(home, "arm", dns=["localhost"], addresses=["127.0.0.1", "::1"])
    listener = _listen("127.0.0.1", home.config.port, f"port {home.config.port} of 127.0.0.1")
    prefix = home.config.address_prefix
    holder = _listen(f"{prefix}.{LOCK_HOST_OCTET}", LOCK_PORT, f"the address prefix {prefix}")
    app = application(Azure(home))
    config = uvicorn.Config(
        app,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=60,
        server_header=False,
    )
    with contextlib.closing(holder):
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


def _listen(host: str, port: int, what: str) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError:
        listener.close()
        raise LocalAzureError(f"{what} is taken by another program: end it, or use another --home.") from None
    listener.set_inheritable(False)
    return listener


def main() -> None:
    """Serve the home named as the only argument; errors are one sentence, for the launcher to show."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        serve(Home(Path(sys.argv[1])))
    except LocalAzureError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
