"""The life of a move: what must exist, evidence before what cannot be undone, soak, confirmation by name."""

from __future__ import annotations

from typing import Final

from redismove import stages
from redismove.facts import MANAGED, REDIS, Move
from redismove.rules import pages
from redismove.rules.model import Broken, Level, Rule
from redismove.rules.subjects import (
    ALL_METHODS,
    ALL_STAGES,
    COPYING_METHODS,
    absent,
    carried,
    endpoint_on_source,
    endpoint_on_target,
    going_back,
    hours,
    known,
    linked,
    listed,
    name_of,
    same_id,
    source_called,
    target_called,
    there,
)

FULL_DEPTH: Final = "full"
"""The only depth of a verification that reads every value; see `redismove:verifyDepth`."""
CLOCK_SLACK_S: Final = 300.0
"""How far evidence may lie in the future: clocks of two machines differ."""

_WITH_SOURCE: Final = ALL_STAGES - {stages.CLEANUP}
_WITH_TARGET: Final = ALL_STAGES - {stages.ADOPT}
_WITH_LIVE_TARGET: Final = frozenset(
    {stages.REPLICATE, stages.VERIFY, stages.UNLINK, stages.CUTOVER, stages.RETIRE, stages.CLEANUP}
)
_AFTER_MOVE: Final = frozenset({stages.RETIRE, stages.CLEANUP})
_JUDGING: Final = frozenset({stages.UNLINK, stages.CUTOVER})


_WHEN_BUSY: Final = (
    "wait until Azure has finished with it (its activity log tells of a failure), then run the same command again"
)


def _set(stage: str) -> str:
    return f"`pulumi config set redismove:stage {stage}`"


def _source_exists(move: Move) -> Broken | None:
    if there(move.source):
        return None
    cure = "check redismove:source and the subscription you are signed in to"
    if move.stage == stages.RETIRE:
        cure += f"; if it was deleted on purpose, go on with {_set(stages.CLEANUP)}"
    return Broken(thing=source_called(move), found="no such cache", allowed="a cache that exists", cure=cure)


def _source_settled(move: Move) -> Broken | None:
    source = known(move.source)
    state = source.provisioning_state
    # A deletion that Azure could not carry out leaves it so, and may be asked for again.
    failed_deletion = state == "Failed" and move.stage == move.previous == stages.CLEANUP
    if state == "Succeeded" or failed_deletion:
        return None
    return Broken(
        thing=source_called(move),
        found=f"state {state}",
        allowed="Succeeded",
        cure=_WHEN_BUSY,
    )


def _target_named(move: Move) -> Broken | None:
    if move.target_id:
        return None
    return Broken(
        thing="redismove:target",
        found="nothing",
        allowed="resourceGroup, name and location of the cache to move to",
        cure="set it with `pulumi config set --path redismove:target.name NAME` and so on",
    )


def _target_runs(move: Move) -> Broken | None:
    if move.target is None or not move.target.exists:
        return Broken(
            thing=target_called(move),
            found="no such cache",
            allowed="a cache in state Succeeded",
            cure=_target_again(move),
        )
    state = move.target.provisioning_state
    if state == "Succeeded" or going_back(move):
        return None
    return Broken(
        thing=target_called(move),
        found=f"state {state}",
        allowed="Succeeded",
        cure=_WHEN_NOT_MADE if move.stage == stages.PREPARE else _WHEN_BUSY,
    )


_WHEN_NOT_MADE: Final = (
    "look into its activity log; where Azure could not make it, delete it there and run the same command again"
)


def _target_again(move: Move) -> str:
    """How a target that is gone is made again: the way back to `prepare` is open from the stages next to it alone."""
    if endpoint_on_target(move):
        return (
            "applications use it: if it is gone for good, point the endpoint at the source by hand and go to adopt: "
            f"{_set(stages.ADOPT)}"
        )
    if stages.PREPARE in stages.allowed_next(move.method, move.previous, source_exists=True):
        return f"go back to prepare, and have it made (again) with `pulumi up --refresh`: {_set(stages.PREPARE)}"
    return f"go to adopt, which gives it up, and take the stages again: {_set(stages.ADOPT)}"


def _needs_target(move: Move) -> bool:
    # At `prepare` it need not be there; one that Azure could not make would be taken for made.
    return move.stage != stages.PREPARE or (
        move.target is not None and move.target.exists and move.target.provisioning_state == "Failed"
    )


def _judges_evidence(move: Move) -> bool:
    # What is done needs no evidence any more: a link that is gone, applications that are on the target already.
    if move.stage == stages.UNLINK:
        return linked(move)
    return not endpoint_on_target(move)


def _has_evidence(move: Move) -> bool:
    return _judges_evidence(move) and move.evidence is not None


_VERIFY_AGAIN: Final = f"go back to verify and run it again: {_set(stages.VERIFY)}"


def _evidence_present(move: Move) -> Broken | None:
    if not absent(move.evidence):
        return None
    return Broken(
        thing=f"evidence for {source_called(move)} and {target_called(move)}",
        found="none",
        allowed="a verification of these two caches that found no difference",
        cure=_VERIFY_AGAIN,
    )


def _evidence_is_ours(move: Move) -> Broken | None:
    evidence = known(move.evidence)
    cause = "the evidence"
    for role, found, wanted in (
        ("source", evidence.source_id, move.source_id),
        ("target", evidence.target_id, move.target_id),
    ):
        if not same_id(found, wanted):
            return Broken(thing=cause, found=f"{role} {found}", allowed=f"{role} {wanted}", cure=_VERIFY_AGAIN)
    if evidence.method != move.method:
        return Broken(
            thing=cause,
            found=f"method {evidence.method}",
            allowed=f"method {move.method}, this move's",
            cure=_VERIFY_AGAIN,
        )
    return None


def _loss_is_announced(move: Move) -> bool:
    return move.method == stages.NEW_CACHE or (move.method == stages.RDB and not move.consent.catch_up)


def _evidence_clean(move: Move) -> Broken | None:
    evidence = known(move.evidence)
    if evidence.differences == 0:
        return None
    shown = f", first {listed(evidence.first_differences, 3)}" if evidence.first_differences else ""
    return Broken(
        thing="the evidence",
        found=(
            f"{evidence.differences} differences ({evidence.only_in_source} keys only in the source, "
            f"{evidence.only_in_target} only in the target, {evidence.different} not equal){shown}"
        ),
        allowed="0",
        cure=f"see `redismove verify` for what differs, then {_VERIFY_AGAIN}",
    )


def _evidence_saw_something(move: Move) -> Broken | None:
    evidence = known(move.evidence)
    if evidence.depth != FULL_DEPTH:
        return Broken(
            thing="the evidence",
            found=f"depth {evidence.depth}",
            allowed=f"{FULL_DEPTH}: every key's type, value and expiry",
            cure=f"set redismove:verifyDepth to {FULL_DEPTH}, then {_VERIFY_AGAIN}",
        )
    holds = move.source.keys if move.source is not None else None
    if holds and evidence.keys_compared == 0:
        return Broken(
            thing="the evidence",
            found="0 keys compared",
            allowed=f"about the {holds} keys that {source_called(move)} holds",
            cure=_VERIFY_AGAIN,
        )
    return None


def _evidence_settings(move: Move) -> Broken | None:
    evidence = known(move.evidence)
    if not evidence.settings_differ:
        return None
    return Broken(
        thing=target_called(move),
        found=f"other values than the source's for {listed(evidence.settings_differ)}",
        allowed="the source's settings",
        cure=f"make them alike in Azure, or go back to prepare, which declares them anew; then {_VERIFY_AGAIN}",
    )


def _evidence_fresh(move: Move) -> Broken | None:
    evidence = known(move.evidence)
    age_s = move.now_s - evidence.made_at_s
    most_s = move.limits.evidence_max_age_hours * 3600
    if -CLOCK_SLACK_S <= age_s <= most_s:
        return None
    found = f"{hours(age_s)} old" if age_s > 0 else f"made {hours(-age_s)} from now"
    return Broken(
        thing="the evidence",
        found=found,
        allowed=f"at most {hours(most_s)} (redismove:evidenceMaxAgeHours)",
        cure=_VERIFY_AGAIN,
    )


def _evidence_of_last_verify(move: Move) -> Broken | None:
    evidence = known(move.evidence)
    if evidence.made_at_s >= move.stage_since_s:
        return None
    return Broken(
        thing="the evidence",
        found=f"made {hours(move.stage_since_s - evidence.made_at_s)} before this verify began",
        allowed="made at this verify: what was equal before may have been erased and filled anew since",
        cure=_VERIFY_AGAIN,
    )


def _accepts_loss(move: Move) -> Broken | None:
    name = name_of(move.source_id)
    if same_id(move.consent.accept_data_loss, name):
        return None
    what = "new-cache copies no key" if move.method == stages.NEW_CACHE else "redismove:catchUp is false"
    return Broken(
        thing="redismove:acceptDataLoss",
        found=f'"{move.consent.accept_data_loss}"',
        allowed=f'"{name}", the name of the cache whose data does not move ({what})',
        cure=f"set it with `pulumi config set redismove:acceptDataLoss {name}`, or choose a method that moves the data",
    )


def _accepts_loss_on_the_way_back(move: Move) -> Broken | None:
    name = name_of(move.target_id)
    if same_id(move.consent.accept_data_loss, name):
        return None
    return Broken(
        thing="redismove:acceptDataLoss",
        found=f'"{move.consent.accept_data_loss}"',
        allowed=f'"{name}", the name of the cache that took writes since the cut-over (new-cache brings none back)',
        cure=(
            f"set it with `pulumi config set redismove:acceptDataLoss {name}`, or bring its keys over by "
            "`redismove copy` first, or stay at cutover"
        ),
    )


def _accepts_erase(move: Move) -> Broken | None:
    target = known(move.target)
    name = name_of(move.target_id)
    if target.keys == 0 or same_id(move.consent.accept_erase, name):
        return None
    found = (
        "keys that were not counted" if target.keys is None else f"{target.keys} keys that this stack did not put there"
    )
    return Broken(
        thing=target_called(move),
        found=found,
        allowed="an empty cache, one that this stack made, or one whose erasure the configuration accepts",
        cure=(
            "name another target, or accept that everything in it is erased with "
            f"`pulumi config set redismove:acceptErase {name}`"
        ),
    )


def _erases(move: Move) -> bool:
    if not there(move.target) or move.target_made_by_stack:
        return False
    # What is in it after the data was brought over is the source's, and was accepted before.
    return not linked(move) and not carried(move)


def _not_over_applications(move: Move) -> Broken | None:
    endpoint = move.endpoint
    if endpoint is None or (not endpoint_on_target(move) and endpoint.phase == "settled"):
        return None
    before = stages.way(move.method)[stages.way(move.method).index(stages.CUTOVER) - 1]
    return Broken(
        thing=target_called(move),
        found=(
            "applications use it: the endpoint points at it"
            if endpoint_on_target(move)
            else "applications may still write to it: it is not fenced yet"
        ),
        allowed="a target that no application writes to, because this stage writes the source's data over it",
        cure=f"send applications back to the source first: {_set(before)}",
    )


def _writes_over_target(move: Move) -> bool:
    if move.method == stages.GEO_REPLICATION:
        return not linked(move)
    # From verify on, a method without a link has its data over and writes nothing more before the cut-over.
    return move.stage == stages.REPLICATE


def _endpoint_is_ours(move: Move) -> Broken | None:
    endpoint = known(move.endpoint)
    if endpoint_on_source(move) or endpoint_on_target(move):
        return None
    return Broken(
        thing="the endpoint",
        found=endpoint.resource_id,
        allowed=f"{move.source_id} or {move.target_id or 'a target'}",
        cure="give this stack an endpoint of its own (redismove:endpointFile), or find out who changed it",
    )


def _cutover_finished(move: Move) -> Broken | None:
    endpoint = known(move.endpoint)
    before = stages.way(move.method)[stages.way(move.method).index(stages.CUTOVER) - 1]
    wanted = stages.CUTOVER if endpoint_on_target(move) else before
    # Other stages that send applications to the source can have begun it too, adopt above all; each finishes its own.
    began_it = move.stage == move.previous and endpoint_on_source(move)
    if move.stage == wanted or began_it:
        return None
    return Broken(
        thing="the cut-over",
        found=f"not finished: applications are sent to {name_of(endpoint.resource_id)}, the other is not fenced",
        allowed=f"stage {wanted}, which finishes it",
        cure=f"run it again: {_set(wanted)} and `pulumi up`",
    )


def _applications_on_target(move: Move) -> Broken | None:
    if endpoint_on_target(move):
        return None
    found = "no endpoint" if move.endpoint is None else f"applications at {name_of(move.endpoint.resource_id)}"
    return Broken(
        thing="the endpoint",
        found=found,
        allowed=f"applications at {target_called(move)}",
        cure=f"cut over first: {_set(stages.CUTOVER)}",
    )


def _cutover_recorded(move: Move) -> Broken | None:
    record = move.cutover
    if record is None:
        return Broken(
            thing="the record of the cut-over",
            found="none",
            allowed=f"one from {source_called(move)} to {target_called(move)}",
            cure=f"cut over first: {_set(stages.CUTOVER)}",
        )
    if not (same_id(record.from_id, move.source_id) and same_id(record.to_id, move.target_id)):
        return Broken(
            thing="the record of the cut-over",
            found=f"from {record.from_id} to {record.to_id}",
            allowed=f"from {move.source_id} to {move.target_id}",
            cure=f"cut over first: {_set(stages.CUTOVER)}",
        )
    if not record.fenced:
        return Broken(
            thing=source_called(move),
            found="not fenced: an application may still be logged in to it",
            allowed="every connection but ours cut and the keys changed",
            cure=f"finish the cut-over: {_set(stages.CUTOVER)} and `pulumi up`",
        )
    return None


def _cutover_lost_nothing(move: Move) -> Broken | None:
    record = known(move.cutover)
    if record.differences == 0:
        return None
    return Broken(
        thing="the record of the cut-over",
        found=f"{record.differences} differences at the moment of the hold",
        allowed="0",
        cure=f"keep the source, compare with `redismove verify`, go back and cut over again: {_set(stages.VERIFY)}",
    )


def _has_cutover(move: Move) -> bool:
    return _source_still_there(move) and move.cutover is not None and not _loss_is_announced(move)


def _source_still_there(move: Move) -> bool:
    return there(move.source)


def _quiet(move: Move) -> Broken | None:
    source = known(move.source)
    clients = source.foreign_clients
    if clients is not None and len(clients) == 0:
        return None
    found = (
        "clients not read"
        if clients is None
        else f"{len(clients)} client{'s' if len(clients) > 1 else ''} that are not ours: {listed(clients)}"
    )
    return Broken(
        thing=source_called(move),
        found=found,
        allowed="no client but the mover's own",
        cure="stop or repoint these applications, and run the same command again; CLIENT LIST on the source shows them",
    )


def _soaked(move: Move) -> Broken | None:
    need_s = move.limits.soak_hours * 3600
    if move.previous not in (stages.RETIRE, stages.CLEANUP) or move.stage_since_s <= 0:
        return Broken(
            thing=source_called(move),
            found="no record of when it was retired",
            allowed=f"{hours(need_s)} of soak after retire (redismove:soakHours)",
            cure=f"go through retire: {_set(stages.RETIRE)}",
        )
    # A cleanup that was let in had soaked; when it is asked for again, the cut-over's own time still has to tell so.
    since_s = move.stage_since_s
    if move.previous == stages.CLEANUP and move.cutover is not None:
        since_s = move.cutover.finished_at_s
    if move.now_s - since_s >= need_s:
        return None
    return Broken(
        thing=source_called(move),
        found=f"retired {hours(max(move.now_s - since_s, 0.0))} ago",
        allowed=f"{hours(need_s)} of soak or more (redismove:soakHours)",
        cure=f"wait {hours(need_s - (move.now_s - since_s))} more, then run the same command again",
    )


def _confirmed(move: Move) -> Broken | None:
    name = name_of(move.source_id)
    if same_id(move.consent.confirm_delete, name):
        return None
    return Broken(
        thing="redismove:confirmDelete",
        found=f'"{move.consent.confirm_delete}"',
        allowed=f'"{name}", the name of the cache that is to be deleted',
        cure=f"set it with `pulumi config set redismove:confirmDelete {name}`",
    )


def _not_linked(move: Move) -> Broken | None:
    source = known(move.source)
    others = [name_of(link) for link in source.linked_servers]
    if not others and not linked(move):
        return None
    return Broken(
        thing=source_called(move),
        found=f"linked to {listed(others or [name_of(move.target_id)])}",
        allowed="no link: Azure deletes no linked cache, nor the resource group that holds one",
        cure=f"remove the link first (for this move's own: {_set(stages.UNLINK)})",
    )


_FIXED_WHEN_MADE: Final = (
    ("region", "location"),
    ("product", "product"),
    ("subnet", "subnet_id"),
    ("zones", "zones"),
    ("clustering policy", "clustering_policy"),
)


def _not_replaced(move: Move) -> Broken | None:
    live, declared = known(move.target), known(move.declared_target)
    for called, field in _FIXED_WHEN_MADE:
        has, wants = getattr(live, field), getattr(declared, field)
        if not has and field == "clustering_policy":
            continue  # a managed cache whose database is yet to be made
        if has != wants:
            return Broken(
                thing=f"{target_called(move)} as declared",
                found=f"{called} {_shown(wants)}",
                allowed=f"{_shown(has)}, as it was made: another one would mean deleting it and making it again",
                cure="put redismove:target back, or go to adopt, which gives this target up, and name another one",
            )
    return None


def _shown(value: str | tuple[str, ...]) -> str:
    text = value if isinstance(value, str) else ", ".join(value)
    return text or "none"


def _in_no_link(move: Move) -> Broken | None:
    others = [name_of(link) for link in known(move.target).linked_servers]
    if not others:
        return None
    return Broken(
        thing=target_called(move),
        found=f"linked to {listed(others)}",
        allowed="no link: a linked secondary takes no writes and no import",
        cure="remove that link first, or name another target",
    )


def _tells_changes(move: Move) -> Broken | None:
    source = known(move.source)
    events = source.notify_keyspace_events
    if "K" in events and ("A" in events or set("g$lshzxt") <= set(events)):
        return None
    if source.product == MANAGED:
        return Broken(
            thing=source_called(move),
            found="no notify-keyspace-events (this version of Azure's interface to it has none)",
            allowed='"KA", with which the cut-over can follow its changes',
            cure="expect a hold as long as a whole comparison, unless CONFIG GET on the server tells that it notifies",
        )
    basic = source.sku_name == "Basic"
    if move.consent.enable_notifications and source.product == REDIS and not basic:
        return None  # prepare switches it on
    return Broken(
        thing=source_called(move),
        found=f'notify-keyspace-events "{events}"',
        allowed='"KA", with which the cut-over can follow its changes',
        cure=(
            "expect a hold as long as a whole comparison: a Basic cache cannot be told to notify"
            if basic
            else "set redismove:enableNotifications to true at prepare (it changes the source's configuration), or "
            "expect a hold as long as a whole comparison"
        ),
    )


def _holds_data(move: Move) -> Broken | None:
    source = known(move.source)
    if source.keys != 0:
        return None
    return Broken(
        thing=source_called(move),
        found="0 keys",
        allowed=f"data to bring over with {move.method}",
        cure="check that it is the right cache; for an empty one redismove:method new-cache is enough",
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-L01",
        title="the source exists",
        source=pages.article("Both caches already exist and are running."),
        methods=ALL_METHODS,
        stages=_WITH_SOURCE,
        check=_source_exists,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-L02",
        title="no operation of Azure runs on the source",
        source=pages.article("Both caches already exist and are running."),
        methods=ALL_METHODS,
        stages=ALL_STAGES,
        applies=_source_still_there,
        check=_source_settled,
    ),
    Rule(
        id="RM-L03",
        title="a target is named",
        source=pages.article("Create a second cache instance in the desired region."),
        methods=ALL_METHODS,
        stages=_WITH_TARGET,
        check=_target_named,
        backward=True,
    ),
    Rule(
        id="RM-L04",
        title="the target exists and no operation of Azure runs on it",
        source=pages.article("Both caches already exist and are running."),
        methods=ALL_METHODS,
        stages=_WITH_LIVE_TARGET | {stages.PREPARE},
        applies=_needs_target,
        check=_target_runs,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-L05",
        title="evidence is there before anything that takes away",
        source=pages.own("Delete the original only once the new cache is populated with all necessary data."),
        methods=COPYING_METHODS,
        stages=_JUDGING,
        applies=_judges_evidence,
        check=_evidence_present,
        severity="critical",
    ),
    Rule(
        id="RM-L06",
        title="the evidence is of these two caches and this method",
        source=pages.own("Delete the original only once the new cache is populated with all necessary data."),
        methods=COPYING_METHODS,
        stages=_JUDGING,
        applies=_has_evidence,
        check=_evidence_is_ours,
        severity="critical",
    ),
    Rule(
        id="RM-L07",
        title="the evidence shows no difference",
        source=pages.own("Delete the original only once the new cache is populated with all necessary data."),
        methods=COPYING_METHODS,
        stages=_JUDGING,
        applies=lambda move: _has_evidence(move) and not _loss_is_announced(move),
        check=_evidence_clean,
        severity="critical",
    ),
    Rule(
        id="RM-L08",
        title="the evidence compared every key whole",
        source=pages.own(
            "Equal numbers of keys prove nothing: one copying pass was seen to lose 48 % of the writes made meanwhile."
        ),
        methods=COPYING_METHODS,
        stages=_JUDGING,
        applies=_has_evidence,
        check=_evidence_saw_something,
        severity="critical",
    ),
    Rule(
        id="RM-L09",
        title="the evidence is fresh",
        source=pages.own("What was equal once may have changed since."),
        methods=COPYING_METHODS,
        stages=_JUDGING,
        # After the link is gone a new comparison would mean a new link, and the cut-over compares everything by itself:
        # for geo-replication the age counts at `unlink`.
        applies=lambda move: (
            _has_evidence(move) and not (move.method == stages.GEO_REPLICATION and move.stage == stages.CUTOVER)
        ),
        check=_evidence_fresh,
    ),
    Rule(
        id="RM-L27",
        title="the evidence was made at the last verify",
        source=pages.article("Any data that was in the secondary linked cache before the link was added is removed."),
        methods=COPYING_METHODS,
        stages=_JUDGING,
        applies=lambda move: _has_evidence(move) and move.previous == stages.VERIFY,
        check=_evidence_of_last_verify,
        severity="critical",
    ),
    Rule(
        id="RM-L10",
        title="the target has the source's settings",
        source=pages.geo("Before a failover check that firewall, port and TLS settings are alike."),
        methods=COPYING_METHODS,
        stages=_JUDGING,
        applies=_has_evidence,
        check=_evidence_settings,
    ),
    Rule(
        id="RM-L11",
        title="data that is left behind is left behind by name",
        source=pages.article("If you don't need to maintain your data during the move, create a new cache."),
        methods=frozenset({stages.NEW_CACHE, stages.RDB}),
        stages=frozenset({stages.CUTOVER}),
        applies=lambda move: _loss_is_announced(move) and not endpoint_on_target(move),
        check=_accepts_loss,
        severity="critical",
    ),
    Rule(
        id="RM-L28",
        title="what a new cache has taken is left behind by name",
        source=pages.article("If you don't need to maintain your data during the move, create a new cache."),
        methods=frozenset({stages.NEW_CACHE}),
        stages=frozenset({stages.ADOPT, stages.PREPARE}),
        applies=endpoint_on_target,
        check=_accepts_loss_on_the_way_back,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-L12",
        title="a target that holds somebody's keys is erased only by name",
        source=pages.article("Any data that was in the secondary linked cache before the link was added is removed."),
        methods=COPYING_METHODS,
        stages=frozenset({stages.PREPARE, stages.REPLICATE}),
        applies=_erases,
        check=_accepts_erase,
        severity="critical",
    ),
    Rule(
        id="RM-L13",
        title="nothing is written over a cache that applications use",
        source=pages.article("Linking removes what was in the secondary; do not flush from the source cache."),
        methods=COPYING_METHODS,
        stages=frozenset({stages.REPLICATE, stages.VERIFY}),
        applies=_writes_over_target,
        check=_not_over_applications,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-L14",
        title="the endpoint points at one of the two caches",
        source=pages.own("Finally, update your application to use the new instance."),
        methods=ALL_METHODS,
        stages=ALL_STAGES,
        applies=lambda move: move.endpoint is not None,
        check=_endpoint_is_ours,
        backward=True,
    ),
    Rule(
        id="RM-L15",
        title="a cut-over that has begun is finished first",
        source=pages.own("After the switch the only way is forward: what is not fenced may still take writes."),
        methods=ALL_METHODS,
        stages=ALL_STAGES,
        applies=lambda move: move.endpoint is not None and move.endpoint.phase != "settled",
        check=_cutover_finished,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-L16",
        title="applications are on the target before the source is given up",
        source=pages.article(
            "Update your application to use the new cache instance; then delete the original instance."
        ),
        methods=ALL_METHODS,
        stages=_AFTER_MOVE,
        applies=_source_still_there,
        check=_applications_on_target,
        severity="critical",
    ),
    Rule(
        id="RM-L17",
        title="the cut-over is complete before the source is given up",
        source=pages.own("A client that is still logged in to the source can still write to it."),
        methods=ALL_METHODS,
        stages=_AFTER_MOVE,
        applies=_source_still_there,
        check=_cutover_recorded,
        severity="critical",
    ),
    Rule(
        id="RM-L18",
        title="the cut-over lost nothing",
        source=pages.article("Once your new cache is populated with all necessary data, delete the original instance."),
        methods=ALL_METHODS,
        stages=_AFTER_MOVE,
        applies=_has_cutover,
        check=_cutover_lost_nothing,
        severity="critical",
    ),
    Rule(
        id="RM-L19",
        title="nobody uses the source any more",
        source=pages.own("An application that still uses the source would lose its cache."),
        methods=ALL_METHODS,
        stages=_AFTER_MOVE,
        applies=_source_still_there,
        check=_quiet,
        severity="critical",
    ),
    Rule(
        id="RM-L20",
        title="the source has soaked before it is deleted",
        source=pages.own("Once your new cache in the targeted region is running, delete the original instance."),
        methods=ALL_METHODS,
        stages=frozenset({stages.CLEANUP}),
        applies=_source_still_there,
        check=_soaked,
    ),
    Rule(
        id="RM-L21",
        title="the source is deleted only by name",
        source=pages.own("Deleting a cache cannot be undone."),
        methods=ALL_METHODS,
        stages=frozenset({stages.CLEANUP}),
        applies=_source_still_there,
        check=_confirmed,
        severity="critical",
    ),
    Rule(
        id="RM-L22",
        title="a linked cache is not deleted",
        source=pages.article(
            "You can't delete either linked cache, or the resource group that contains them, until you unlink."
        ),
        methods=ALL_METHODS,
        stages=frozenset({stages.CLEANUP}),
        applies=_source_still_there,
        check=_not_linked,
        severity="critical",
    ),
    Rule(
        id="RM-L25",
        title="the target is not replaced by another one of its name",
        source=pages.rest("location, subnetId and zones are set when a cache is created; they cannot be updated."),
        methods=ALL_METHODS,
        stages=_WITH_TARGET,
        applies=lambda move: there(move.target) and move.declared_target is not None,
        check=_not_replaced,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-L26",
        title="a target that is written to is in no link",
        source=pages.article("You can't import into, nor write to, the secondary linked cache."),
        methods=ALL_METHODS - {stages.GEO_REPLICATION},
        stages=frozenset({stages.PREPARE, stages.REPLICATE, stages.VERIFY, stages.CUTOVER}),
        applies=lambda move: there(move.target),
        check=_in_no_link,
    ),
    Rule(
        id="RM-L23",
        title="the source tells of its changes",
        source=pages.configure("Keyspace notifications are off by default and set through Azure; not on Basic."),
        methods=COPYING_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=_source_still_there,
        check=_tells_changes,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-L24",
        title="there is data to bring over",
        source=pages.migrate("Azure's own migration tool warns of a cache without data."),
        methods=COPYING_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=lambda move: move.source is not None and move.source.keys is not None,
        check=_holds_data,
        level=Level.ADVISORY,
        severity="low",
    ),
)
