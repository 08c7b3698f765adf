"""
Long-running operations: begun by a request, carried on whether anybody polls or not, finished after a kill as well.

Each kind of operation is a `Kind` with three parts. `work` does what is to be done to real processes; it may be run
again after a kill, so it looks at what is there first. `finish` and `fail` change the state, at once and in one write,
when the work is done and the operation's duration has passed.
"""

from __future__ import annotations

import asyncio
import time
import traceback
import uuid
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, Field

from localazure.faults import operation_fault

if TYPE_CHECKING:
    from localazure.azure import Azure

HELD_INTERVAL_S = 0.1
KEEP_FINISHED_S = 24 * 3600

DURATIONS_S: dict[str, tuple[float, float]] = {
    # kind: (short, real); real ones from what is reported of live subscriptions (links 5 to 15 min, Premium 30 to 40)
    "create": (0.6, 1800),
    "update": (0.3, 120),
    "scale": (0.6, 1200),
    "entra": (0.4, 1200),
    "delete": (0.4, 300),
    "link": (0.6, 600),
    "unlink": (0.5, 600),
    "flush": (0.1, 10),
    "reboot": (0, 0),
    "access": (0.1, 60),
    "private_endpoint": (0.1, 60),
    # 187 s were measured for a P1 with 3.8 GB; an import is taken to be slower, as it loads what it reads
    "export": (0.4, 190),
    "import": (0.4, 300),
    # Azure Managed Redis: an export and an import are taken to last as long as a cache's
    "cluster_create": (0.4, 900),
    "cluster_update": (0.3, 120),
    "cluster_delete": (0.3, 300),
    "database_create": (0.4, 120),
    "database_update": (0.3, 120),
    "database_delete": (0.3, 60),
    "database_keys": (0.1, 30),
    "database_access": (0.1, 60),
    "database_flush": (0.1, 10),
    "database_export": (0.4, 190),
    "database_import": (0.4, 300),
    "storage": (0.2, 20),
    # pulling an image of some hundred MB
    "container_group": (0.2, 60),
    "delete_group": (0.2, 30),
}


class OperationRecord(BaseModel):
    """
    One long-running operation.

    Attributes:
        kind: which `Kind` carries it on.
        subject: what it is about (names, by role).
        secrets: what it needs and nobody is to see (signed addresses, by role); forgotten when it ends.
        result: what the Location gives at the end: the resource, `{"status": "Succeeded"}` or nothing.
        fault: injected: it ends in Failed, or is held until the faults are taken away.
    """

    id: str
    kind: str
    subscription_id: str
    location: str
    subject: dict[str, str]
    secrets: dict[str, str] = Field(default={}, repr=False)
    result: Literal["resource", "status", "nothing"]
    result_path: str = ""
    started_at: float
    duration_s: float
    ended_at: float | None = None
    status: Literal["InProgress", "Succeeded", "Failed"] = "InProgress"
    error_code: str | None = None
    error_message: str | None = None
    fault: Literal["fail", "never"] | None = None


class OperationFailed(Exception):
    """The work could not be done: the operation ends in Failed with this code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Kind(Protocol):
    """How one kind of operation is carried on."""

    async def work(self, azure: Azure, operation: OperationRecord) -> None:
        """Do it; may be called again after a kill."""

    def finish(self, azure: Azure, operation: OperationRecord) -> None:
        """Change the state to what it is afterwards."""

    def fail(self, azure: Azure, operation: OperationRecord) -> None:
        """Change the state to what it is after a failure."""


class Operations:
    """Begins operations and carries them on."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self._kinds: dict[str, Kind] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def register(self, name: str, kind: Kind) -> None:
        """Tell how a kind of operation is carried on."""
        self._kinds[name] = kind

    def duration_s(self, kind: str) -> float:
        """Give how long a kind of operation takes, by the switch `durations`."""
        setting = self._azure.home.settings.durations
        short, real = DURATIONS_S[kind]
        if isinstance(setting, dict):
            return setting.get(kind, short)
        return real if setting == "real" else short

    def begin(
        self,
        kind: str,
        *,
        subscription_id: str,
        location: str,
        subject: dict[str, str],
        result: Literal["resource", "status", "nothing"],
        result_path: str = "",
        duration: str | None = None,
        secrets: dict[str, str] | None = None,
    ) -> OperationRecord:
        """
        Record an operation and start it; the caller saves the state.

        Args:
            kind: a registered kind.
            subscription_id: where it can be polled.
            location: region, as shown in the polling address.
            subject: what it is about.
            result: what the Location gives at the end.
            result_path: path of the resource, for `result="resource"`.
            duration: name in `DURATIONS_S` when it is not the kind's.
            secrets: what it needs and nobody is to see.
        """
        now = time.time()
        operation = OperationRecord(
            id=str(uuid.uuid4()),
            kind=kind,
            subscription_id=subscription_id,
            location=location,
            subject=subject,
            secrets=secrets or {},
            result=result,
            result_path=result_path,
            started_at=now,
            duration_s=self.duration_s(duration or kind),
            fault=operation_fault.get(),
        )
        records = self._azure.world.operations
        for old in [entry for entry in records.values() if (entry.ended_at or now) < now - KEEP_FINISHED_S]:
            del records[old.id]
        records[operation.id] = operation
        self._start(operation)
        return operation

    def resume(self) -> None:
        """Carry on everything that was under way when the server ended."""
        for operation in list(self._azure.world.operations.values()):
            if operation.status == "InProgress":
                self._start(operation)

    async def wait(self, operation: OperationRecord) -> None:
        """Wait until an operation has ended."""
        task = self._tasks.get(operation.id)
        if task is not None:
            await asyncio.wait([task])

    async def stop(self) -> None:
        """End the tasks; what was under way is resumed by the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, operation: OperationRecord) -> None:
        task = asyncio.create_task(self._run(operation), name=f"{operation.kind} {operation.id}")
        self._tasks[operation.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(operation.id, None))

    async def _run(self, operation: OperationRecord) -> None:
        kind = self._kinds[operation.kind]
        # What the request was to suffer is recorded in its operation; operations begun by this one are not meant.
        operation_fault.set(None)
        try:
            if operation.fault == "fail":
                raise OperationFailed("InternalServerError", "Something went wrong.")
            await kind.work(self._azure, operation)
            await asyncio.sleep(max(0.0, operation.started_at + operation.duration_s - time.time()))
            # A field of the state, not an event: it survives a kill.
            while operation.fault == "never":  # noqa: ASYNC110
                await asyncio.sleep(HELD_INTERVAL_S)
            kind.finish(self._azure, operation)
            operation.status = "Succeeded"
        except OperationFailed as failure:
            self._failed(kind, operation, failure.code, failure.message)
        except Exception as error:  # noqa: BLE001
            # A defect or a dead redis-server: the operation must end all the same, and the log must say why.
            self._azure.log(traceback.format_exc())
            self._failed(
                kind, operation, "InternalServerError", f"Something went wrong: {type(error).__name__}: {error}"
            )
        operation.secrets = {}
        operation.ended_at = time.time()
        self._azure.save()

    def _failed(self, kind: Kind, operation: OperationRecord, code: str, message: str) -> None:
        kind.fail(self._azure, operation)
        operation.status = "Failed"
        operation.error_code = code
        operation.error_message = f"{message}\r\nRequestID={operation.id}"
