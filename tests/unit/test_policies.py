"""The policy pack judges by the rules, before the step, and never takes an unknown value for a pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pulumi_policy import (
    EnforcementLevel,
    PolicyResource,
    PolicyResourceOptions,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_OBJECT_VALUE, UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from policies import reading
from policies.pack import Seen, policies
from redismove import stages
from redismove.facts import NOT_KNOWN, Move, to_dict
from redismove.rules import RULES, Level, Outcome
from tests.support.moves import HOUR_S, NOW_S, OTHER_SUBSCRIPTION, SUBSCRIPTION, change, move
from tests.support.rule_cases import CASES

PACK = policies()
ON_RESOURCE = {p.display_name.split()[0]: p for p in PACK if isinstance(p, ResourceValidationPolicy)}  # type: ignore[union-attr]
ON_STACK = {p.display_name.split()[0]: p for p in PACK if isinstance(p, StackValidationPolicy)}  # type: ignore[union-attr]

NOTHING_SET = PolicyResourceOptions(
    protect=False,
    ignore_changes=[],
    delete_before_replace=None,
    aliases=[],
    custom_timeouts=None,  # type: ignore[arg-type]
    additional_secret_outputs=[],
    parent=None,
)


def arguments(
    type_: str, props: dict[str, Any], *, urn: str = "", config: dict[str, Any] | None = None
) -> ResourceValidationArgs:
    """What the engine hands to a policy for one resource."""
    return ResourceValidationArgs(
        type_, unknown_checking_proxy(props), urn or f"urn:pulumi:dev::app::{type_}::x", "x", NOTHING_SET, None, config
    )


def gate(made: Move, **config: Any) -> ResourceValidationArgs:
    """The gate of a move."""
    return arguments(reading.GATE, {"move": to_dict(made), "stage": made.stage}, config=config)


def reported(policy: ResourceValidationPolicy, args: ResourceValidationArgs) -> list[str]:
    """What a policy reports, each text with the resource it is about; nothing where it does not apply."""
    return said(policy, args) or []


def said(policy: ResourceValidationPolicy, args: ResourceValidationArgs) -> list[str] | None:
    """What a policy reports, or None where it says that it does not apply."""
    told: list[tuple[str, str | None]] = []
    try:
        policy.validate(args, lambda text, urn=None: told.append((text, urn)))
    except Exception as raised:
        if type(raised).__name__ != "_NotApplicableError":
            raise
        return None
    assert all(urn == args.urn for _, urn in told)
    return [text for text, _ in told]


def test_every_rule_is_a_policy_with_its_words() -> None:
    """Name, level, severity, link and cure come from the rule."""
    assert set(ON_RESOURCE) == {rule.id for rule in RULES}
    assert set(ON_STACK) == {rule.id for rule in RULES if rule.plain == "link"}
    assert len({p.name for p in PACK}) == len(PACK)
    for rule in RULES:
        for policy in filter(None, (ON_RESOURCE.get(rule.id), ON_STACK.get(rule.id))):
            level = EnforcementLevel.MANDATORY if rule.level is Level.MANDATORY else EnforcementLevel.ADVISORY

            assert policy.name.startswith(rule.id.lower())
            assert policy.enforcement_level is level
            assert policy.severity is not None
            assert policy.severity.value == rule.severity
            assert policy.url == rule.source.url
            assert policy.display_name == f"{rule.id} {rule.title}"
            assert rule.source.says in policy.description
            assert f"docs/rules/{rule.id}.md" in (policy.remediation_steps or "")


@pytest.mark.parametrize("id_", CASES)
def test_a_policy_says_of_a_gate_what_the_rule_says_of_its_move(id_: str) -> None:
    """The same words, for every case of every rule that guards its stage."""
    rule = next(r for r in RULES if r.id == id_)
    policy = ON_RESOURCE[id_]
    for case in CASES[id_]:
        guarded = (case.move.method in rule.methods and case.move.stage in rule.stages) or id_ == "RM-S05"
        back = stages.direction(case.move.previous, case.move.stage) is stages.Direction.BACK
        expected = [rule.judge(case.move).message] if case.outcome is Outcome.FAIL else []
        if not guarded or (back and not rule.backward):
            expected = None

        assert said(policy, gate(case.move)) == expected, case.name


def test_a_stage_that_does_not_exist_is_reported_and_crashes_nothing() -> None:
    """By its own policy."""
    for odd in (change(move("adopt"), stage="finish"), change(move("verify", "copy"), stage="unlink")):
        told = {id_: reported(policy, gate(odd)) for id_, policy in ON_RESOURCE.items()}

        assert len(told["RM-S05"]) == 1
        assert "[RM-S05]" in told["RM-S05"][0]


def test_a_mandatory_rule_that_cannot_be_judged_yet_is_told_by_the_engine() -> None:
    """Raising is how the engine is told: it prints a notice, and the policy has not passed."""
    data = to_dict(move("prepare"))
    data["declared_target"]["location"] = UNKNOWN_STRING_VALUE
    args = arguments(reading.GATE, {"move": data})

    with pytest.raises(UnknownValueError) as raised:
        reported(ON_RESOURCE["RM-T08"], args)

    assert "RM-T08" in raised.value.message
    assert "not known yet" in raised.value.message
    assert reported(ON_RESOURCE["RM-G04"], args) == []


@pytest.mark.parametrize("unknown", ["move", "source"])
def test_a_gate_of_which_a_part_is_not_known_passes_nothing_that_needs_it(unknown: str) -> None:
    """The whole move, or one record of it."""
    data: Any = to_dict(move("replicate"))
    if unknown == "move":
        data = UNKNOWN_OBJECT_VALUE
    else:
        data[unknown] = UNKNOWN_OBJECT_VALUE
    args = arguments(reading.GATE, {"move": data})

    for id_ in ("RM-L01", "RM-L02", "RM-G06"):
        with pytest.raises(UnknownValueError):
            reported(ON_RESOURCE[id_], args)


def test_a_gate_whose_stage_is_not_known_yet_is_no_allowed_transition() -> None:
    """It may be a jump."""
    data = to_dict(move("replicate"))
    data["stage"] = UNKNOWN_STRING_VALUE

    with pytest.raises(UnknownValueError):
        reported(ON_RESOURCE["RM-S01"], arguments(reading.GATE, {"move": data}))


def test_advice_that_cannot_be_given_yet_is_not_told() -> None:
    """Only a mandatory rule is missed."""
    data = to_dict(move("prepare"))
    data["source"] = UNKNOWN_OBJECT_VALUE

    assert reported(ON_RESOURCE["RM-L23"], arguments(reading.GATE, {"move": data})) == []


@pytest.mark.parametrize(
    ("id_", "made", "key", "value", "expected"),
    [
        ("RM-L20", move("cleanup", stage_since_s=NOW_S - 30 * HOUR_S), "soakHours", 48.0, 1),
        ("RM-L20", move("cleanup", stage_since_s=NOW_S - 30 * HOUR_S), "soakHours", 2.0, 0),
        ("RM-L20", move("cleanup", stage_since_s=NOW_S - 20 * HOUR_S), "soakHours", 2.0, 1),
        ("RM-L09", move("unlink"), "evidenceMaxAgeHours", 0.5, 1),
        ("RM-L09", move("unlink"), "evidenceMaxAgeHours", 2.0, 0),
        ("RM-L09", move("unlink", evidence={"made_at_s": NOW_S - 30 * HOUR_S}), "evidenceMaxAgeHours", 99.0, 1),
        ("RM-G16", move("unlink", evidence={"lag_bytes": 100}), "maxLagBytes", 14.0, 1),
        ("RM-G16", move("unlink", evidence={"lag_bytes": 100}), "maxLagBytes", 100.0, 0),
    ],
)
def test_the_packs_configuration_makes_a_limit_stricter_and_never_laxer(
    id_: str, made: Move, key: str, value: float, expected: int
) -> None:
    """The stricter of the pack's and the stack's value counts."""
    policy = ON_RESOURCE[id_]

    assert policy.config_schema is not None
    assert set(policy.config_schema.properties) == {key}
    assert len(reported(policy, gate(made, **{key: value}))) == expected


def test_only_three_rules_have_a_configuration_of_their_own() -> None:
    """The others have nothing to set but their level."""
    assert {id_ for id_, p in ON_RESOURCE.items() if p.config_schema is not None} == {"RM-L20", "RM-L09", "RM-G16"}


def redis_inputs(name: str, **changes: Any) -> dict[str, Any]:
    """The inputs of a plain `azure-native:redis:Redis`."""
    return {
        "name": name,
        "resourceGroupName": "rg",
        "location": "East US",
        "sku": {"name": "Premium", "family": "P", "capacity": 1.0},
        "redisVersion": "6",
        "replicasPerPrimary": 1.0,
        "zonalAllocationPolicy": "NoZones",
        "redisConfiguration": {"maxmemoryPolicy": "allkeys-lru"},
        **changes,
    }


def link_inputs(primary: Any = "east", secondary: Any = "west", **changes: Any) -> dict[str, Any]:
    """The inputs of a plain `azure-native:redis:LinkedServer`."""
    return {
        "name": primary,
        "resourceGroupName": "rg",
        "linkedServerName": secondary,
        "linkedRedisCacheId": (
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Cache/Redis/{secondary}"
            if isinstance(secondary, str) and secondary != UNKNOWN_STRING_VALUE
            else UNKNOWN_STRING_VALUE
        ),
        "linkedRedisCacheLocation": "West US 2",
        "serverRole": "Secondary",
        **changes,
    }


def check(resources: list[tuple[str, dict[str, Any]]], urn: str = "") -> list[str]:
    """Run a new pack over resources in their order, as one update does; return the mandatory reports."""
    pack = [p for p in policies() if isinstance(p, ResourceValidationPolicy)]
    told: list[str] = []
    for type_, props in resources:
        for policy in pack:
            if policy.enforcement_level is EnforcementLevel.MANDATORY:
                told += reported(policy, arguments(type_, props, urn=urn))
    return told


REDIS, LINK, FIREWALL = "azure-native:redis:Redis", "azure-native:redis:LinkedServer", "azure-native:redis:FirewallRule"


@pytest.mark.parametrize(
    "type_",
    ["azure-native:redis:Redis", "azure-native:redis/v20241101:Redis", "azure-native:cache/v20230801:Redis"],
)
def test_a_plain_cache_of_somebody_elses_program_is_judged(type_: str) -> None:
    """By the rules that speak of a cache as such; in any version of the type."""
    assert check([(type_, redis_inputs("fine"))]) == []
    (told,) = check([(type_, redis_inputs("odd", sku={"name": "Premium", "family": "P", "capacity": 6.0}))])

    assert told.startswith('cache "odd" as declared: found size P6 in tier Premium, allowed C0 to C6')
    assert "[RM-T04] https://" in told


def test_a_plain_cache_with_a_name_that_azure_refuses() -> None:
    """Two hyphens."""
    (told,) = check([(REDIS, redis_inputs("a--b"))])

    assert "[RM-T10]" in told


CLUSTER, DATABASE = "azure-native:redisenterprise:RedisEnterprise", "azure-native:redisenterprise:Database"


def cluster_inputs(name: str, sku: str = "Balanced_B50", **changes: Any) -> dict[str, Any]:
    """The inputs of a plain `azure-native:redisenterprise:RedisEnterprise`."""
    return {
        "clusterName": name,
        "resourceGroupName": "rg",
        "location": "East US",
        "sku": {"name": sku},
        "publicNetworkAccess": "Enabled",
        **changes,
    }


@pytest.mark.parametrize("version", ["", "/v20250701"])
def test_a_plain_cluster_and_its_database_are_judged(version: str) -> None:
    """The size, the name, whether it is sold still; and the clustering policy, which the database has."""
    cluster, database = (
        type_.replace(":Red", f"{version}:Red").replace(":Dat", f"{version}:Dat") for type_ in (CLUSTER, DATABASE)
    )
    policy = {"clusterName": "fine", "resourceGroupName": "rg", "databaseName": "default"}
    assert check([(cluster, cluster_inputs("fine")), (database, {**policy, "clusteringPolicy": "OSSCluster"})]) == []

    (told,) = check([(cluster, cluster_inputs("fine")), (database, {**policy, "clusteringPolicy": "NoCluster"})])
    assert told.startswith('cache "fine" as declared: found clusteringPolicy NoCluster in Balanced_B50 (60 GB)')
    assert "[RM-T20]" in told
    (told,) = check([(cluster, cluster_inputs("odd", sku="Balanced_B2"))])
    assert "[RM-T04]" in told
    (told,) = check([(cluster, cluster_inputs("old", sku="Enterprise_E10"))])
    assert "[RM-T14]" in told
    (told,) = check([(cluster, cluster_inputs("x" * 61))])
    assert "[RM-T10]" in told


def test_a_database_whose_cluster_was_not_seen_is_not_judged() -> None:
    """Nothing is known of its size."""
    assert check([(DATABASE, {"clusterName": UNKNOWN_STRING_VALUE, "clusteringPolicy": "NoCluster"})]) == []


def test_advice_on_a_plain_cache_is_about_its_retirement() -> None:
    """Only that; it knows nothing of a move."""
    told = {
        id_
        for id_, policy in ON_RESOURCE.items()
        if reported(policy, arguments(REDIS, redis_inputs("fine")))
        and policy.enforcement_level is EnforcementLevel.ADVISORY
    }

    assert told == {"RM-T15"}


def test_another_resource_is_not_judged() -> None:
    """Also one whose name is like it."""
    for type_ in ("azure-native:redisenterprise:Database", "azure-native:redis:Redises", "x:azure-native:redis:Redis"):
        assert check([(type_, redis_inputs("a--b"))]) == []


def test_a_cache_that_belongs_to_a_move_is_left_to_its_gate() -> None:
    """Its own component's children."""
    urn = f"urn:pulumi:dev::app::redismove:index:CacheMove$redismove:index:SourceCache${REDIS}::source"

    assert check([(REDIS, redis_inputs("a--b"))], urn=urn) == []


def linked_pair(*, primary: dict[str, Any] | None = None, secondary: dict[str, Any] | None = None) -> list[Any]:
    """Two caches and their link, in the order in which an update takes them."""
    return [
        (REDIS, redis_inputs("east", **(primary or {}))),
        (REDIS, redis_inputs("west", **{"location": "West US 2", **(secondary or {})})),
        (LINK, link_inputs()),
    ]


PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "RM-G01": ({}, {"sku": {"name": "Standard", "family": "C", "capacity": 3.0}}),
    "RM-G04": ({"replicasPerMaster": 2.0, "replicasPerPrimary": None}, {}),
    "RM-G05": ({"shardCount": 3.0}, {"shardCount": 4.0}),
    "RM-G06": ({"redisConfiguration": {"rdbBackupEnabled": "true"}}, {}),
    "RM-G07": ({}, {"zones": ["1", "2"]}),
    "RM-G08": ({}, {"redisVersion": "4"}),
    "RM-T05": ({"sku": {"name": "Premium", "family": "P", "capacity": 2.0}}, {}),
    "RM-N01": ({"minimumTlsVersion": "1.2"}, {"minimumTlsVersion": "1.0"}),
    "RM-N02": ({}, {"enableNonSslPort": True}),
    "RM-N04": ({"publicNetworkAccess": "Disabled"}, {}),
    "RM-N06": ({"disableAccessKeyAuthentication": True}, {}),
}


@pytest.mark.parametrize("id_", PAIRS)
def test_a_plain_link_is_judged_before_it_is_made(id_: str) -> None:
    """The two caches were seen before it; each rule breaks alone."""
    primary, secondary = PAIRS[id_]
    (told,) = check(linked_pair(primary=primary, secondary=secondary))

    assert f"[{id_}]" in told
    assert 'primary "east"' in told or 'secondary "west"' in told


def test_a_plain_link_of_two_good_caches_passes() -> None:
    """Also written from the secondary's side."""
    east, west, _ = linked_pair()

    assert check([east, west, (LINK, link_inputs())]) == []
    assert check([east, west, (LINK, link_inputs("west", "east", serverRole="Primary"))]) == []


def test_the_role_says_which_cache_is_the_primary() -> None:
    """A larger one may be the secondary, not the primary."""
    large = (REDIS, redis_inputs("west", sku={"name": "Premium", "family": "P", "capacity": 3.0}))
    small = (REDIS, redis_inputs("east"))

    assert check([small, large, (LINK, link_inputs("east", "west"))]) == []
    assert check([small, large, (LINK, link_inputs("west", "east", serverRole="Primary"))]) == []
    (told,) = check([small, large, (LINK, link_inputs("west", "east"))])
    assert "[RM-T05]" in told


def test_firewall_rules_count_as_the_caches_that_they_belong_to() -> None:
    """The secondary stays open where the primary does not."""
    rule = {"cacheName": "east", "ruleName": "office", "startIP": "10.0.0.0", "endIP": "10.0.0.9"}
    east, west, joined = linked_pair()
    (told,) = check([east, (FIREWALL, rule), west, joined])

    assert "[RM-N10]" in told
    assert check([east, (FIREWALL, rule), west, (FIREWALL, {**rule, "cacheName": "west"}), joined]) == []
    (told,) = check(
        [east, (FIREWALL, rule), west, (FIREWALL, {**rule, "cacheName": "west", "endIP": "10.0.0.5"}), joined]
    )
    assert "[RM-N11]" in told


def test_caches_of_two_subscriptions_are_told_apart_by_their_ids() -> None:
    """As outputs of a later update show them."""

    def whole_id(subscription: str, name: str) -> str:
        return f"/subscriptions/{subscription}/resourceGroups/rg/providers/Microsoft.Cache/Redis/{name}"

    (told,) = check(
        linked_pair(
            primary={"id": whole_id(SUBSCRIPTION, "east")}, secondary={"id": whole_id(OTHER_SUBSCRIPTION, "west")}
        )
    )

    assert "[RM-G02]" in told


def test_a_link_whose_caches_are_not_known_yet_is_left_to_the_stack_policy() -> None:
    """By name they cannot be found; nothing is reported and nothing crashes."""
    east, west, _ = linked_pair(secondary={"zones": ["1"]})

    assert check([east, west, (LINK, link_inputs(UNKNOWN_STRING_VALUE, UNKNOWN_STRING_VALUE))]) == []


def resource(type_: str, called: str, props: dict[str, Any], **dependencies: list[PolicyResource]) -> PolicyResource:
    """A resource as a stack policy sees it."""
    return PolicyResource(
        type_, unknown_checking_proxy(props), f"urn:{called}", called, NOTHING_SET, None, None, [], dict(dependencies)
    )


def stack_reports(*resources: PolicyResource, pack: list[Any] | None = None) -> list[tuple[str, str | None]]:
    """What the mandatory stack policies of a new pack report."""
    told: list[tuple[str, str | None]] = []
    for policy in pack or policies():
        if isinstance(policy, StackValidationPolicy) and policy.enforcement_level is EnforcementLevel.MANDATORY:
            policy.validate(StackValidationArgs(list(resources)), lambda text, urn=None: told.append((text, urn)))
    return told


def test_a_stack_policy_finds_the_two_caches_by_what_the_link_depends_on() -> None:
    """In a preview their names and ids are not known yet."""
    east = resource(REDIS, "east", redis_inputs("east"))
    west = resource(REDIS, "west", redis_inputs("west", zones=["1", "2"]))
    joined = resource(
        LINK,
        "link",
        link_inputs(UNKNOWN_STRING_VALUE, UNKNOWN_STRING_VALUE),
        name=[east],
        linkedRedisCacheId=[west],
    )
    ((told, urn),) = stack_reports(joined, east, west)

    assert "[RM-G07]" in told
    assert 'secondary "west"' in told
    assert urn == "urn:link"


def test_a_stack_policy_turns_the_pair_round_where_the_record_hangs_on_the_secondary() -> None:
    """Its own name is then the secondary's."""
    east = resource(REDIS, "east", redis_inputs("east", sku={"name": "Premium", "family": "P", "capacity": 3.0}))
    west = resource(REDIS, "west", redis_inputs("west"))
    unknown = link_inputs(UNKNOWN_STRING_VALUE, UNKNOWN_STRING_VALUE, serverRole="Primary")
    joined = resource(LINK, "link", unknown, name=[east], linkedRedisCacheId=[west])

    assert stack_reports(joined, east, west) == []
    plain = resource(LINK, "link", {**unknown, "serverRole": "Secondary"}, name=[east], linkedRedisCacheId=[west])
    ((told, _),) = stack_reports(plain, east, west)
    assert "[RM-T05]" in told


def test_a_stack_policy_finds_caches_by_name_and_their_firewall() -> None:
    """As the outputs of an update show them."""
    rule = {"cacheName": "East", "ruleName": "office", "startIP": "10.0.0.0", "endIP": "10.0.0.9"}
    resources = (
        resource(REDIS, "east", redis_inputs("east")),
        resource(REDIS, "west", redis_inputs("west")),
        resource(FIREWALL, "office", rule),
        resource(LINK, "link", link_inputs()),
        resource("pulumi:pulumi:Stack", "stack", {}),
    )
    ((told, _),) = stack_reports(*resources)

    assert "[RM-N10]" in told


def test_a_stack_policy_says_nothing_of_a_link_whose_caches_are_elsewhere() -> None:
    """Or of one that could be either of two."""
    east = resource(REDIS, "east", redis_inputs("east"))
    west = resource(REDIS, "west", redis_inputs("west", zones=["1"]))
    foreign = resource(LINK, "link", link_inputs("far", "away"))
    unsure = resource(
        LINK,
        "unsure",
        link_inputs(UNKNOWN_STRING_VALUE, UNKNOWN_STRING_VALUE),
        name=[east, west],
        linkedRedisCacheId=[west],
    )

    assert stack_reports(foreign, unsure, east, west) == []


def test_what_a_resource_policy_has_told_is_not_told_again_for_the_stack() -> None:
    """One report a rule and link."""
    pack = policies()
    resources = linked_pair(secondary={"zones": ["1"]})
    told: list[str] = []
    for type_, props in resources:
        for policy in pack:
            if isinstance(policy, ResourceValidationPolicy) and policy.enforcement_level is EnforcementLevel.MANDATORY:
                told += reported(policy, arguments(type_, props, urn="urn:link" if type_ == LINK else ""))
    seen_by_stack = [resource(type_, "link" if type_ == LINK else props["name"], props) for type_, props in resources]

    assert len(told) == 1
    assert stack_reports(*seen_by_stack, pack=pack) == []


def test_a_cache_that_was_not_seen_is_not_made_up() -> None:
    """Nor is one without a name."""
    seen = Seen()
    seen.look_at("Redis", unknown_checking_proxy(redis_inputs(UNKNOWN_STRING_VALUE)))
    seen.look_at("Redis", unknown_checking_proxy(redis_inputs("East")))

    assert seen.cache(NOT_KNOWN) is None
    assert seen.cache("west") is None
    east = seen.cache("eAST")
    assert east is not None
    assert east.name == "East"


def test_inputs_are_read_as_facts() -> None:
    """Names as Azure writes them, region without blanks, whole numbers whole."""
    whole_id = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/group/providers/Microsoft.Cache/Redis/east"
    cache = reading.cache_of(
        unknown_checking_proxy(
            redis_inputs(
                "east",
                id=whole_id,
                resourceGroupName=None,
                shardCount=2.0,
                subnetId="/subnets/a",
                staticIP="10.0.0.4",
                zones=["1"],
                redisConfiguration={
                    "aofBackupEnabled": "True",
                    "notifyKeyspaceEvents": "KA",
                    "aofStorageConnectionString0": "s",
                },
            )
        )
    )
    expected = {
        "id": whole_id,
        "name": "east",
        "resource_group": "group",
        "subscription_id": SUBSCRIPTION,
        "location": "eastus",
        "sku_capacity": 1,
        "shard_count": 2,
        "subnet_id": "/subnets/a",
        "static_ip": "10.0.0.4",
        "zones": ("1",),
        "aof_backup_enabled": True,
        "rdb_backup_enabled": False,
        "notify_keyspace_events": "KA",
    }

    assert {name: getattr(cache, name) for name in expected} == expected
    assert type(cache.sku_capacity) is type(cache.shard_count) is int


@pytest.mark.parametrize(
    "name",
    [
        "name",
        "location",
        "redisVersion",
        "shardCount",
        "replicasPerPrimary",
        "zones",
        "zonalAllocationPolicy",
        "redisConfiguration",
        "sku",
        "subnetId",
        "staticIP",
        "enableNonSslPort",
        "minimumTlsVersion",
        "publicNetworkAccess",
        "disableAccessKeyAuthentication",
        "resourceGroupName",
    ],
)
def test_each_input_may_be_unknown(name: str) -> None:
    """It is then not known, and no other fact is lost."""
    whole = reading.cache_of(unknown_checking_proxy(redis_inputs("east")))
    cache = reading.cache_of(unknown_checking_proxy({**redis_inputs("east"), name: UNKNOWN_STRING_VALUE}))
    changed = [
        f.name
        for f in dataclasses.fields(cache)
        if getattr(cache, f.name) is NOT_KNOWN or getattr(cache, f.name) != getattr(whole, f.name)
    ]

    assert changed
    assert all(getattr(cache, field) is NOT_KNOWN for field in changed)
    assert len(changed) <= 3
