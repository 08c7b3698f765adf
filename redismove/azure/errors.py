"""Errors of Azure's SDKs turned into one sentence each, here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)

from redismove.errors import RedismoveError


class AzureError(RedismoveError):
    """Azure could not be asked, or refused."""

    def __init__(self, message: str, *, code: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class NotFound(AzureError):
    """Azure has no such thing."""


class SignInFailed(AzureError):
    """Azure did not accept who we are."""


class Unreachable(AzureError):
    """Azure Resource Manager did not answer."""


_SIGNED = re.compile(r"\?[^\s'\"]*\bsig=[^\s'\"]*", re.IGNORECASE)


def plain(text: str | None) -> str:
    """Return the first line of an Azure message, without its request id and without signatures of addresses."""
    text = _SIGNED.sub("?...", text or "")
    lines = [line.strip() for line in text.splitlines() if line.strip(" :\r\t")]
    lines = [
        line for line in lines if not line.startswith(("RequestID", "Code:", "Message:", "Trace ID", "Correlation ID"))
    ]
    return lines[0].rstrip(".") if lines else "no message"


@contextmanager
def told_as_ours(what: str, endpoint: str) -> Iterator[None]:
    """Turn what Azure's SDKs raise while doing *what* into one of ours, naming *endpoint*."""
    try:
        yield
    except ClientAuthenticationError as error:
        if _never_arrived(error):
            raise _unreachable(what, endpoint, error) from None
        raise SignInFailed(
            f"{what}: the sign-in at {endpoint} was refused ({plain(error.message)}); check AZURE_TENANT_ID, "
            "AZURE_CLIENT_ID and "
            "AZURE_CLIENT_SECRET, or sign in with `az login`",
            code="SignIn",
            status=error.status_code,
        ) from None
    except ResourceNotFoundError as error:
        raise NotFound(f"{what}: not found ({_code_and_message(error)})", code=_code(error), status=404) from None
    except HttpResponseError as error:
        raise AzureError(
            f"{what}: refused ({_code_and_message(error)})", code=_code(error), status=error.status_code
        ) from None
    except (ServiceRequestError, ServiceResponseError) as error:
        raise _unreachable(what, endpoint, error) from None


def _never_arrived(error: Exception) -> bool:
    """Whether a sign-in failed because nobody answered: azure-identity tells it as a refusal."""
    return any(words in str(error) for words in ("Failed to establish", "Connection refused", "timed out", "resolve"))


def _unreachable(what: str, endpoint: str, error: Exception) -> Unreachable:
    return Unreachable(
        f"{what}: {endpoint} does not answer ({plain(str(error))[:200]}); check the network, or start the local Azure "
        "with `redismove local start`",
        code="Unreachable",
    )


def _code(error: HttpResponseError) -> str:
    return str(getattr(error.error, "code", "") or error.status_code or "")


def _code_and_message(error: HttpResponseError) -> str:
    message = getattr(error.error, "message", None) or error.message
    return f"{_code(error)}: {plain(message)}"
