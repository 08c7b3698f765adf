"""Storage accounts on a real Azurite, and export and import of real RDB files, through the clients of Azure's users."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.mgmt.storage import StorageManagementClient
from azure.mgmt.storage.models import BlobContainer, Sku, StorageAccountCreateParameters
from azure.storage.blob import (
    BlobSasPermissions,
    BlobServiceClient,
    BlobType,
    ContainerClient,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from localazure.azurite_process import azurite_process
from localazure.home import Home

from .conftest import GROUP, Caches, Cloud, command, refused

CONTAINER = "exports"
ALL_RIGHTS = "racwdltm"


@dataclass
class Account:
    """One storage account as its owner sees it."""

    cloud: Cloud
    name: str
    key: str
    endpoint: str

    def in_hours(self, hours: float) -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    def container(self) -> ContainerClient:
        return ContainerClient(
            self.endpoint,
            CONTAINER,
            credential=AzureNamedKeyCredential(self.name, self.key),
            connection_verify=self.cloud.ca,
        )

    def container_url(self, rights: str = ALL_RIGHTS, hours: float = 3, key: str = "", **more: Any) -> str:
        permission = ContainerSasPermissions.from_string(rights)
        sas = generate_container_sas(
            self.name,
            CONTAINER,
            account_key=key or self.key,
            permission=permission,
            expiry=self.in_hours(hours),
            **more,
        )
        return f"{self.endpoint}{CONTAINER}?{sas}"

    def blob_url(self, blob: str, rights: str = "r", hours: float = 3) -> str:
        permission = BlobSasPermissions.from_string(rights)
        sas = generate_blob_sas(
            self.name, CONTAINER, blob, account_key=self.key, permission=permission, expiry=self.in_hours(hours)
        )
        return f"{self.endpoint}{CONTAINER}/{blob}?{sas}"

    def names(self, prefix: str) -> list[str]:
        with self.container() as container:
            return sorted(blob.name for blob in container.list_blobs(name_starts_with=prefix))


def storage_client(cloud: Cloud) -> StorageManagementClient:
    """Give the untouched management client."""
    client = StorageManagementClient(
        cloud.credential(),
        cloud.env["ARM_SUBSCRIPTION_ID"],
        base_url=cloud.env["ARM_ENDPOINT"],
        credential_scopes=[f"{cloud.env['ARM_ENDPOINT']}/.default"],
        connection_verify=cloud.ca,
        retry_total=0,
    )
    cloud.cleanup.callback(client.close)
    return client


def make_account(cloud: Cloud, name: str, location: str = "eastus", **more: Any) -> Account:
    client = storage_client(cloud)
    parameters = StorageAccountCreateParameters(
        sku=Sku(name="Standard_LRS"), kind=more.pop("kind", "StorageV2"), location=location, **more
    )
    made = client.storage_accounts.begin_create(GROUP, name, parameters).result()
    client.blob_containers.create(GROUP, name, CONTAINER, BlobContainer())
    key = client.storage_accounts.list_keys(GROUP, name).keys_property[0].value
    return Account(cloud, name, key, made.primary_endpoints.blob)


@pytest.fixture(scope="module")
def east(cloud: Cloud) -> Account:
    return make_account(cloud, "contracteast")


@pytest.fixture(scope="module")
def west(cloud: Cloud) -> Account:
    return make_account(cloud, "contractwest", "westus2")


@pytest.fixture(scope="module")
def made(cloud: Cloud, east: Account, caches: Caches) -> Caches:
    """Give caches: a source with data, targets of every shape, and those that must be refused."""
    Home(cloud.home).change_settings(redis_version_by_cache={"rdb-old": "4.0"})  # none can be made any more
    caches.make(
        **{
            "rdb-from": {},
            "rdb-shards": {"shardCount": 3},
            "rdb-to": {},
            "rdb-to-shards": {"shardCount": 2},
            "rdb-old": {},
            "rdb-west": {"location": "westus2"},
            "rdb-standard": {"sku": "C1", "tier": "Standard"},
        }
    )
    fill(caches.connect("rdb-from"))
    shards = caches.connect("rdb-shards", clustered=True)
    for number in range(300):
        shards.set(f"key:{number}", number, ex=3600 if number % 3 == 0 else None)
    return caches


def fill(client: redis.Redis) -> None:
    client.flushall()  # the tests of a file may be given to a worker in two parts, and this is done for each
    client.set("text", "value")
    client.set("binary", bytes(range(256)) * 40)
    client.set("short-lived", "x", ex=5000)
    client.hset("hash", mapping={str(number): number for number in range(400)})
    client.rpush("list", *range(200))
    client.sadd("set", *range(200))
    client.zadd("zset", {str(number): number for number in range(200)})
    client.xadd("stream", {"a": "1"})
    client.xgroup_create("stream", "readers", id="0")
    client.execute_command("SELECT", 3)
    client.set("elsewhere", "3")
    client.execute_command("SELECT", 0)


def export(caches: Caches, cache: str, url: str, prefix: str, **more: Any) -> None:
    body = {"format": "RDB", "prefix": prefix, "container": url} | more
    caches.client.redis.begin_export_data(GROUP, cache, body).result()


def load(caches: Caches, cache: str, *urls: str, **more: Any) -> None:
    caches.client.redis.begin_import_data(GROUP, cache, {"format": "RDB", "files": list(urls)} | more).result()


def failure(action: Callable[[], Any]) -> tuple[int, str]:
    """Do what must fail while it is polled; give status and message without the request id."""
    with pytest.raises(HttpResponseError) as caught:
        action()
    message = str(caught.value.error.message if caught.value.error else caught.value.message)
    return int(caught.value.status_code or 0), message.partition("\r\nRequestID=")[0]


# --- accounts


def test_an_account_is_made_shown_and_found(cloud: Cloud, east: Account, west: Account) -> None:
    client = storage_client(cloud)
    shown = client.storage_accounts.get_properties(GROUP, east.name)
    assert (shown.location, shown.kind, shown.provisioning_state) == ("eastus", "StorageV2", "Succeeded")
    assert shown.is_hns_enabled is False
    assert shown.network_rule_set.default_action == "Allow"
    assert {account.name for account in client.storage_accounts.list()} >= {east.name, west.name}
    assert {account.name for account in client.storage_accounts.list_by_resource_group(GROUP)} >= {east.name, west.name}
    assert CONTAINER in [container.name for container in client.blob_containers.list(GROUP, east.name)]
    taken = client.storage_accounts.check_name_availability(
        {"name": east.name, "type": "Microsoft.Storage/storageAccounts"}
    )
    assert (taken.name_available, taken.reason) == (False, "AlreadyExists")


def test_names_keys_and_deletion(cloud: Cloud, east: Account) -> None:
    client = storage_client(cloud)
    assert refused(lambda: make_account(cloud, "Not-A-Name")).code == "AccountNameInvalid"
    account = make_account(cloud, "contractgone")
    with account.container() as container:
        container.upload_blob("a", b"1")
    client.storage_accounts.regenerate_key(GROUP, account.name, {"keyName": "key1"})
    with account.container() as container, pytest.raises(ClientAuthenticationError):
        list(container.list_blobs())  # the old key
    client.storage_accounts.delete(GROUP, account.name)
    assert refused(lambda: client.storage_accounts.get_properties(GROUP, account.name)).status == 404
    again = make_account(cloud, "contractgone")
    assert again.names("") == [], "nothing of a deleted account comes back"
    client.storage_accounts.delete(GROUP, account.name)
    assert east.names("none") == []


def test_blobs_are_copied_between_accounts_by_the_service(east: Account, west: Account) -> None:
    content = os.urandom(512 * 300)
    with east.container() as here, west.container() as far:
        here.upload_blob("copied", content, blob_type=BlobType.PAGEBLOB, length=len(content))
        blob = far.get_blob_client("copied")
        blob.start_copy_from_url(east.blob_url("copied"))
        assert blob.get_blob_properties().copy.status == "success"
        assert blob.get_blob_properties().blob_type == BlobType.PAGEBLOB
        assert blob.download_blob().readall() == content
        with pytest.raises(HttpResponseError):
            far.get_blob_client("not").start_copy_from_url(east.blob_url("copied").replace("sig=", "sig=A"))


def test_a_token_of_the_principal_opens_blobs(cloud: Cloud, east: Account) -> None:
    with BlobServiceClient(east.endpoint, credential=cloud.credential(), connection_verify=cloud.ca) as blobs:
        assert CONTAINER in [container.name for container in blobs.list_containers()]
    with BlobServiceClient(east.endpoint, connection_verify=cloud.ca) as nobody, pytest.raises(HttpResponseError):
        list(nobody.list_containers())


# --- export and import


def test_what_is_exported_is_imported_and_replaces_what_was_there(made: Caches, east: Account) -> None:
    export(made, "rdb-from", east.container_url(), "whole")
    names = east.names("whole")
    assert len(names) == 1
    with east.container() as container:
        blob = container.get_blob_client(names[0])
        assert blob.get_blob_properties().blob_type == BlobType.PAGEBLOB
        assert blob.get_blob_properties().size % 512 == 0
        assert blob.download_blob(0, 9).readall() == b"REDIS0010"
    target = made.connect("rdb-to")
    target.set("old", "goes")

    load(made, "rdb-to", east.blob_url(names[0]))

    source, target = made.connect("rdb-from"), made.connect("rdb-to")
    assert target.exists("old") == 0
    assert target.dbsize() == source.dbsize() == 8
    for key in set(source.scan_iter()):
        assert target.dump(key) == source.dump(key), key
    assert 4000 < target.ttl("short-lived") <= 5000
    assert target.xinfo_groups("stream")[0]["name"] == b"readers"
    target.execute_command("SELECT", 3)
    assert target.get("elsewhere") == b"3"
    assert made.client.redis.get(GROUP, "rdb-to").provisioning_state == "Succeeded"


@pytest.mark.parametrize(("target", "clustered"), [("rdb-to", False), ("rdb-to-shards", True), ("rdb-shards", True)])
def test_every_shard_has_a_file_and_keys_find_their_shard(
    made: Caches, east: Account, target: str, clustered: bool
) -> None:
    prefix = f"shards-{target}"
    export(made, "rdb-shards", east.container_url(), prefix)
    names = east.names(prefix)
    assert len(names) == 3, "one file a shard"

    load(made, target, *(east.blob_url(name) for name in names))

    client = made.connect(target, clustered=clustered)
    assert {client.get(f"key:{number}") for number in range(300)} == {str(number).encode() for number in range(300)}
    assert client.ttl("key:3") > 3000
    assert client.ttl("key:4") == -1


def test_a_cluster_takes_database_0_alone(made: Caches, east: Account) -> None:
    export(made, "rdb-from", east.container_url(), "to-cluster")
    load(made, "rdb-to-shards", *(east.blob_url(name) for name in east.names("to-cluster")))
    client = made.connect("rdb-to-shards", clustered=True)
    assert client.get("text") == b"value"
    assert client.exists("elsewhere") == 0
    assert len(set(client.scan_iter(count=100))) == 8


def test_what_is_written_after_the_export_is_not_in_the_file(made: Caches, east: Account) -> None:
    source = made.connect("rdb-from")
    export(made, "rdb-from", east.container_url(), "later")
    source.set("later", "1")
    load(made, "rdb-to", *(east.blob_url(name) for name in east.names("later")))
    assert made.connect("rdb-to").exists("later") == 0
    source.delete("later")


def test_the_cache_serves_during_an_export_and_not_during_an_import(cloud: Cloud, made: Caches, east: Account) -> None:
    home = Home(cloud.home)
    home.change_settings(durations={"export": 1.5, "import": 1.5})
    client = made.client.redis
    poller = client.begin_export_data(
        GROUP, "rdb-from", {"prefix": "busy", "container": east.container_url()}, polling_interval=1
    )
    assert made.connect("rdb-from").get("text") == b"value"
    busy = refused(lambda: client.begin_flush_cache(GROUP, "rdb-from").result())
    assert (busy.status, busy.code) == (409, "Conflict")
    poller.result()
    seen = []
    held = made.connect("rdb-to", socket_timeout=5)
    held.ping()
    poller = client.begin_import_data(GROUP, "rdb-to", {"files": [east.blob_url(east.names("busy")[0])]})
    while not poller.done():
        try:
            held.ping()
        except redis.ConnectionError as error:
            seen.append(error)
    poller.result()
    assert seen, "connections were refused for a while"
    home.change_settings(durations="short")
    assert made.connect("rdb-to").get("text") == b"value"


def test_managed_identity_needs_no_sas(cloud: Cloud, made: Caches, east: Account) -> None:
    identity = {"preferred-data-archive-auth-method": "ManagedIdentity"}
    url = f"{east.endpoint}{CONTAINER}"
    error = refused(lambda: export(made, "rdb-from", url, "identity", **identity))
    assert (error.status, error.code) == (400, "BadRequest")
    for name in ("rdb-from", "rdb-to"):
        made.client.redis.begin_update(GROUP, name, {"identity": {"type": "SystemAssigned"}}).result()
    storage_client(cloud).storage_accounts.update(
        GROUP, east.name, {"properties": {"networkAcls": {"defaultAction": "Deny", "bypass": "AzureServices"}}}
    )
    try:
        assert "not authorized" in failure(lambda: export(made, "rdb-from", east.container_url(), "no"))[1]
        export(made, "rdb-from", url, "identity", **identity)
        load(made, "rdb-to", *(f"{url}/{name}" for name in east.names("identity")), **identity)
    finally:
        storage_client(cloud).storage_accounts.update(
            GROUP, east.name, {"properties": {"networkAcls": {"defaultAction": "Allow"}}}
        )
    assert made.connect("rdb-to").get("text") == b"value"


# --- refusals


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (lambda east: f"{east.endpoint}{CONTAINER}", "The SAS token is poorly formatted."),
        (lambda east: east.container_url(hours=0.5), "must be at least 1 hour from now"),
        (lambda east: east.container_url(hours=-1), "must be at least 1 hour from now"),
        (
            lambda east: east.container_url(start=datetime.now(UTC) + timedelta(minutes=5)),
            "must be at least 15 minutes in the past",
        ),
        (lambda east: east.container_url().replace(east.name, "someoneelse"), "does not exist"),
        (lambda east: east.container_url().replace(east.endpoint, "https://elsewhere.example/"), "does not exist"),
    ],
)
def test_a_sas_that_cannot_be_used_is_refused_at_once(
    made: Caches, east: Account, url: Callable[[Account], str], says: str
) -> None:
    error = refused(lambda: export(made, "rdb-from", url(east), "never"))
    assert (error.status, error.code) == (400, "InvalidRequestBody")
    assert says in error.message
    assert east.names("never") == []


@pytest.mark.parametrize("rights", ["rl", "rwdl"])
def test_a_sas_without_the_rights_ends_in_an_empty_conflict(made: Caches, east: Account, rights: str) -> None:
    assert failure(lambda: export(made, "rdb-from", east.container_url(rights), "never")) == (409, ": ")
    assert made.client.redis.get(GROUP, "rdb-from").provisioning_state == "Succeeded"


def test_a_sas_signed_with_another_key_ends_in_an_empty_conflict(made: Caches, east: Account, west: Account) -> None:
    assert failure(lambda: export(made, "rdb-from", east.container_url(key=west.key), "never")) == (409, ": ")
    assert east.names("never") == []


def test_an_import_of_nothing_usable_keeps_what_is_there(made: Caches, east: Account) -> None:
    made.connect("rdb-to").set("kept", "1")
    export(made, "rdb-from", east.container_url(), "half")
    with east.container() as container:
        whole = container.download_blob(east.names("half")[0]).readall()
        container.upload_blob("no-rdb", b"something else", overwrite=True)
        container.upload_blob("too-new", b"REDIS0011" + bytes(100), overwrite=True)
        container.upload_blob("broken", whole[:600], overwrite=True)
    for blob, says in (
        ("no-rdb", "not in RDB format"),
        ("too-new", "version 11"),
        ("broken", "could not be loaded"),
        ("missing", "404"),
    ):
        status, message = failure(lambda blob=blob: load(made, "rdb-to", east.blob_url(blob)))
        assert (status, says in message) == (409, True), message
    assert failure(lambda: load(made, "rdb-to", east.blob_url("no-rdb", "w"))) == (409, ": ")
    assert made.connect("rdb-to").get("kept") == b"1"
    error = refused(lambda: load(made, "rdb-to", east.blob_url("no-rdb", hours=0.2)))
    assert "at least 1 hour" in error.message


def test_an_older_cache_refuses_a_newer_file(made: Caches, east: Account) -> None:
    export(made, "rdb-from", east.container_url(), "older")
    status, message = failure(lambda: load(made, "rdb-old", east.blob_url(east.names("older")[0])))
    assert status == 409
    assert "A cache with Redis 4.0 supports versions up to 8" in message


def test_a_tier_without_it_is_refused(made: Caches, east: Account) -> None:
    for action in (
        lambda: export(made, "rdb-standard", east.container_url(), "never"),
        lambda: load(made, "rdb-standard", east.blob_url("x")),
    ):
        error = refused(action)
        assert (error.status, error.code) == (400, "BadRequest")
        assert "not allowed on 'Standard'" in error.message


def test_storage_of_another_region_is_refused(made: Caches, east: Account, west: Account) -> None:
    assert "same region" in refused(lambda: export(made, "rdb-from", west.container_url(), "never")).message
    assert "same region" in refused(lambda: load(made, "rdb-west", east.blob_url("x"))).message


@pytest.mark.parametrize("shape", [{"kind": "BlobStorage", "access_tier": "Hot"}, {"is_hns_enabled": True}])
def test_an_account_without_page_blobs_is_refused(cloud: Cloud, made: Caches, shape: dict[str, Any]) -> None:
    account = make_account(cloud, "contractodd", **shape)
    try:
        message = failure(lambda: export(made, "rdb-from", account.container_url(), "never"))[1]
        assert "does not support page blobs" in message
    finally:
        storage_client(cloud).storage_accounts.delete(GROUP, account.name)


def test_a_linked_secondary_is_exported_and_never_imported_into(made: Caches, east: Account, west: Account) -> None:
    made.link("rdb-from", "rdb-west")
    try:
        export(made, "rdb-west", west.container_url(), "secondary")
        assert len(west.names("secondary")) == 1
        error = refused(lambda: load(made, "rdb-west", west.blob_url(west.names("secondary")[0])))
        assert (error.status, error.code) == (400, "BadRequest")
        assert "geo-replication secondary" in error.message
    finally:
        made.unlink("rdb-from", "rdb-west")


# --- kills


def test_an_export_and_an_import_go_on_after_a_kill_and_nothing_is_left(
    own_cloud: Callable[..., Cloud],
) -> None:
    cloud = own_cloud()
    home = Home(cloud.home)
    caches = Caches(cloud)
    caches.make(a={"shardCount": 2}, b={"shardCount": 3})
    source = caches.connect("a", clustered=True)
    for number in range(200):
        source.set(f"key:{number}", number)
    account = make_account(cloud, "killedonce")
    azurite = azurite_process(home)
    assert azurite is not None

    def kill_and_start() -> None:
        os.kill(cloud.server_pid, signal.SIGKILL)
        command(cloud.home, "start")

    client = caches.client.redis
    client.begin_export_data(GROUP, "a", {"prefix": "p", "container": account.container_url()}, polling=False)
    kill_and_start()
    wait_idle(caches, "a")
    assert azurite_process(home) == azurite, "Azurite outlives the server"
    names = account.names("p")
    assert len(names) == 2
    client.begin_import_data(GROUP, "b", {"files": [account.blob_url(name) for name in names]}, polling=False)
    kill_and_start()
    wait_idle(caches, "b")
    target = caches.connect("b", clustered=True)
    assert {target.get(f"key:{number}") for number in range(200)} == {str(number).encode() for number in range(200)}

    os.kill(azurite, signal.SIGKILL)
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while azurite_process(home) in (None, azurite):
        assert datetime.now(UTC) < deadline, "Azurite is started again"
    assert "sig=" not in home.state_file.read_text(), "no signed address is kept"
    caches.close()
    command(cloud.home, "stop")
    assert azurite_process(home) is None


def wait_idle(caches: Caches, *names: str) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    for name in names:
        while caches.client.redis.get(GROUP, name).provisioning_state != "Succeeded":
            assert datetime.now(UTC) < deadline, "not in time"
