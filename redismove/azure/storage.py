"""
Storage accounts and the blobs that RDB files travel in.

Keys are read when they are needed and kept nowhere; a signed address (SAS) is handed on inside `SignedUrl`, which shows
itself without its signature. Facts: "Import and Export data in Azure Cache for Redis" for what a cache asks of its
storage; "Copy Blob" for copies between accounts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import (
    BlobBlock,
    BlobSasPermissions,
    BlobServiceClient,
    BlobType,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from redismove.azure.caches import region
from redismove.azure.errors import AzureError, told_as_ours
from redismove.azure.session import Session
from redismove.facts import StorageFacts

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

EXPORT_RIGHTS: Final = ContainerSasPermissions.from_string("racwdltm")
"""What an export is documented to need (read, add, create, write, delete, tag, move), and list."""
IMPORT_RIGHTS: Final = BlobSasPermissions(read=True)
SHORTEST_SAS_S: Final = 3_600.0
"""A SAS must be valid for at least an hour when an export or import begins."""
CHUNK_BYTES: Final = 4 << 20
"""So much of a blob is in memory where it has to go through this machine: the most that one page write takes."""
_COMPLETE: Final = "redismove_complete"
_POLL_S: Final = 1.0
_TELL_EVERY_S: Final = 5.0
_CLOCK_SLACK_S: Final = 300.0

_ACCOUNT_ID: Final = re.compile(
    r"^/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Storage/storageAccounts/(?P<name>[^/]+)$",
    re.IGNORECASE,
)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class AccountId:
    """The parts of a storage account's full resource id."""

    subscription_id: str
    resource_group: str
    name: str

    @classmethod
    def parse(cls, account_id: str) -> AccountId:
        """Take a storage account's full resource id apart; AzureError where it is none."""
        match = _ACCOUNT_ID.match(account_id)
        if not match:
            raise AzureError(f"resource id: found {account_id!r}, allowed the full id of a storage account")
        return cls(match["subscription"], match["group"], match["name"])


class SignedUrl:
    """An address with a signature in it: whoever has it may do what it was signed for."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def reveal(self) -> str:
        """Return the whole address; never print or store it."""
        return self._url

    def __repr__(self) -> str:
        return f"SignedUrl({self._url.partition('?')[0]!r})"

    __str__ = __repr__


class ConnectionString:
    """What gives a cache access to a storage account, with the account's key in it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the whole text; never print or store it."""
        return self._text

    def __repr__(self) -> str:
        return "ConnectionString(...)"

    __str__ = __repr__


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One blob as a list shows it."""

    name: str
    size_bytes: int


def read_account(session: Session, account_id: str) -> StorageFacts | None:
    """
    Read one storage account, live.

    Returns:
        None where Azure has no such account.

    Raises:
        AzureError: Azure cannot be asked.
    """
    parts = AccountId.parse(account_id)
    with told_as_ours(f'reading storage account "{parts.name}"', session.endpoint):
        try:
            account = session.of(parts.subscription_id).storage.storage_accounts.get_properties(
                parts.resource_group, parts.name
            )
        except ResourceNotFoundError:
            return None
    rules = account.network_rule_set
    closed = _text(account.public_network_access) == "Disabled" or (
        rules is not None and _text(rules.default_action) == "Deny"
    )
    return StorageFacts(
        id=account_id,
        name=parts.name,
        location=region(account.location),
        subscription_id=parts.subscription_id,
        kind=_text(account.kind),
        hierarchical_namespace=bool(account.is_hns_enabled),
        open_to_all_networks=not closed,
        trusted_services=rules is None or "AzureServices" in (_text(rules.bypass) or "AzureServices"),
        shared_key_access=account.allow_shared_key_access is not False,
    )


def _text(value: Any) -> str:
    """Return what Azure says, which the SDK gives as text or as a member of an enumeration."""
    return str(getattr(value, "value", value) or "")


class Container:
    """One container of a storage account, and what is done to the blobs in it."""

    def __init__(self, session: Session, account: AccountId, name: str, service: BlobServiceClient, key: str) -> None:
        self._session = session
        self._account = account
        self._service = service
        self._key = key
        self._client: ContainerClient = service.get_container_client(name)
        self.name = name

    def __repr__(self) -> str:
        return f"Container({self.place!r})"

    @property
    def place(self) -> str:
        """How messages call it."""
        return f"{self._account.name}/{self.name}"

    @property
    def subscription_id(self) -> str:
        """The subscription of the account."""
        return self._account.subscription_id

    @property
    def by_identity(self) -> bool:
        """Whether it is reached by Entra identities, without the account's keys."""
        return not self._key

    @property
    def url(self) -> str:
        """The address, without a signature."""
        return self._client.url

    def _told(self, what: str) -> Any:
        return told_as_ours(f"{what} (container {self.place})", self._service.primary_endpoint)

    def make(self) -> None:
        """Make sure that the container is there."""
        with self._told("making the container"):
            try:
                self._client.create_container()
            except ResourceExistsError:
                return

    def list(self, prefix: str) -> list[Blob]:
        """Return the blobs whose names begin with *prefix*, by name."""
        with self._told("listing the blobs"):
            try:
                found = [
                    Blob(name=blob.name, size_bytes=int(blob.size))
                    for blob in self._client.list_blobs(name_starts_with=prefix)
                ]
            except ResourceNotFoundError:
                return []
        return sorted(found, key=lambda blob: blob.name)

    def read(self, name: str, length: int | None = None) -> bytes | None:
        """Return the content of a small blob, or its first *length* bytes; None where there is no such blob."""
        with self._told(f'reading blob "{name}"'):
            try:
                return self._client.get_blob_client(name).download_blob(0 if length else None, length).readall()
            except ResourceNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small blob, in place of one that is there."""
        with self._told(f'writing blob "{name}"'):
            self._client.upload_blob(name, content, overwrite=True)

    def remove(self, names: Sequence[str]) -> None:
        """Delete blobs; those that are gone already are no error."""
        for name in names:
            with self._told(f'deleting blob "{name}"'):
                try:
                    self._client.delete_blob(name, delete_snapshots="include")
                except ResourceNotFoundError:
                    continue

    # -- addresses for others

    def for_export(self, *, valid_s: float, signed: bool = False) -> SignedUrl:
        """
        Return the container's address for an export, valid for *valid_s* seconds and the hour Azure asks for.

        It has a signature where the account's keys are used, and where *signed* asks for one: a managed cache reaches
        storage in no other way.
        """
        if self.by_identity and not signed:
            return SignedUrl(self.url)
        expiry = _from_now(valid_s)
        with self._told("signing the address"):
            sas = generate_container_sas(
                self._account.name, self.name, permission=EXPORT_RIGHTS, expiry=expiry, **self._signing(expiry)
            )
        return SignedUrl(f"{self.url}?{sas}")

    def _signing(self, expiry: datetime) -> dict[str, Any]:
        """Return what signs an address: the account's key, or one that Entra delegates."""
        if not self.by_identity:
            return {"account_key": self._key}
        begin = datetime.now(UTC) - timedelta(seconds=_CLOCK_SLACK_S)
        return {"user_delegation_key": self._service.get_user_delegation_key(begin, expiry)}

    def for_import(self, name: str, *, valid_s: float, signed: bool = False) -> SignedUrl:
        """
        Return a blob's address for an import, to be read for *valid_s* seconds and the hour that Azure asks for.

        *signed* is as for `for_export`.
        """
        if self.by_identity and not signed:
            return SignedUrl(self._client.get_blob_client(name).url)
        return self._readable(name, valid_s=valid_s)

    def _readable(self, name: str, *, valid_s: float) -> SignedUrl:
        """Return a blob's address with a SAS to read it: by the account's key, or by one that Entra delegates."""
        expiry = _from_now(valid_s)
        with self._told(f'signing the address of blob "{name}"'):
            sas = generate_blob_sas(
                self._account.name,
                self.name,
                name,
                permission=IMPORT_RIGHTS,
                expiry=expiry,
                **self._signing(expiry),
            )
        return SignedUrl(f"{self._client.get_blob_client(name).url}?{sas}")

    # -- copies

    def copy_from(self, other: Container, blobs: Sequence[Blob], *, timeout_s: float, tell: Tell) -> None:
        """
        Bring *blobs* of another account's container here, by the storage service itself; it waits for the end.

        What is here already in its full size is kept. Where the service refuses, a blob is read and written through
        this machine, `CHUNK_BYTES` at a time.

        Raises:
            AzureError: a blob could not be brought over, or not in *timeout_s* seconds.
        """
        deadline = time.monotonic() + timeout_s
        here = {blob.name: blob.size_bytes for blob in self.list(_common_prefix([blob.name for blob in blobs]))}
        waiting: list[Blob] = []
        for blob in blobs:
            state = self._copy_state(blob.name)[0] if blob.name in here else ""
            if state == "success" and here[blob.name] == blob.size_bytes:
                continue
            if state == "pending" or self._begin_copy(other, blob, valid_s=timeout_s, tell=tell):
                waiting.append(blob)
            else:
                self._stream(other, blob, deadline=deadline, tell=tell)
        last_told = time.monotonic()
        while waiting:
            blob = waiting[0]
            status, progress = self._copy_state(blob.name)
            if status == "success":
                waiting.pop(0)
                continue
            if status != "pending":
                tell(f'blob "{blob.name}": the copy by the storage service is "{status}"')
                self._stream(other, blob, deadline=deadline, tell=tell)
                waiting.pop(0)
                continue
            now = time.monotonic()
            if now > deadline:
                raise AzureError(
                    f'blob "{blob.name}": found a copy to {self.place} that is at {progress} after {timeout_s:.0f} s, '
                    "allowed a finished one; run the same command again, or set redismove:settleMinutes higher"
                )
            if now - last_told > _TELL_EVERY_S:
                last_told = now
                tell(f'blob "{blob.name}": {progress} bytes copied, {len(waiting)} of {len(blobs)} files to go')
            time.sleep(_POLL_S)

    def _begin_copy(self, other: Container, blob: Blob, *, valid_s: float, tell: Tell) -> bool:
        """Ask the storage service to copy; whether it took it up."""
        source = other._readable(blob.name, valid_s=valid_s)
        with self._told(f'copying blob "{blob.name}"'):
            try:
                self._client.get_blob_client(blob.name).start_copy_from_url(source.reveal())
            except HttpResponseError as error:
                tell(
                    f'blob "{blob.name}": the storage service does not copy it to {self.place} '
                    f"({_text(getattr(error, 'error_code', None)) or error.status_code}); it goes through this machine"
                )
                return False
        return True

    def _copy_state(self, name: str) -> tuple[str, str]:
        """Return how far a blob's copy is ("success", "pending" or another word) and its progress."""
        with self._told(f'reading the properties of blob "{name}"'):
            found = self._client.get_blob_client(name).get_blob_properties()
        # A blob that goes through this machine has its full size from the beginning: only its mark says that all is in.
        status = "success" if (found.metadata or {}).get(_COMPLETE) else _text(found.copy.status)
        return status, str(found.copy.progress or "no")

    def _stream(self, other: Container, blob: Blob, *, deadline: float, tell: Tell) -> None:
        """Read a blob there and write it here, piece by piece."""
        told = time.monotonic()

        def pieces(source: BlobClient) -> Iterator[tuple[int, bytes]]:
            nonlocal told
            for begin in range(0, blob.size_bytes, CHUNK_BYTES):
                now = time.monotonic()
                if now > deadline:
                    raise AzureError(
                        f'blob "{blob.name}": found {begin:,} of {blob.size_bytes:,} bytes copied when the time was '
                        "over, allowed all; set redismove:settleMinutes higher, or run this nearer to the data"
                    )
                if now - told > _TELL_EVERY_S:
                    told = now
                    tell(f'blob "{blob.name}": {begin:,} of {blob.size_bytes:,} bytes copied')
                length = min(CHUNK_BYTES, blob.size_bytes - begin)
                yield begin, source.download_blob(begin, length).readall()

        with self._told(f'copying blob "{blob.name}" from {other.place}'):
            source = other._client.get_blob_client(blob.name)
            target = self._client.get_blob_client(blob.name)
            if source.get_blob_properties().blob_type == BlobType.PAGEBLOB:
                target.create_page_blob(blob.size_bytes)
                for begin, piece in pieces(source):
                    if piece.strip(b"\0"):
                        target.upload_page(piece, offset=begin, length=len(piece))
                target.set_blob_metadata({_COMPLETE: "true"})
            else:
                blocks = []
                for begin, piece in pieces(source):
                    number = f"{begin // CHUNK_BYTES:08d}"
                    target.stage_block(number, piece)
                    blocks.append(BlobBlock(block_id=number))
                target.commit_block_list(blocks, metadata={_COMPLETE: "true"})


@contextmanager
def open_container(session: Session, account_id: str, name: str, *, by_identity: bool) -> Iterator[Container]:
    """
    Open container *name* of a storage account.

    Args:
        session: who we are.
        account_id: full resource id.
        name: of the container; it need not be there yet.
        by_identity: log in to the blobs with the session's own credential (role Storage Blob Data Contributor) and
            sign nothing with the account's key, which is read otherwise.

    Raises:
        AzureError: there is no such account, or its keys cannot be listed.
    """
    parts = AccountId.parse(account_id)
    client = session.of(parts.subscription_id).storage
    with told_as_ours(f'opening storage account "{parts.name}"', session.endpoint):
        account = client.storage_accounts.get_properties(parts.resource_group, parts.name)
        key = "" if by_identity else _first_key(client, parts)
    endpoint = account.primary_endpoints.blob if account.primary_endpoints else None
    if not endpoint:
        raise AzureError(
            f'storage account "{parts.name}": found no blob endpoint, allowed a general-purpose account; name another '
            "one in redismove:storage"
        )
    credential = session.credential if by_identity else AzureNamedKeyCredential(parts.name, key)
    with BlobServiceClient(
        endpoint.rstrip("/"), credential=credential, max_single_get_size=CHUNK_BYTES, max_chunk_get_size=CHUNK_BYTES
    ) as service:
        yield Container(session, parts, name, service, key)


def connection_string(session: Session, account_id: str) -> ConnectionString:
    """
    Return the connection string of a storage account, as a cache's persistence takes it.

    Raises:
        AzureError: there is no such account, or its keys cannot be listed.
    """
    parts = AccountId.parse(account_id)
    client = session.of(parts.subscription_id).storage
    with told_as_ours(f'reading the keys of storage account "{parts.name}"', session.endpoint):
        account = client.storage_accounts.get_properties(parts.resource_group, parts.name)
        key = _first_key(client, parts)
    endpoint = account.primary_endpoints.blob if account.primary_endpoints else ""
    return ConnectionString(
        f"DefaultEndpointsProtocol=https;AccountName={parts.name};AccountKey={key};BlobEndpoint={endpoint}"
    )


def _first_key(client: Any, parts: AccountId) -> str:
    listed = client.storage_accounts.list_keys(parts.resource_group, parts.name)
    # The name of the list differs between versions of the SDK: "keys" is a method in the newer ones.
    found: Any = getattr(listed, "keys_property", None) or listed.keys
    return found[0].value or ""


def _from_now(valid_s: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=valid_s + SHORTEST_SAS_S + _CLOCK_SLACK_S)


def _common_prefix(names: Sequence[str]) -> str:
    if not names:
        return ""
    first, last = min(names), max(names)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
