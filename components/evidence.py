"""Evidence: what a comparison of both caches found, recorded in the state for the gates."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource

from components.dynamic import Provider, told
from redismove.errors import RedismoveError
from redismove.facts import EvidenceFacts, from_dict, to_dict
from redismove.steps.evidence import compare


class EvidenceProvider(Provider):
    """Compares when asked, by `steps.evidence.compare`; what was found stays as it was found."""

    significant = ("sourceId", "targetId", "method", "depth", "requestedAt")

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Compare now."""
        del olds
        found = compare(
            news["sourceId"],
            news["targetId"],
            method=news["method"],
            depth=news["depth"],
            allow_marker_key=bool(news["allowMarkerKey"]),
            endpoint_file=news["endpointFile"],
            carry=bool(news["carry"]),
            tell=told,
        )
        return {"evidence": to_dict(found)}


class Evidence(Resource, name="Evidence", module="redismove"):
    """
    The evidence of one move. A new comparison is made when *requested_at_s* changes.

    An update whose evidence is not clean fails after the evidence is recorded, so that it can be read.
    """

    evidence: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        name: str,
        *,
        source_id: str,
        target_id: str,
        method: str,
        depth: str,
        allow_marker_key: bool,
        endpoint_file: str,
        carry: bool,
        requested_at_s: float,
        opts: pulumi.ResourceOptions,
    ) -> None:
        """Ask for the evidence of *requested_at_s* (Unix time) for the two caches."""
        hook = pulumi.ResourceHook("redismove-evidence-is-clean", _refuse_differences)
        super().__init__(
            EvidenceProvider(),
            name,
            {
                "sourceId": source_id,
                "targetId": target_id,
                "method": method,
                "depth": depth,
                "allowMarkerKey": allow_marker_key,
                "endpointFile": endpoint_file,
                "carry": carry,
                "requestedAt": requested_at_s,
                "evidence": None,
            },
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(after_create=[hook], after_update=[hook]))
            ),
        )


class EvidenceNotClean(RedismoveError):
    """Both caches were compared and are not equal."""


def _refuse_differences(args: pulumi.ResourceHookArgs) -> None:
    found = from_dict(EvidenceFacts, (args.new_outputs or {})["evidence"])
    if found.differences and not (args.new_outputs or {}).get("carry", True):
        pulumi.log.warn(
            f"evidence: {found.keys_compared} keys compared, {found.differences} differ and will be lost, with what is "
            "written until the cut-over: redismove:catchUp is false"
        )
        return
    if found.differences:
        raise EvidenceNotClean(describe(found))
    pulumi.log.info(describe(found))


def describe(found: EvidenceFacts) -> str:
    """Say in one sentence what the evidence found."""
    parts = [f"{found.keys_compared} keys compared, {found.differences} differ"]
    if found.differences:
        parts.append(
            f"{found.only_in_source} only in the source, {found.only_in_target} only in the target, "
            f"{found.different} not equal: " + "; ".join(found.first_differences[:5])
        )
    if found.population is not None:
        parts.append("before anything was carried " + found.population.words)
    if found.settings_differ:
        parts.append("settings that differ: " + ", ".join(found.settings_differ))
    if found.differences:
        parts.append("find out why, then run `pulumi up` at verify again")
    return "evidence: " + "; ".join(parts)
