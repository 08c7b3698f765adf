"""A platform for pull requests on this machine: the few REST calls that the review makes of GitHub and Azure Repos."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-this-job"
ME = "aaaaaaaa-0000-0000-0000-00000000000a"
REPOSITORY = "octo/orders"
_GITHUB_LIST = re.compile(rf"^/repos/{REPOSITORY}/issues/(\d+)/comments$")
_GITHUB_ONE = re.compile(rf"^/repos/{REPOSITORY}/issues/comments/(\d+)$")
_AZURE_THREADS = re.compile(r"^/project-1/_apis/git/repositories/repository-1/pullRequests/(\d+)/threads$")
_AZURE_THREAD = re.compile(r"^/project-1/_apis/git/repositories/repository-1/pullRequests/(\d+)/threads/(\d+)$")
_AZURE_COMMENT = re.compile(
    r"^/project-1/_apis/git/repositories/repository-1/pullRequests/(\d+)/threads/(\d+)/comments/(\d+)$"
)


@dataclass
class Forge:
    """
    What the platform holds and was asked.

    `fail` holds status codes that the next requests are answered with; `redirect_to` sends every request elsewhere.
    """

    url: str = ""
    comments: list[dict[str, Any]] = field(default_factory=list)
    threads: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    fail: list[int] = field(default_factory=list)
    redirect_to: str = ""
    next_id: int = 100

    def comment(self, body: str, *, by: str = "Bot") -> dict[str, Any]:
        """Put a comment of somebody's there."""
        self.next_id += 1
        made = {"id": self.next_id, "body": body, "user": {"login": "somebody", "type": by}}
        self.comments.append(made)
        return made

    def thread(self, content: str, *, by: str = ME, status: str = "active") -> dict[str, Any]:
        """Put a thread of somebody's there."""
        self.next_id += 1
        made = {
            "id": self.next_id,
            "status": status,
            "comments": [{"id": 1, "content": content, "author": {"id": by}}],
        }
        self.threads.append(made)
        return made

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Answer one request as the platform would."""
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if match := _GITHUB_LIST.match(parts.path):
            if method == "POST":
                return 201, self.comment(body["body"])
            size, page = int(query["per_page"]), int(query["page"])
            return 200, self.comments[size * (page - 1) : size * page]
        if match := _GITHUB_ONE.match(parts.path):
            for comment in self.comments:
                if comment["id"] == int(match[1]):
                    comment["body"] = body["body"]
                    return 200, comment
        if parts.path == "/_apis/connectionData":
            return 200, {"authenticatedUser": {"id": ME}}
        if _AZURE_THREADS.match(parts.path):
            if method == "POST":
                return 200, self.thread(body["comments"][0]["content"], status=body["status"])
            return 200, {"value": self.threads}
        if match := _AZURE_COMMENT.match(parts.path):
            thread = next(t for t in self.threads if t["id"] == int(match[2]))
            thread["comments"][0]["content"] = body["content"]
            return 200, thread
        if match := _AZURE_THREAD.match(parts.path):
            thread = next(t for t in self.threads if t["id"] == int(match[2]))
            thread["status"] = body["status"]
            return 200, thread
        return 404, {"message": "Not Found"}


@contextmanager
def running() -> Iterator[Forge]:
    """Run the platform on a free port of this machine; it is ended afterwards."""
    forge = Forge()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            forge.asked.append(f"{self.command} {self.path}")
            status, answer = 401, {"message": "Bad credentials"}
            if forge.redirect_to:
                status, answer = 302, {}
            elif forge.fail:
                status, answer = forge.fail.pop(0), {"message": "not now"}
            elif self.headers.get("Authorization") == f"Bearer {TOKEN}":
                status, answer = forge.answer(self.command, self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            if forge.redirect_to:
                self.send_header("Location", forge.redirect_to)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _handle

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forge.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
