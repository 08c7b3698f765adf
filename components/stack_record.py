"""What this stack's own state says of the last update, read before anything is registered."""

from __future__ import annotations

import time
from typing import Any, Final

import pulumi

from redismove.steps.survey import Recorded, recorded_by

_WRITTEN_WITHIN_S: Final = 10.0


def read() -> Recorded:
    """
    Return what the gate, the evidence and the Endpoint of this stack recorded.

    The engine's own `readStackResourceOutputs` answers at once, also in a preview, so the program can be plain code
    over plain values; a StackReference would give futures.
    """
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    answer = _outputs(name)
    recorded: dict[str, dict[str, Any]] = {}
    for resource in ((answer or {}).get("outputs") or {}).values():
        recorded[resource["type"]] = resource.get("outputs") or {}
    return recorded_by(recorded)


def _outputs(stack: str) -> Any:
    """
    Ask the engine for the outputs of *stack*, again where its file is just being written.

    The engine writes the state of this very update meanwhile; a file backend was seen to read it half written.
    """
    deadline = time.monotonic() + _WRITTEN_WITHIN_S
    while True:
        try:
            return pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack}).value
        except Exception as error:
            if "failed to load checkpoint" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
