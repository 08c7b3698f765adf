"""
What a preview told, read from the engine's own events.

The events come as JSON, one a line, from `pulumi preview --event-log FILE`; the output for people has no place for
everything in them. Source: apitype/events.go of Pulumi's SDK, and what CLI 3.259 was seen to write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

GATE: Final = "pulumi-python:dynamic/redismove:StageGate"
"""The type of the resource on which every rule of a move is judged."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """
    What the engine would do to one resource.

    `before` and `after` are its inputs, empty where there are none. `retained`: leaving the state, it stays in Azure.
    """

    op: str
    type: str
    name: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    protected_before: bool = False
    protected_after: bool = False
    retained: bool = False


@dataclass(frozen=True, kw_only=True)
class Violation:
    """What one policy said of one resource; `level` is "mandatory" or "advisory"."""

    policy: str
    level: str
    message: str
    resource: str


@dataclass(frozen=True, kw_only=True)
class Preview:
    """
    One preview.

    `judged` names the policies that judged the gate, whatever they found. `errors` are the engine's error messages.
    `result` is "succeeded", "failed", or "" where the engine did not come to an end.
    """

    steps: tuple[Step, ...] = ()
    violations: tuple[Violation, ...] = ()
    judged: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()
    result: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the engine came to a good end."""
        return self.result == "succeeded"


def read(lines: Iterable[str]) -> Preview:
    """Read the events of one preview, one JSON object a line; a line that was cut off ends it without a result."""
    steps: dict[tuple[str, str], Step] = {}
    violations: list[Violation] = []
    judged: set[str] = set()
    errors: list[str] = []
    result = ""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            break
        if "resourcePreEvent" in event:
            metadata = event["resourcePreEvent"]["metadata"]
            steps[metadata["urn"], metadata["op"]] = _step(metadata)
        elif "policyEvent" in event:
            violations.append(_violation(event["policyEvent"]))
        elif "policyAnalyzeSummaryEvent" in event:
            summary = event["policyAnalyzeSummaryEvent"]
            if _type(summary.get("resourceUrn", "")) == GATE:
                judged |= {*(summary.get("passed") or ()), *(summary.get("failed") or ())}
        elif "diagnosticEvent" in event:
            if event["diagnosticEvent"].get("severity") == "error":
                errors.append(str(event["diagnosticEvent"].get("message", "")).strip())
        elif "summaryEvent" in event:
            result = str(event["summaryEvent"].get("result", ""))
    return Preview(
        steps=tuple(steps[key] for key in sorted(steps)),
        violations=tuple(violations),
        judged=frozenset(judged),
        errors=tuple(dict.fromkeys(errors)),
        result=result,
    )


def _step(metadata: Mapping[str, Any]) -> Step:
    old, new = metadata.get("old") or {}, metadata.get("new") or {}
    return Step(
        op=metadata["op"],
        type=metadata.get("type") or _type(metadata["urn"]),
        name=_name(metadata["urn"]),
        before=old.get("inputs") or {},
        after=new.get("inputs") or {},
        protected_before=bool(old.get("protect")),
        protected_after=bool(new.get("protect")),
        retained=bool(old.get("retainOnDelete")),
    )


def _violation(event: Mapping[str, Any]) -> Violation:
    return Violation(
        policy=str(event.get("policyName", "")),
        level=str(event.get("enforcementLevel", "")),
        message=str(event.get("message", "")).strip(),
        resource=_name(str(event.get("resourceUrn") or "")),
    )


def _type(urn: str) -> str:
    """Return the type of a resource by its URN, "urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME"."""
    parts = urn.split("::", 3)
    return parts[2].rsplit("$", 1)[-1] if len(parts) == 4 else ""


def _name(urn: str) -> str:
    parts = urn.split("::", 3)
    return parts[3] if len(parts) == 4 else ""
