"""
Faults on request: what a cloud does now and then, at the moment a test chooses.

Off unless the home's switch `admin` is on (`redismove local start --admin`). With an ARM token:
`POST /_local/faults` adds one (the fields of `Fault`), `GET` shows those that are left, `DELETE` takes all away and
lets operations that were held go on.
"""

from __future__ import annotations

import contextvars
import json
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localazure.arm.http import ArmError, ArmRoute, read_body

if TYPE_CHECKING:
    from localazure.azure import Azure

PATH = "/_local/faults"

operation_fault: contextvars.ContextVar[Literal["fail", "never"] | None] = contextvars.ContextVar(
    "operation_fault", default=None
)
"""What becomes of a long-running operation that the request under way begins."""

CODES = {
    409: ("Conflict", "The resource is busy processing a previous update request. Please try again later."),
    429: ("TooManyRequests", "The request was throttled. Please try again later."),
    500: ("InternalServerError", "Encountered an internal server error."),
    503: ("ServiceUnavailable", "The service is temporarily unavailable."),
}


class Fault(BaseModel):
    """
    One fault.

    Attributes:
        method: of the requests it applies to; `*` for all.
        path: regular expression that is searched for in their path, in any case.
        count: how many requests it applies to.
        skip: how many matching requests pass before it begins.
        kind: `status` answers with an error; `cut` closes the connection without an answer; `delay` answers late;
            `operation` lets the long-running operation that the request begins end in Failed, or never end; `answer`
            changes the JSON of the answer by `body`, so that a cache looks as no request could make it here.
        applied: for `status` and `cut`: the request is carried out all the same, only its answer is lost.
        status: for `status`.
        code: for `status`; by default the usual one.
        message: for `status` and failed operations.
        retry_after_s: for `status`: the header Retry-After.
        delay_s: for `delay`.
        outcome: for `operation`.
        body: for `answer`: a JSON merge patch (RFC 7396); an error's answer is replaced by it, with status 200.
    """

    model_config = ConfigDict(extra="forbid")

    method: str = "*"
    path: str = ""
    count: int = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    kind: Literal["status", "cut", "delay", "operation", "answer"]
    applied: bool = False
    status: int = Field(default=503, ge=400, le=599)
    code: str | None = None
    message: str | None = None
    retry_after_s: int | None = Field(default=None, ge=0)
    delay_s: float = Field(default=1.0, ge=0, le=600)
    outcome: Literal["fail", "never"] = "fail"
    body: dict[str, Any] = {}

    def matches(self, request: Request) -> bool:
        """Tell whether it applies to a request."""
        if self.method not in ("*", request.method):
            return False
        return re.search(self.path, request.url.path, re.IGNORECASE) is not None

    def response(self) -> Response:
        """Give the error that takes the place of the answer."""
        code, message = CODES.get(self.status, ("BadRequest", "The request was refused."))
        response = ArmError(self.status, self.code or code, self.message or message).response()
        if self.retry_after_s is not None:
            response.headers["Retry-After"] = str(self.retry_after_s)
        return response

    def changed(self, status: int, answer: bytes) -> Response:
        """Give the answer that takes the place of *answer*, for `answer`."""
        whole = json.loads(answer) if status < 400 and answer else {}
        return JSONResponse(merged(whole, self.body))


def merged(value: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396): null takes a member away, objects are merged, all else is replaced."""
    if not isinstance(patch, dict):
        return patch
    whole = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            whole.pop(key, None)
        else:
            whole[key] = merged(whole.get(key), change)
    return whole


class Faults:
    """The faults that wait for their requests."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def take(self, request: Request) -> Fault | None:
        """Give the fault for a request, and count it."""
        for fault in self.waiting:
            if fault.matches(request):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.count -= 1
                if fault.count == 0:
                    self.waiting.remove(fault)
                return fault
        return None


async def add(azure: Azure, request: Request) -> Response:
    """POST a fault."""
    _require_admin(azure)
    try:
        fault = Fault.model_validate(await read_body(request))
        re.compile(fault.path)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArmError(400, "InvalidFault", f"{where}: {first['msg']}") from None
    except re.error as error:
        raise ArmError(400, "InvalidFault", f"path: {error}") from None
    azure.faults.waiting.append(fault)
    return JSONResponse(fault.model_dump(), status_code=201)


async def show(azure: Azure, request: Request) -> Response:
    """GET the faults that are left."""
    _require_admin(azure)
    del request
    return JSONResponse({"value": [fault.model_dump() for fault in azure.faults.waiting]})


async def clear(azure: Azure, request: Request) -> Response:
    """DELETE all faults; operations that were held go on."""
    _require_admin(azure)
    del request
    azure.faults.waiting.clear()
    for operation in azure.world.operations.values():
        if operation.fault == "never":
            operation.fault = None
    azure.save()
    return Response(status_code=204)


def _require_admin(azure: Azure) -> None:
    if not azure.home.settings.admin:
        raise ArmError(
            404, "NotFound", "Fault injection is off: start the local Azure with `redismove local start --admin`."
        )


ROUTES = [ArmRoute(PATH, add, ["POST"]), ArmRoute(PATH, show, ["GET"]), ArmRoute(PATH, clear, ["DELETE"])]
