"""What this stack's own state says of the last update, read before anything is registered."""

from __future__ import annotations

from typing import Any

import pulumi

from redismove.steps.survey import Recorded, recorded_by


def read() -> Recorded:
    """
    Return what the gate, the evidence and the Endpoint of this stack recorded.

    The engine's own `readStackResourceOutputs` answers at once, also in a preview, so the program can be plain code
    over plain values; a StackReference would give futures.
    """
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    answer = pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": name}).value
    recorded: dict[str, dict[str, Any]] = {}
    for resource in ((answer or {}).get("outputs") or {}).values():
        recorded[resource["type"]] = resource.get("outputs") or {}
    return recorded_by(recorded)
