"""Everything the gates judge, read in one go: the configuration, what the stack recorded, and what is live."""

from __future__ import annotations

import dataclasses
import datetime
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from redismove import stages, target
from redismove.azure.caches import Caches, same
from redismove.azure.enterprise import NO_DATABASE
from redismove.azure.session import Session, signed_in_subscription
from redismove.azure.tokens import object_id
from redismove.dataplane.connect import Server
from redismove.endpoint import EndpointMissing, FileEndpointStore
from redismove.facts import (
    MANAGED,
    REDIS,
    CacheFacts,
    CarriedFacts,
    Consent,
    ContainerGroupFacts,
    CutoverFacts,
    EndpointFacts,
    EvidenceFacts,
    Limits,
    LinkFacts,
    Move,
    StorageFacts,
    from_dict,
)
from redismove.settings import MoveSettings
from redismove.steps.access import Tell, address
from redismove.steps.clients import clients_of_others
from redismove.steps.copy_job import declared_job
from redismove.steps.load import load_of

_STAGES_THAT_ERASE: Final = (stages.PREPARE, stages.REPLICATE)
_METHODS_WITH_DATABASES: Final = (stages.RDB, stages.COPY)
"""Methods whose target may have fewer databases than the source."""
_STAGES_THAT_LOOK_FOR_CLIENTS: Final = (stages.RETIRE, stages.CLEANUP)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """
    What the stack's own state says of the last update. It is what was asked for then, not what was reached.

    `declared_target` is the target as `prepare` declared it; it stays so until the move ends, whatever happens to the
    source meanwhile. `copy_where` says where the copy runs or ran: "inside", "container-group", "" where nothing is
    recorded. `notifications_before` is the source's `notify-keyspace-events` before the move switched it on, None where
    it did not. `requests` are the Unix times at which evidence and Endpoint were last asked to do their work.
    """

    stage: str = ""
    method: str = ""
    move_id: str = ""
    source_id: str = ""
    target_id: str = ""
    stage_since_s: float = 0.0
    declared_target: CacheFacts | None = None
    evidence: EvidenceFacts | None = None
    cutover: CutoverFacts | None = None
    carried: CarriedFacts | None = None
    copy_where: str = ""
    notifications_before: str | None = None
    requests: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One reading: the move as the gates judge it, and where the program finds the rest."""

    move: Move
    settings: MoveSettings
    recorded: Recorded
    move_id: str
    endpoint_file: Path
    project_folder: Path

    @property
    def endpoint_document(self) -> str:
        """The Endpoint document; relative where it lies below the project, so that the state says the same anywhere."""
        file, folder = self.endpoint_file, self.project_folder
        return str(file.relative_to(folder) if file.is_relative_to(folder) else file)

    @property
    def stage_since_s(self) -> float:
        """When this stage was first asked for (Unix time): a run after a killed one says the same."""
        return _since_s(self.move.stage, self.recorded, self.move.now_s)

    @property
    def attempt(self) -> str:
        """Names this passage through the stage: the same after a kill, another when the stage is taken anew."""
        return _attempt(self.move.stage, self.recorded, self.move.now_s)


_GATE: Final = "pulumi-python:dynamic/redismove:StageGate"
_EVIDENCE: Final = "pulumi-python:dynamic/redismove:Evidence"
_ENDPOINT: Final = "pulumi-python:dynamic/redismove:Endpoint"
_NOTIFICATIONS: Final = "pulumi-python:dynamic/redismove:KeyspaceNotifications"
_POSTURE: Final = "pulumi-python:dynamic/redismove:TargetPosture"
_CONTAINER_GROUP: Final = "azure-native:containerinstance:ContainerGroup"


def recorded_by(recorded: dict[str, dict[str, Any]]) -> Recorded:
    """Build the record from the outputs of this stack's resources by type."""
    gate = recorded.get(_GATE, {})
    evidence = recorded.get(_EVIDENCE, {})
    endpoint = recorded.get(_ENDPOINT, {})
    declared = gate.get("declaredTarget")
    found = evidence.get("evidence")
    cutover = endpoint.get("cutover")
    # Each method's own resource says under this name how it brought the data over.
    carried = next((outputs["carried"] for outputs in recorded.values() if outputs.get("carried")), None)
    return Recorded(
        stage=str(gate.get("stage") or ""),
        method=str(gate.get("method") or ""),
        move_id=str(gate.get("moveId") or ""),
        source_id=str(gate.get("sourceId") or ""),
        target_id=str(gate.get("targetId") or ""),
        stage_since_s=float(gate.get("stageSince") or 0.0),
        declared_target=from_dict(CacheFacts, declared) if declared else None,
        evidence=from_dict(EvidenceFacts, found) if found else None,
        cutover=from_dict(CutoverFacts, cutover) if cutover else None,
        carried=from_dict(CarriedFacts, carried) if carried else None,
        copy_where="container-group" if _CONTAINER_GROUP in recorded else "inside" if carried else "",
        # The source's own record goes with the source; what the target was given then says it afterwards.
        notifications_before=recorded.get(_NOTIFICATIONS, {}).get(
            "before", recorded.get(_POSTURE, {}).get("notifications")
        ),
        requests={
            "evidence": float(evidence.get("requestedAt") or 0.0),
            "endpoint": float(endpoint.get("requestedAt") or 0.0),
        },
    )


def survey(
    settings: MoveSettings,
    recorded: Recorded,
    *,
    stack: str,
    project_folder: Path,
    tell: Tell = lambda _text: None,
    session: Session | None = None,
    now_s: float | None = None,
) -> Survey:
    """
    Read what is live and put it beside what is asked for and what was recorded.

    Waits while a management operation runs on one of the caches (after a killed update it usually still does).
    Nothing is written anywhere.

    *now_s* is the Unix time to judge ages by, the present where it is None; *tell* gets a sentence while waiting.

    Raises:
        RedismoveError: Azure or Redis cannot be asked.
    """
    session = session or Session.from_environment(settings.source.subscription_id)
    caches = Caches(session)
    now = time.time() if now_s is None else now_s
    wait_s = settings.settle_minutes * 60
    source_id = _source_id(session, caches, settings, recorded)
    target_id = ""
    if settings.target is not None:
        target_id = session.cache_id(
            settings.target.resource_group,
            settings.target.name,
            settings.target.subscription_id or settings.source.subscription_id,
            product=settings.target.kind,
        )
    source = caches.settled(source_id, timeout_s=wait_s, tell=tell)
    there = caches.settled(target_id, timeout_s=wait_s, tell=tell) if target_id else None
    link = _link(caches, source, there, source_id, target_id)
    move_id = recorded.move_id or uuid.uuid4().hex
    made_here = target.made_by(there, recorded.move_id)
    principal = object_id() if any(c is not None and c.access_keys_disabled for c in (source, there)) else ""

    if there is not None and settings.stage in _STAGES_THAT_ERASE and not made_here and _can_be_asked(there, principal):
        there = dataclasses.replace(there, keys=sum(_keys_by_database(caches, there).values()))
    looks_for_clients = settings.stage in _STAGES_THAT_LOOK_FOR_CLIENTS
    if source is not None and looks_for_clients and _can_be_asked(source, principal):
        source = dataclasses.replace(source, foreign_clients=clients_of_others(caches, source))

    declared = _declared(settings, recorded, source, there, made_here, move_id=move_id, target_id=target_id)
    if source is not None and _must_know_databases(settings, source, principal):
        used = tuple(sorted(database for database, keys in _keys_by_database(caches, source).items() if keys))
        source = dataclasses.replace(source, databases_used=used)
    if source is not None and _must_know_memory(settings, source, declared, principal):
        source = dataclasses.replace(source, used_memory_bytes=load_of(caches, source).used_memory_bytes)

    endpoint_file = settings.endpoint_path(project_folder, stack)
    move = Move(
        method=settings.method,
        stage=settings.stage,
        source_id=source_id,
        target_id=target_id,
        today=datetime.datetime.fromtimestamp(now, tz=datetime.UTC).date().isoformat(),
        now_s=now,
        previous=recorded.stage,
        previous_method=recorded.method,
        stage_since_s=recorded.stage_since_s,
        stack=stack,
        fixed_source_id=recorded.source_id,
        fixed_target_id="" if recorded.stage in ("", stages.ADOPT) else recorded.target_id,
        source=source,
        target=there,
        declared_target=declared,
        target_made_by_stack=made_here,
        link=link,
        evidence=recorded.evidence,
        cutover=recorded.cutover,
        endpoint=_endpoint(endpoint_file),
        source_storage=_account(session, settings.storage.source),
        target_storage=_account(session, settings.storage.target),
        carried=recorded.carried,
        copy_job=declared_job(
            settings,
            caches,
            source,
            recorded_where=recorded.copy_where,
            move_id=move_id,
            attempt=_attempt(settings.stage, recorded, now),
        ),
        copy_groups=_copy_groups(session, settings, recorded),
        consent=Consent(
            confirm_delete=settings.confirm_delete,
            accept_erase=settings.accept_erase,
            accept_data_loss=settings.accept_data_loss,
            enable_notifications=settings.enable_notifications,
            allow_marker_key=settings.allow_marker_key,
            catch_up=settings.catch_up,
            managed_identity=settings.managed_identity,
            persistence=settings.persistence.kind,
        ),
        limits=Limits(soak_hours=settings.soak_hours, evidence_max_age_hours=settings.evidence_max_age_hours),
        signed_in_subscription_id=signed_in_subscription(),
        signed_in_object_id=principal,
    )
    return Survey(
        move=move,
        settings=settings,
        recorded=recorded,
        move_id=move_id,
        endpoint_file=endpoint_file,
        project_folder=project_folder,
    )


def _source_id(session: Session, caches: Caches, settings: MoveSettings, recorded: Recorded) -> str:
    """Return the source's id; where the settings do not say of which product it is, Azure is asked once, at adopt."""
    source = settings.source
    ids = {
        product: session.cache_id(source.resource_group, source.name, source.subscription_id, product=product)
        for product in (REDIS, MANAGED)
    }
    if source.kind:
        return ids[source.kind]
    known = next((cache_id for cache_id in ids.values() if same(cache_id, recorded.source_id)), "")
    if known:
        return known
    only_managed = not caches.state(ids[REDIS]) and bool(caches.state(ids[MANAGED]))
    return ids[MANAGED] if only_managed else ids[REDIS]


def _can_be_asked(cache: CacheFacts, principal: str) -> bool:
    """
    Whether there is a Redis behind a cache, and *principal* may ask it.

    A managed cache may have been left without its database. Where no access key logs in, RM-N20 says who is missing.
    """
    return cache.provisioning_state != NO_DATABASE and cache.admits(principal)


def _link(
    caches: Caches, source: CacheFacts | None, there: CacheFacts | None, source_id: str, target_id: str
) -> LinkFacts | None:
    if source is None or not target_id or source.sku_name != "Premium":
        return None
    if there is None and not source.linked_servers:
        return LinkFacts(primary_id=source_id, secondary_id=target_id, exists=False, provisioning_state="")
    return caches.link(source_id, target_id)


def _declared(
    settings: MoveSettings,
    recorded: Recorded,
    source: CacheFacts | None,
    there: CacheFacts | None,
    made_here: bool,
    *,
    move_id: str,
    target_id: str,
) -> CacheFacts | None:
    if settings.target is None:
        return None
    if there is not None and not made_here:
        return there  # somebody else's cache is used as it is
    past_prepare = recorded.stage not in ("", stages.ADOPT) and settings.stage != stages.PREPARE
    if past_prepare and recorded.declared_target is not None and same(recorded.declared_target.id, target_id):
        return recorded.declared_target
    if source is None:
        return recorded.declared_target
    return target.target_like(source, settings, move_id=move_id, target_id=target_id)


def _account(session: Session, account_id: str) -> StorageFacts | None:
    if not account_id:
        return None
    # Storage's SDKs take a second to load, and most moves need none.
    from redismove.azure.storage import read_account

    return read_account(session, account_id)


def _since_s(stage: str, recorded: Recorded, now_s: float) -> float:
    return recorded.stage_since_s if recorded.stage == stage else now_s


def _attempt(stage: str, recorded: Recorded, now_s: float) -> str:
    return f"{_since_s(stage, recorded, now_s):.3f}"


def _copy_groups(session: Session, settings: MoveSettings, recorded: Recorded) -> tuple[ContainerGroupFacts, ...]:
    """Look for container groups of this move, wherever there may be some: others need no right to list them."""
    could_be = settings.copy_job.image or recorded.copy_where == "container-group"
    if settings.method != stages.COPY or not could_be or settings.stage in (stages.ADOPT, stages.PREPARE):
        return ()
    # Its client takes a moment to load, and most moves need none.
    from redismove.azure.container_groups import ContainerGroups

    subscription = settings.source.subscription_id or session.subscription_id
    groups = ContainerGroups(session)
    return tuple(groups.with_tag(subscription, settings.source.resource_group, target.MOVE_TAG, recorded.move_id))


def _endpoint(path: Path) -> EndpointFacts | None:
    try:
        document = FileEndpointStore(path).read()
    except EndpointMissing:
        return None
    return EndpointFacts(
        resource_id=document.entry.resource_id,
        state=document.state,
        phase=document.phase,
        generation=document.generation,
    )


def _must_know_memory(settings: MoveSettings, source: CacheFacts, declared: CacheFacts | None, principal: str) -> bool:
    """A managed target is sold by other sizes: there the source's data is measured and not its size alone."""
    managed = declared is not None and declared.product == MANAGED
    return (
        managed
        and settings.method != stages.NEW_CACHE
        and settings.stage in _STAGES_THAT_ERASE
        and _can_be_asked(source, principal)
    )


def _must_know_databases(settings: MoveSettings, source: CacheFacts, principal: str) -> bool:
    asked = settings.method in _METHODS_WITH_DATABASES and settings.stage in _STAGES_THAT_ERASE
    return asked and source.provisioning_state == "Succeeded" and _can_be_asked(source, principal)


def _keys_by_database(caches: Caches, cache: CacheFacts) -> dict[int, int]:
    with Server.open(address(caches, cache)) as server:
        return server.databases()
