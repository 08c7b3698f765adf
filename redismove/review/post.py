"""
Puts the comment into the pull request: written once, then updated, through the platform's REST interface.

The only file of the review that speaks to a network; it uses the job's own token, and sends it to the platform's
address alone: over HTTPS (or to this machine), and to no address that an answer redirects to.

Sources: GitHub REST, "Issue comments"; Azure DevOps REST 7.1, "Pull Request Threads" and "Pull Request Thread
Comments".
"""

from __future__ import annotations

import ipaddress
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, Literal

import tenacity

from redismove.errors import RedismoveError

Platform = Literal["github", "azure"]

_TIMEOUT_S: Final = 30.0
_ATTEMPTS: Final = 4
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_DENIED: Final = frozenset({401, 403, 404})
_PAGE: Final = 100
_MOST_PAGES: Final = 50
_AZURE_API: Final = "api-version=7.1"
_AZURE_ACTIVE: Final = "active"
_AZURE_CLOSED: Final = "closed"


class PostError(RedismoveError):
    """The comment could not be posted."""


class _TryAgain(Exception):
    """An answer after which the same request may succeed."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to another address."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Rest:
    """One REST interface below *base*, with a bearer *token* that is shown nowhere."""

    def __init__(self, base: str, token: str, *, wait_s: float = 1.0) -> None:
        self._base, self._token, self._wait_s = base.rstrip("/"), token, wait_s
        _refuse_insecure(self._base)
        self._opener = urllib.request.build_opener(_NoRedirect())

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """
        Send one request, again where the service is busy; return the answer's JSON.

        Raises:
            PostError: it was refused, or not answered.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=self._wait_s, max=20),
            reraise=True,
        )
        try:
            return retrying(self._once, method, path, body)
        except _TryAgain as error:
            raise PostError(f"{method} {self._base}{path}: {error}, {_ATTEMPTS} times; run the job again") from None

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            self._base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Accept": "application/json",
                "Content-Type": "application/json; charset=utf-8",
                "User-Agent": "redismove",
            },
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                text = answer.read().decode("utf-8")
        except urllib.error.HTTPError as error:
            with error:
                said = _message(error.read())
            if error.code in _AGAIN and method != "POST":  # a comment that was made after all must not be made twice
                raise _TryAgain(f"found status {error.code}, allowed 2xx") from None
            denied = error.code in _DENIED
            cure = "give the job the permission to write pull requests" if denied else "run the job again"
            raise PostError(
                f"{method} {self._base}{path}: found status {error.code}{said}, allowed 2xx; {cure}"
            ) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            if method != "POST":
                raise _TryAgain(f"found no answer ({reason}), allowed one") from None
            raise PostError(f"{method} {self._base}{path}: found no answer ({reason}); run the job again") from None
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise PostError(f"{method} {self._base}{path}: found an answer that is no JSON, allowed JSON") from None


def post(platform: Platform, comment: str, *, allowed: bool, environment: Mapping[str, str]) -> str:
    """
    Write *comment* into the pull request of this job, or update the one with the same first line; return where.

    *allowed* closes or opens the thread on Azure Repos, where a policy can ask for all threads to be resolved.

    Raises:
        PostError: the environment is not that of such a job, or the platform refused.
    """
    if platform == "github":
        return _github(comment, environment)
    return _azure(comment, allowed=allowed, environment=environment)


def _github(comment: str, environment: Mapping[str, str]) -> str:
    repository = _needed(environment, "GITHUB_REPOSITORY", "github")
    number = _github_number(environment)
    rest = Rest(
        environment.get("GITHUB_API_URL") or "https://api.github.com", _needed(environment, "GITHUB_TOKEN", "github")
    )
    issues = f"/repos/{urllib.parse.quote(repository)}/issues"
    found = next((c for c in _github_comments(rest, f"{issues}/{number}/comments") if _is_ours(c, comment)), None)
    if found is None:
        rest.ask("POST", f"{issues}/{number}/comments", {"body": comment})
        return f"{repository}, pull request {number}: comment written"
    if found["body"].splitlines() != comment.splitlines():  # the platform may keep other line ends
        rest.ask("PATCH", f"{issues}/comments/{int(found['id'])}", {"body": comment})
        return f"{repository}, pull request {number}: comment updated"
    return f"{repository}, pull request {number}: comment is current"


def _github_comments(rest: Rest, path: str) -> Iterator[Any]:
    for page in range(1, _MOST_PAGES + 1):
        comments = rest.ask("GET", f"{path}?per_page={_PAGE}&page={page}") or []
        yield from comments
        if len(comments) < _PAGE:
            return


def _is_ours(found: Mapping[str, Any], comment: str) -> bool:
    """
    Whether a comment is the one to update: its first line is ours, and a job wrote it.

    A person could write that line too, and would keep the right to change what we then put there.
    """
    author = found.get("user") or {}
    return author.get("type") == "Bot" and _first_line(str(found.get("body") or "")) == _first_line(comment)


def _github_number(environment: Mapping[str, str]) -> int:
    path = _needed(environment, "GITHUB_EVENT_PATH", "github")
    try:
        event = json.loads(Path(path).read_text(encoding="utf-8"))
        return int((event.get("pull_request") or event)["number"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise PostError(
            "--post github: found an event without a pull request's number, allowed the event of a pull request; "
            "run the workflow on pull_request"
        ) from None


def _azure(comment: str, *, allowed: bool, environment: Mapping[str, str]) -> str:
    names = ("SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECTID", "BUILD_REPOSITORY_ID", "SYSTEM_PULLREQUEST_PULLREQUESTID")
    base, project, repository, number = (_needed(environment, name, "azure") for name in names)
    rest = Rest(base, _needed(environment, "SYSTEM_ACCESSTOKEN", "azure"))
    threads = f"/{_quoted(project)}/_apis/git/repositories/{_quoted(repository)}/pullRequests/{_quoted(number)}/threads"
    status = _AZURE_CLOSED if allowed else _AZURE_ACTIVE
    where = f"pull request {number}"
    me = ((rest.ask("GET", "/_apis/connectionData") or {}).get("authenticatedUser") or {}).get("id")
    for thread in (rest.ask("GET", f"{threads}?{_AZURE_API}") or {}).get("value", []):
        found = _azure_first(thread, comment, me)
        if found is None:
            continue
        path = f"{threads}/{int(thread['id'])}"
        changed = found["content"].splitlines() != comment.splitlines()
        if changed:
            edited = {"content": comment, "commentType": "text"}
            rest.ask("PATCH", f"{path}/comments/{int(found['id'])}?{_AZURE_API}", edited)
        if thread.get("status") != status:
            rest.ask("PATCH", f"{path}?{_AZURE_API}", {"status": status})
        return f"{where}: comment {'updated' if changed else 'is current'}"
    body = {"comments": [{"parentCommentId": 0, "content": comment, "commentType": "text"}], "status": status}
    rest.ask("POST", f"{threads}?{_AZURE_API}", body)
    return f"{where}: comment written"


def _azure_first(thread: Mapping[str, Any], comment: str, me: str | None) -> Mapping[str, Any] | None:
    """Return a thread's first comment where it is ours: written by this job's identity, with our first line."""
    comments = thread.get("comments") or []
    if thread.get("isDeleted") or not comments or comments[0].get("isDeleted"):
        return None
    first: Mapping[str, Any] = comments[0]
    mine = me is not None and (first.get("author") or {}).get("id") == me
    return first if mine and _first_line(str(first.get("content") or "")) == _first_line(comment) else None


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0].strip()


def _quoted(part: str) -> str:
    return urllib.parse.quote(part, safe="")


def _needed(environment: Mapping[str, str], name: str, platform: Platform) -> str:
    value = environment.get(name, "")
    if not value:
        raise PostError(
            f"--post {platform}: found no {name} in the environment, allowed the one of a job of a pull request; "
            f"run it there (docs/howto/pull-requests.md), or write the comment with --comment-file"
        )
    return value


def _refuse_insecure(base: str) -> None:
    parts = urllib.parse.urlsplit(base)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname or "")):
        return
    raise PostError(
        f"{base}: found {parts.scheme or 'no scheme'}, allowed https; the job's token is not sent in plain text"
    )


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _message(body: bytes) -> str:
    try:
        said = json.loads(body).get("message", "")
    except (ValueError, AttributeError):
        return ""
    return f" ({' '.join(str(said).split())[:200]})" if said else ""
