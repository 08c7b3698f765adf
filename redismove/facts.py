"""
Facts: what was read about a move, as plain frozen records that every gate judges alike.

No I/O and no clock here. A record is made by `redismove.azure` (live), by the program (what it is about to declare)
or by the policy pack (what a resource says); it travels as a plain dictionary through Pulumi and comes back
unchanged.
A value that Pulumi does not know yet in a preview is `NOT_KNOWN`: using it raises `NotKnownYet`, so that no rule can
take it for a pass.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeVar

_T = TypeVar("_T")


class NotKnownYet(Exception):
    """A rule asked for a value that Pulumi does not know yet in this preview."""


class _NotKnown:
    """A value not known yet. Comparing it, testing it or looking inside raises `NotKnownYet`."""

    def __repr__(self) -> str:
        return "<not known yet>"

    def __reduce__(self) -> str:
        return "NOT_KNOWN"

    def _refuse(self, *_: object) -> NoReturn:
        raise NotKnownYet("a value is not known yet in this preview")

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __len__ = __iter__ = _refuse
    __contains__ = __getitem__ = __add__ = __radd__ = __sub__ = __rsub__ = __int__ = __float__ = _refuse
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __neg__ = __abs__ = __round__ = _refuse
    # A look-up in a set or a dictionary must not quietly answer "not there".
    __hash__ = _refuse

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()


NOT_KNOWN: Final[Any] = _NotKnown()
NOT_KNOWN_TEXT: Final = "<not known yet>"

REDIS: Final = "redis"
"""`CacheFacts.product` of Azure Cache for Redis (`Microsoft.Cache/redis`)."""
MANAGED: Final = "managed"
"""`CacheFacts.product` of Azure Managed Redis and of Enterprise (`Microsoft.Cache/redisEnterprise`)."""


READS_ONLY: Final = "Data Reader"
"""The built-in data access policy that allows no command that writes (cache-configure-role-based-access-control)."""
REPORTED_ONLY: Final = ("maxclients", "preferred-data-archive-auth-method", "zonal-configuration")
"""Settings of a redisConfiguration that Azure reports and does not take (Microsoft.Cache/redis 2024-11-01)."""


@dataclass(frozen=True, kw_only=True)
class FirewallRule:
    """One IP range that may reach a cache."""

    name: str
    start_ip: str
    end_ip: str


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry:
    """One weekly window in which Azure may patch a cache."""

    day_of_week: str
    start_hour_utc: int
    maintenance_window: str = "PT5H"


@dataclass(frozen=True, kw_only=True)
class AccessPolicy:
    """One access policy somebody defined (the built-in ones are Azure's and need no copy)."""

    name: str
    permissions: str


@dataclass(frozen=True, kw_only=True)
class AccessPolicyAssignment:
    """One Entra principal that may use a cache under a policy."""

    name: str
    object_id: str
    object_id_alias: str
    access_policy_name: str


@dataclass(frozen=True, kw_only=True)
class LinkFacts:
    """
    A geo-replication link as a GET on the primary shows it.

    `exists` is False after a 404. `primary_id` and `secondary_id` are full resource ids.
    """

    primary_id: str
    secondary_id: str
    exists: bool = True
    provisioning_state: str = "Succeeded"


@dataclass(frozen=True, kw_only=True)
class CacheFacts:
    """
    One cache, live or as it is about to be declared (`exists` is False then).

    Of `Microsoft.Cache/redisEnterprise` (`product` "managed") it is a cluster with its one database: `sku_name` is like
    "Balanced_B10", `replicas_per_primary` 0 means no high availability, `redis_configuration` holds its eviction policy
    as Redis calls it, `clustering_policy` is OSSCluster, EnterpriseCluster or NoCluster, and `client_protocol`
    Encrypted or Plaintext, both on the one port. These two are "" for an Azure Cache for Redis.
    `shard_count` 0 means not clustered. `location` is the lower-case name without blanks ("eastus").
    `keys`, `databases_used` (numbers of the databases that hold keys) and `foreign_clients` are read from Redis,
    only where a stage needs them; None means not read.
    """

    id: str
    name: str
    resource_group: str
    subscription_id: str
    location: str
    exists: bool = True
    product: str = "redis"
    provisioning_state: str = "Succeeded"
    sku_name: str = "Premium"
    sku_family: str = "P"
    sku_capacity: int = 1
    redis_version: str = "6.0"
    shard_count: int = 0
    replicas_per_primary: int = 1
    zones: tuple[str, ...] = ()
    zonal_allocation_policy: str = ""
    rdb_backup_enabled: bool = False
    aof_backup_enabled: bool = False
    subnet_id: str = ""
    static_ip: str = ""
    private_endpoints: tuple[str, ...] = ()
    linked_servers: tuple[str, ...] = ()
    non_ssl_port_enabled: bool = False
    minimum_tls_version: str = ""
    public_network_access: str = "Enabled"
    access_keys_disabled: bool = False
    update_channel: str = ""
    redis_configuration: dict[str, str] = field(default_factory=dict)
    firewall_rules: tuple[FirewallRule, ...] = ()
    patch_schedule: tuple[ScheduleEntry, ...] = ()
    access_policies: tuple[AccessPolicy, ...] = ()
    access_policy_assignments: tuple[AccessPolicyAssignment, ...] = ()
    identity_type: str = ""
    user_assigned_identities: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    host_name: str = ""
    ssl_port: int = 6380
    port: int = 6379
    keys: int | None = None
    databases_used: tuple[int, ...] | None = None
    used_memory_bytes: int | None = None
    foreign_clients: tuple[str, ...] | None = None
    clustering_policy: str = ""
    client_protocol: str = ""
    geo_replication_group: str = ""
    modules: tuple[str, ...] = ()

    @property
    def is_clustered(self) -> bool:
        """Whether clients see a Redis cluster and must follow it."""
        return self.shard_count > 0 or self.clustering_policy == "OSSCluster"

    def policies_of(self, object_id: str) -> tuple[str, ...]:
        """Return the data access policies that an Entra principal has here."""
        return tuple(a.access_policy_name for a in self.access_policy_assignments if a.object_id == object_id)

    def admits(self, object_id: str) -> bool:
        """Whether the mover can work here, by access key or as this Entra principal; a policy to read is not enough."""
        return not self.access_keys_disabled or any(name != READS_ONLY for name in self.policies_of(object_id))

    @property
    def speaks_tls(self) -> bool:
        """Whether `ssl_port` speaks TLS; a managed database has one port, and may be made without."""
        return self.client_protocol != "Plaintext"

    @property
    def notify_keyspace_events(self) -> str:
        """The setting `notify-keyspace-events`; empty means off."""
        return self.redis_configuration.get("notify-keyspace-events", "")


@dataclass(frozen=True, kw_only=True)
class PopulationFacts:
    """
    How much of the source's live keys the target had before anything was carried over (method `dual-write`).

    `share` is 0 to 1, of `keys` that were compared; where they were drawn at random from more, `sampled`. Missing or
    different keys lack; `lacking_without_expiry` of them never expire, and only the cut-over brings those.
    `enough_at_s` is the Unix time at which the target will have `required_share` at the latest, -1 where waiting alone
    will not do. `words` says it in a sentence.
    """

    measured_at_s: float
    keys: int
    share: float
    required_share: float
    enough_at_s: float
    missing: int = 0
    different: int = 0
    lacking_without_expiry: int = 0
    longest_expiry_s: float = 0.0
    longest_lacking_expiry_s: float = 0.0
    sampled: bool = False
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class EvidenceFacts:
    """
    What a verification found, as the stack recorded it.

    `made_at_s` is Unix time. `keys_compared` counts keys of both sides once. `lag_bytes` is -1 where the service
    shows no replication offsets. `settings_differ` names settings of the target that are not the source's.
    `population` is there for method `dual-write`.
    """

    source_id: str
    target_id: str
    method: str
    made_at_s: float
    depth: str
    link_state: str = ""
    lag_bytes: int = 0
    keys_compared: int = 0
    only_in_source: int = 0
    only_in_target: int = 0
    different: int = 0
    settings_differ: tuple[str, ...] = ()
    first_differences: tuple[str, ...] = ()
    signature: str = ""
    population: PopulationFacts | None = None

    @property
    def differences(self) -> int:
        """Keys on one side only or not equal."""
        return self.only_in_source + self.only_in_target + self.different


@dataclass(frozen=True, kw_only=True)
class CutoverFacts:
    """
    The last cut-over as the Endpoint recorded it; `to_id` is where applications were sent. `finished_at_s` is Unix
    time.
    """

    from_id: str
    to_id: str
    finished_at_s: float
    differences: int
    fenced: bool
    hold_ms: float = 0.0
    keys_carried: int = 0


@dataclass(frozen=True, kw_only=True)
class EndpointFacts:
    """What applications are told now, read from where they read it. `phase` is "settled" or "fencing"."""

    resource_id: str
    state: str = "open"
    phase: str = "settled"
    generation: int = 0


@dataclass(frozen=True, kw_only=True)
class StorageFacts:
    """A storage account that RDB files go through, as Azure shows it. `location` is written as in `CacheFacts`."""

    id: str
    name: str
    location: str
    subscription_id: str
    kind: str = "StorageV2"
    hierarchical_namespace: bool = False
    open_to_all_networks: bool = True
    trusted_services: bool = True
    shared_key_access: bool = True


@dataclass(frozen=True, kw_only=True)
class CopyJobFacts:
    """
    The job that copies near the source, as the program is about to declare it: a container group of one container.

    `location` is written as in `CacheFacts`. `subnet_id` is "" where it reaches both caches by their public addresses.
    """

    name: str
    location: str
    subscription_id: str
    image: str
    cpu: float
    memory_gb: float
    subnet_id: str = ""


@dataclass(frozen=True, kw_only=True)
class ContainerGroupFacts:
    """A container group of this move that is there. `location` is written as in `CacheFacts`."""

    id: str
    name: str
    location: str


@dataclass(frozen=True, kw_only=True)
class CarriedFacts:
    """
    How the method brought the data over, as the stack recorded it (`rdb`, `copy`, `dual-write`; a link shows itself).

    `finished_at_s` is 0 while it is not complete; for `dual-write` both times are those of the window. `keys_read` were
    read from the source, `keys_written` answered by the target. `files_*` count RDB files, one a shard.
    `longest_expiry_s` is how long the longest-lived key with an expiry had still to live when the window opened.
    """

    source_id: str
    target_id: str
    method: str
    started_at_s: float = 0.0
    finished_at_s: float = 0.0
    keys_read: int = 0
    keys_written: int = 0
    files_exported: int = 0
    files_imported: int = 0
    longest_expiry_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Consent:
    """
    What the configuration accepts by name; an empty string accepts nothing.

    `catch_up` False: writes made after an RDB export began are not carried over at the cut-over (method `rdb` alone).
    `persistence`: what is switched on on the target at `cutover` ("rdb", "aof").
    `managed_identity`: caches reach storage accounts by their own identity and not by SAS (method `rdb` alone).
    """

    confirm_delete: str = ""
    accept_erase: str = ""
    accept_data_loss: str = ""
    enable_notifications: bool = False
    allow_marker_key: bool = False
    catch_up: bool = True
    managed_identity: bool = False
    persistence: str = ""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    What the team allows: hours of soak after `retire`, hours that evidence stays fresh, bytes not yet replicated at
    `unlink`.
    """

    soak_hours: float = 24.0
    evidence_max_age_hours: float = 24.0
    max_lag_bytes: int = 1_048_576


@dataclass(frozen=True, kw_only=True)
class Move:
    """
    Everything the gates judge: what is asked for, what was recorded, what is true now.

    `stage` is asked for; `previous` is the stage the stack recorded last ("" in a new stack), which says what was
    *asked for* then, not what was reached: only `source`, `target`, `link` and `endpoint`, read live, say that.
    `source` and `target` are None where no such cache exists. `declared_target` is the target as the program
    declares it. `fixed_source_id` and `fixed_target_id` are the ids fixed at `adopt` and `prepare` ("" where not
    fixed yet).
    `today` is an ISO date, `now_s` Unix time, both given by the caller. `stage_since_s` is when `previous` was
    first recorded. `copy_job` is None where the copy runs inside the update; `copy_groups` are the container groups of
    this move that are there, declared or left. `roles` is how messages call the two caches; where there is no move they
    are primary and secondary.
    """

    method: str
    stage: str
    source_id: str
    target_id: str
    today: str
    now_s: float
    previous: str = ""
    previous_method: str = ""
    stage_since_s: float = 0.0
    stack: str = ""
    fixed_source_id: str = ""
    fixed_target_id: str = ""
    source: CacheFacts | None = None
    target: CacheFacts | None = None
    declared_target: CacheFacts | None = None
    target_made_by_stack: bool = False
    link: LinkFacts | None = None
    evidence: EvidenceFacts | None = None
    cutover: CutoverFacts | None = None
    endpoint: EndpointFacts | None = None
    source_storage: StorageFacts | None = None
    target_storage: StorageFacts | None = None
    carried: CarriedFacts | None = None
    copy_job: CopyJobFacts | None = None
    copy_groups: tuple[ContainerGroupFacts, ...] = ()
    consent: Consent = field(default_factory=Consent)
    limits: Limits = field(default_factory=Limits)
    signed_in_subscription_id: str = ""
    signed_in_object_id: str = ""
    roles: tuple[str, str] = ("source", "target")


def to_dict(record: Any) -> Any:
    """Turn a record into plain dictionaries, lists, strings and numbers that Pulumi carries unchanged."""
    if record is NOT_KNOWN:
        return NOT_KNOWN_TEXT
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_dict(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, (list, tuple)):
        return [to_dict(item) for item in record]
    if isinstance(record, dict):
        return {str(key): to_dict(value) for key, value in record.items()}
    return record


def from_dict(kind: type[_T], data: Any) -> _T:
    """
    Build a record of *kind* from what `to_dict` made, or from a part of it.

    A field that is missing takes its default; one that Pulumi does not know yet, or that has no default, becomes
    `NOT_KNOWN`. Numbers may arrive as floats (Pulumi has no integers) and are turned back.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for f in dataclasses.fields(kind):  # type: ignore[arg-type]
        if f.name in data:
            values[f.name] = _convert(hints[f.name], data[f.name])
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            values[f.name] = NOT_KNOWN
    return kind(**values)


def _convert(hint: Any, value: Any) -> Any:
    if value is NOT_KNOWN or (isinstance(value, str) and value == NOT_KNOWN_TEXT):
        return NOT_KNOWN
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(a for a in typing.get_args(hint) if a is not type(None)), value)
    if origin is tuple:
        return tuple(_convert(typing.get_args(hint)[0], item) for item in value)
    if origin is dict:
        return {str(key): _convert(typing.get_args(hint)[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast("type[Any]", hint), value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is float and isinstance(value, int):
        return float(value)
    return value
