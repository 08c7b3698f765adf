"""CacheMove: one move, as its stage declares it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi

from components import stack_record
from components.endpoint import Endpoint
from components.evidence import Evidence
from components.guards import Guards
from components.keyspace_notifications import KeyspaceNotifications
from components.replication import declare_replication
from components.source_cache import SourceCache
from components.stage_gate import StageGate
from components.target_cache import TargetCache
from components.target_posture import TargetPosture
from redismove import plan, rules, stages
from redismove.azure.caches import same
from redismove.facts import REDIS
from redismove.rules.subjects import endpoint_on_source, endpoint_on_target
from redismove.settings import MoveSettings
from redismove.steps.posture import Posture
from redismove.steps.survey import Recorded, Survey, survey
from redismove.target import not_carried


class CacheMove(pulumi.ComponentResource):
    """
    A cache on its way to another region.

    Reads first (what the stack recorded, what is live), then declares: the gate, and behind it everything else. Where a
    rule is broken only the gate is declared and the program ends with an error, so that the engine deletes nothing
    either, whatever flags it was started with.
    """

    def __init__(self, name: str, settings: MoveSettings, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the move that *settings* ask for."""
        super().__init__("redismove:index:CacheMove", name, None, opts)
        self._recorded = stack_record.read()
        self._survey = _look(settings, self._recorded)
        self.move = self._survey.move
        self._child = pulumi.ResourceOptions(parent=self)
        self.gate = StageGate(
            "gate",
            self.move,
            move_id=self._survey.move_id,
            stage_since_s=self._survey.stage_since_s,
            opts=self._child,
        )
        refused = rules.refusals(self.move)
        if refused:
            # A targeted update skips the gate's own check; this stops the program, and with it every deletion.
            self.gate.urn.apply(lambda _urn: _stop(rules.sentence(refused)))
            self.outputs: dict[str, Any] = {}
        else:
            self._declare(Guards(lambda: _look(settings, self._recorded)))
        self.register_outputs(self.outputs)

    def _declare(self, guards: Guards) -> None:
        move, settings = self.move, self._survey.settings
        declared = stages.declaration(move.method, move.stage)
        behind_gate = pulumi.ResourceOptions(parent=self, depends_on=[self.gate])
        needs: list[pulumi.Resource] = [self.gate]
        settle_s = settings.settle_minutes * 60

        source = target = None
        if declared.source and move.source is not None:
            source = SourceCache(
                "source-cache", move.source, declared, settle_s=settle_s, hooks=guards.source, opts=behind_gate
            )
            needs.append(source.cache)
        if (declared.target or self._target_still_protected()) and move.declared_target is not None:
            target = TargetCache(
                "target-cache",
                move.declared_target,
                declared,
                live=move.target,
                made_by_stack=move.target_made_by_stack,
                settle_s=settle_s,
                hooks=guards.target,
                opts=behind_gate,
            )
            needs.extend(target.parts)
        if (
            source is not None
            and move.source is not None
            and move.source.product == REDIS  # a managed one has no such setting in the version we speak
            and settings.enable_notifications
            and declared.target
        ):
            # After the target: where Azure refuses to make one, nothing may have changed.
            needs.append(
                KeyspaceNotifications(
                    "keyspace-notifications",
                    move.source_id,
                    settle_s,
                    # A source that is deleted need not be put back as it was before.
                    pulumi.ResourceOptions(parent=self, depends_on=list(needs), deleted_with=source.cache),
                )
            )
        # What a state has lost is not made again once applications use the target: it would be written over.
        if declared.replication and (not endpoint_on_target(move) or move.carried is not None):
            needs.extend(declare_replication(self._survey, guards, needs, self._child))
        evidence = None
        if declared.evidence and (not endpoint_on_target(move) or move.evidence is not None):
            evidence = self._evidence(needs)
        if target is not None:
            needs.extend(self._posture(declared, target, needs))
        endpoint = self._endpoint(declared, guards, [*needs, *([evidence] if evidence else [])])
        self.outputs = self._outputs(declared, endpoint, evidence)

    @property
    def _target_product(self) -> str:
        return self.move.declared_target.product if self.move.declared_target is not None else REDIS

    @property
    def _loss_announced(self) -> bool:
        """Whether what is written after the export began is counted and not carried over."""
        return self.move.method == stages.RDB and not self.move.consent.catch_up

    def _posture(
        self, declared: stages.Declaration, target: TargetCache, needs: list[pulumi.Resource]
    ) -> list[pulumi.Resource]:
        """Give the target back what no link forbids any more, before applications come to it."""
        move, settings = self.move, self._survey.settings
        if not declared.target_protected or not move.target_made_by_stack or self._target_product != REDIS:
            return []
        ended = move.stage == stages.CLEANUP and settings.enable_notifications
        posture = Posture(
            target_id=move.target_id,
            persistence=settings.persistence.kind,
            account_id=settings.persistence.storage_account,
            frequency_minutes=settings.persistence.frequency_minutes,
            snapshots=settings.persistence.snapshots,
            # Until the source is deleted the way back follows the target's changes.
            notifications=self._recorded.notifications_before if ended else None,
        )
        if not posture.persistence and posture.notifications is None:
            return []
        return [
            TargetPosture(
                "target-posture",
                posture,
                settings.settle_minutes * 60,
                pulumi.ResourceOptions(parent=self, depends_on=list(needs), deleted_with=target.cache),
            )
        ]

    def _target_still_protected(self) -> bool:
        """
        Whether the target must be declared once more though the stage gives it up.

        The engine refuses to delete what its state protects: the way straight back to `adopt` from `cutover` or
        `retire` unprotects it in this update and deletes it in the next.
        """
        return self.move.stage == stages.ADOPT and self._recorded.stage in (stages.CUTOVER, stages.RETIRE)

    def _evidence(self, needs: list[pulumi.Resource]) -> Evidence:
        move, settings = self.move, self._survey.settings
        return Evidence(
            "evidence",
            source_id=move.source_id,
            target_id=move.target_id,
            method=move.method,
            depth=settings.verify_depth,
            allow_marker_key=settings.allow_marker_key,
            endpoint_file=self._survey.endpoint_document,
            carry=not self._loss_announced,
            requested_at_s=self._requested("evidence", again=_needs_new_evidence(self._survey)),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(needs)),
        )

    def _endpoint(self, declared: stages.Declaration, guards: Guards, needs: list[pulumi.Resource]) -> Endpoint:
        move, settings = self.move, self._survey.settings
        active_id = move.target_id if declared.endpoint == "target" else move.source_id
        live = move.endpoint
        in_order = (
            live is not None and same(live.resource_id, active_id) and (live.phase, live.state) == ("settled", "open")
        )
        return Endpoint(
            "endpoint",
            active=declared.endpoint,
            source_id=move.source_id,
            target_id=move.target_id if declared.target or self._target_still_protected() else "",
            file=self._survey.endpoint_document,
            carry=move.method != stages.NEW_CACHE,
            count_loss=self._loss_announced,
            write_both=move.method == stages.DUAL_WRITE and declared.replication,
            limit_s=settings.cutover.limit_seconds,
            hold_ms=settings.cutover.hold_milliseconds,
            hold=settings.cutover.hold,
            accept_open_fence=settings.cutover.accept_open_fence,
            requested_at_s=self._requested("endpoint", again=not in_order),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(needs), hooks=guards.endpoint),
        )

    def _requested(self, what: str, *, again: bool) -> float:
        recorded = self._recorded.requests.get(what, 0.0)
        return self.move.now_s if again or not recorded else recorded

    def _outputs(self, declared: stages.Declaration, endpoint: Endpoint, evidence: Evidence | None) -> dict[str, Any]:
        move = self.move
        return {
            "stage": move.stage,
            "method": move.method,
            "source": _brief(move.source_id, move.source.location if move.source else ""),
            "target": _brief(move.target_id, move.declared_target.location if move.declared_target else ""),
            "link": {"declared": declared.replication and move.method == stages.GEO_REPLICATION},
            "evidence": evidence.evidence if evidence else None,
            "endpoint": {"host": endpoint.host, "port": endpoint.port, "resourceId": endpoint.resourceId},
            "cutover": endpoint.cutover,
            "options": plan.stable_summary(move),
            "notCarried": list(not_carried(move.source, to=self._target_product)) if move.source else [],
        }


def _look(settings: MoveSettings, recorded: Recorded) -> Survey:
    return survey(
        settings,
        recorded,
        stack=pulumi.get_stack(),
        project_folder=Path.cwd(),
        tell=lambda text: pulumi.log.info(text, ephemeral=True),
    )


def _needs_new_evidence(found: Survey) -> bool:
    """At `verify` evidence is made anew where there is none that would open the next stage."""
    move = found.move
    if move.stage != stages.VERIFY:
        return False
    if move.endpoint is not None and not endpoint_on_source(move):
        return False  # on the way back the cut-over comes first: nothing is carried over a cache that is in use
    evidence = move.evidence
    if evidence is None or evidence.method != move.method:
        return True
    if evidence.differences and move.consent.catch_up:
        return True
    if not (same(evidence.source_id, move.source_id) and same(evidence.target_id, move.target_id)):
        return True
    if move.link is not None and move.method == stages.GEO_REPLICATION and not move.link.exists:
        return True  # the link is made again in this update, and fills the target anew
    if evidence.made_at_s < move.stage_since_s:
        return True  # it is of an earlier verify; the target may have been filled anew since
    return move.now_s - evidence.made_at_s > move.limits.evidence_max_age_hours * 3600


def _brief(cache_id: str, location: str) -> dict[str, str] | None:
    if not cache_id:
        return None
    return {"id": cache_id, "name": cache_id.rsplit("/", 1)[-1], "location": location}


def _stop(sentence: str) -> None:
    raise pulumi.RunError(sentence)
