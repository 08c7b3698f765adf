"""What can go wrong between the engine and ARM, as sentences without secrets in them."""

from __future__ import annotations

from typing import Any


class ProviderError(Exception):
    """Base of every error that is the user's or Azure's, and so is shown as one sentence and without a traceback."""


class ConfigurationError(ProviderError):
    """A setting that the provider needs is missing or cannot be used here."""


class SignInError(ProviderError):
    """The authority gave no token."""


class Unreachable(ProviderError):
    """Nobody answers at the address of the local Azure."""


class Canceled(ProviderError):
    """The engine asked to stop; what was asked of Azure may still be going on there."""

    def __init__(self) -> None:
        super().__init__("the operation was canceled; what was already asked of Azure goes on there")


class TimedOut(ProviderError):
    """The resource's own timeout (customTimeouts), or the default of two hours, has passed."""

    def __init__(self, what: str, timeout_s: float) -> None:
        super().__init__(f"{what} did not finish within its timeout of {timeout_s:g} s")


class ArmError(ProviderError):
    """
    Azure refused: the sentence is `Code: message`.

    Attributes:
        status: the HTTP status.
        code: ARM's error code; empty when the answer had no ARM error body.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        text = " ".join(message.split())  # ARM ends its messages with CRLF and a request id
        super().__init__(f"{code}: {text}" if code else f"HTTP {status}: {text or 'no error body'}")

    @staticmethod
    def from_answer(status: int, body: Any) -> ArmError:
        """Build the error from an answer's JSON body: `{"error": {"code", "message"}}`, or `{"code", "message"}`."""
        error = body.get("error", body) if isinstance(body, dict) else {}
        if not isinstance(error, dict):
            error = {"message": str(error)}
        kind = NotFound if status == 404 else ArmError
        return kind(status, str(error.get("code") or ""), str(error.get("message") or ""))


class NotFound(ArmError):
    """ARM answered 404: the resource, its parent or its group is not there."""


class OperationFailed(ProviderError):
    """Azure took the request, and the operation behind it then ended badly: the resource may exist all the same."""

    def __init__(self, cause: ProviderError) -> None:
        super().__init__(str(cause))
        self.cause = cause
