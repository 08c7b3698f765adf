"""Reading caches and links as facts, waiting until they are settled, and the few changes the mover makes by itself."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.mgmt.redis import models
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from redismove.azure import enterprise
from redismove.azure.errors import AzureError, plain, told_as_ours
from redismove.azure.session import Session
from redismove.facts import (
    MANAGED,
    REDIS,
    REPORTED_ONLY,
    AccessPolicy,
    AccessPolicyAssignment,
    CacheFacts,
    FirewallRule,
    LinkFacts,
    ScheduleEntry,
)

SETTLED: Final = frozenset({"Succeeded", "Failed", "Disabled", enterprise.NO_DATABASE})
_ID = re.compile(
    r"^/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Cache/(?P<type>redis|redisEnterprise)/(?P<name>[^/]+)",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class CacheId:
    """The parts of a cache's full resource id."""

    subscription_id: str
    resource_group: str
    name: str
    product: str = REDIS

    @classmethod
    def parse(cls, cache_id: str) -> CacheId:
        """Take a cache's full resource id (or that of a child of it) apart; AzureError where it is none."""
        match = _ID.match(cache_id)
        if not match:
            raise AzureError(f"resource id: found {cache_id!r}, allowed the full id of a cache")
        product = REDIS if match["type"].lower() == "redis" else MANAGED
        return cls(match["subscription"], match["group"], match["name"], product)


def same(first: str, second: str) -> bool:
    """Whether two resource ids name one resource; Azure returns them in other letter cases than it was given."""
    return first.lower() == second.lower()


def region(location: str | None) -> str:
    """Return a region's short name: "East US 2" is "eastus2"."""
    return (location or "").replace(" ", "").lower()


class Caches:
    """The caches of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    def of(cls, cache_id: str) -> Caches:
        """Return the caches of the subscription of *cache_id*, signed in as the environment says."""
        return cls(Session.from_environment(CacheId.parse(cache_id).subscription_id))

    def _told(self, what: str) -> Any:
        return told_as_ours(what, self._session.endpoint)

    def _client(self, cache_id: str) -> Any:
        return self._session.of(CacheId.parse(cache_id).subscription_id).redis

    def _enterprise(self, cache_id: str) -> tuple[Any, str, str]:
        """Return the client of redisEnterprise with the resource group and the name that its operations ask for."""
        parts = CacheId.parse(cache_id)
        return self._session.of(parts.subscription_id).enterprise, parts.resource_group, parts.name

    def _get(self, cache_id: str) -> Any | None:
        """Return what the GET of a cache answers, None where Azure has no such cache."""
        parts = CacheId.parse(cache_id)
        with self._told(f'reading cache "{parts.name}"'):
            if parts.product == MANAGED:
                return enterprise.get(*self._enterprise(cache_id))
            try:
                return self._client(cache_id).redis.get(parts.resource_group, parts.name)
            except ResourceNotFoundError:
                return None

    def read(self, cache_id: str) -> CacheFacts | None:
        """
        Read one cache with its firewall rules, patch schedule and access policies, live.

        Returns:
            None where Azure has no such cache.

        Raises:
            AzureError: Azure cannot be asked.
        """
        cache = self._get(cache_id)
        return None if cache is None else self._whole(cache_id, cache)

    def _whole(self, cache_id: str, cache: Any) -> CacheFacts:
        """Add to a GET's answer what only further requests tell."""
        parts = CacheId.parse(cache_id)
        with self._told(f'reading cache "{parts.name}"'):
            if parts.product == MANAGED:
                settled = cache.provisioning_state in ("Succeeded", "Updating")
                return enterprise.facts(
                    cache,
                    subscription_id=parts.subscription_id,
                    resource_group=parts.resource_group,
                    location=region(cache.cluster.location),
                    access_policy_assignments=enterprise.assignments(*self._enterprise(cache_id)) if settled else (),
                )
            details: dict[str, Any] = {}
            if cache.provisioning_state not in ("Creating", "Deleting"):
                details = self._details(self._client(cache_id), (parts.resource_group, parts.name))
            return _facts(cache, parts, details)

    def all_in_subscription(self) -> list[CacheFacts]:
        """Return every Azure Cache for Redis of the session's subscription, without firewall rules and policies."""
        with self._told("listing the caches of the subscription"):
            return [
                _facts(cache, CacheId.parse(cache.id or ""), {})
                for cache in self._session.redis.redis.list_by_subscription()
            ]

    def state(self, cache_id: str) -> str:
        """Return the provisioning state of a cache, "" where Azure has no such cache."""
        cache = self._get(cache_id)
        return "" if cache is None else _word(cache.provisioning_state)

    def _details(self, client: Any, where: tuple[str, str]) -> dict[str, Any]:
        return {
            "firewall_rules": tuple(
                FirewallRule(name=r.name.rsplit("/", 1)[-1], start_ip=r.start_ip, end_ip=r.end_ip)
                for r in client.firewall_rules.list(*where)
            ),
            "patch_schedule": tuple(
                ScheduleEntry(
                    day_of_week=str(e.day_of_week),
                    start_hour_utc=int(e.start_hour_utc),
                    maintenance_window=_duration(e.maintenance_window),
                )
                for schedule in client.patch_schedules.list_by_redis_resource(*where)
                for e in schedule.schedule_entries
            ),
            "access_policies": tuple(
                AccessPolicy(name=p.name.rsplit("/", 1)[-1], permissions=p.permissions or "")
                for p in client.access_policy.list(*where)
                if str(p.type_properties_type or "Custom").endswith("Custom")
            ),
            "access_policy_assignments": tuple(
                AccessPolicyAssignment(
                    name=a.name.rsplit("/", 1)[-1],
                    object_id=a.object_id or "",
                    object_id_alias=a.object_id_alias or "",
                    access_policy_name=a.access_policy_name or "",
                )
                for a in client.access_policy_assignment.list(*where)
            ),
        }

    def link(self, primary_id: str, secondary_id: str) -> LinkFacts:
        """Read the geo-replication link from *primary_id* to *secondary_id*; `exists` is False after a 404."""
        primary, secondary = CacheId.parse(primary_id), CacheId.parse(secondary_id)
        with self._told(f'reading the link "{primary.name}"-"{secondary.name}"'):
            try:
                link = self._client(primary_id).linked_server.get(primary.resource_group, primary.name, secondary.name)
            except ResourceNotFoundError:
                return LinkFacts(primary_id=primary_id, secondary_id=secondary_id, exists=False, provisioning_state="")
        role = _word(link.server_role)
        if role == "Primary":
            # The record of the other side: the cache that was asked is the secondary of this pair.
            return LinkFacts(
                primary_id=link.linked_redis_cache_id,
                secondary_id=primary_id,
                provisioning_state=link.provisioning_state or "",
            )
        return LinkFacts(
            primary_id=primary_id,
            secondary_id=link.linked_redis_cache_id or secondary_id,
            provisioning_state=link.provisioning_state or "",
        )

    def settled(
        self,
        cache_id: str,
        *,
        timeout_s: float,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> CacheFacts | None:
        """
        Read one cache once no management operation runs on it.

        Args:
            cache_id: full resource id.
            timeout_s: how long to wait for the operation under way.
            tell: called with one sentence every few seconds while waiting.

        Raises:
            AzureError: it did not settle in time.
        """
        for cache in self._watch(cache_id, timeout_s):
            if cache is None:
                return None
            state = _word(cache.provisioning_state)
            if state in SETTLED:
                return self._whole(cache_id, cache)
            tell(f'cache "{cache.name}" is {state}; waiting')
        raise AzureError(
            f'cache "{CacheId.parse(cache_id).name}": a management operation is still running after '
            f"{timeout_s:.0f} s, allowed none; wait for it in the portal, then run the same command again "
            "(redismove:settleMinutes sets the limit)"
        )

    def _watch(self, cache_id: str, timeout_s: float) -> Iterator[Any | None]:
        deadline = time.monotonic() + timeout_s
        pause_s = 0.25
        while True:
            yield self._get(cache_id)
            if time.monotonic() + pause_s > deadline:
                return
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 10.0)

    def access_keys(self, cache_id: str) -> tuple[str, str]:
        """Return the primary and the secondary access key. Never print or store them."""
        parts = CacheId.parse(cache_id)
        with self._told(f'listing the access keys of cache "{parts.name}"'):
            if parts.product == MANAGED:
                return enterprise.access_keys(*self._enterprise(cache_id))
            keys = self._client(cache_id).redis.list_keys(parts.resource_group, parts.name)
        return keys.primary_key or "", keys.secondary_key or ""

    def regenerate_key(self, cache_id: str, which: str, *, timeout_s: float = 300.0) -> str:
        """
        Make a new access key, *which* is "Primary" or "Secondary"; return it. The old one no longer logs in.

        *timeout_s* bounds the wait for a busy cache, and for the answer.
        """
        parts = CacheId.parse(cache_id)
        with self._told(f'regenerating the {which.lower()} access key of cache "{parts.name}"'):
            for attempt in _while_busy(timeout_s):
                with attempt:
                    if parts.product == MANAGED:
                        return enterprise.regenerate_key(*self._enterprise(cache_id), which)
                    keys = self._client(cache_id).redis.regenerate_key(
                        parts.resource_group,
                        parts.name,
                        models.RedisRegenerateKeyParameters(key_type=which),
                        read_timeout=timeout_s,
                    )
        return (keys.primary_key if which == "Primary" else keys.secondary_key) or ""

    def set_notifications(self, cache_id: str, events: str, *, timeout_s: float) -> None:
        """
        Set `notify-keyspace-events` of a cache through ARM (Redis refuses CONFIG there) and wait until it is settled.
        """
        self.configure(cache_id, {"notify-keyspace-events": events}, timeout_s=timeout_s)

    def configure(self, cache_id: str, changes: Mapping[str, str], *, timeout_s: float) -> None:
        """
        Change settings of a cache's redisConfiguration, leave all others, and wait until it is settled.

        Args:
            cache_id: full resource id.
            changes: settings by Azure's names; values may be secret and are told nowhere.
            timeout_s: how long to wait for a busy cache, and for the change.

        Raises:
            AzureError: it was refused or did not end in time.
        """
        parts = CacheId.parse(cache_id)
        with self._told(f'setting {", ".join(changes)} of cache "{parts.name}"'):
            for attempt in _while_busy(timeout_s):
                with attempt:
                    # The whole configuration goes along: whether a PATCH merges below it is not documented. Not so what
                    # says that persistence is on: without its connection string, which no GET shows, it is refused.
                    current = self._client(cache_id).redis.get(parts.resource_group, parts.name).redis_configuration
                    kept = {key: value for key, value in _writable(current).items() if key not in _PERSISTENCE}
                    # Not the SDK's model, which sends defaults for what was not named: it would open the network, bring
                    # access keys back and close the plain port.
                    body = json.dumps({"properties": {"redisConfiguration": {**kept, **changes}}}).encode()
                    self._client(cache_id).redis.begin_update(
                        parts.resource_group, parts.name, io.BytesIO(body)
                    ).result(timeout_s)
        self.settled(cache_id, timeout_s=timeout_s)

    def export_data(
        self,
        cache_id: str,
        *,
        container_url: str,
        prefix: str,
        identity_subscription_id: str = "",
        timeout_s: float,
        tell: Callable[[float], None] = lambda _elapsed_s: None,
    ) -> None:
        """
        Export a cache into blobs whose names begin with *prefix*, one a shard, and wait for the end.

        A managed cache takes no prefix and no identity: it names its blobs as it likes.

        Args:
            cache_id: full resource id.
            container_url: of the container, signed, or bare where the cache's own identity is used.
            prefix: of the names; Azure makes the rest of them.
            identity_subscription_id: the storage account's subscription, where the cache's own identity is used.
            timeout_s: how long to wait, before it begins and while it runs.
            tell: called every few seconds with the seconds since it began.

        Raises:
            AzureError: it was refused, failed (the sentence names the likely causes), or runs still.
        """
        parts = CacheId.parse(cache_id)

        def begin() -> Any:
            if parts.product == MANAGED:
                client, group, name = self._enterprise(cache_id)
                return client.databases.begin_export(group, name, enterprise.DATABASE, {"sasUri": container_url})
            body = models.ExportRDBParameters(
                format="RDB", prefix=prefix, container=container_url, **_archive_identity(identity_subscription_id)
            )
            return self._client(cache_id).redis.begin_export_data(parts.resource_group, parts.name, body)

        self._carried_out(f'export of cache "{parts.name}"', begin, _WHY_EXPORTS_FAIL, timeout_s=timeout_s, tell=tell)

    def import_data(
        self,
        cache_id: str,
        *,
        file_urls: list[str],
        identity_subscription_id: str = "",
        timeout_s: float,
        tell: Callable[[float], None] = lambda _elapsed_s: None,
    ) -> None:
        """
        Replace everything in a cache by what is in RDB files, and wait for the end; nobody can use it meanwhile.

        Args:
            cache_id: full resource id.
            file_urls: of all files, each signed, or bare where the cache's own identity is used.
            identity_subscription_id: the storage account's subscription, where the cache's own identity is used.
            timeout_s: how long to wait, before it begins and while it runs.
            tell: called every few seconds with the seconds since it began.

        Raises:
            AzureError: it was refused, failed (the sentence names the likely causes), or runs still.
        """
        parts = CacheId.parse(cache_id)

        def begin() -> Any:
            if parts.product == MANAGED:
                client, group, name = self._enterprise(cache_id)
                return client.databases.begin_import_method(group, name, enterprise.DATABASE, {"sasUris": file_urls})
            body = models.ImportRDBParameters(
                format="RDB", files=file_urls, **_archive_identity(identity_subscription_id)
            )
            return self._client(cache_id).redis.begin_import_data(parts.resource_group, parts.name, body)

        self._carried_out(f'import into cache "{parts.name}"', begin, _WHY_IMPORTS_FAIL, timeout_s=timeout_s, tell=tell)

    def _carried_out(
        self,
        what: str,
        begin: Callable[[], Any],
        why_it_fails: str,
        *,
        timeout_s: float,
        tell: Callable[[float], None],
    ) -> None:
        """Begin a long-running operation once the cache is not busy, and wait for its end."""
        with self._told(what):
            for attempt in _while_busy(timeout_s):
                with attempt:
                    poller = begin()
        began = time.monotonic()
        with self._told(what):
            try:
                while not poller.done():
                    if time.monotonic() - began > timeout_s:
                        raise AzureError(
                            f"{what}: found it still running after {timeout_s:.0f} s, allowed an end; wait for it in "
                            "the portal, then run the same command again (redismove:settleMinutes sets the limit)"
                        )
                    poller.wait(_TELL_EVERY_S)
                    tell(time.monotonic() - began)
                poller.result()
            except ClientAuthenticationError:
                raise
            except HttpResponseError as error:
                # Azure says 409 here whatever the cause, at times without a word.
                words = plain(getattr(error.error, "message", None) or error.message)
                said = words if words == "no message" else f'the message "{words}"'
                raise AzureError(
                    f"{what}: Azure ended it with {error.status_code} and {said}; {why_it_fails}; put that right and "
                    "run the same command again",
                    code="Failed",
                    status=error.status_code,
                ) from None


_PERSISTENCE: Final = frozenset(
    {
        "rdb-backup-enabled",
        "rdb-backup-frequency",
        "rdb-backup-max-snapshot-count",
        "aof-backup-enabled",
        "preferred-data-persistence-auth-method",
        "storage-subscription-id",
    }
)
_TELL_EVERY_S: Final = 5.0
_WHY_EXPORTS_FAIL: Final = (
    "likely causes: the SAS or the cache's identity lacks a right on the container, the storage account is in another "
    "region than the cache, closed to it by a firewall, without shared keys, or cannot hold page blobs (hierarchical "
    "namespace, kind BlobStorage), or the cache has no memory left for the export"
)
_WHY_IMPORTS_FAIL: Final = (
    "likely causes: a file is of a newer Redis than the cache, is incomplete or larger than the cache, the SAS or the "
    "cache's identity may not read it, or the storage account is in another region than the cache or closed to it by "
    "a firewall"
)


def _archive_identity(subscription_id: str) -> dict[str, str]:
    if not subscription_id:
        return {}
    return {"preferred_data_archive_auth_method": "ManagedIdentity", "storage_subscription_id": subscription_id}


def _configuration_text(configuration: Any) -> dict[str, str]:
    """Return a redisConfiguration as Azure writes it: names with hyphens, values as text."""
    if configuration is None:
        return {}
    serialised = (
        configuration.serialize(keep_readonly=True) if hasattr(configuration, "serialize") else dict(configuration)
    )
    return {str(key): str(value) for key, value in serialised.items() if value is not None}


def _writable(configuration: Any) -> dict[str, str]:
    return {k: v for k, v in _configuration_text(configuration).items() if k not in REPORTED_ONLY}


def _while_busy(timeout_s: float) -> Any:
    """Try again while a cache is busy with another management operation (409 Conflict), with growing pauses."""
    return Retrying(
        retry=retry_if_exception(lambda e: getattr(e, "status_code", None) == 409),
        wait=wait_exponential(multiplier=0.5, max=15),
        stop=stop_after_delay(timeout_s),
        reraise=True,
    )


def _duration(value: Any) -> str:
    if hasattr(value, "total_seconds"):
        return f"PT{int(value.total_seconds() // 3600)}H"
    return str(value or "PT5H")


def _word(value: Any) -> str:
    """Return the text of what Azure's models give as an enumeration, as text or not at all."""
    return str(getattr(value, "value", value) or "")


def _facts(cache: Any, parts: CacheId, details: dict[str, Any]) -> CacheFacts:
    configuration = _configuration_text(cache.redis_configuration)
    on = lambda key: configuration.get(key, "").lower() == "true"  # noqa: E731 - reads as the sentence it stands in
    identity = cache.identity
    return CacheFacts(
        id=f"/subscriptions/{parts.subscription_id}/resourceGroups/{parts.resource_group}/providers/Microsoft.Cache/Redis/{cache.name}",
        name=cache.name,
        resource_group=parts.resource_group,
        subscription_id=parts.subscription_id,
        location=region(cache.location),
        provisioning_state=_word(cache.provisioning_state),
        sku_name=_word(cache.sku.name),
        sku_family=_word(cache.sku.family),
        sku_capacity=int(cache.sku.capacity),
        redis_version=cache.redis_version or "",
        shard_count=int(cache.shard_count or 0),
        replicas_per_primary=int(cache.replicas_per_primary or cache.replicas_per_master or 1),
        zones=tuple(cache.zones or ()),
        zonal_allocation_policy=_word(cache.zonal_allocation_policy),
        rdb_backup_enabled=on("rdb-backup-enabled"),
        aof_backup_enabled=on("aof-backup-enabled"),
        subnet_id=cache.subnet_id or "",
        static_ip=cache.static_ip or "",
        private_endpoints=tuple(c.name or "" for c in cache.private_endpoint_connections or ()),
        linked_servers=tuple(linked.id for linked in cache.linked_servers or ()),
        non_ssl_port_enabled=bool(cache.enable_non_ssl_port),
        minimum_tls_version=_word(cache.minimum_tls_version),
        public_network_access=_word(cache.public_network_access) or "Enabled",
        access_keys_disabled=bool(cache.disable_access_key_authentication),
        update_channel=_word(cache.update_channel),
        redis_configuration=configuration,
        identity_type=_word(identity.type) if identity else "",
        user_assigned_identities=tuple(identity.user_assigned_identities or {}) if identity else (),
        tags=dict(cache.tags or {}),
        host_name=cache.host_name or "",
        ssl_port=int(cache.ssl_port or 6380),
        port=int(cache.port or 6379),
        **details,
    )
