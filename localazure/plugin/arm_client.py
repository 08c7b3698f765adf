"""
ARM as the real provider talks to it: which answers count, what is tried again, how a long operation is followed.

Source: provider/pkg/azure/client_azcore.go of pulumi-azure-native, and azcore's pollers behind it
(Azure/azure-sdk-for-go, sdk/azcore/runtime/poller.go and internal/pollers).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

from localazure.plugin.errors import ArmError, NotFound, OperationFailed, ProviderError
from localazure.plugin.identity import Credential
from localazure.plugin.transport import Answer, Deadline, Stop, Transport

DEFAULT_TIMEOUT_S: Final = 7200.0
"""How long an operation may take when the resource has no customTimeouts."""

RETRY_PAUSES_S: Final = (20.0, 60.0, 120.0)
"""The waits before trying again when Azure names none (`Retry-After`)."""

RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
RETRIED_CONFLICT: Final = "AnotherOperationInProgress"
"""The one code of a 409 that is tried again; `Conflict`, which a busy cache answers, is not."""

PUT_POLL_S: Final = 10.0
DELETE_POLL_S: Final = 30.0
"""The waits between two looks at an operation when Azure names none."""

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True)
class _Poll:
    """
    How to see whether an operation has ended.

    Attributes:
        style: "async" reads a status document, "location" asks until the answer is not 202, "body" reads the
            resource's provisioningState, "none": it is over already.
    """

    style: str
    url: str = ""


class ArmClient:
    """Calls to one ARM, in one name; safe to use from many threads."""

    def __init__(
        self,
        transport: Transport,
        endpoint: str,
        credential: Credential,
        stop: Stop,
        *,
        retry_pauses_s: tuple[float, ...] = RETRY_PAUSES_S,
    ) -> None:
        self._transport = transport
        self.endpoint = endpoint
        self._credential = credential
        self._stop = stop
        self._retry_pauses_s = retry_pauses_s

    def get(
        self, path: str, api_version: str, *, query: Mapping[str, str] | None = None, after_stop: bool = False
    ) -> dict[str, Any]:
        """
        Read one resource.

        Args:
            path: its id.
            api_version: the api-version.
            query: more of the query.
            after_stop: read it even when the engine has said stop, once and without waiting.

        Raises:
            NotFound: there is none.
            ArmError: ARM refuses.
        """
        url = self._url(path, api_version, query)
        if after_stop:
            answer = self._transport.request("GET", url, headers=self._authorization())
        else:
            answer = self._send("GET", url, _deadline(f"reading {path}"))
        _expect(answer, 200)
        return answer.object()

    def post(self, path: str, api_version: str, body: Any, *, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Call an action that answers at once: 202 is an error, as in the real provider."""
        answer = self._send("POST", self._url(path, api_version, query), _deadline(f"calling {path}"), body)
        _expect(answer, 200, 201)
        return answer.object()

    def require_absent(self, path: str, api_version: str) -> None:
        """
        Make sure that a create would create.

        Raises:
            ProviderError: the resource is there already, or that could not be found out.
        """
        answer = self._send("GET", self._url(path, api_version), _deadline(f"looking for {path}"))
        if answer.status == 200 and answer.object():
            raise ProviderError(f"cannot create already existing resource '{path}'")
        if answer.status not in (200, 204, 404):
            error = ArmError.from_answer(answer.status, answer.body)
            raise ProviderError(f"cannot check existence of resource '{path}': {error}")

    def put(
        self,
        path: str,
        api_version: str,
        body: Any,
        *,
        method: str = "PUT",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        progress: Progress = _silent,
    ) -> dict[str, Any]:
        """
        Create or change a resource and wait until Azure is done.

        Args:
            path: the resource's id.
            api_version: the api-version.
            body: the whole resource.
            method: PUT or PATCH.
            timeout_s: how long all of it may take.
            progress: told what Azure says while it works.

        Returns:
            The resource as the operation leaves it.

        Raises:
            ArmError: Azure refused the request.
            OperationFailed: Azure took it, and it ended badly, or was not waited for; the resource may be there.
        """
        deadline = Deadline(f"{method} of {path}", timeout_s)
        url = self._url(path, api_version)
        answer = self._send(method, url, deadline, body)
        _expect(answer, 200, 201, 202)
        if not answer.object():
            raise ProviderError(f"unexpected answer from Azure to {method} {path}: HTTP {answer.status} without a body")
        try:
            return self._finish_put(answer, url, deadline, progress)
        except ProviderError as error:
            raise OperationFailed(error) from error

    def delete(
        self, path: str, api_version: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, progress: Progress = _silent
    ) -> None:
        """
        Delete a resource and wait until Azure is done; one that is gone already is a success.

        Raises:
            ArmError: Azure refused, at once or later.
        """
        deadline = Deadline(f"DELETE of {path}", timeout_s)
        url = self._url(path, api_version)
        try:
            answer = self._send("DELETE", url, deadline)
            _expect(answer, 200, 202, 204)
            poll = self._poll_of(answer, "DELETE", url)
            if poll.style != "none":
                self._follow(answer, poll, deadline, progress, every_s=DELETE_POLL_S)
        except NotFound:
            return

    # --- one request

    def _url(self, path: str, api_version: str, query: Mapping[str, str] | None = None) -> str:
        return f"{self.endpoint}{path}?{urlencode({'api-version': api_version, **(query or {})})}"

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._credential.token()}"}

    def _send(self, method: str, url: str, deadline: Deadline, body: Any = None) -> Answer:
        """Send with a token, and again when the answer says that this helps."""
        signed_in_again = False
        pauses_s = list(self._retry_pauses_s)
        while True:
            self._stop.check()
            deadline.check()
            answer = self._transport.request(method, url, headers=self._authorization(), body=body)
            if answer.status == 401 and not signed_in_again:
                signed_in_again = True
                self._credential.forget()
            elif _is_retried(answer) and pauses_s:
                pause_s = pauses_s.pop(0)
                self._stop.wait(answer.retry_after_s() or pause_s, deadline)
            else:
                return answer

    # --- long operations

    def _finish_put(self, answer: Answer, url: str, deadline: Deadline, progress: Progress) -> dict[str, Any]:
        poll = self._poll_of(answer, "PUT", url)
        if poll.style == "none":
            return answer.object()
        last = self._follow(answer, poll, deadline, progress, every_s=PUT_POLL_S)
        if poll.style == "async" or not last.object():
            last = self._send("GET", url, deadline)
            _expect(last, 200)
        return last.object()

    def _poll_of(self, answer: Answer, method: str, url: str) -> _Poll:
        """Choose as azcore does: the status document before the location, and that before the resource itself."""
        status_url = answer.headers.get("azure-asyncoperation")
        if status_url:
            return _Poll("async", self._absolute(status_url, url))
        location = answer.headers.get("location")
        if location and answer.status in (201, 202):
            return _Poll("location", self._absolute(location, url))
        if method == "PUT" and _provisioning_state(answer) not in ("", "Succeeded"):
            return _Poll("body", url)
        return _Poll("none")

    def _absolute(self, location: str, asked_url: str) -> str:
        """Complete a relative polling address, or one without an api-version, from the request's own."""
        full = urljoin(asked_url, location)
        if "api-version=" not in full:
            full += ("&" if urlsplit(full).query else "?") + urlsplit(asked_url).query
        return full

    def _follow(self, first: Answer, poll: _Poll, deadline: Deadline, progress: Progress, *, every_s: float) -> Answer:
        """Ask until the operation has ended; returns the last answer, raises what it ended with."""
        started_s = time.monotonic()
        if first.retry_after_s():
            self._stop.wait(first.retry_after_s(), deadline)
        url = poll.url
        while True:
            answer = self._send("GET", url, deadline)
            state = _state(answer, poll)
            if state == "Succeeded":
                return answer
            if state in ("Failed", "Canceled"):
                raise _failure(answer, state)
            progress(_describe(answer, state, time.monotonic() - started_s))
            if poll.style == "location" and "location" in answer.headers:
                url = self._absolute(answer.headers["location"], url)
            self._stop.wait(answer.retry_after_s() or every_s, deadline)


def _deadline(what: str) -> Deadline:
    return Deadline(what, DEFAULT_TIMEOUT_S)


def _expect(answer: Answer, *statuses: int) -> None:
    if answer.status not in statuses:
        raise ArmError.from_answer(answer.status, answer.body)


def _is_retried(answer: Answer) -> bool:
    if answer.status == 409:
        return ArmError.from_answer(409, answer.body).code == RETRIED_CONFLICT
    return answer.status in RETRIED_STATUSES


def _provisioning_state(answer: Answer) -> str:
    properties = answer.object().get("properties")
    return str(properties.get("provisioningState") or "") if isinstance(properties, dict) else ""


def _state(answer: Answer, poll: _Poll) -> str:
    """Read how far the operation is: "Succeeded", "Failed", "Canceled", or the name of what it does."""
    if poll.style == "location":
        if answer.status == 202:
            return "InProgress"
        if answer.status >= 300:
            _expect(answer)
        state = _provisioning_state(answer) or "Succeeded"
        return state if answer.status != 204 else "Succeeded"
    _expect(answer, 200, 201, 202, 204)
    if poll.style == "async":
        return str(answer.object().get("status") or "InProgress")
    return _provisioning_state(answer) or "Succeeded"


def _failure(answer: Answer, state: str) -> ProviderError:
    error = answer.object().get("error")
    if isinstance(error, dict) and (error.get("code") or error.get("message")):
        return ArmError(answer.status, str(error.get("code") or state), str(error.get("message") or ""))
    return ArmError(answer.status, state, "the operation ended without saying why")


def _describe(answer: Answer, state: str, elapsed_s: float) -> str:
    percent = answer.object().get("percentComplete")
    progress = f", {percent:g} %" if isinstance(percent, int | float) else ""
    return f"{state}{progress}, {elapsed_s:.0f} s"
