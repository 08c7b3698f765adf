"""Everything this Azure knows: one file, written atomically at each change."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from localazure.arm.cache.models import CacheRecord
from localazure.arm.containerinstance.models import ContainerGroupRecord
from localazure.arm.enterprise.models import ClusterRecord
from localazure.arm.resources.models import GroupRecord
from localazure.arm.storage.models import AccountRecord
from localazure.errors import LocalAzureError
from localazure.home import Home, write_private
from localazure.operations import OperationRecord

FORMAT = 1


class World(BaseModel):
    """
    The state of one local Azure.

    Attributes:
        groups: by `subscription/name` in lower case.
        caches: by name in lower case; names are unique in the whole cloud.
        enterprise_clusters: by resource id in lower case.
        storage_accounts: by name; names are unique in the whole cloud.
        container_groups: by `subscription/group/name` in lower case.
        operations: by id.
        last_address: the last number given to a cache within the home's address prefix.
        redis_token_hashes: SHA-256 of tokens issued for Redis, with the time they end (seconds since 1970).
    """

    format: int = FORMAT
    groups: dict[str, GroupRecord] = {}
    caches: dict[str, CacheRecord] = {}
    enterprise_clusters: dict[str, ClusterRecord] = {}
    storage_accounts: dict[str, AccountRecord] = {}
    container_groups: dict[str, ContainerGroupRecord] = {}
    operations: dict[str, OperationRecord] = {}
    last_address: int = 0
    redis_token_hashes: dict[str, float] = {}


def load_world(home: Home) -> World:
    """
    Read the state of a home; empty when it is new.

    Raises:
        LocalAzureError: the file is damaged or of another version.
    """
    try:
        text = home.state_file.read_text("utf-8")
    except FileNotFoundError:
        return World()
    try:
        return World.model_validate_json(text)
    except ValidationError as error:
        raise LocalAzureError(
            f"{home.state_file} cannot be read ({error.error_count()} wrong fields): stop, remove the folder "
            f"{home.root} and start again."
        ) from None


def save_world(home: Home, world: World) -> None:
    """Write the state, whole or not at all."""
    write_private(home.state_file, world.model_dump_json(indent=1) + "\n")
