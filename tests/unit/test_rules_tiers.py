"""Sizes, tiers and versions as Microsoft's pages list them, and the small functions that rules are made of."""

from __future__ import annotations

import dataclasses

import pytest

from redismove.facts import MANAGED, FirewallRule, LinkFacts
from redismove.rules import network, pages, subjects, tiers
from tests.support.moves import (
    GONE,
    ON_SOURCE,
    ON_TARGET,
    SOURCE_ID,
    SUBSCRIPTION,
    TARGET_ID,
    cache_id,
    carried,
    managed,
    move,
    source,
    target,
)

GB = 1024**3

SIZES = {
    "C0": (0.25, 256),
    "C1": (1, 1_000),
    "C2": (2.5, 2_000),
    "C3": (6, 5_000),
    "C4": (13, 10_000),
    "C5": (26, 15_000),
    "C6": (53, 20_000),
    "P1": (6, 7_500),
    "P2": (13, 15_000),
    "P3": (26, 30_000),
    "P4": (53, 40_000),
    "P5": (120, 40_000),
}
MANAGED_SIZES = {
    "Balanced_B0": 0.5,
    "Balanced_B1": 1,
    "Balanced_B3": 3,
    "Balanced_B5": 6,
    "Balanced_B10": 12,
    "Balanced_B20": 24,
    "Balanced_B50": 60,
    "Balanced_B100": 120,
    "Balanced_B150": 180,
    "Balanced_B250": 240,
    "Balanced_B350": 360,
    "Balanced_B500": 480,
    "Balanced_B700": 720,
    "Balanced_B1000": 960,
    "MemoryOptimized_M10": 12,
    "MemoryOptimized_M20": 24,
    "MemoryOptimized_M50": 60,
    "MemoryOptimized_M100": 120,
    "MemoryOptimized_M150": 180,
    "MemoryOptimized_M250": 240,
    "MemoryOptimized_M350": 360,
    "MemoryOptimized_M500": 480,
    "MemoryOptimized_M700": 720,
    "MemoryOptimized_M1000": 960,
    "MemoryOptimized_M1500": 1440,
    "MemoryOptimized_M2000": 1920,
    "ComputeOptimized_X3": 3,
    "ComputeOptimized_X5": 6,
    "ComputeOptimized_X10": 12,
    "ComputeOptimized_X20": 24,
    "ComputeOptimized_X50": 60,
    "ComputeOptimized_X100": 120,
    "ComputeOptimized_X150": 180,
    "ComputeOptimized_X250": 240,
    "ComputeOptimized_X350": 360,
    "ComputeOptimized_X500": 480,
    "ComputeOptimized_X700": 720,
    "FlashOptimized_A250": 240,
    "FlashOptimized_A500": 480,
    "FlashOptimized_A700": 720,
    "FlashOptimized_A1000": 960,
    "FlashOptimized_A1500": 1440,
    "FlashOptimized_A2000": 1920,
    "FlashOptimized_A4500": 4500,
    "Enterprise_E1": 1,
    "Enterprise_E5": 4,
    "Enterprise_E10": 12,
    "Enterprise_E20": 25,
    "Enterprise_E50": 50,
    "Enterprise_E100": 100,
    "Enterprise_E200": 200,
    "Enterprise_E400": 400,
    "EnterpriseFlash_F300": 384,
    "EnterpriseFlash_F700": 715,
    "EnterpriseFlash_F1500": 1455,
}


def test_sizes_are_those_of_the_pages() -> None:
    """Memory and connections."""
    assert {name: (memory, tiers.MAX_CLIENTS[name]) for name, memory in tiers.MEMORY_GB.items()} == SIZES
    assert set(tiers.MAX_CLIENTS) == set(SIZES)
    assert tiers.MANAGED_MEMORY_GB == MANAGED_SIZES
    assert tiers.TIERS == ("Basic", "Standard", "Premium", "Enterprise", "Enterprise Flash", "Azure Managed Redis")


@pytest.mark.parametrize(
    ("changes", "size_gb"),
    [
        ({}, 6),
        ({"shard_count": 1}, 6),
        ({"shard_count": 10, "sku_capacity": 5}, 1200),
        ({"sku_name": "Basic", "sku_family": "C", "sku_capacity": 0}, 0.25),
        ({"product": MANAGED, "sku_name": "Balanced_B0", "sku_capacity": 9}, 0.5),
        ({"product": MANAGED, "sku_name": "Enterprise_E10", "sku_capacity": 2}, 12),
        ({"product": MANAGED, "sku_name": "Enterprise_E10", "sku_capacity": 0}, 12),
        ({"product": MANAGED, "sku_name": "Enterprise_E10", "sku_capacity": 6}, 36),
        ({"product": MANAGED, "sku_name": "EnterpriseFlash_F300", "sku_capacity": 9}, 1152),
    ],
)
def test_memory_counts_shards_and_units(changes: dict[str, object], size_gb: float) -> None:
    """Shards of Premium, units of Enterprise: two or three are what a size is sold with."""
    cache = source(**changes)

    assert tiers.memory_bytes(cache) == int(size_gb * GB)


def test_a_size_that_does_not_exist_has_no_memory() -> None:
    """KeyError, after `is_known_size` was asked."""
    assert not tiers.is_known_size(source(sku_capacity=6))
    assert not tiers.is_known_size(source(sku_capacity=0))
    assert tiers.is_known_size(source(sku_capacity=5))
    with pytest.raises(KeyError):
        tiers.memory_bytes(source(sku_capacity=6))


def test_four_fifths_of_a_managed_size_hold_data() -> None:
    """All of another."""
    assert tiers.usable_bytes(managed()) == int(12 * GB * 0.8)
    assert tiers.usable_bytes(source()) == 6 * GB


def test_a_target_may_be_as_large_or_larger() -> None:
    """Not smaller."""
    assert tiers.is_at_least_as_large(target(), source())
    assert tiers.is_at_least_as_large(target(sku_capacity=2), source())
    assert not tiers.is_at_least_as_large(target(), source(sku_capacity=2))


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 16),
        ({"redis_configuration": {"databases": "48"}}, 48),
        ({"redis_configuration": {"databases": ""}}, 16),
        ({"redis_configuration": {"databases": "48"}, "shard_count": 1}, 1),
        ({"product": MANAGED}, 1),
    ],
)
def test_databases(changes: dict[str, object], count: int) -> None:
    """One where clustered or managed."""
    assert tiers.databases(source(**changes)) == count


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("6", (6, 0)), ("6.0", (6, 0)), ("6.2.14", (6, 2)), ("7.4", (7, 4)), ("latest", None), ("", None)],
)
def test_versions(text: str, numbers: tuple[int, int] | None) -> None:
    """Major and minor."""
    assert tiers.version(source(redis_version=text)) == numbers


def test_ids_are_taken_apart() -> None:
    """Whatever the case of their letters."""
    assert subjects.same_id(SOURCE_ID.upper(), SOURCE_ID.lower())
    assert not subjects.same_id(SOURCE_ID, TARGET_ID)
    assert subjects.name_of(SOURCE_ID) == subjects.name_of(f"{SOURCE_ID}/") == subjects.name_of("orders-east")
    assert subjects.name_of("a/b/c") == "c"
    assert subjects.subscription_of(SOURCE_ID) == SUBSCRIPTION
    assert subjects.subscription_of("/Subscriptions/ABC/resourceGroups/r") == "abc"
    assert subjects.subscription_of("subscriptions/abc") == "abc"
    assert subjects.subscription_of("/subscriptions") == ""
    assert subjects.subscription_of("orders-east") == ""


def test_numbers_and_lists_are_written_for_people() -> None:
    """Units, and no endless lists."""
    assert [subjects.gigabytes(n * GB) for n in (0.25, 6, 1200, 9.6)] == ["0.25 GB", "6 GB", "1200 GB", "9.6 GB"]
    assert [subjects.hours(s) for s in (0, 3600, 131_400)] == ["0.0 h", "1.0 h", "36.5 h"]
    assert subjects.listed(["a"]) == '"a"'
    assert subjects.listed(("a", "b", "c", "d", "e")) == '"a", "b", "c", "d", "e"'
    assert subjects.listed(["a", "b", "c", "d", "e", "f"]) == '"a", "b", "c", "d", "e" and 1 more'
    assert subjects.listed(["a", "b", "c"], 1) == '"a" and 2 more'


def test_which_records_of_the_target_must_comply() -> None:
    """In prepare the declared one, later both; without a declared one the live one."""
    live, declared = target(), target(exists=False)
    named, asked = 'target "orders-west"', 'target "orders-west" as declared'

    assert subjects.targets(move("prepare", target=live)) == ((asked, declared),)
    assert subjects.targets(move("replicate")) == ((named, live), (asked, declared))
    assert subjects.targets(move("replicate", target=None)) == ((asked, declared),)
    assert subjects.targets(move("replicate", declared_target=None)) == ((named, live),)
    assert subjects.targets(move("replicate", declared_target=None, target={"exists": False})) == ()
    held = move("replicate")
    assert held.source is not None
    assert subjects.both(held) == (('source "orders-east"', held.source), *subjects.targets(held))
    assert subjects.both(move("replicate", source={"exists": False})) == subjects.targets(held)


def test_whether_the_link_is_there() -> None:
    """By its own GET, else by what the source lists."""
    listed = {"linked_servers": (f"{SOURCE_ID}/linkedServers/Orders-West",)}

    assert subjects.linked(move("replicate", link=LinkFacts(primary_id=SOURCE_ID, secondary_id=TARGET_ID)))
    assert not subjects.linked(move("replicate", link=GONE, source=listed))
    assert subjects.linked(move("replicate", link=None, source=listed))
    assert not subjects.linked(move("replicate", link=None, source={"linked_servers": ("x/somebody",)}))
    assert not subjects.linked(move("replicate", link=None, source=None))


def test_whether_the_data_was_brought_over() -> None:
    """By this method, for these two caches, and finished."""
    assert subjects.carried(move("verify", "copy"))
    for changes in (
        {"finished_at_s": 0.0},
        {"method": "rdb"},
        {"source_id": cache_id("other")},
        {"target_id": cache_id("other")},
    ):
        assert not subjects.carried(move("verify", "copy", carried=dataclasses.replace(carried("copy"), **changes)))
    assert not subjects.carried(move("verify", "copy", carried=None))


def test_where_applications_are_sent() -> None:
    """To neither where there is no endpoint."""
    at = [move("replicate", endpoint=e) for e in (ON_SOURCE, ON_TARGET, None)]

    assert [subjects.endpoint_on_source(m) for m in at] == [True, False, False]
    assert [subjects.endpoint_on_target(m) for m in at] == [False, True, False]
    assert [subjects.there(c) for c in (source(), source(exists=False), None)] == [True, False, False]


def test_a_way_back_is_one_that_leads_back() -> None:
    """Not the same stage again, nor the first."""
    assert subjects.going_back(move("prepare", previous="replicate"))
    assert not subjects.going_back(move("prepare", previous="prepare"))
    assert not subjects.going_back(move("prepare"))
    assert not subjects.going_back(move("adopt"))


@pytest.mark.parametrize(
    ("address", "admitted"),
    [("10.0.0.0", True), ("10.0.0.9", True), ("10.0.0.10", False), ("9.255.255.255", False), ("10.0.1.5", True)],
)
def test_a_firewall_admits_what_lies_in_one_of_its_ranges(address: str, admitted: bool) -> None:
    """Both ends included; no rule at all admits everybody."""
    rules = (
        FirewallRule(name="a", start_ip="10.0.0.0", end_ip="10.0.0.9"),
        FirewallRule(name="b", start_ip="10.0.1.5", end_ip="10.0.1.5"),
        FirewallRule(name="odd", start_ip="any", end_ip="10.255.255.255"),
    )

    assert network.admits(rules, address) is admitted
    assert network.admits((), address)
    assert not network.admits((rules[2],), address)
    assert not network.admits((rules[2],), "0.0.0.0")


def test_the_address_of_a_cache() -> None:
    """In its network, or where its host name is one."""
    assert network.address_of(source()) == ""
    assert network.address_of(source(host_name="127.0.4.9")) == "127.0.4.9"
    assert network.address_of(source(host_name="127.0.4.9", static_ip="10.0.0.4")) == "10.0.0.4"
    assert network.address_of(source(static_ip="10.0.0.4")) == "10.0.0.4"


@pytest.mark.parametrize(
    ("text", "numbers"), [("1.0", (1, 0)), ("1.2", (1, 2)), ("1.10", (1, 10)), ("", (1, 2)), ("TLS", (1, 2))]
)
def test_tls_versions(text: str, numbers: tuple[int, int]) -> None:
    """As numbers, 1.2 where nothing is said."""
    assert network.tls(source(minimum_tls_version=text)) == numbers


def test_every_page_was_read_on_the_same_day() -> None:
    """And has its own address."""
    made = [
        make("x.")
        for make in (
            pages.article,
            pages.geo,
            pages.tiers,
            pages.configure,
            pages.vnet,
            pages.private_link,
            pages.import_export,
            pages.retirement,
            pages.entra,
            pages.managed,
            pages.migrate,
            pages.rest,
            pages.own,
        )
    ]

    assert {page.reviewed for page in made} == {"2026-11-24"}
    assert len({page.url for page in made}) == len({page.page for page in made}) == len(made)
