"""
Where an export is written and an import is read: containers and blobs of this home's storage accounts.

The storage is reached as Azure reaches it, through the signed address (SAS) that the request brought; with managed
identity, whose roles are not modelled, by the account's own key. Sources: "Import and Export data in Azure Cache for
Redis"; the text about a SAS that is poorly formatted stands in Azure's SDK for Java.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from localazure.arm.cache.errors import BadRequest, InvalidParameter, SasUnusable
from localazure.arm.cache.models import CacheRecord
from localazure.arm.storage.handlers import blob_service
from localazure.operations import OperationFailed
from localazure.regions import short_name

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from localazure.arm.storage.models import AccountRecord
    from localazure.azure import Azure

PAGE_BYTES = 512
BLOCK_BYTES = 4 << 20
SHORTEST_SAS = timedelta(hours=1)
START_IN_PAST = timedelta(minutes=15)
CLOCK_SLACK = timedelta(seconds=30)
TOO_SHORT = (
    "The SAS token end time (se) must be at least 1 hour from now and the start time (st), if given, must be at least "
    "15 minutes in the past."
)
POORLY_FORMATTED = "The SAS token is poorly formatted."
NO_MESSAGE = ": "
"""What Azure answered where a SAS lacked a right: nothing (Azure/azure-cli#30408)."""
RIGHTS_TO_EXPORT = set("rcwd")
"""
Rights without which an export fails. The documentation asks for read, add, create, write, delete, tag and move; a SAS
with read, write, delete and list was seen to fail.
"""
RIGHTS_TO_IMPORT = set("r")

NEWEST_RDB = {4: 8, 6: 10}
"""
Newest RDB file that a cache of a Redis version reads: on Azure 8 and 9. The redis-servers under a cache are 7.0, whose
files are of version 10, and 9 is 10 here.
"""


GZIP = b"\x1f\x8b"


class Owner(Protocol):
    """What stands where and exports or imports: a cache, or a cluster of Redis Enterprise."""

    name: str
    location: str
    subscription_id: str


@dataclass(frozen=True)
class Place:
    """A container, or one blob in it, and how it is reached."""

    account: str
    container: str
    blob: str
    query: str
    by_identity: bool

    @property
    def rights(self) -> set[str]:
        """Give the rights of the SAS."""
        return set("".join(parse_qs(self.query).get("sp", [])))


def place(azure: Azure, cache: Owner, url: object, *, parameter: str, by_identity: bool, begun: bool = False) -> Place:
    """
    Read the address of a container or blob and check what Azure checks before it begins.

    Args:
        azure: whose storage it is.
        cache: the cache that is exported, or imported into.
        url: as the request brought it.
        parameter: what it is called there.
        by_identity: the cache's identity is used; there is no SAS.
        begun: the operation is under way; how long the SAS is still valid was looked at before.

    Raises:
        ArmError: 400; the address, the time of its SAS, or the account cannot be used.
    """
    if not isinstance(url, str) or not url:
        raise InvalidParameter(parameter, "It is required.")
    parts = urlsplit(url)
    origin = urlsplit(azure.azurite.endpoint)
    path = [unquote(part) for part in parts.path.lstrip("/").split("/", 2)]
    if (parts.scheme, parts.netloc) != (origin.scheme, origin.netloc) or len(path) < 2 or not all(path):
        raise SasUnusable("The storage account or container does not exist.")
    account = azure.world.storage_accounts.get(path[0])
    if account is None or account.provisioning_state != "Succeeded":
        raise SasUnusable("The storage account or container does not exist.")
    if not by_identity and not begun:
        _check_sas(parts.query)
    _check_account(cache, account, by_identity=by_identity)
    return Place(account.name, path[1], path[2] if len(path) > 2 else "", parts.query, by_identity)


def _check_sas(query: str) -> None:
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    if not fields.get("sig") or not fields.get("sp") or not fields.get("se"):
        raise SasUnusable(POORLY_FORMATTED)
    end = _time(fields["se"])
    start = _time(fields["st"]) if "st" in fields else None
    now = datetime.now(UTC)
    if end is None or ("st" in fields and start is None):
        raise SasUnusable(POORLY_FORMATTED)
    if end < now + SHORTEST_SAS - CLOCK_SLACK:
        raise SasUnusable(TOO_SHORT)
    if start is not None and start > now - START_IN_PAST + CLOCK_SLACK:
        raise SasUnusable(TOO_SHORT)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _check_account(cache: Owner, account: AccountRecord, *, by_identity: bool) -> None:
    # The documentation states both rules; whether the service checks them is not known. It is checked here.
    if short_name(account.location) != short_name(cache.location):
        raise BadRequest(
            f"The storage account '{account.name}' is in '{account.location}'. It must be in the same region as the "
            f"cache '{cache.name}' ('{cache.location}')."
        )
    if account.subscription_id != cache.subscription_id and not by_identity:
        raise BadRequest(
            f"The storage account '{account.name}' is in another subscription than the cache '{cache.name}'. Use "
            "managed identity for a storage account of another subscription."
        )


@contextmanager
def container(azure: Azure, where: Place, *, rights: set[str], page_blobs: bool = True) -> Iterator[ContainerClient]:
    """
    Open the container of a place as the service does.

    Args:
        azure: whose storage it is.
        where: the place.
        rights: those of the SAS without which it is not tried.
        page_blobs: the account must take page blobs, which Premium writes.

    Raises:
        OperationFailed: the account lets nobody in, or storage refuses.
    """
    from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
    from azure.storage.blob import ContainerClient

    account = azure.world.storage_accounts.get(where.account)
    if account is None:
        raise OperationFailed("Conflict", f"The storage account '{where.account}' was not found.")
    _let_in(account, where, page_blobs=page_blobs)
    if not where.by_identity and not rights <= where.rights:
        raise OperationFailed("Conflict", NO_MESSAGE)
    try:
        if where.by_identity:
            with blob_service(azure, account) as blobs:
                yield blobs.get_container_client(where.container)
        else:
            with ContainerClient(
                f"{azure.azurite.endpoint}/{account.name}",
                where.container,
                credential=where.query,
                connection_verify=str(azure.home.ca_file),
                use_env_settings=False,
            ) as client:
                yield client
    except ResourceNotFoundError as error:
        raise OperationFailed("Conflict", f"The remote server returned an error: (404) {error.error_code}.") from None
    except HttpResponseError as error:
        if error.status_code == 403:
            raise OperationFailed("Conflict", NO_MESSAGE) from None
        raise OperationFailed("Conflict", f"The remote server returned an error: ({error.status_code}).") from None
    except AzureError as error:
        raise OperationFailed("Conflict", f"The storage account does not answer ({type(error).__name__}).") from None


def _let_in(account: AccountRecord, where: Place, *, page_blobs: bool) -> None:
    if page_blobs and not account.takes_page_blobs:
        raise OperationFailed(
            "Conflict", f"The storage account '{account.name}' does not support page blobs (kind '{account.kind}')."
        )
    trusted = where.by_identity and "AzureServices" in account.network_bypass
    if not account.open_to_all_networks and not trusted:
        raise OperationFailed("Conflict", "AuthorizationFailure: This request is not authorized to perform it.")
    if not account.allow_shared_key_access and not where.by_identity:
        raise OperationFailed("Conflict", "KeyBasedAuthenticationNotPermitted.")


def upload(client: ContainerClient, name: str, file: Path) -> None:
    """Write a file as a page blob, filled up to whole pages."""
    size = file.stat().st_size
    os.truncate(file, -(-size // PAGE_BYTES) * PAGE_BYTES)
    with file.open("rb") as stream:
        client.upload_blob(name, stream, blob_type="PageBlob", length=file.stat().st_size, overwrite=True)


def upload_compressed(client: ContainerClient, name: str, file: Path) -> None:
    """Write a file as a compressed block blob."""
    packed = file.with_name(f"{file.name}.gz")
    with file.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target)
    with packed.open("rb") as stream:
        client.upload_blob(name, stream, blob_type="BlockBlob", overwrite=True)


def decompress(file: Path) -> None:
    """Unpack a file in place where it is compressed (what an export of Redis Enterprise wrote)."""
    with file.open("rb") as stream:
        if stream.read(len(GZIP)) != GZIP:
            return
    unpacked = file.with_name(f"{file.name}.unpacked")
    try:
        with gzip.open(file, "rb") as source, unpacked.open("wb") as target:
            shutil.copyfileobj(source, target)
    except (OSError, EOFError, zlib.error):
        raise OperationFailed("Conflict", "The file is not a whole compressed file.") from None
    os.replace(unpacked, file)


def download(client: ContainerClient, name: str, file: Path) -> None:
    """Read a blob, page or block, into a file."""
    with file.open("wb") as stream:
        client.download_blob(name).readinto(stream)


def check_file(cache: CacheRecord, file: Path) -> None:
    """
    Refuse what is no RDB file, or one that is newer than the cache.

    Raises:
        OperationFailed: it is.
    """
    major = re.match(r"\d+", cache.redis_version)
    newest = NEWEST_RDB.get(int(major[0]) if major else 0, max(NEWEST_RDB.values()))
    check_version(file, cache.redis_version, newest)


def check_version(file: Path, redis_version: str, newest: int) -> None:
    """
    Refuse what is no RDB file, or one of a newer version than *newest*.

    Raises:
        OperationFailed: it is.
    """
    with file.open("rb") as stream:
        match = re.fullmatch(rb"REDIS(\d{4})", stream.read(9))
    if match is None:
        raise OperationFailed("Conflict", "The file is not in RDB format.")
    version = int(match[1])
    if version > newest:
        raise OperationFailed(
            "Conflict",
            f"The RDB file has version {version}. A cache with Redis {redis_version} supports versions up to {newest}.",
        )
