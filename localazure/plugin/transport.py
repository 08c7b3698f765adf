"""HTTPS to the local Azure, and waiting that ends at once when the engine says stop."""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3

from localazure.plugin.errors import Canceled, ConfigurationError, TimedOut, Unreachable

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 60.0
# The local Azure is on this machine: either it listens or it does not. The short pauses bridge its restart.
CONNECT_PAUSES_S: Final = (0.2, 0.5, 1.0)


class Stop:
    """Set once, by Cancel: everything that waits ends with Canceled."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """End all waiting, now and later."""
        self._event.set()

    def check(self) -> None:
        """Raise Canceled if the engine said stop."""
        if self._event.is_set():
            raise Canceled

    def wait(self, seconds: float, deadline: Deadline) -> None:
        """Wait, at most until *deadline*."""
        if self._event.wait(max(0.0, min(seconds, deadline.left_s()))):
            raise Canceled
        deadline.check()


class Deadline:
    """A moment of the monotonic clock that an operation must not pass."""

    def __init__(self, what: str, timeout_s: float) -> None:
        self._what = what
        self._timeout_s = timeout_s
        self._at_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds until then; negative afterwards."""
        return self._at_s - time.monotonic()

    def check(self) -> None:
        """Raise TimedOut when the moment has passed."""
        if self.left_s() <= 0:
            raise TimedOut(self._what, self._timeout_s)


@dataclass(frozen=True)
class Answer:
    """
    One HTTP answer.

    Attributes:
        body: the JSON, or None when there is none or the body is no JSON.
        headers: with names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: Any = field(repr=False)

    def retry_after_s(self) -> int:
        """The seconds of `Retry-After`, 0 when there is none; fractions count as none, as in Azure's Go client."""
        value = self.headers.get("retry-after", "")
        return int(value) if value.isdecimal() else 0

    def object(self) -> dict[str, Any]:
        """The JSON object; an empty one when the body is none."""
        return self.body if isinstance(self.body, dict) else {}


class Transport:
    """A pool of HTTPS connections to loopback addresses; safe to use from many threads."""

    def __init__(self, stop: Stop) -> None:
        bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
        try:
            context = ssl.create_default_context(cafile=bundle)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"the certificates in SSL_CERT_FILE ({bundle}) cannot be read: {error.strerror or error}; "
                'run eval "$(redismove local env)"'
            ) from error
        self._stop = stop
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        self._pool = urllib3.PoolManager(
            maxsize=32, ssl_context=context, timeout=timeout, retries=False, headers={"Accept": "application/json"}
        )

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Send one request.

        Args:
            method: GET, PUT, ...
            url: an absolute https URL on this machine.
            headers: more headers.
            body: sent as JSON unless None.
            form: sent as a form, instead of *body*.

        Raises:
            Unreachable: nobody answers, or with a certificate that is not trusted.
            ConfigurationError: the URL leads away from this machine.
        """
        require_loopback(url)
        for pause_s in (*CONNECT_PAUSES_S, None):
            try:
                return self._send(method, url, headers, body, form)
            except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
                if pause_s is None:
                    raise Unreachable(
                        f"the local Azure does not answer at {_origin(url)}; start it with `redismove local start`"
                    ) from error
                self._stop.wait(pause_s, Deadline("connecting", pause_s + 1))
            except urllib3.exceptions.SSLError as error:
                raise Unreachable(
                    f"the certificate at {_origin(url)} is not trusted ({_reason(error)}); "
                    'run eval "$(redismove local env)", which sets SSL_CERT_FILE'
                ) from error
            except urllib3.exceptions.HTTPError as error:
                # the request may have been carried out: not sent again
                raise Unreachable(
                    f"the connection to {_origin(url)} broke during a {method} ({_reason(error)})"
                ) from error
        raise AssertionError("the last pause is None")

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: Any,
        form: Mapping[str, str] | None,
    ) -> Answer:
        sent = dict(headers or {})
        if form is not None:
            answer = self._pool.request(method, url, headers=sent, fields=dict(form), encode_multipart=False)
        elif body is not None:
            sent["Content-Type"] = "application/json; charset=utf-8"
            answer = self._pool.request(method, url, headers=sent, body=json.dumps(body).encode())
        else:
            answer = self._pool.request(method, url, headers=sent)
        try:
            content = json.loads(answer.data) if answer.data else None
        except ValueError:
            content = None
        return Answer(answer.status, {key.lower(): value for key, value in answer.headers.items()}, content)


def require_loopback(url: str) -> None:
    """
    Refuse an address that is not on this machine: the stand-in must never carry credentials to a real cloud.

    Raises:
        ConfigurationError: the scheme is not https, or the host is neither localhost nor 127.x.y.z nor ::1.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or not (host in ("localhost", "::1") or host.startswith("127.")):
        raise ConfigurationError(
            f"this pulumi-resource-azure-native is the stand-in for the local Azure, and {_origin(url)} is not "
            "https on this machine; for real Azure take the stand-in's folder off PATH"
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _reason(error: Exception) -> str:
    cause = error.args[-1] if error.args else error
    return " ".join(str(cause).split()) or type(error).__name__
