"""
The stack's configuration as checked models.

No Pulumi import: the program hands over plain strings, so that every refusal can be tested without an engine. A wrong
value is refused with one sentence that names the key, what was given and what is allowed, before anything is touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from redismove import stages
from redismove.errors import RedismoveError

NAMESPACE: Final = "redismove"
OBJECT_KEYS: Final = ("source", "target", "cutover", "copy", "copyJob", "storage", "persistence")
_CACHE_NAME = re.compile(r"^(?=.{1,63}$)[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$")
_CONTAINER_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_REDIS_SKU = re.compile(r"^(C[0-6]|P[1-5])$")
_MANAGED_SKU = re.compile(r"^(Balanced_B|MemoryOptimized_M|ComputeOptimized_X|FlashOptimized_A)\d+$")
_RULES: Final = {
    "method": "RM-S05",
    "stage": "RM-S05",
    "target": "RM-L03",
    "target.name": "RM-T10",
    "target.sku": "RM-T04",
}
"""Rules that a value breaks already by what it is; every other gate judges them too, on what was read live."""


def _full_id(what: str, path: str, name: str = "[^/]+") -> AfterValidator:
    prefix = "/subscriptions/{}/resourceGroups/{}/providers/"
    pattern = re.compile(prefix.format("[^/]+", "[^/]+") + re.escape(path).replace("NAME", name), re.IGNORECASE)

    def check(value: str) -> str:
        if value and not pattern.fullmatch(value):
            raise ValueError(f"the full id of {what}, like {prefix.format('ID', 'GROUP')}{path}")
        return value

    return AfterValidator(check)


_AccountId = Annotated[
    str, _full_id("a storage account", "Microsoft.Storage/storageAccounts/NAME", name="[a-z0-9]{3,24}")
]
_SubnetId = Annotated[str, _full_id("a subnet", "Microsoft.Network/virtualNetworks/NAME/subnets/NAME")]
_IdentityId = Annotated[
    str, _full_id("a user-assigned identity", "Microsoft.ManagedIdentity/userAssignedIdentities/NAME")
]


class SettingsError(RedismoveError):
    """A value of the stack's configuration that cannot be used."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class CacheReference(_Model):
    """
    Where a cache lives: resource group, name and, where it is not the one signed in to, subscription.
    """

    resource_group: str
    name: str
    subscription_id: str = ""

    @field_validator("resource_group")
    @classmethod
    def _resource_group(cls, value: str) -> str:
        if not re.fullmatch(r"[\w().-]{1,90}", value) or value.endswith("."):
            raise ValueError("1 to 90 letters, digits, _, -, ( ), and dots, not ending in a dot")
        return value

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _CACHE_NAME.fullmatch(value):
            raise ValueError("1 to 63 letters, digits and single hyphens, a letter or digit at both ends")
        return value


class SourceSettings(CacheReference):
    """
    The cache to move. *kind* is "redis" (Azure Cache for Redis) or "managed" (Azure Managed Redis, Enterprise); empty
    means that Azure is asked which of them has this name.
    """

    kind: Literal["", "redis", "managed"] = ""


class TargetSettings(CacheReference):
    """
    The cache to move to. *sku* is like "P2" for kind "redis" and like "Balanced_B10" for kind "managed"; empty
    means the source's own size. *clustering_policy* and *high_availability* are for kind "managed"; left out they
    follow from the source.
    """

    location: str
    sku: str = ""
    kind: Literal["redis", "managed"] = "redis"
    clustering_policy: Literal["", "OSSCluster", "EnterpriseCluster", "NoCluster"] = ""
    high_availability: Literal["", "Enabled", "Disabled"] = ""

    @field_validator("location")
    @classmethod
    def _location(cls, value: str) -> str:
        name = value.replace(" ", "").lower()
        if not re.fullmatch(r"[a-z]+[a-z0-9]*", name):
            raise ValueError('the name of an Azure region, like "westus2"')
        return name

    @field_validator("sku")
    @classmethod
    def _sku(cls, value: str) -> str:
        if value and not (_REDIS_SKU.fullmatch(value) or _MANAGED_SKU.fullmatch(value)):
            raise ValueError('C0 to C6 or P1 to P5 for kind "redis", like Balanced_B10 for kind "managed"')
        return value


class CutoverSettings(_Model):
    """
    Bounds of the cut-over. *limit_seconds* covers everything before applications are switched; *hold_milliseconds*
    is how long writes may be held; *hold* says how ("auto" takes CLIENT PAUSE WRITE where the server knows it, else
    the fence). *accept_open_fence*: a source that knows no pause and takes no access keys is only cut; every
    application holds by itself, as those on redismove's client do.
    """

    limit_seconds: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    hold_milliseconds: Annotated[int, Field(ge=100, le=600_000)] = 30_000
    hold: Literal["auto", "pause-write", "fence"] = "auto"
    accept_open_fence: bool = False


class CopySettings(_Model):
    """How fast the bulk copy may go; nothing means as fast as the source bears it."""

    keys_per_second: Annotated[float, Field(gt=0)] | None = None
    megabytes_per_second: Annotated[float, Field(gt=0)] | None = None


class CopyJobSettings(_Model):
    """
    Where the bulk copy runs: *where* "inside" the update, in a "container-group" near the source, or "auto": the latter
    where an *image* is named and the source holds more than *threshold_gb*. *subnet_id* is for caches that are not open
    to all networks; *registry_identity* is a user-assigned identity that may pull the image from its registry.
    """

    where: Literal["auto", "inside", "container-group"] = "auto"
    threshold_gb: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    image: str = ""
    cpu: Annotated[float, Field(gt=0)] = 2.0
    memory_gb: Annotated[float, Field(gt=0)] = 4.0
    subnet_id: _SubnetId = ""
    registry_identity: _IdentityId = ""

    @field_validator("image")
    @classmethod
    def _image(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z0-9][\w.:/@-]{0,500}", value):
            raise ValueError('the name of an image, like "team.azurecr.io/redismove@sha256:..."')
        return value

    @property
    def registry(self) -> str:
        """The host of the registry in the image's name, "" where it names none."""
        host, _, rest = self.image.partition("/")
        return host if rest and ("." in host or ":" in host) else ""


class StorageSettings(_Model):
    """
    The storage accounts that RDB files go through: full ids, each in the region of its cache. *container* is made on
    both where it is not there; the files in it are deleted in `cleanup` unless *keep_blobs*.
    """

    source: _AccountId = ""
    target: _AccountId = ""
    container: str = "redismove"
    keep_blobs: bool = False

    @field_validator("container")
    @classmethod
    def _container(cls, value: str) -> str:
        if not _CONTAINER_NAME.fullmatch(value):
            raise ValueError("3 to 63 lower-case letters, digits and single hyphens, a letter or digit at both ends")
        return value


class PersistenceSettings(_Model):
    """
    Persistence that the target gets at `cutover`, when no link forbids it any more: *kind* "rdb" or "aof", into
    *storage_account* (full id); for "rdb" a snapshot every *frequency_minutes*, of which the last *snapshots* are kept.
    """

    kind: Literal["", "rdb", "aof"] = ""
    storage_account: _AccountId = ""
    frequency_minutes: Literal[15, 30, 60, 360, 720, 1440] = 60
    snapshots: Annotated[int, Field(ge=1, le=100)] = 1


class MoveSettings(_Model):
    """Everything a stack's configuration says about its move."""

    method: str = stages.GEO_REPLICATION
    stage: str = stages.ADOPT
    source: SourceSettings
    target: TargetSettings | None = None
    confirm_delete: str = ""
    soak_hours: Annotated[float, Field(ge=0, le=8_760)] = 24.0
    evidence_max_age_hours: Annotated[float, Field(gt=0, le=8_760)] = 24.0
    accept_erase: str = ""
    accept_data_loss: str = ""
    enable_notifications: bool = False
    allow_marker_key: bool = False
    verify_depth: Literal["keys", "values", "full"] = "full"
    endpoint_file: str = ""
    settle_minutes: Annotated[float, Field(gt=0, le=1_440)] = 90.0
    cutover: CutoverSettings = CutoverSettings()
    copy_limits: Annotated[CopySettings, Field(alias="copy")] = CopySettings()
    copy_job: CopyJobSettings = CopyJobSettings()
    storage: StorageSettings = StorageSettings()
    persistence: PersistenceSettings = PersistenceSettings()
    catch_up: bool = True
    managed_identity: bool = False

    @field_validator("method")
    @classmethod
    def _method(cls, value: str) -> str:
        if value not in stages.METHODS:
            raise ValueError(", ".join(stages.METHODS))
        return value

    @field_validator("stage")
    @classmethod
    def _stage(cls, value: str) -> str:
        if value not in stages.STAGES:
            raise ValueError(", ".join(stages.STAGES))
        return value

    def model_post_init(self, _context: Any) -> None:
        """Refuse what is wrong only in combination."""
        if self.stage not in stages.way(self.method):
            raise SettingsError(
                _sentence(
                    "stage", self.stage, f"{', '.join(stages.way(self.method))} (the way of method {self.method})"
                )
            )
        if self.copy_job.where == "container-group" and not self.copy_job.image:
            raise SettingsError(_sentence("copyJob.image", "", "the name of an image with this package in it"))
        if self.copy_job.registry_identity and not self.copy_job.registry:
            raise SettingsError(
                _sentence("copyJob.image", self.copy_job.image, "an image whose name begins with its registry's host")
            )
        if self.target is None and self.stage != stages.ADOPT:
            raise SettingsError(
                "redismove:target: found nothing, allowed an object with resourceGroup, name and location "
                f"(stage {self.stage} needs it); set it with `pulumi config set --path redismove:target.name NAME` "
                f"[{_RULES['target']}]"
            )
        if self.persistence.kind and not self.persistence.storage_account:
            raise SettingsError(_sentence("persistence.storageAccount", "", "the full id of a storage account"))
        if self.persistence.kind and self.target is not None and self.target.kind == "managed":
            raise SettingsError(
                _sentence(
                    "persistence.kind", self.persistence.kind, "nothing for a managed target, which needs no storage"
                )
            )
        if self.target is not None and self.target.sku:
            managed = bool(_MANAGED_SKU.fullmatch(self.target.sku))
            if managed != (self.target.kind == "managed"):
                allowed = "like Balanced_B10" if self.target.kind == "managed" else "C0 to C6 or P1 to P5"
                raise SettingsError(
                    _sentence("target.sku", self.target.sku, f'{allowed} for kind "{self.target.kind}"')
                )
        if self.target is not None and self.target.kind != "managed":
            for key, found in (
                ("target.clusteringPolicy", self.target.clustering_policy),
                ("target.highAvailability", self.target.high_availability),
            ):
                if found:
                    raise SettingsError(_sentence(key, found, 'nothing for kind "redis" (it is for kind "managed")'))

    def endpoint_path(self, project_folder: Path, stack: str) -> Path:
        """
        Return the file that tells applications where to go; by default `.redismove/endpoint-STACK.json` of the
        project.
        """
        if self.endpoint_file:
            return (project_folder / Path(self.endpoint_file).expanduser()).absolute()
        return (project_folder / ".redismove" / f"endpoint-{stack}.json").absolute()


def _sentence(key: str, found: object, allowed: str) -> str:
    shown = json.dumps(found) if isinstance(found, (str, dict, list)) else str(found)
    if len(shown) > 120:
        shown = shown[:117] + "..."
    return (
        f"{NAMESPACE}:{key}: found {shown}, allowed {allowed}; "
        f"change it with `pulumi config set --path {NAMESPACE}:{key}`"
        f"{f' [{_RULES[key]}]' if key in _RULES else ''}"
    )


def read(config: Mapping[str, str]) -> MoveSettings:
    """
    Check *config* (keys with or without the namespace, values as Pulumi keeps them: text, objects as JSON).

    Raises:
        SettingsError: a key is unknown, missing or has a value that is not allowed; one sentence about the first one.
    """
    given: dict[str, Any] = {}
    known = {f.alias or name for name, f in MoveSettings.model_fields.items()}
    for full_key, text in sorted(config.items()):
        key = full_key.removeprefix(f"{NAMESPACE}:")
        if ":" in key:
            continue
        if key not in known:
            raise SettingsError(
                f"{NAMESPACE}:{key}: found a key that does not exist, allowed {', '.join(sorted(known))}; "
                f"remove it with `pulumi config rm {NAMESPACE}:{key}`"
            )
        value: Any = text
        if key in OBJECT_KEYS:
            try:
                value = json.loads(text) if isinstance(text, str) else text
            except ValueError:
                raise SettingsError(_sentence(key, text, "an object, set field by field with --path")) from None
            if value in ({}, "", None):
                continue
        given[key] = value
    if "source" not in given:
        raise SettingsError(
            "redismove:source: found nothing, allowed an object with resourceGroup and name; set it with "
            "`pulumi config set --path redismove:source.resourceGroup GROUP` and `pulumi config set --path "
            "redismove:source.name NAME`"
        )
    try:
        return MoveSettings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(_first(error)) from None


_ALLOWED_BY_TYPE: Final = {
    "missing": "a value",
    "extra_forbidden": "no such field",
    "bool_parsing": "true or false",
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "string_type": "text",
    "model_type": "an object, set field by field with --path",
}


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "configuration"
    if first["type"] == "missing":
        return (
            f"{NAMESPACE}:{key}: found nothing, allowed a value; "
            f"set it with `pulumi config set --path {NAMESPACE}:{key} VALUE`"
        )
    allowed = _ALLOWED_BY_TYPE.get(
        first["type"], first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    )
    return _sentence(key, first["input"], allowed)
