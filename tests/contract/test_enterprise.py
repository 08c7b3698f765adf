"""Microsoft.Cache/redisEnterprise through the clients of Azure's users: clusters, their database, keys, files."""

from __future__ import annotations

import gzip
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.redisenterprise import RedisEnterpriseManagementClient
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from localazure.home import Home
from localazure.redis_process import redis_processes

from .conftest import GROUP, Caches, Cloud, command, refused
from .test_import_export import Account, make_account
from .test_keys import REDIS_SCOPE, token_object_id


class Clusters:
    """Makes clusters with a database through the untouched management client, and connects to them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.client = RedisEnterpriseManagementClient(
            cloud.credential(),
            cloud.env["ARM_SUBSCRIPTION_ID"],
            base_url=cloud.env["ARM_ENDPOINT"],
            credential_scopes=[f"{cloud.env['ARM_ENDPOINT']}/.default"],
            connection_verify=cloud.ca,
            retry_total=0,
        )
        cloud.cleanup.callback(self.client.close)
        self._connections: list[Any] = []

    def make(
        self, name: str, *, sku: str = "Balanced_B5", location: str = "eastus", capacity: int | None = None, **more: Any
    ) -> None:
        cluster = {
            "location": location,
            "sku": {"name": sku} | ({} if capacity is None else {"capacity": capacity}),
            "properties": {"publicNetworkAccess": "Enabled", "minimumTlsVersion": "1.2"},
        }
        self.client.redis_enterprise.begin_create(GROUP, name, cluster).result()
        properties = {"accessKeysAuthentication": "Enabled"} | more
        self.client.databases.begin_create(GROUP, name, "default", {"properties": properties}).result()

    def connect(self, name: str, *, clustered: bool = False, **options: Any) -> Any:
        database = self.client.databases.get(GROUP, name, "default")
        defaults: dict[str, Any] = {
            "host": self.client.redis_enterprise.get(GROUP, name).host_name,
            "port": database.port,
            "ssl": True,
            "ssl_ca_certs": self.cloud.ca,
            "socket_timeout": 10,
        }
        if not clustered:
            defaults["retry"] = Retry(NoBackoff(), 0)
        if "password" not in options:
            defaults["password"] = self.client.databases.list_keys(GROUP, name, "default").primary_key
        connection = (RedisCluster if clustered else redis.Redis)(**(defaults | options))
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@pytest.fixture(scope="module")
def clusters(cloud: Cloud) -> Iterator[Clusters]:
    clusters = Clusters(cloud)
    yield clusters
    clusters.close()


@pytest.fixture(scope="module")
def account(cloud: Cloud) -> Account:
    return make_account(cloud, "enterpriseeast")


def test_the_life_of_a_cluster_and_its_database(clusters: Clusters) -> None:
    client = clusters.client
    clusters.make("amr-life", evictionPolicy="AllKeysLRU", clusteringPolicy="EnterpriseCluster")

    cluster = client.redis_enterprise.get(GROUP, "amr-life")
    assert (cluster.provisioning_state, cluster.resource_state, cluster.kind) == ("Succeeded", "Running", "v2")
    assert (cluster.location, cluster.redis_version, cluster.high_availability) == ("East US", "7.4", "Enabled")
    database = client.databases.get(GROUP, "amr-life", "default")
    assert (database.port, database.client_protocol, database.redis_version) == (10000, "Encrypted", "7.4")
    assert (database.clustering_policy, database.eviction_policy) == ("EnterpriseCluster", "AllKeysLRU")
    assert [entry.id for entry in client.databases.list_by_cluster(GROUP, "amr-life")] == [database.id]
    assert "amr-life" in [entry.name for entry in client.redis_enterprise.list_by_resource_group(GROUP)]
    assert "amr-life" in [entry.name for entry in client.redis_enterprise.list()]
    assert clusters.connect("amr-life").set("key", "value")

    changed = {"tags": {"team": "orders"}, "sku": {"name": "Balanced_B10"}}
    client.redis_enterprise.begin_update(GROUP, "amr-life", changed).result()
    cluster = client.redis_enterprise.get(GROUP, "amr-life")
    assert (cluster.tags, cluster.sku.name) == ({"team": "orders"}, "Balanced_B10")
    client.databases.begin_update(
        GROUP, "amr-life", "default", {"properties": {"evictionPolicy": "NoEviction"}}
    ).result()
    assert client.databases.get(GROUP, "amr-life", "default").eviction_policy == "NoEviction"
    connection = clusters.connect("amr-life")
    assert connection.get("key") == b"value"
    assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    client.databases.begin_flush(GROUP, "amr-life", "default", {}).result()
    assert connection.dbsize() == 0
    client.databases.begin_delete(GROUP, "amr-life", "default").result()
    with pytest.raises(ResourceNotFoundError):
        client.databases.get(GROUP, "amr-life", "default")
    with pytest.raises(redis.ConnectionError):
        connection.ping()
    client.redis_enterprise.begin_delete(GROUP, "amr-life").result()
    with pytest.raises(ResourceNotFoundError):
        client.redis_enterprise.get(GROUP, "amr-life")


def test_what_azure_refuses(clusters: Clusters) -> None:
    client = clusters.client

    def create(
        name: str = "amr-no", sku: str = "Balanced_B5", capacity: int | None = None, public: str | None = "Enabled"
    ) -> Callable[[], Any]:
        body = {
            "location": "eastus",
            "sku": {"name": sku} | ({} if capacity is None else {"capacity": capacity}),
            "properties": {} if public is None else {"publicNetworkAccess": public},
        }
        return lambda: client.redis_enterprise.begin_create(GROUP, name, body)

    assert "no longer supported" in refused(create(sku="Enterprise_E10")).message
    assert "no such SKU" in refused(create(sku="Balanced_B2")).message
    assert "1 to 60" in refused(create(name="amr--no")).message
    assert "62 signs" in refused(create(name="a" * 58)).message
    assert "publicNetworkAccess" in refused(create(public=None)).message
    assert "Enterprise and EnterpriseFlash" in refused(create(capacity=2)).message

    clusters.make("amr-rules", sku="Balanced_B50")

    def database(name: str = "default", **properties: Any) -> Callable[[], Any]:
        return lambda: client.databases.begin_create(GROUP, "amr-rules", name, {"properties": properties})

    assert "'default'" in refused(database(name="second")).message
    assert "'properties.clusteringPolicy' cannot be changed" in refused(database(clusteringPolicy="NoCluster")).message
    assert "10000" in refused(database(port=6380)).message
    assert refused(database(geoReplication={"groupNickname": "g"})).status == 501
    both = {"aofEnabled": True, "rdbEnabled": True}
    assert "At most one" in refused(database(persistence=both)).message
    off = {"properties": {"highAvailability": "Disabled"}}
    error = refused(lambda: client.redis_enterprise.begin_update(GROUP, "amr-rules", off))
    assert "High availability" in error.message
    client.databases.begin_delete(GROUP, "amr-rules", "default").result()
    assert "25 GB" in refused(database(clusteringPolicy="NoCluster")).message
    assert "EnterpriseCluster" in refused(database(modules=[{"name": "RediSearch"}])).message

    client.databases.begin_create(GROUP, "amr-rules", "default", {"properties": {}})
    assert refused(database(evictionPolicy="NoEviction")).code == "Conflict"


def test_one_port_that_speaks_either_tls_or_plain_text(clusters: Clusters) -> None:
    clusters.make("amr-plain", clientProtocol="Plaintext", clusteringPolicy="NoCluster")

    assert clusters.connect("amr-plain", ssl=False).ping()
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
        clusters.connect("amr-plain", socket_timeout=1, socket_connect_timeout=1).ping()


def test_what_the_data_plane_has_and_lacks(clusters: Clusters) -> None:
    clusters.make("amr-data", clusteringPolicy="EnterpriseCluster")
    connection = clusters.connect("amr-data")

    for words in (("SELECT", "1"), ("CLIENT", "PAUSE", "10", "WRITE"), ("BGSAVE",), ("REPLICAOF", "no", "one")):
        with pytest.raises(redis.ResponseError):
            connection.execute_command(*words)
    # Seen of the service: it answers OK and changes nothing.
    assert connection.config_set("maxmemory-policy", "allkeys-random")
    assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-lru"}
    assert connection.mset({"one": 1, "two": 2, "three": 3})
    assert connection.unlink("one", "two") == 2
    for words in (("RENAME", "three", "four"), ("SUNION", "a", "b")):
        with pytest.raises(redis.ResponseError, match=r"same slot"):
            connection.execute_command(*words)
    assert connection.rename("three", "{three}:2")


def test_a_cluster_client_finds_the_shards_of_oss_cluster(clusters: Clusters) -> None:
    clusters.make("amr-oss")

    connection = clusters.connect("amr-oss", clustered=True)
    for number in range(50):
        connection.set(f"key:{number}", number)

    assert {node.port for node in connection.get_primaries()} == {8500, 8501}
    assert len(connection.keys("*", target_nodes=RedisCluster.PRIMARIES)) == 50
    single = clusters.connect("amr-oss")
    with pytest.raises(redis.exceptions.MovedError):
        [single.get(f"key:{number}") for number in range(50)]


def test_keys_are_off_by_default_and_a_change_of_one_takes_its_time(clusters: Clusters) -> None:
    client = clusters.client
    clusters.make("amr-keys", clusteringPolicy="NoCluster", accessKeysAuthentication="Disabled")
    assert "disabled" in refused(lambda: client.databases.list_keys(GROUP, "amr-keys", "default")).message
    on = {"properties": {"accessKeysAuthentication": "Enabled"}}
    client.databases.begin_update(GROUP, "amr-keys", "default", on).result()
    old = client.databases.list_keys(GROUP, "amr-keys", "default")
    opened = clusters.connect("amr-keys", password=old.primary_key, single_connection_client=True)
    assert opened.ping()

    client.databases.begin_regenerate_key(GROUP, "amr-keys", "default", {"keyType": "Primary"}).result()

    new = client.databases.list_keys(GROUP, "amr-keys", "default")
    assert new.primary_key != old.primary_key
    assert new.secondary_key == old.secondary_key
    with pytest.raises(redis.AuthenticationError):
        clusters.connect("amr-keys", password=old.primary_key).ping()
    assert clusters.connect("amr-keys", password=new.primary_key).ping()
    assert opened.ping()


def test_a_principal_signs_in_by_an_assignment(cloud: Cloud, clusters: Clusters) -> None:
    client = clusters.client
    clusters.make("amr-entra", clusteringPolicy="NoCluster", accessKeysAuthentication="Disabled")
    object_id, token = token_object_id(cloud), cloud.credential().get_token(REDIS_SCOPE).token
    with pytest.raises(redis.AuthenticationError):
        clusters.connect("amr-entra", username=object_id, password=token).ping()

    body = {"properties": {"accessPolicyName": "default", "user": {"objectId": object_id}}}
    where = (GROUP, "amr-entra", "default")
    client.access_policy_assignment.begin_create_update(*where, "app", body).result()

    assert clusters.connect("amr-entra", username=object_id, password=token).set("key", "value")
    assert [entry.name for entry in client.access_policy_assignment.list(*where)] == ["app"]
    client.access_policy_assignment.begin_delete(*where, "app").result()
    with pytest.raises(redis.AuthenticationError):
        clusters.connect("amr-entra", username=object_id, password=token).ping()


def test_files_go_from_premium_and_from_managed_to_managed_and_not_back(
    clusters: Clusters, caches: Caches, account: Account
) -> None:
    client = clusters.client
    clusters.make("amr-from", sku="Balanced_B10")
    clusters.make("amr-to", sku="Balanced_B10", clusteringPolicy="EnterpriseCluster")
    caches.make(**{"amr-premium": {}})
    caches.connect("amr-premium").set("from", "premium")
    writer = clusters.connect("amr-from", clustered=True)
    for number in range(100):
        writer.set(f"key:{number}", number, ex=3600)

    client.databases.begin_export(GROUP, "amr-from", "default", {"sasUri": account.container_url()}).result()
    files = account.names("amr-from")
    assert len(files) == 2
    with account.container() as container:
        blob = container.get_blob_client(files[0])
        assert str(blob.get_blob_properties().blob_type) == "BlobType.BLOCKBLOB"
        assert gzip.decompress(blob.download_blob().readall()).startswith(b"REDIS")

    urls = {"sasUris": [account.blob_url(name) for name in files]}
    clusters.connect("amr-to").set("before", "erased")
    client.databases.begin_import_method(GROUP, "amr-to", "default", urls).result()
    reader = clusters.connect("amr-to")
    assert reader.dbsize() == 100
    assert reader.get("key:7") == b"7"
    assert 3500 < reader.ttl("key:7") <= 3600

    caches.client.redis.begin_export_data(
        GROUP, "amr-premium", {"format": "RDB", "prefix": "premium", "container": account.container_url()}
    ).result()
    urls = {"sasUris": [account.blob_url(name) for name in account.names("premium")]}
    client.databases.begin_import_method(GROUP, "amr-to", "default", urls).result()
    assert clusters.connect("amr-to").get("from") == b"premium"

    back = {"format": "RDB", "files": [account.blob_url(files[0])]}
    error = refused(lambda: caches.client.redis.begin_import_data(GROUP, "amr-premium", back).result())
    assert "not in RDB format" in error.message


def test_a_wrong_address_is_refused_or_fails_and_the_database_keeps_what_it_held(
    clusters: Clusters, account: Account
) -> None:
    client = clusters.client
    clusters.make("amr-files", clusteringPolicy="NoCluster")
    clusters.connect("amr-files").set("key", "value")
    short = {"sasUri": account.container_url(hours=0.2)}
    assert (
        "at least 1 hour"
        in refused(lambda: client.databases.begin_export(GROUP, "amr-files", "default", short)).message
    )

    read_only = {"sasUri": account.container_url("rl")}
    error = refused(lambda: client.databases.begin_export(GROUP, "amr-files", "default", read_only).result())
    assert error.code == "OperationFailed"
    missing = {"sasUris": [account.blob_url("no-such-file")]}
    error = refused(lambda: client.databases.begin_import_method(GROUP, "amr-files", "default", missing).result())
    assert error.code == "OperationFailed"

    assert client.databases.get(GROUP, "amr-files", "default").provisioning_state == "Succeeded"
    assert clusters.connect("amr-files").get("key") == b"value"


def test_everything_is_there_after_the_server_and_a_redis_server_were_killed(own_cloud: Callable[..., Cloud]) -> None:
    cloud = own_cloud()
    clusters = Clusters(cloud)
    Home(cloud.home).change_settings(enterprise_open=True)
    clusters.make("old", sku="Enterprise_E10", capacity=2)
    clusters.connect("old", clustered=True).set("key", "value")

    os.kill(cloud.server_pid, signal.SIGKILL)
    os.kill(next(iter(redis_processes(Home(cloud.home)).values())), signal.SIGKILL)
    command(cloud.home, "start")

    cluster = clusters.client.redis_enterprise.get(GROUP, "old")
    assert (cluster.kind, cluster.redis_version, cluster.sku.capacity) == ("v1", "7.2", 2)
    assert clusters.connect("old", clustered=True).get("key") == b"value"
    clusters.close()
    assert cloud.arm("DELETE", f"/subscriptions/{cloud.env['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}").ok
