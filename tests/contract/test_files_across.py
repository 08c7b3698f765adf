"""How the mover brings files from one storage account to another: by the service, and through itself where it must."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobType

from redismove.azure import storage
from redismove.azure.errors import AzureError
from redismove.azure.session import Session
from redismove.azure.storage import Blob, Container, SignedUrl, open_container, read_account

from .conftest import GROUP, Cloud

NAMES = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST", "ARM_ENDPOINT")


def session_of(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name in (*NAMES, "ARM_DISABLE_INSTANCE_DISCOVERY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, cloud.env[name])
    session = Session.from_environment(cloud.env["ARM_SUBSCRIPTION_ID"])
    assert session.credential, "signed in while the environment is this cloud's"
    return session


def make(session: Session, name: str, location: str = "eastus") -> str:
    body = {"location": location, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    return str(session.storage.storage_accounts.begin_create(GROUP, name, body).result(60).id)


@pytest.fixture
def here(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Session:
    return session_of(cloud, monkeypatch)


@pytest.fixture
def pair(here: Session) -> Iterator[tuple[Container, Container]]:
    """Give a container in each of two accounts of one cloud."""
    with (
        open_container(here, make(here, "acrosseast"), "files", by_identity=False) as near,
        open_container(here, make(here, "acrosswest", "westus2"), "files", by_identity=False) as far,
    ):
        near.make()
        far.make()
        yield near, far
        for container in (near, far):
            container.remove([blob.name for blob in container.list("")])


def put(container: Container, name: str, content: bytes) -> Blob:
    container._client.upload_blob(name, content, blob_type=BlobType.PAGEBLOB, length=len(content), overwrite=True)
    return Blob(name=name, size_bytes=len(content))


def test_files_are_copied_by_the_service_and_not_twice(pair: tuple[Container, Container]) -> None:
    near, far = pair
    contents = {f"part-{number}": os.urandom(512 * 40) for number in range(3)}
    blobs = [put(near, name, content) for name, content in contents.items()]
    told: list[str] = []

    far.copy_from(near, blobs, timeout_s=60, tell=told.append)
    written = [far._client.get_blob_client(blob.name).get_blob_properties().etag for blob in blobs]
    far.copy_from(near, blobs, timeout_s=60, tell=told.append)

    assert {name: far.read(name) for name in contents} == contents
    assert [far._client.get_blob_client(blob.name).get_blob_properties().etag for blob in blobs] == written
    assert told == [], "the service copied them by itself"
    assert far.list("part-") == blobs


def test_a_service_that_refuses_is_gone_round_in_bounded_memory(
    own_cloud: Callable[..., Cloud],
    pair: tuple[Container, Container],
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    near, _ = pair
    other = own_cloud()
    there = session_of(other, monkeypatch)
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(Path(cloud.ca).read_text() + Path(other.ca).read_text())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    monkeypatch.setattr(storage, "CHUNK_BYTES", 512 * 8)
    content = b"REDIS" + os.urandom(512 * 20 - 5) + bytes(512 * 20) + os.urandom(512)
    blob = put(near, "streamed", content)
    told: list[str] = []
    with open_container(there, make(there, "acrossother"), "files", by_identity=False) as far:
        far.make()
        # Half of it is there with the full size, as a killed run leaves it.
        far._client.get_blob_client("streamed").create_page_blob(len(content))

        far.copy_from(near, [blob], timeout_s=60, tell=told.append)

        assert far.read("streamed") == content
        assert "goes through this machine" in told[0]
        before = far._client.get_blob_client("streamed").get_blob_properties().etag
        far.copy_from(near, [blob], timeout_s=60, tell=told.append)
        assert far._client.get_blob_client("streamed").get_blob_properties().etag == before, "not copied twice"
        with pytest.raises(AzureError, match=r"found 0 of .* bytes copied when the time was over"):
            far.copy_from(near, [put(near, "late", content)], timeout_s=0, tell=told.append)


def test_an_account_is_read_as_the_rules_need_it(here: Session) -> None:
    account_id = make(here, "acrossread", "westus2")
    found = read_account(here, account_id)
    assert found is not None
    assert (found.location, found.kind, found.hierarchical_namespace) == ("westus2", "StorageV2", False)
    assert (found.open_to_all_networks, found.trusted_services, found.shared_key_access) == (True, True, True)
    changes = {"allowSharedKeyAccess": False, "networkAcls": {"defaultAction": "Deny", "bypass": "None"}}
    here.storage.storage_accounts.update(GROUP, "acrossread", {"properties": changes})
    found = read_account(here, account_id)
    assert found is not None
    assert (found.open_to_all_networks, found.trusted_services, found.shared_key_access) == (False, False, False)
    here.storage.storage_accounts.delete(GROUP, "acrossread")
    assert read_account(here, account_id) is None


def test_identity_signs_nothing_with_the_account_s_key(here: Session) -> None:
    account_id = make(here, "acrosseast")
    with open_container(here, account_id, "files", by_identity=True) as container:
        container.make()
        assert "?" not in container.for_export(valid_s=60).reveal()
        assert "?" not in container.for_import("x", valid_s=60).reveal()
        blob = put(container, "by-identity", bytes(512))
        with open_container(here, make(here, "acrosswest", "westus2"), "files", by_identity=True) as far:
            far.make()
            # Azurite does not verify what the SDK signs with a delegated key: it goes through the mover.
            told: list[str] = []
            far.copy_from(container, [blob], timeout_s=60, tell=told.append)
            assert far.list("by-identity") == [blob]
            assert far.read("by-identity") == bytes(512)


def test_a_signed_address_shows_itself_without_its_signature(pair: tuple[Container, Container]) -> None:
    url = pair[0].for_export(valid_s=60)

    assert isinstance(url, SignedUrl)
    assert "sig=" in url.reveal()
    assert "sig=" not in f"{url} {url!r} {[url]}"
    assert "sp=racwdltm" in url.reveal()
