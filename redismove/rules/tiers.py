"""Sizes and tiers: which method a tier allows, and whether the target can take what the source holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from redismove import stages
from redismove.facts import MANAGED, CacheFacts, Move
from redismove.rules import pages
from redismove.rules.model import Broken, Level, Rule
from redismove.rules.subjects import (
    ALL_METHODS,
    ALL_STAGES,
    COPYING_METHODS,
    absent,
    gigabytes,
    known,
    listed,
    name_of,
    source_called,
    subscription_of,
    target_called,
    targets,
    there,
)

GB: Final = 1024**3

BASIC: Final = "Basic"
STANDARD: Final = "Standard"
PREMIUM: Final = "Premium"
ENTERPRISE: Final = "Enterprise"
ENTERPRISE_FLASH: Final = "Enterprise Flash"
AZURE_MANAGED: Final = "Azure Managed Redis"
TIERS: Final = (BASIC, STANDARD, PREMIUM, ENTERPRISE, ENTERPRISE_FLASH, AZURE_MANAGED)

MEMORY_GB: Final[dict[str, float]] = {
    "C0": 0.25,
    "C1": 1,
    "C2": 2.5,
    "C3": 6,
    "C4": 13,
    "C5": 26,
    "C6": 53,
    "P1": 6,
    "P2": 13,
    "P3": 26,
    "P4": 53,
    "P5": 120,
}
"""Memory of a size of Azure Cache for Redis; for P sizes of one shard. Source: How to configure Azure Cache."""

MAX_CLIENTS: Final[dict[str, int]] = {
    "C0": 256,
    "C1": 1_000,
    "C2": 2_000,
    "C3": 5_000,
    "C4": 10_000,
    "C5": 15_000,
    "C6": 20_000,
    "P1": 7_500,
    "P2": 15_000,
    "P3": 30_000,
    "P4": 40_000,
    "P5": 40_000,
}
"""Connections a size allows (a shard of it, for P). Source: How to configure Azure Cache for Redis."""

DEFAULT_DATABASES: Final = 16
"""Databases of a cache that was made without saying how many. Source: How to configure Azure Cache for Redis."""

_NUMBERED: Final[dict[str, dict[int, float]]] = {
    "Balanced_B": {
        0: 0.5,
        1: 1,
        3: 3,
        5: 6,
        10: 12,
        20: 24,
        50: 60,
        100: 120,
        150: 180,
        250: 240,
        350: 360,
        500: 480,
        700: 720,
        1000: 960,
    },
    "MemoryOptimized_M": {
        10: 12,
        20: 24,
        50: 60,
        100: 120,
        150: 180,
        250: 240,
        350: 360,
        500: 480,
        700: 720,
        1000: 960,
        1500: 1440,
        2000: 1920,
    },
    "ComputeOptimized_X": {
        3: 3,
        5: 6,
        10: 12,
        20: 24,
        50: 60,
        100: 120,
        150: 180,
        250: 240,
        350: 360,
        500: 480,
        700: 720,
    },
    "FlashOptimized_A": {250: 240, 500: 480, 700: 720, 1000: 960, 1500: 1440, 2000: 1920, 4500: 4500},
    "Enterprise_E": {1: 1, 5: 4, 10: 12, 20: 25, 50: 50, 100: 100, 200: 200, 400: 400},
    "EnterpriseFlash_F": {300: 384, 700: 715, 1500: 1455},
}
MANAGED_MEMORY_GB: Final[dict[str, float]] = {
    f"{family}{number}": size_gb for family, sizes in _NUMBERED.items() for number, size_gb in sizes.items()
}
"""Memory of a SKU of Azure Managed Redis or Enterprise. Source: their architecture and pricing pages."""

_BASE_CAPACITY: Final = {"Enterprise_E": 2, "EnterpriseFlash_F": 3}
USABLE_SHARE_OF_MANAGED: Final = 0.8
"""Azure Managed Redis keeps about a fifth of its memory for itself (Azure Managed Redis architecture)."""

_RANK: Final = {BASIC: 0, STANDARD: 1, PREMIUM: 2, ENTERPRISE: 3, ENTERPRISE_FLASH: 3, AZURE_MANAGED: 3}
_REDIS_NAME: Final = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
_LONGEST_NAME: Final = 63
_LONGEST_MANAGED_NAME: Final = 60

NEW_CUSTOMERS_CLOSED: Final = "2026-04-01"
"""From this day tenants without a Basic, Standard or Premium cache can create none."""
ENTERPRISE_CLOSED: Final = "2026-04-01"
"""From this day nobody can create an Enterprise or Enterprise Flash cache."""
REDIS_CLOSED: Final = "2028-10-01"
"""From this day Basic, Standard and Premium are disabled."""


def size(cache: CacheFacts) -> str:
    """Return a cache's size as people write it: "P1", "C3", "Balanced_B10"."""
    # int() and + rather than an f-string, which would write down what is not known yet as if it were a size.
    return cache.sku_name if cache.product == MANAGED else cache.sku_family + str(int(cache.sku_capacity))


def tier(cache: CacheFacts) -> str:
    """Return a cache's tier, one of `TIERS`."""
    if cache.product != MANAGED:
        return cache.sku_name
    if cache.sku_name.startswith("EnterpriseFlash_"):
        return ENTERPRISE_FLASH
    return ENTERPRISE if cache.sku_name.startswith("Enterprise_") else AZURE_MANAGED


def is_known_size(cache: CacheFacts) -> bool:
    """Whether Azure has such a size in such a tier."""
    if cache.product == MANAGED:
        return cache.sku_name in MANAGED_MEMORY_GB
    family = "P" if cache.sku_name == PREMIUM else "C"
    return cache.sku_name in (BASIC, STANDARD, PREMIUM) and cache.sku_family == family and size(cache) in MEMORY_GB


def memory_bytes(cache: CacheFacts) -> int:
    """
    Return the memory a cache is sold with, all shards together; KeyError for a size that does not exist.

    Not all of it holds data: Redis and Azure keep a part.
    """
    if cache.product == MANAGED:
        base = next((base for family, base in _BASE_CAPACITY.items() if cache.sku_name.startswith(family)), 0)
        units = max(cache.sku_capacity, base) // base if base else 1
        return int(MANAGED_MEMORY_GB[cache.sku_name] * units * GB)
    return int(MEMORY_GB[size(cache)] * max(cache.shard_count, 1) * GB)


def usable_bytes(cache: CacheFacts) -> int:
    """Return the memory that can hold data, as far as Azure says: four fifths of a managed SKU, else all of it."""
    share = USABLE_SHARE_OF_MANAGED if cache.product == MANAGED else 1.0
    return int(memory_bytes(cache) * share)


def is_at_least_as_large(target: CacheFacts, source: CacheFacts) -> bool:
    """Whether *target* has the memory that *source* has, or more."""
    return memory_bytes(target) >= memory_bytes(source)


NO_CLUSTER_MOST_GB: Final = 25
"""The largest SKU that the clustering policy NoCluster is for (Azure Managed Redis architecture)."""


def fits_no_cluster(cache: CacheFacts) -> bool:
    """Whether a managed cache is small enough for the clustering policy NoCluster."""
    return memory_bytes(cache) <= NO_CLUSTER_MOST_GB * GB


def managed_size_for(source: CacheFacts) -> str:
    """
    Return the SKU of Azure Managed Redis that stands for *source*'s size; "" for a size that does not exist.

    A managed source's own, where it is still sold; else the smallest Balanced one with the memory that *source* has.
    """
    if source.product == MANAGED and tier(source) == AZURE_MANAGED:
        return source.sku_name
    if not is_known_size(source):
        return ""
    needed = memory_bytes(source)
    balanced = (sku for sku in MANAGED_MEMORY_GB if sku.startswith("Balanced_"))
    return next((sku for sku in balanced if MANAGED_MEMORY_GB[sku] * GB >= needed), "")


def databases(cache: CacheFacts) -> int:
    """Return how many databases a cache has: one where clustered or managed, else as many as it was made with."""
    if cache.product == MANAGED or cache.shard_count > 0:
        return 1
    asked = cache.redis_configuration.get("databases", "")
    return int(asked) if asked.isdecimal() else DEFAULT_DATABASES


def version(cache: CacheFacts) -> tuple[int, int] | None:
    """Return a cache's Redis version as numbers, (6, 0); None where it is not said ("latest")."""
    match = re.match(r"(\d+)(?:\.(\d+))?", cache.redis_version.strip())
    return (int(match[1]), int(match[2] or 0)) if match else None


def _source_known(move: Move) -> bool:
    return there(move.source)


def _both_known(move: Move) -> bool:
    return there(move.source) and bool(targets(move))


def _target_known(move: Move) -> bool:
    return bool(targets(move))


def _method_needs(method: str) -> Callable[[Move], Broken | None]:
    def check(move: Move) -> Broken | None:
        found = tier(known(move.source))
        allowed = SOURCE_TIERS[method]
        if found in allowed:
            return None
        others = [m for m in stages.METHODS if found in SOURCE_TIERS[m]]
        return Broken(
            thing=source_called(move),
            found=f"tier {found}",
            allowed=f"{_or(allowed)} for method {method}",
            cure=f"set redismove:method to {_or(others)}",
        )

    return check


SOURCE_TIERS: Final[dict[str, tuple[str, ...]]] = {
    stages.GEO_REPLICATION: (PREMIUM,),
    stages.NEW_CACHE: TIERS,
    stages.RDB: (PREMIUM, ENTERPRISE, ENTERPRISE_FLASH, AZURE_MANAGED),
    stages.DUAL_WRITE: (BASIC, STANDARD, PREMIUM),
    stages.COPY: TIERS,
}
"""The article's table: the tiers each method is for. Azure Managed Redis, younger than it, counts as Enterprise."""


def _or(items: tuple[str, ...] | list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"


def _size_exists(move: Move) -> Broken | None:
    for called, cache in targets(move):
        if not is_known_size(cache):
            return Broken(
                thing=called,
                found=f"size {size(cache)} in tier {tier(cache)}",
                allowed="C0 to C6 (Basic, Standard), P1 to P5 (Premium), or one like Balanced_B10 (managed)",
                cure="set redismove:target.sku to one of these, or remove it to take the source's size",
            )
    return None


def _large_enough(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if not is_known_size(cache) or not is_known_size(source):
            continue
        if not is_at_least_as_large(cache, source):
            return Broken(
                thing=called,
                found=f"{size(cache)} with {gigabytes(memory_bytes(cache))}",
                allowed=f"{gigabytes(memory_bytes(source))} or more, like {source_called(move)} ({size(source)})",
                cure="set redismove:target.sku to a larger size, or remove it to take the source's size",
            )
    return None


def _data_fits(move: Move) -> Broken | None:
    source = known(move.source)
    if source.used_memory_bytes is None:
        return None
    for called, cache in targets(move):
        if is_known_size(cache) and source.used_memory_bytes > usable_bytes(cache):
            return Broken(
                thing=called,
                found=f"{gigabytes(usable_bytes(cache))} of usable memory in {size(cache)}",
                allowed=f"{gigabytes(source.used_memory_bytes)} or more, which {source_called(move)} holds now",
                cure="set redismove:target.sku to a larger size",
            )
    return None


def _other_region(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if cache.location == source.location:
            return Broken(
                thing=called,
                found=f"region {cache.location}",
                allowed=f"any region but {source.location}, where the source is",
                cure="set redismove:target.location to the region to move to",
            )
    return None


def _other_name(move: Move) -> Broken | None:
    source_name, target_name = name_of(move.source_id), name_of(move.target_id)
    if source_name.lower() != target_name.lower():
        return None
    return Broken(
        thing="redismove:target",
        found=f'name "{target_name}"',
        allowed="any name but the source's: a cache's name is its address, and both exist during the move",
        cure="set redismove:target.name to a new name",
    )


def _name_valid(move: Move) -> Broken | None:
    name = name_of(move.target_id)
    is_managed = any(cache.product == MANAGED for _, cache in targets(move))
    longest = _LONGEST_MANAGED_NAME if is_managed else _LONGEST_NAME
    if len(name) <= longest and _REDIS_NAME.fullmatch(name):
        return None
    return Broken(
        thing="redismove:target",
        found=f'name "{name}"',
        allowed=f"1 to {longest} letters, digits and single hyphens, a letter or digit at both ends",
        cure="set redismove:target.name to such a name",
    )


def _signed_in(move: Move) -> Broken | None:
    wanted = subscription_of(move.source_id)
    if move.signed_in_subscription_id.lower() == wanted:
        return None
    return Broken(
        thing="the sign-in",
        found=f"subscription {move.signed_in_subscription_id}",
        allowed=f"{wanted}, the subscription of {source_called(move)}",
        cure="run `az account set --subscription` with it or set ARM_SUBSCRIPTION_ID, or name a source of this one",
    )


def _not_older(move: Move) -> Broken | None:
    source = known(move.source)
    mine = version(source)
    for called, cache in targets(move):
        theirs = version(cache)
        if mine is not None and theirs is not None and theirs < mine:
            return Broken(
                thing=called,
                found=f"Redis {cache.redis_version}",
                allowed=f"Redis {source.redis_version}, the source's, or newer",
                cure=(
                    "name a target that is not made yet, so that it gets the source's version; versions only go "
                    "up where Azure offers it"
                ),
            )
    return None


def _to_be_made(move: Move) -> bool:
    return move.declared_target is not None and not there(move.target)


_WAY_ON: Final = (
    "set redismove:target.kind to managed (Azure Managed Redis) and redismove:method to rdb, copy or dual-write"
)


def _still_sold(move: Move) -> Broken | None:
    cache = known(move.declared_target)
    kind = tier(cache)
    closed = {ENTERPRISE: ENTERPRISE_CLOSED, ENTERPRISE_FLASH: ENTERPRISE_CLOSED, AZURE_MANAGED: ""}.get(
        kind, REDIS_CLOSED
    )
    if not closed or move.today < closed:
        return None
    return Broken(
        thing=f"{target_called(move)} as declared",
        found=f"tier {kind} on {move.today}",
        allowed=f"no new cache of this tier from {closed}",
        cure=_WAY_ON,
    )


def _may_be_refused(move: Move) -> Broken | None:
    cache = known(move.declared_target)
    if tier(cache) not in (BASIC, STANDARD, PREMIUM) or not NEW_CUSTOMERS_CLOSED <= move.today < REDIS_CLOSED:
        return None
    return Broken(
        thing=f"{target_called(move)} as declared",
        found=f"tier {tier(cache)} in {cache.location} on {move.today}",
        allowed="until 2028-09-30, and only where Azure still creates one",
        cure=(
            "be ready for a refusal by Azure (tenants without a cache before 2026-04-01, and, as is told, regions "
            f"where the subscription never had one): nothing has changed then, and the way on is: {_WAY_ON}"
        ),
    )


def _databases_fit(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if 1 < databases(cache) < databases(source):
            return Broken(
                thing=called,
                found=f"{databases(cache)} databases",
                allowed=f"{databases(source)} or more, as {source_called(move)} has",
                cure=(
                    "choose a redismove:target.sku that allows as many and a new redismove:target.name: the number is "
                    "set when a cache is made"
                ),
            )
        if databases(cache) < databases(source) and source.databases_used and max(source.databases_used) > 0:
            others = ", ".join(str(n) for n in source.databases_used if n > 0)
            return Broken(
                thing=called,
                found="database 0 only",
                allowed=f"every database that {source_called(move)} holds keys in ({others})",
                cure="choose a target that is not clustered and not managed, or bring these keys into database 0 first",
            )
    return None


def _one_database(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if absent(source.databases_used) and databases(cache) == 1 < databases(source):
            return Broken(
                thing=called,
                found="database 0 only",
                allowed=f"the databases of {source_called(move)}, up to {databases(source)}",
                cure="check with `redismove plan` that the source holds keys in database 0 alone",
            )
    return None


def _no_lower_tier(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if _RANK.get(tier(cache), 0) < _RANK.get(tier(source), 0):
            return Broken(
                thing=called,
                found=f"tier {tier(cache)}",
                allowed=f"{tier(source)}, the source's, or higher, to keep its features",
                cure="set redismove:target.sku to a size of the source's tier, or accept what the lower tier lacks",
            )
    return None


def _clients_fit(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        have, need = MAX_CLIENTS.get(size(cache)), MAX_CLIENTS.get(size(source))
        if have is not None and need is not None and have < need:
            return Broken(
                thing=called,
                found=f"{have} connections in {size(cache)}",
                allowed=f"{need} or more, as {source_called(move)} ({size(source)}) allows",
                cure="set redismove:target.sku to a size with as many, or check how many connections the source has",
            )
    return None


def _managed_targets(move: Move) -> list[tuple[str, CacheFacts]]:
    return [(called, cache) for called, cache in targets(move) if cache.product == MANAGED]


def _policy_fits(move: Move) -> Broken | None:
    for called, cache in _managed_targets(move):
        if cache.clustering_policy == "NoCluster" and is_known_size(cache) and not fits_no_cluster(cache):
            return Broken(
                thing=called,
                found=f"clusteringPolicy NoCluster in {size(cache)} ({gigabytes(memory_bytes(cache))})",
                allowed=f"NoCluster up to {NO_CLUSTER_MOST_GB} GB, EnterpriseCluster or OSSCluster for all sizes",
                cure="set redismove:target.clusteringPolicy to EnterpriseCluster, or a smaller redismove:target.sku",
            )
    return None


def _clients_suit(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in _managed_targets(move):
        if cache.is_clustered and not source.is_clustered:
            return Broken(
                thing=called,
                found="clusteringPolicy OSSCluster",
                allowed=f"NoCluster or EnterpriseCluster, as {source_called(move)} is no cluster to its clients",
                cure=(
                    "set redismove:target.clusteringPolicy to one of these, or let applications use a cluster client "
                    "before the cut-over: any other is answered MOVED"
                ),
            )
        if source.is_clustered and not cache.is_clustered:
            return Broken(
                thing=called,
                found=f"clusteringPolicy {cache.clustering_policy or 'not said'}",
                allowed=f"OSSCluster, as {source_called(move)} is a cluster to its clients",
                cure=(
                    "set redismove:target.clusteringPolicy to OSSCluster, or let applications use a client without "
                    "cluster mode before the cut-over: a cluster client cannot connect"
                ),
            )
    return None


def _modules_there(move: Move) -> Broken | None:
    needed = known(move.source).modules
    for called, cache in targets(move):
        missing = [module for module in needed if module not in cache.modules]
        if missing:
            return Broken(
                thing=called,
                found=f"no module {listed(missing)}",
                allowed=f"the modules of {source_called(move)}, whose keys can be read with them alone",
                cure="make a managed cache with these modules yourself and name it as the target; they are fixed then",
            )
    return None


_BEFORE_CUTOVER: Final = frozenset({stages.PREPARE, stages.REPLICATE, stages.VERIFY, stages.UNLINK, stages.CUTOVER})
_ENTERING: Final = frozenset({stages.PREPARE, stages.REPLICATE})

RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-T01",
        title="geo-replication is for Premium",
        source=pages.article("The tier determines the option: only Premium has geo-replication."),
        methods=frozenset({stages.GEO_REPLICATION}),
        stages=_BEFORE_CUTOVER,
        applies=_source_known,
        check=_method_needs(stages.GEO_REPLICATION),
    ),
    Rule(
        id="RM-T02",
        title="export and import need Premium or Enterprise",
        source=pages.article("Basic and Standard cannot export or import RDB files."),
        methods=frozenset({stages.RDB}),
        stages=_BEFORE_CUTOVER,
        applies=_source_known,
        check=_method_needs(stages.RDB),
    ),
    Rule(
        id="RM-T03",
        title="dual-write is for Basic, Standard and Premium",
        source=pages.article("Dual-write to two caches (Basic, Standard, and Premium)."),
        methods=frozenset({stages.DUAL_WRITE}),
        stages=_BEFORE_CUTOVER,
        applies=_source_known,
        check=_method_needs(stages.DUAL_WRITE),
    ),
    Rule(
        id="RM-T04",
        title="the target's size is one that Azure has",
        plain="cache",
        source=pages.configure("Sizes C0 to C6 and P1 to P5."),
        methods=ALL_METHODS,
        stages=_ENTERING,
        applies=_target_known,
        check=_size_exists,
    ),
    Rule(
        id="RM-T05",
        title="the target is at least as large as the source",
        plain="link",
        source=pages.article(
            "The second cache is either the same cache size or a larger cache size than the original cache."
        ),
        methods=COPYING_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_both_known,
        check=_large_enough,
    ),
    Rule(
        id="RM-T06",
        title="a new cache that is smaller than the source is meant so",
        source=pages.article("If you don't need to maintain your data, create a new cache; no size is asked for."),
        methods=frozenset({stages.NEW_CACHE}),
        stages=_ENTERING,
        applies=_both_known,
        check=_large_enough,
        level=Level.ADVISORY,
        severity="low",
    ),
    Rule(
        id="RM-T07",
        title="what the source holds fits into a managed target",
        source=pages.managed("About 20 % of the memory of Azure Managed Redis is reserved."),
        methods=COPYING_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=lambda move: (
            _both_known(move)
            and any(cache.product == MANAGED for _, cache in targets(move))
            and move.source is not None
            and move.source.used_memory_bytes is not None
        ),
        check=_data_fits,
    ),
    Rule(
        id="RM-T08",
        title="the target is in another region",
        source=pages.article("You create a second cache in the desired region."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_both_known,
        check=_other_region,
    ),
    Rule(
        id="RM-T09",
        title="the target has a name of its own",
        source=pages.rest("A cache's name is unique in all of Azure; it becomes its host name."),
        methods=ALL_METHODS,
        stages=ALL_STAGES,
        applies=lambda move: bool(move.target_id),
        check=_other_name,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-T10",
        title="the target's name is one that Azure accepts",
        plain="cache",
        source=pages.rest("1 to 63 letters, digits and single hyphens, starting and ending with a letter or digit."),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=lambda move: bool(move.target_id),
        check=_name_valid,
    ),
    Rule(
        id="RM-T11",
        title="the sign-in is for the source's subscription",
        source=pages.own("A cache of another subscription with the same name would be the wrong one."),
        methods=ALL_METHODS,
        stages=ALL_STAGES,
        applies=lambda move: bool(move.signed_in_subscription_id),
        check=_signed_in,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-T12",
        title="the target's Redis is not older than the source's",
        source=pages.article("The Redis version of the cache you're exporting from should be the same or lower."),
        methods=frozenset({stages.RDB}),
        stages=_ENTERING,
        applies=_both_known,
        check=_not_older,
    ),
    Rule(
        id="RM-T13",
        title="a target with an older Redis is meant so",
        source=pages.article(
            "RDB and DUMP formats might not maintain backward compatibility; keys are then carried by type."
        ),
        methods=frozenset({stages.COPY, stages.DUAL_WRITE, stages.NEW_CACHE}),
        stages=_ENTERING,
        applies=_both_known,
        check=_not_older,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-T14",
        title="the target's tier can still be created",
        plain="cache",
        source=pages.retirement(
            "Enterprise: no creation from 2026-04-01. Basic, Standard, Premium: retired on 2028-09-30."
        ),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=_to_be_made,
        check=_still_sold,
    ),
    Rule(
        id="RM-T15",
        title="creating an Azure Cache for Redis may be refused, as it retires",
        plain="cache",
        source=pages.retirement(
            "Azure Cache for Redis retires on 2028-09-30; new customers cannot create one from 2026-04-01."
        ),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=_to_be_made,
        check=_may_be_refused,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-T16",
        title="the target has the databases that the source uses",
        source=pages.import_export("Databases above the limit of the target are not imported, and nothing says so."),
        methods=COPYING_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_both_known,
        check=_databases_fit,
    ),
    Rule(
        id="RM-T17",
        title="a target with database 0 alone suits the source",
        source=pages.migrate(
            "Azure's own migration tool warns of several databases: Azure Managed Redis has database 0 only."
        ),
        methods=COPYING_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=_both_known,
        check=_one_database,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-T18",
        title="the target keeps the source's tier or a higher one",
        source=pages.tiers("Basic has one node and no SLA; clustering, persistence and import are Premium's."),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=_both_known,
        check=_no_lower_tier,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-T19",
        title="the target allows as many connections as the source",
        source=pages.configure("Maximum client connections by size."),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=_both_known,
        check=_clients_fit,
        level=Level.ADVISORY,
        severity="low",
    ),
    Rule(
        id="RM-T20",
        title="a managed target without clustering is small enough",
        plain="database",
        source=pages.managed("The clustering policy NoCluster is for sizes of at most 25 GB."),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE}),
        applies=lambda move: len(_managed_targets(move)) > 0,
        check=_policy_fits,
    ),
    Rule(
        id="RM-T21",
        title="applications' clients suit the clustering of a managed target",
        source=pages.managed(
            "OSSCluster needs a cluster client, and a cluster client cannot connect to EnterpriseCluster."
        ),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE, stages.CUTOVER}),
        applies=lambda move: there(move.source) and len(_managed_targets(move)) > 0,
        check=_clients_suit,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-T22",
        title="the target has the modules of the source",
        source=pages.managed("Modules can only be added when a database is created."),
        methods=COPYING_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=lambda move: move.source is not None and len(move.source.modules) > 0 and len(targets(move)) > 0,
        check=_modules_there,
    ),
)
