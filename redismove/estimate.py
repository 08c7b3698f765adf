"""
What a move costs and how long it takes, estimated from the source's own size; standard library only, no I/O.

Prices and durations are tables with a date and a source. They are estimates: Azure bills by its own price list, and
none of Microsoft's pages promises a duration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from redismove import stages
from redismove.facts import MANAGED, CacheFacts
from redismove.rules import tiers

GB: Final = tiers.GB

PRICES_READ: Final = "2026-11-24"
"""When the sources of `EGRESS` were read; none of them is Microsoft's own price page."""

NORTH_AMERICA: Final = "North America"
EUROPE: Final = "Europe"
ASIA: Final = "Asia"
OCEANIA: Final = "Oceania"
MIDDLE_EAST_AFRICA: Final = "Middle East and Africa"
SOUTH_AMERICA: Final = "South America"

_REGIONS: Final[dict[str, tuple[str, ...]]] = {
    NORTH_AMERICA: (
        "canadacentral",
        "canadaeast",
        "centralus",
        "eastus",
        "eastus2",
        "mexicocentral",
        "northcentralus",
        "southcentralus",
        "westcentralus",
        "westus",
        "westus2",
        "westus3",
        "usgovarizona",
        "usgovtexas",
        "usgovvirginia",
    ),
    EUROPE: (
        "austriaeast",
        "belgiumcentral",
        "denmarkeast",
        "francecentral",
        "francesouth",
        "germanynorth",
        "germanywestcentral",
        "italynorth",
        "northeurope",
        "norwayeast",
        "norwaywest",
        "polandcentral",
        "spaincentral",
        "swedencentral",
        "swedensouth",
        "switzerlandnorth",
        "switzerlandwest",
        "uksouth",
        "ukwest",
        "westeurope",
    ),
    ASIA: (
        "centralindia",
        "eastasia",
        "indonesiacentral",
        "japaneast",
        "japanwest",
        "jioindiacentral",
        "jioindiawest",
        "koreacentral",
        "koreasouth",
        "malaysiawest",
        "southeastasia",
        "southindia",
        "westindia",
    ),
    OCEANIA: ("australiacentral", "australiacentral2", "australiaeast", "australiasoutheast", "newzealandnorth"),
    MIDDLE_EAST_AFRICA: (
        "israelcentral",
        "qatarcentral",
        "southafricanorth",
        "southafricawest",
        "uaecentral",
        "uaenorth",
    ),
    SOUTH_AMERICA: ("brazilsouth", "brazilsoutheast", "chilecentral"),
}
CONTINENT: Final[dict[str, str]] = {region: continent for continent, names in _REGIONS.items() for region in names}
"""The continent that Azure bills a region under, by the region's short name."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """A price for data that leaves a region, with where it was read and whether that source could be confirmed."""

    usd_per_gb: float
    source: str
    confirmed: bool


_WITHIN: Final[dict[str, Price]] = {
    NORTH_AMERICA: Price(usd_per_gb=0.02, source="lucidity.cloud, azure-storage-egress-cost", confirmed=True),
    EUROPE: Price(usd_per_gb=0.02, source="lucidity.cloud, azure-storage-egress-cost", confirmed=True),
    ASIA: Price(usd_per_gb=0.08, source="lucidity.cloud, azure-storage-egress-cost", confirmed=True),
    MIDDLE_EAST_AFRICA: Price(usd_per_gb=0.08, source="lucidity.cloud, azure-storage-egress-cost", confirmed=True),
    SOUTH_AMERICA: Price(usd_per_gb=0.16, source="lucidity.cloud, azure-storage-egress-cost", confirmed=True),
    OCEANIA: Price(usd_per_gb=0.08, source="commonly quoted, not found in a source", confirmed=False),
}
_TO_ANOTHER: Final[dict[str, Price]] = {
    NORTH_AMERICA: Price(usd_per_gb=0.05, source="commonly quoted, not found in a source", confirmed=False),
    EUROPE: Price(usd_per_gb=0.05, source="commonly quoted, not found in a source", confirmed=False),
    ASIA: Price(usd_per_gb=0.08, source="commonly quoted, not found in a source", confirmed=False),
    OCEANIA: Price(usd_per_gb=0.08, source="commonly quoted, not found in a source", confirmed=False),
    MIDDLE_EAST_AFRICA: Price(usd_per_gb=0.08, source="commonly quoted, not found in a source", confirmed=False),
    SOUTH_AMERICA: Price(usd_per_gb=0.16, source="commonly quoted, not found in a source", confirmed=False),
}
_FREE: Final = Price(
    usd_per_gb=0.0, source="Microsoft's geo-replication page: no charge within a region", confirmed=True
)


def egress_price(from_region: str, to_region: str) -> Price | None:
    """Return what a GB costs that leaves *from_region* for *to_region*; None for a region that is not in the table."""
    if from_region == to_region:
        return _FREE
    here, there = CONTINENT.get(from_region), CONTINENT.get(to_region)
    if here is None or there is None:
        return None
    return _WITHIN[here] if here == there else _TO_ANOTHER[here]


@dataclass(frozen=True, kw_only=True)
class Minutes:
    """A duration from the shortest to the longest that was seen or reckoned, in minutes."""

    least: float
    most: float

    def __add__(self, other: Minutes) -> Minutes:
        """Return one after the other."""
        return Minutes(least=self.least + other.least, most=self.most + other.most)


NONE: Final = Minutes(least=0, most=0)
_CREATE: Final[dict[str, Minutes]] = {
    tiers.BASIC: Minutes(least=15, most=30),
    tiers.STANDARD: Minutes(least=15, most=30),
    tiers.PREMIUM: Minutes(least=30, most=40),
}
_CREATE_MANAGED: Final = Minutes(least=10, most=40)
_LINK: Final = Minutes(least=5, most=15)
_UNLINK: Final = Minutes(least=5, most=15)
_DELETE: Final = Minutes(least=5, most=15)
_OVERHEAD: Final = Minutes(least=1, most=5)

_FULL_SYNC_BYTES_PER_S: Final = (53 * GB / 600, 53 * GB / 300)
"""A linked pair of 53 GB fills the secondary in 5 to 10 minutes (Microsoft's geo-replication page)."""
_COPY_BYTES_PER_S: Final = (29e6, 120e6)
"""3.77 GB in 130 s on Azure (third party), four times that between two servers side by side (our own benchmark)."""
_EXPORT_BYTES_PER_S: Final = (20e6, 40e6)
"""3.77 GB in 187 s from a P1 (third party); larger sizes are faster."""
RDB_SHARE_OF_MEMORY: Final = 0.47
"""An RDB file is about half the memory it came from (third party, one measurement)."""


_LEAST_HEADWAY: Final = 0.1
"""Writes faster than nine tenths of a rate are reckoned as that: a move that never catches up gives up, and says so."""


def _at(size_bytes: float, rates_bytes_per_s: tuple[float, float], written_bytes_per_s: float = 0.0) -> Minutes:
    """How long it takes to bring over *size_bytes* at a rate between two, while so much is written and comes along."""
    slow, fast = (max(rate - written_bytes_per_s, rate * _LEAST_HEADWAY) for rate in rates_bytes_per_s)
    return Minutes(least=size_bytes / fast / 60, most=size_bytes / slow / 60)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """
    What one method costs and how long it takes.

    `data_bytes` is what the source holds, `measured` whether that was read (else its size stands for it).
    `egress_usd` is None where the table has no price for the regions. `two_caches_hours` is how long both caches are
    paid for, from the target's creation to the source's deletion, soak included. `write_bytes_per_s` is what
    applications write to the source, as far as it is known: it crosses regions too, and makes everything longer.
    """

    data_bytes: int
    measured: bool
    crossing_bytes: int
    egress_usd: float | None
    egress_price: Price | None
    stages: dict[str, Minutes]
    soak_hours: float
    two_caches_hours: tuple[float, float]
    write_bytes_per_s: float = 0.0

    @property
    def compare(self) -> Minutes:
        """One comparison of all keys of both caches."""
        return _at(self.data_bytes, _COPY_BYTES_PER_S, self.write_bytes_per_s)

    @property
    def minutes(self) -> Minutes:
        """All stages together, without the soak."""
        return sum(self.stages.values(), start=NONE)


def held_bytes(source: CacheFacts) -> tuple[int, bool]:
    """Return what *source* holds and whether it was read; where it was not, its whole memory."""
    if source.used_memory_bytes is not None:
        return source.used_memory_bytes, True
    return (tiers.memory_bytes(source) if tiers.is_known_size(source) else 0), False


def estimate(
    method: str,
    source: CacheFacts,
    target: CacheFacts | None,
    *,
    soak_hours: float,
    write_bytes_per_s: float = 0.0,
    window_hours: float = 24.0 * 7,
) -> Estimate:
    """
    Estimate cost and time of moving *source* by *method*.

    Args:
        method: one of `stages.METHODS`.
        source: the live cache.
        target: the target, live or as declared; None where no target is named yet, which leaves the price open.
        soak_hours: how long the source soaks after `retire`.
        write_bytes_per_s: how much applications write to the source; 0 where it is not known.
        window_hours: how long both caches are written by method `dual-write`, the longest expiry of a key.
    """
    data, measured = held_bytes(source)
    spent = _durations(method, source, target, data, write_bytes_per_s)
    moving_s = sum(part.most for part in spent.values()) * 60
    crossing = _crossing_bytes(method, data, write_bytes_per_s, moving_s, window_hours * 3600)
    price = egress_price(source.location, target.location) if target is not None else None
    window = window_hours if method == stages.DUAL_WRITE else 0.0
    total = sum(spent.values(), start=NONE)
    return Estimate(
        data_bytes=data,
        measured=measured,
        crossing_bytes=int(crossing),
        egress_usd=round(crossing / 1e9 * price.usd_per_gb, 2) if price else None,
        egress_price=price,
        stages=spent,
        soak_hours=soak_hours,
        two_caches_hours=(total.least / 60 + soak_hours + window, total.most / 60 + soak_hours + window),
        write_bytes_per_s=write_bytes_per_s,
    )


def _crossing_bytes(method: str, data: int, write_bytes_per_s: float, moving_s: float, window_s: float) -> float:
    # Every comparison reads one side from the other region: once at verify, once more in the cut-over's repair pass.
    compared = 2 * data
    return {
        stages.GEO_REPLICATION: data + write_bytes_per_s * moving_s + compared,
        stages.NEW_CACHE: 0.0,
        stages.RDB: data * RDB_SHARE_OF_MEMORY + compared,
        stages.DUAL_WRITE: write_bytes_per_s * window_s + compared,
        stages.COPY: data + compared,
    }[method]


def _durations(
    method: str, source: CacheFacts, target: CacheFacts | None, data: int, written: float
) -> dict[str, Minutes]:
    made = _CREATE.get(source.sku_name, _CREATE_MANAGED) if target is None else _creation(target)
    read = _at(data, _COPY_BYTES_PER_S, written)
    fill = {
        stages.GEO_REPLICATION: _LINK + _at(data, _FULL_SYNC_BYTES_PER_S, written),
        stages.NEW_CACHE: NONE,
        stages.RDB: _at(data, _EXPORT_BYTES_PER_S) + _at(data, _EXPORT_BYTES_PER_S) + _OVERHEAD,
        stages.DUAL_WRITE: NONE,
        stages.COPY: read,
    }[method]
    by_stage = {
        stages.ADOPT: NONE,
        stages.PREPARE: made,
        stages.REPLICATE: fill,
        stages.VERIFY: read,
        stages.UNLINK: _UNLINK,
        stages.CUTOVER: _OVERHEAD if method == stages.NEW_CACHE else read + _OVERHEAD,
        stages.RETIRE: NONE,
        stages.CLEANUP: _DELETE,
    }
    return {stage: by_stage[stage] for stage in stages.way(method)}


def _creation(target: CacheFacts) -> Minutes:
    if target.exists:
        return NONE
    return _CREATE_MANAGED if target.product == MANAGED else _CREATE.get(target.sku_name, _CREATE_MANAGED)
