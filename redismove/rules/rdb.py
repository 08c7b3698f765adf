"""Export and import by RDB files: who may do it, through which storage accounts, and whether every file arrived."""

from __future__ import annotations

from typing import Final

from redismove import stages
from redismove.facts import MANAGED, REDIS, CacheFacts, Move, StorageFacts
from redismove.rules import pages
from redismove.rules.model import Broken, Rule
from redismove.rules.subjects import absent, carried, known, source_called, target_called, targets, there
from redismove.rules.tiers import AZURE_MANAGED, ENTERPRISE, ENTERPRISE_FLASH, PREMIUM, tier

_RDB: Final = frozenset({stages.RDB})
_ENTERING: Final = frozenset({stages.PREPARE, stages.REPLICATE})
_MOVING: Final = frozenset({stages.REPLICATE})

IMPORTING: Final = (PREMIUM, ENTERPRISE, ENTERPRISE_FLASH, AZURE_MANAGED)
_PAGE_BLOB_KINDS: Final = ("Storage", "StorageV2")


def _uses_storage(move: Move) -> bool:
    # Once the files are imported the accounts may go.
    return not carried(move)


def _accounts(move: Move) -> list[tuple[str, str, StorageFacts, CacheFacts | None]]:
    """Return side, name for messages, account and cache of both accounts, those that are there."""
    target = targets(move)[0][1] if targets(move) else None
    found = (("source", move.source_storage, move.source), ("target", move.target_storage, target))
    return [
        (side, f'storage account "{account.name}" of the {side}', account, cache)
        for side, account, cache in found
        if account is not None
    ]


def _has_accounts(move: Move) -> bool:
    return _uses_storage(move) and len(_accounts(move)) > 0


def _target_imports(move: Move) -> Broken | None:
    for called, cache in targets(move):
        if tier(cache) not in IMPORTING:
            return Broken(
                thing=called,
                found=f"tier {tier(cache)}",
                allowed="Premium, Enterprise, Enterprise Flash or Azure Managed Redis: the others cannot import",
                cure="set redismove:target.sku to P1 to P5, or redismove:target.kind to managed",
            )
    return None


def _not_from_managed(move: Move) -> Broken | None:
    for called, cache in targets(move):
        if known(move.source).product == MANAGED and cache.product == REDIS:
            return Broken(
                thing=called,
                found=f"tier {tier(cache)}",
                allowed=f"Azure Managed Redis: it cannot read the files of {tier(known(move.source))}",
                cure="set redismove:target.kind to managed, or redismove:method to copy",
            )
    return None


def _accounts_named(move: Move) -> Broken | None:
    for side, account in (("source", move.source_storage), ("target", move.target_storage)):
        if absent(account):
            return Broken(
                thing=f"redismove:storage.{side}",
                found="no such storage account",
                allowed=f"a storage account in the region of the {side}, which RDB files go through",
                cure=f"set it with `pulumi config set --path redismove:storage.{side} ACCOUNT_ID`",
            )
    return None


def _same_region(move: Move) -> Broken | None:
    for side, called, account, cache in _accounts(move):
        if cache is not None and account.location != cache.location:
            return Broken(
                thing=called,
                found=f"region {account.location}",
                allowed=f"{cache.location}, the region of the {side}",
                cure=f"name an account of that region in redismove:storage.{side}; files are copied across by the move",
            )
    return None


def _page_blobs(move: Move) -> Broken | None:
    for side, called, account, cache in _accounts(move):
        found = "a hierarchical namespace" if account.hierarchical_namespace else ""
        if not found and account.kind not in _PAGE_BLOB_KINDS:
            found = f"kind {account.kind}"
        if found and (cache is None or cache.product == REDIS):
            return Broken(
                thing=called,
                found=found,
                allowed="a general-purpose account without one: Premium exports page blobs",
                cure=f"name such an account in redismove:storage.{side}",
            )
    return None


def _reachable(move: Move) -> Broken | None:
    for side, called, account, cache in _accounts(move):
        if account.open_to_all_networks:
            continue
        if cache is not None and cache.product == MANAGED:
            return Broken(
                thing=called,
                found="closed to public networks",
                allowed="open: Azure Managed Redis reaches no account behind a firewall or a private endpoint",
                cure=f"name another account in redismove:storage.{side}, or open this one while the move uses it",
            )
        if not (move.consent.managed_identity and account.trusted_services):
            return Broken(
                thing=called,
                found="closed to public networks",
                allowed="open, or trusted Azure services let in and the cache's own identity used",
                cure=f"set redismove:managedIdentity to true and let trusted services in, or open the {side}'s account",
            )
    return None


def _signed_urls(move: Move) -> Broken | None:
    for side, called, account, cache in _accounts(move):
        by_identity = move.consent.managed_identity and cache is not None and cache.product == REDIS
        if not by_identity and not account.shared_key_access:
            return Broken(
                thing=called,
                found="shared keys disabled",
                allowed="enabled, as signed URLs (SAS) need them",
                cure=f"set redismove:managedIdentity to true, or name another account in redismove:storage.{side}",
            )
    return None


def _same_subscription(move: Move) -> Broken | None:
    for side, called, account, cache in _accounts(move):
        if cache is None or move.consent.managed_identity:
            continue
        if account.subscription_id.lower() != cache.subscription_id.lower():
            return Broken(
                thing=called,
                found=f"subscription {account.subscription_id}",
                allowed=f"{cache.subscription_id}, that of the {side}, unless its identity is used",
                cure=f"name another account in redismove:storage.{side}, or set redismove:managedIdentity to true",
            )
    return None


def _has_identity(move: Move) -> Broken | None:
    for called, cache in ((source_called(move), move.source), *targets(move)):
        if cache is not None and cache.product == REDIS and not cache.identity_type:
            return Broken(
                thing=called,
                found="no managed identity",
                allowed="one, with the role Storage Blob Data Contributor on its storage account",
                cure="give the cache an identity and that role, or set redismove:managedIdentity to false",
            )
    return None


def _every_file(move: Move) -> Broken | None:
    record = move.carried
    called = f"the files of {source_called(move)}"
    again = "go back to replicate: `pulumi config set redismove:stage replicate`"
    if not carried(move) or record is None:
        return Broken(
            thing=called, found="not imported", allowed=f"all imported into {target_called(move)}", cure=again
        )
    if record.files_imported == record.files_exported and record.files_exported > 0:
        return None
    return Broken(
        thing=called,
        found=f"{record.files_imported} of {record.files_exported} imported",
        allowed="all of them: each shard has its own",
        cure=again,
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-R01",
        title="the target can import RDB files",
        source=pages.article("Both caches are Premium tier or Enterprise tier caches."),
        methods=_RDB,
        stages=_ENTERING,
        applies=lambda move: len(targets(move)) > 0,
        check=_target_imports,
    ),
    Rule(
        id="RM-R02",
        title="files of Azure Managed Redis or Enterprise go to the like",
        source=pages.import_export(
            "A file exported from Enterprise or Azure Managed Redis cannot be imported into Premium."
        ),
        methods=_RDB,
        stages=_ENTERING,
        applies=lambda move: there(move.source) and len(targets(move)) > 0,
        check=_not_from_managed,
    ),
    Rule(
        id="RM-R03",
        title="a storage account is named on each side",
        source=pages.import_export("Export writes to, and import reads from, a container of a storage account."),
        methods=_RDB,
        stages=_MOVING,
        applies=_uses_storage,
        check=_accounts_named,
    ),
    Rule(
        id="RM-R04",
        title="each storage account is in the region of its cache",
        source=pages.import_export("The storage account must be in the same region as the cache."),
        methods=_RDB,
        stages=_ENTERING,
        applies=_has_accounts,
        check=_same_region,
    ),
    Rule(
        id="RM-R05",
        title="each storage account takes page blobs",
        source=pages.import_export("Page blobs need a general-purpose account without hierarchical namespace."),
        methods=_RDB,
        stages=_ENTERING,
        applies=_has_accounts,
        check=_page_blobs,
    ),
    Rule(
        id="RM-R06",
        title="each cache reaches its storage account",
        source=pages.import_export(
            "A storage firewall works only with trusted services and managed identity, on Premium."
        ),
        methods=_RDB,
        stages=_ENTERING,
        applies=_has_accounts,
        check=_reachable,
    ),
    Rule(
        id="RM-R07",
        title="signed URLs can be made for each storage account",
        source=pages.import_export("Access is by SAS or by managed identity."),
        methods=_RDB,
        stages=_ENTERING,
        applies=_has_accounts,
        check=_signed_urls,
    ),
    Rule(
        id="RM-R08",
        title="each storage account is in its cache's subscription, unless identities are used",
        source=pages.import_export("A storage account in another subscription needs managed identity."),
        methods=_RDB,
        stages=_ENTERING,
        applies=_has_accounts,
        check=_same_subscription,
    ),
    Rule(
        id="RM-R09",
        title="caches that use their identity have one",
        source=pages.import_export("The cache's identity needs the role Storage Blob Data Contributor."),
        methods=_RDB,
        stages=_MOVING,
        applies=lambda move: _uses_storage(move) and move.consent.managed_identity,
        check=_has_identity,
    ),
    Rule(
        id="RM-R10",
        title="every exported file is imported before it is verified",
        source=pages.import_export("Import takes all files of all shards at once; what is left out is not there."),
        methods=_RDB,
        stages=frozenset({stages.VERIFY}),
        check=_every_file,
    ),
)
