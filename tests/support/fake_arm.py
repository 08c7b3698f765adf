"""
A few answers of ARM over HTTPS, for tests of the provider stand-in that need faults on demand.

It knows resource groups and `Microsoft.Cache/redis` with its children by their ids alone, checks nothing, and answers
as Azure does: 201 with keys for a PUT, an operation behind it, GET without keys, 202 for a DELETE. The local Azure is
the thing with rules; this one is for what it would take minutes to bring about there.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from localazure.plugin.transport import Deadline, Stop
from tests.support.redis_servers import make_tls

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "00000000-0000-0000-0000-00000000000a"
CLIENT = "stand-in-tests"
SECRET = "not-a-real-secret"
KEYS = {"primaryKey": "primary-key-of-the-cache", "secondaryKey": "secondary-key-of-the-cache"}

DISPLAY_NAMES = {"eastus": "East US", "westus": "West US", "westeurope": "West Europe"}


@dataclass(frozen=True)
class Request:
    """One request as it came in; *path* without the query, *body* decoded."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str


@dataclass
class Reply:
    """One answer."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class _Operation:
    polls_left: int
    finish: Callable[[], Any]
    error: dict[str, str] | None
    by_location: bool
    path: str


class HurriedStop(Stop):
    """Waits a thousandth of what the provider stand-in is asked to, and remembers what that was."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_s: list[float] = []

    def wait(self, seconds: float, deadline: Deadline) -> None:
        """Wait a little."""
        self.asked_s.append(seconds)
        super().wait(seconds / 1000, deadline)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that does not trust the certificate breaks the connection."""


class FakeArm:
    """
    A running ARM; stop it with `stop()`.

    Attributes:
        resources: bodies by their path in lower case; tests may change them as somebody in the portal would.
        requests: everything that was asked, tokens and metadata left out.
        operation_polls: how often an operation says InProgress before it ends.
        operation_error: when set, operations end with it.
        retry_after: the header's value for operations; None leaves it out.
        operation_style: "async" for `Azure-AsyncOperation`, "location", "body" for none at all.
        on_request: sees every request first, and may answer it.
    """

    def __init__(self, folder: Path) -> None:
        self.resources: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.operation_polls = 1
        self.operation_error: dict[str, str] | None = None
        self.retry_after: str | None = "1"
        self.operation_style = "async"
        self.on_request: Callable[[Request], Reply | None] | None = None
        self.token_lifetime_s = 3600
        self.tokens_given = 0
        self._operations: dict[str, _Operation] = {}
        self._unfinished: _Operation | None = None
        self._lock = threading.RLock()
        tls = make_tls(folder)
        self._bundle = tls.authority
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"localhost:{self._server.server_address[1]}"
        self.origin = f"https://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def environment(self) -> dict[str, str]:
        """What points the provider at this ARM."""
        return {
            "ARM_METADATA_HOSTNAME": self.host,
            "ARM_SUBSCRIPTION_ID": SUBSCRIPTION,
            "ARM_TENANT_ID": TENANT,
            "ARM_CLIENT_ID": CLIENT,
            "ARM_CLIENT_SECRET": SECRET,
            "SSL_CERT_FILE": str(self._bundle),
        }

    def writes(self) -> list[tuple[str, str]]:
        """Method and last part of the path of every request that changes something."""
        return [(one.method, one.path.rsplit("/", 1)[-1]) for one in self.requests if one.method not in ("GET", "POST")]

    # --- answering

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        arm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet: two would wait 40 ms for each other

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(length)
                reply = arm.answer(self.command, self.path, data, self.headers.get("Authorization", ""))
                content = b"" if reply.body is None else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_PATCH = do_POST = do_DELETE = _answer

        return Handler

    def answer(self, method: str, target: str, data: bytes, authorization: str) -> Reply:
        """Answer one request."""
        parts = urlsplit(target)
        if parts.path == "/metadata/endpoints":
            authentication = {"loginEndpoint": self.origin + "/", "audiences": [self.origin + "/"], "tenant": "common"}
            return Reply(200, {"name": "Fake", "resourceManager": self.origin, "authentication": authentication})
        if parts.path.endswith("/.well-known/openid-configuration"):
            return Reply(200, {"token_endpoint": f"{self.origin}/{TENANT}/oauth2/v2.0/token"})
        if parts.path.endswith("/oauth2/v2.0/token"):
            return self._token(parse_qs(data.decode()))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = json.loads(data) if data else None
        request = Request(method, parts.path, query, body, authorization.removeprefix("Bearer "))
        with self._lock:
            self.requests.append(request)
            if self.on_request is not None and (reply := self.on_request(request)) is not None:
                return reply
            if "api-version" not in query:
                return _error(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
            if "/operations/" in parts.path:
                return self._poll(parts.path)
            return self._resource(request)

    def _token(self, form: dict[str, list[str]]) -> Reply:
        if form["client_secret"] != [SECRET]:
            return Reply(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret.\r\nx"})
        self.tokens_given += 1
        claims = {"appid": CLIENT, "oid": "object-1", "tid": TENANT, "number": self.tokens_given}
        middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        token = f"header.{middle}.signature"
        return Reply(200, {"token_type": "Bearer", "expires_in": self.token_lifetime_s, "access_token": token})

    def _resource(self, request: Request) -> Reply:
        key = request.path.lower()
        if request.method == "POST" and key.endswith("/listkeys"):
            return Reply(200, KEYS) if key.removesuffix("/listkeys") in self.resources else _not_found(request.path)
        if request.method == "GET":
            if self._unfinished is not None and self._unfinished.polls_left == 0:
                self._unfinished.finish()
            elif self._unfinished is not None:
                self._unfinished.polls_left -= 1
            return Reply(200, self.resources[key]) if key in self.resources else _not_found(request.path)
        if request.method == "DELETE":
            if key not in self.resources:
                return Reply(204)
            return self._start(request, lambda: self.resources.pop(key, None), Reply(202))
        return self._put(request, key)

    def _put(self, request: Request, key: str) -> Reply:
        status = 200 if key in self.resources else 201
        names = request.path.split("/")
        properties = {**request.body.get("properties", {}), "provisioningState": "Creating"}
        if "/redis/" in key and key.count("/") == 8:
            properties |= {"hostName": "127.0.0.1", "port": 6379, "sslPort": 6380, "linkedServers": []}
        body = {**request.body, "id": request.path.replace("/redis/", "/Redis/"), "name": names[-1], "type": "t"}
        body["properties"] = properties
        if "location" in body:
            body["location"] = DISPLAY_NAMES.get(body["location"], body["location"])
        self.resources[key] = body

        def finish() -> None:
            properties["provisioningState"] = "Succeeded"

        if "/providers/" not in key:
            finish()
            return Reply(status, body)
        shown = {**body, "properties": {**properties, "accessKeys": KEYS}}
        return self._start(request, finish, Reply(status, shown))

    def _start(self, request: Request, finish: Callable[[], Any], reply: Reply) -> Reply:
        number = len(self._operations) + 1
        url = f"{self.origin}/subscriptions/{SUBSCRIPTION}/operations/{number}?api-version=2024-11-01"
        by_location = self.operation_style == "location" or request.method == "DELETE"
        operation = _Operation(self.operation_polls, finish, self.operation_error, by_location, request.path.lower())
        self._operations[str(number)] = operation
        if self.operation_style == "body":
            self._unfinished = operation
        else:
            reply.headers["Location" if by_location else "Azure-AsyncOperation"] = url
        if self.retry_after is not None:
            reply.headers["Retry-After"] = self.retry_after
        return reply

    def _poll(self, path: str) -> Reply:
        operation = self._operations[path.rsplit("/", 1)[-1]]
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        by_location = operation.by_location
        if operation.polls_left > 0:
            operation.polls_left -= 1
            return Reply(202 if by_location else 200, {"status": "InProgress", "percentComplete": 50}, headers)
        if operation.error is not None:
            if by_location:
                return Reply(409, {"error": operation.error})
            return Reply(200, {"status": "Failed", "error": operation.error})
        operation.finish()
        return Reply(200, self.resources.get(operation.path) if by_location else {"status": "Succeeded"})


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"error": {"code": code, "message": message}})


def _not_found(path: str) -> Reply:
    return _error(404, "ResourceNotFound", f"The Resource '{path}' was not found.")
