"""The plan: the article's table cell by cell, and what each method costs, takes and loses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from redismove import plan, stages
from redismove.estimate import CONTINENT, Minutes, egress_price, estimate
from redismove.facts import MANAGED, NOT_KNOWN, Move
from redismove.plan import Option, compatible, stable_summary, to_json
from tests.support.moves import (
    HOUR_S,
    NOW_S,
    ON_TARGET,
    OTHER_SUBSCRIPTION,
    SOURCE_ID,
    TARGET_ID,
    TODAY,
    cache_id,
    change,
    link,
    managed,
    move,
    source,
    target,
)

GEO, NEW, RDB, DUAL, COPY = stages.METHODS
C3 = {"sku_name": "Standard", "sku_family": "C", "sku_capacity": 3}
E10 = {"product": MANAGED, "sku_name": "Enterprise_E10", "sku_family": "", "sku_capacity": 2, "redis_version": "6.0"}

ARTICLE: dict[str, tuple[dict[str, Any], set[str]]] = {
    "Basic": ({**C3, "sku_name": "Basic"}, {NEW, DUAL, COPY}),
    "Standard": (C3, {NEW, DUAL, COPY}),
    "Premium": ({}, {GEO, NEW, DUAL, RDB, COPY}),
    "Enterprise": (E10, {NEW, RDB, COPY}),
    "Enterprise Flash": (
        {**E10, "sku_name": "EnterpriseFlash_F300", "sku_capacity": 3},
        {NEW, RDB, COPY},
    ),
}
"""The table of the article: which methods are for a tier."""
CELLS = [pytest.param(tier, m, id=f"{tier}: {m}") for tier in ARTICLE for m in stages.METHODS]


def by_method(made: Move, **options: Any) -> dict[str, Option]:
    """The plan by method."""
    return {option.method: option for option in plan.plan(made, **options)}


@pytest.mark.parametrize(("tier", "method"), CELLS)
def test_every_cell_of_the_articles_table(tier: str, method: str) -> None:
    """Before a target is named: the tier alone opens or closes a method, and the rule says so."""
    size, allowed = ARTICLE[tier]
    adopted = move("adopt", source=source(**size), target_id="")
    option = by_method(adopted)[method]

    assert option.open is (method in allowed)
    assert [r.rule for r in option.reasons] == (
        [] if option.open else [{GEO: "RM-T01", RDB: "RM-T02", DUAL: "RM-T03"}[method]]
    )
    assert {o["method"]: o["open"] for o in stable_summary(adopted)}[method] is option.open


def test_options_come_in_the_order_of_the_article() -> None:
    """Whatever is open."""
    assert [o.method for o in plan.plan(move("adopt"))] == list(stages.METHODS)
    assert [o["method"] for o in stable_summary(move("adopt"))] == list(stages.METHODS)


@pytest.mark.parametrize(
    ("changes", "best"),
    [
        ({}, GEO),
        (C3, COPY),
        ({"shard_count": 2, "replicas_per_primary": 2}, COPY),
        (E10, COPY),
        ({"keys": 0}, NEW),
    ],
)
def test_one_open_method_is_recommended_with_a_reason(changes: dict[str, Any], best: str) -> None:
    """The one that asks least of the applications and loses nothing."""
    options = plan.plan(move("adopt", source=source(**changes), target_id=""))
    recommended = [o for o in options if o.recommended]

    assert [o.method for o in recommended] == [best]
    assert recommended[0].open
    assert recommended[0].why
    assert not any(o.why for o in options if not o.recommended)


def test_nothing_is_recommended_where_nothing_is_open() -> None:
    """A source that is not there."""
    options = plan.plan(move("adopt", source=None))

    assert not any(o.open or o.recommended for o in options)
    assert all("RM-L01" in {r.rule for r in o.reasons} for o in options)
    assert all(o.estimate is None for o in options)
    assert stable_summary(move("adopt", source=None)) == []


def test_a_closed_method_says_rule_found_allowed_and_cure() -> None:
    """In the words of the gate."""
    made = move("adopt", source=source(rdb_backup_enabled=True), declared_target=target(exists=False))
    option = by_method(made)[GEO]
    (reason,) = option.reasons

    assert not option.open
    assert option.estimate is None
    assert dataclasses.asdict(reason) == {
        "rule": "RM-G06",
        "title": "persistence is off on both caches of a link",
        "thing": 'source "orders-east"',
        "found": "persistence (RDB) on",
        "allowed": "off on both caches while they are linked",
        "cure": (
            "switch it off there (and on the target on again after unlink), or choose redismove:method rdb or copy, "
            "which do without a link"
        ),
        "url": "https://learn.microsoft.com/azure/azure-cache-for-redis/cache-moving-resources",
    }
    assert by_method(made)[COPY].open


def test_the_declared_target_is_judged_as_each_method_would_declare_it() -> None:
    """A link gets one replica and no zones, whatever the method that is configured now."""
    declared = target(exists=False, replicas_per_primary=2, zonal_allocation_policy="", zones=("1",))
    made = move("adopt", COPY, declared_target=declared)

    assert by_method(made)[GEO].open
    foreign = dataclasses.replace(declared, exists=True)
    assert {r.rule for r in by_method(change(made, declared_target=foreign))[GEO].reasons} >= {"RM-G04", "RM-G07"}
    assert not by_method(change(made, source={"replicas_per_primary": 2}))[GEO].open


def test_an_existing_target_is_judged_as_the_link_will_find_it() -> None:
    """Its own settings, and the endpoint."""
    made = move("replicate", target={"shard_count": 2})

    assert {r.rule for r in by_method(made)[GEO].reasons} == {"RM-G05"}
    assert {r.rule for r in by_method(move("replicate", endpoint=ON_TARGET))[COPY].reasons} == {"RM-L13"}
    assert by_method(move("replicate"))[GEO].open


def test_a_target_that_is_linked_closes_what_writes_to_it() -> None:
    """But not the link itself."""
    made = move("verify", target={"linked_servers": (f"{TARGET_ID}/linkedServers/orders-east",)})
    options = by_method(made)

    assert options[GEO].open
    assert {"RM-L26"} == {r.rule for r in options[COPY].reasons}


def test_advice_is_told_and_closes_nothing() -> None:
    """Notes of an open method."""
    option = by_method(move("prepare", source={"redis_configuration": {}}))[GEO]

    assert option.open
    assert "RM-L23" in {note.rule for note in option.notes}


def test_what_is_not_known_opens_nothing() -> None:
    """A preview that does not know the source's shards yet."""
    option = by_method(move("prepare", source={"shard_count": NOT_KNOWN}))[GEO]

    assert not option.open
    assert "RM-G05" in option.not_known
    assert option.estimate is None


def test_every_option_says_what_is_noticed_and_lost() -> None:
    """And the way."""
    for option in plan.plan(move("adopt")):
        assert option.notices
        assert option.lost
        assert option.way == stages.way(option.method)


def test_the_hold_is_told_as_it_will_be() -> None:
    """By whether the source tells of its changes, and by its version."""
    quiet = {"redis_configuration": {}, "used_memory_bytes": 10**9}

    def hold(method: str = COPY, **changes: Any) -> str:
        return next(line for line in by_method(move("adopt", **changes))[method].notices if "hold" in line)

    assert "some milliseconds; Redis 6.0 cannot hold writes alone" in hold(source={"redis_version": "6.0"})
    assert hold(source={"redis_version": "7.0"}) == "a hold of writes at the cut-over: some milliseconds"
    assert "as long as one comparison of all keys, about 8.3 to 34 s" in hold(source=quiet)
    assert "one comparison" not in hold(source=quiet, consent={"enable_notifications": True})
    assert "one comparison" not in hold(NEW, source=quiet), "it carries nothing"


def test_what_may_be_lost_follows_the_settings() -> None:
    """Nothing, but for what is announced."""
    assert {m for m, option in by_method(move("adopt")).items() if not option.lost.startswith("nothing")} == {NEW}
    without = by_method(move("adopt", consent={"catch_up": False}))
    assert without[RDB].lost.startswith("the writes made after the export began")
    assert without[COPY].lost.startswith("nothing")


def test_writes_make_a_move_longer() -> None:
    """They come along; faster than nine tenths of the rate it is not reckoned."""
    quiet, busy, mad = (
        estimate(COPY, source(used_memory_bytes=10**9), target(), soak_hours=0, write_bytes_per_s=rate)
        for rate in (0, 10e6, 1e12)
    )

    assert busy.stages["replicate"].most == pytest.approx(quiet.stages["replicate"].most * 29 / 19)
    assert mad.stages["replicate"].most == pytest.approx(quiet.stages["replicate"].most * 10)


def test_a_summary_does_not_change_with_what_is_read_anew() -> None:
    """Keys, clients, memory, the link, the state of the source, the target's making."""
    before = move("prepare")
    after = change(
        before,
        source={
            "keys": 5,
            "used_memory_bytes": 10**9,
            "foreign_clients": ("x",),
            "databases_used": (0, 7),
            "provisioning_state": "Linking",
            "linked_servers": (f"{SOURCE_ID}/linkedServers/ORDERS-west",),
        },
        target=target(),
        target_made_by_stack=True,
        link=link(),
        endpoint=ON_TARGET,
        now_s=NOW_S + HOUR_S,
    )

    assert stable_summary(before) == stable_summary(after)
    assert stable_summary(after)[0] == {"method": GEO, "open": True, "recommended": True, "reasons": []}


def test_a_summary_says_why_a_method_is_closed() -> None:
    """A link to somebody else is not our own."""
    made = move("prepare", source={"linked_servers": (f"{SOURCE_ID}/linkedServers/orders-north",)})
    (geo, *_) = stable_summary(made)

    assert not geo["open"]
    assert geo["reasons"] == [
        {
            "rule": "RM-G03",
            "found": 'linked to "orders-north"',
            "allowed": "no other link: a pair has two caches",
            "cure": "remove that link first, or choose redismove:method rdb or copy, which do without a link",
        }
    ]


def test_a_summary_is_empty_in_cleanup() -> None:
    """There is nothing to choose any more, before and after the deletion."""
    assert stable_summary(move("cleanup")) == []


def test_a_plan_is_plain_data() -> None:
    """Whatever is open; and the estimate has its units in its names."""
    written = to_json(plan.plan(move("replicate", source={"used_memory_bytes": 4 * 10**9})))
    (geo, *_) = json.loads(json.dumps(written))

    assert {o["method"]: o["open"] for o in written} == dict.fromkeys(stages.METHODS, True)
    assert geo["estimate"]["dataBytes"] == 4 * 10**9
    assert geo["estimate"]["dataMeasured"] is True
    assert geo["estimate"]["crossingBytes"] == 12 * 10**9
    assert geo["estimate"]["egressUsd"] == 0.24
    assert geo["estimate"]["egressPrice"]["usdPerGb"] == 0.02
    assert geo["estimate"]["egressPrice"]["read"] == "2026-11-24"
    assert list(geo["estimate"]["minutesByStage"]) == list(stages.STAGES)
    assert geo["estimate"]["minutesByStage"]["prepare"] == [0, 0]
    assert geo["estimate"]["twoCachesHours"][0] > 24
    assert geo["way"] == list(stages.STAGES)
    assert geo["notKnown"] == []


def candidates() -> list[Any]:
    """Caches of a subscription."""
    return [
        target(id=cache_id("small"), name="small", sku_name="Standard", sku_family="C", sku_capacity=3),
        target(id=cache_id("north"), name="north", location="northeurope", keys=77),
        target(id=cache_id("twin"), name="twin", location="eastus"),
        target(id=cache_id("alien", OTHER_SUBSCRIPTION), name="alien"),
        source(),
        target(id=cache_id("Asia"), name="Asia", location="eastasia", sku_capacity=2),
        managed(id=cache_id("new"), name="new"),
        target(id=cache_id("busy"), name="busy", provisioning_state="Scaling"),
        target(id=cache_id("taken"), name="taken", linked_servers=(f"{cache_id('taken')}/linkedServers/other",)),
    ]


def test_compatible_caches_come_first_and_the_others_say_why_not() -> None:
    """As the portal's list does, by the same rules as the gates; not the source itself."""
    found = compatible(source(), candidates(), today=TODAY)

    assert [(c.name, c.compatible) for c in found] == [
        ("Asia", True),
        ("north", True),
        ("alien", False),
        ("busy", False),
        ("new", False),
        ("small", False),
        ("taken", False),
        ("twin", False),
    ]
    assert {c.name: [r.rule for r in c.reasons] for c in found if not c.compatible} == {
        "alien": ["RM-G02"],
        "busy": ["RM-L04"],
        "new": ["RM-G01", "RM-G08"],
        "small": ["RM-G01"],
        "taken": ["RM-G03"],
        "twin": ["RM-T08"],
    }
    assert {c.name: c.size for c in found}["Asia"] == "P2"
    assert json.dumps(to_json(found))


def test_compatible_caches_of_a_source_that_cannot_be_linked() -> None:
    """None, each with the source's reason."""
    found = compatible(source(**C3), candidates(), today=TODAY)

    assert not any(c.compatible for c in found)
    assert all("RM-T01" in [r.rule for r in c.reasons] for c in found)


@pytest.mark.parametrize(
    ("from_region", "to_region", "usd_per_gb"),
    [
        ("eastus", "eastus", 0.0),
        ("eastus", "westus2", 0.02),
        ("northeurope", "westeurope", 0.02),
        ("japaneast", "koreacentral", 0.08),
        ("eastus", "westeurope", 0.05),
        ("westeurope", "eastasia", 0.05),
        ("eastasia", "eastus", 0.08),
        ("brazilsouth", "eastus", 0.16),
        ("brazilsouth", "brazilsoutheast", 0.16),
        ("australiaeast", "australiasoutheast", 0.08),
    ],
)
def test_data_that_crosses_regions_has_a_price(from_region: str, to_region: str, usd_per_gb: float) -> None:
    """By the continent that it leaves."""
    price = egress_price(from_region, to_region)

    assert price is not None
    assert price.usd_per_gb == usd_per_gb
    assert price.source


def test_a_region_that_is_not_in_the_table_has_no_price() -> None:
    """None, not a guess."""
    assert egress_price("atlantis", "eastus") is None
    assert egress_price("eastus", "atlantis") is None
    assert estimate(GEO, source(), target(location="atlantis"), soak_hours=1).egress_usd is None
    assert estimate(GEO, source(), None, soak_hours=1).egress_usd is None
    assert len(CONTINENT) > 50


@pytest.mark.parametrize(
    ("method", "crossing"),
    [(GEO, 3.0), (NEW, 0.0), (RDB, 2.47), (DUAL, 2.0), (COPY, 3.0)],
)
def test_what_crosses_regions_depends_on_the_method(method: str, crossing: float) -> None:
    """Bringing it over, and reading one side twice to compare."""
    used = 10**9
    found = estimate(method, source(used_memory_bytes=used), target(), soak_hours=24)

    assert found.crossing_bytes == int(crossing * used)
    assert found.measured


def test_writes_cross_regions_while_both_caches_are_filled() -> None:
    """A link for as long as it takes, dual-write for its window."""
    quiet = estimate(GEO, source(used_memory_bytes=10**9), target(exists=False), soak_hours=24)
    busy = estimate(GEO, source(used_memory_bytes=10**9), target(exists=False), soak_hours=24, write_bytes_per_s=1000)
    window = estimate(DUAL, source(used_memory_bytes=0), target(), soak_hours=0, write_bytes_per_s=1000, window_hours=2)

    assert busy.crossing_bytes == quiet.crossing_bytes + int(1000 * busy.minutes.most * 60)
    assert window.crossing_bytes == 1000 * 2 * 3600


def test_a_source_whose_memory_was_not_read_counts_whole() -> None:
    """As the most there can be, and it is said."""
    found = estimate(COPY, source(), target(), soak_hours=24)

    assert not found.measured
    assert found.data_bytes == 6 * 1024**3
    assert estimate(COPY, source(sku_capacity=9), target(), soak_hours=24).data_bytes == 0


def test_durations_follow_the_way_of_the_method() -> None:
    """A target that is there takes no time; a larger source takes longer."""
    made = estimate(GEO, source(used_memory_bytes=10**9), target(exists=False), soak_hours=24)
    there = estimate(GEO, source(used_memory_bytes=10**9), target(), soak_hours=24)
    large = estimate(GEO, source(used_memory_bytes=50 * 10**9), target(), soak_hours=24)

    assert list(made.stages) == list(stages.STAGES)
    assert made.stages["prepare"] == Minutes(least=30, most=40)
    assert there.stages["prepare"] == Minutes(least=0, most=0)
    assert large.stages["replicate"].least > there.stages["replicate"].least
    assert made.minutes.most == pytest.approx(sum(part.most for part in made.stages.values()))
    assert made.two_caches_hours == pytest.approx((made.minutes.least / 60 + 24, made.minutes.most / 60 + 24))
    basic = estimate(NEW, source(), target(sku_name="Basic", exists=False), soak_hours=0)
    assert basic.stages["prepare"] == Minutes(least=15, most=30)
    assert basic.stages["cutover"].most < 10
    assert estimate(COPY, source(), managed(exists=False), soak_hours=0).stages["prepare"].most == 40
    assert estimate(COPY, source(), None, soak_hours=0).stages["prepare"].least == 30


def test_two_caches_are_paid_for_through_the_window() -> None:
    """Dual-write for as long as the longest expiry."""
    found = estimate(DUAL, source(), target(), soak_hours=24, window_hours=168)

    assert found.two_caches_hours[0] >= 192
