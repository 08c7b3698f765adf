"""A local Azure for the whole folder, and the clients that Azure's users have, untouched."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.mgmt.redis import RedisManagementClient
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

REPOSITORY = Path(__file__).parents[2]
GROUP = "rg-contract"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder asks the local Azure."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.contract)


def command(home: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `redismove local ...` on a home."""
    done = subprocess.run(
        [sys.executable, "-m", "redismove.cli.local", *words, "--home", str(home)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
    )
    if check:
        assert done.returncode == 0, f"redismove local {shlex.join(words)}: {done.stdout}{done.stderr}"
    return done


@dataclass
class Cloud:
    """A running home and what its clients must know."""

    home: Path
    env: dict[str, str]
    cleanup: ExitStack

    @classmethod
    def start(cls, home: Path, *options: str) -> Cloud:
        cleanup = ExitStack()
        # Registered before the start: what comes up halfway is ended too.
        cleanup.callback(command, home, "stop", check=False)
        try:
            command(home, "start", *options)
            cloud = cls(home, {}, cleanup)
            for line in command(home, "env").stdout.splitlines():
                name, _, value = line.removeprefix("export ").partition("=")
                cloud.env[name] = "".join(shlex.split(value))
        except BaseException:
            cleanup.close()
            raise
        return cloud

    @property
    def ca(self) -> str:
        return self.env["SSL_CERT_FILE"]

    @property
    def server_pid(self) -> int:
        return int((self.home / "server.lock").read_text())

    def credential(self, *, secret: str | None = None) -> ClientSecretCredential:
        return ClientSecretCredential(
            self.env["ARM_TENANT_ID"],
            self.env["ARM_CLIENT_ID"],
            secret or self.env["ARM_CLIENT_SECRET"],
            authority=self.env["AZURE_AUTHORITY_HOST"],
            disable_instance_discovery=True,
            connection_verify=self.ca,
        )

    def management(self, *, subscription: int = 1, credential: Any = None) -> RedisManagementClient:
        """Give the untouched management client."""
        name = "ARM_SUBSCRIPTION_ID" if subscription == 1 else "ARM_SUBSCRIPTION_ID_2"
        client = RedisManagementClient(
            credential or self.credential(),
            self.env[name],
            base_url=self.env["ARM_ENDPOINT"],
            credential_scopes=[f"{self.env['ARM_ENDPOINT']}/.default"],
            connection_verify=self.ca,
            retry_total=0,
        )
        self.cleanup.callback(client.close)
        return client

    def arm(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """Ask ARM without an SDK."""
        token = self.credential().get_token(f"{self.env['ARM_ENDPOINT']}/.default").token
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        url = path if path.startswith("https://") else self.env["ARM_ENDPOINT"] + path
        params = None if "api-version=" in url else {"api-version": options.pop("api_version", "2024-11-01")}
        return requests.request(
            method, url, json=body, params=params, headers=headers, verify=self.ca, timeout=60, **options
        )

    def make_group(self, name: str = GROUP, *, subscription: int = 1) -> None:
        variable = "ARM_SUBSCRIPTION_ID" if subscription == 1 else "ARM_SUBSCRIPTION_ID_2"
        path = f"/subscriptions/{self.env[variable]}/resourceGroups/{name}"
        assert self.arm("PUT", path, {"location": "eastus"}).status_code in (200, 201)


class Caches:
    """Makes caches through the management client, all at once, and connects to them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.client = cloud.management()
        self._connections: list[redis.Redis | RedisCluster] = []

    def make(self, **wanted: dict[str, Any]) -> dict[str, Any]:
        """Make caches by name; each value is laid over a Premium P1 without zones in East US."""
        pollers = {name: self.client.redis.begin_create(GROUP, name, body(**more)) for name, more in wanted.items()}
        return {name: poller.result() for name, poller in pollers.items()}

    def id(self, name: str) -> str:
        return str(self.client.redis.get(GROUP, name).id)

    def link_body(self, secondary: str) -> dict[str, Any]:
        cache = self.client.redis.get(GROUP, secondary)
        return {
            "properties": {
                "linkedRedisCacheId": cache.id,
                "linkedRedisCacheLocation": cache.location,
                "serverRole": "Secondary",
            }
        }

    def link(self, primary: str, secondary: str) -> Any:
        body = self.link_body(secondary)
        return self.client.linked_server.begin_create(GROUP, primary, secondary, body).result()

    def unlink(self, primary: str, secondary: str) -> None:
        self.client.linked_server.begin_delete(GROUP, primary, secondary).result()

    def connect(self, name: str, *, clustered: bool = False, **options: Any) -> Any:
        """Connect as an application does: host name and port from ARM, an access key, the local CA."""
        cache = self.client.redis.get(GROUP, name)
        defaults: dict[str, Any] = {
            "host": cache.host_name,
            "port": cache.ssl_port,
            "ssl": True,
            "ssl_ca_certs": self.cloud.ca,
            "socket_timeout": 10,
        }
        if not clustered:
            # A refused login is a ConnectionError to redis-py, which it tries again for seconds.
            defaults["retry"] = Retry(NoBackoff(), 0)
        if "password" not in options:
            defaults["password"] = self.client.redis.list_keys(GROUP, name).primary_key
        connection = (RedisCluster if clustered else redis.Redis)(**(defaults | options))
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def body(*, sku: str = "P1", tier: str = "Premium", location: str = "eastus", **properties: Any) -> dict[str, Any]:
    """Give the body of a create request."""
    zones = properties.pop("zones", None)
    result: dict[str, Any] = {
        "location": location,
        "properties": {
            "sku": {"name": tier, "family": sku[0], "capacity": int(sku[1])},
            "zonalAllocationPolicy": "NoZones",
        }
        | properties,
    }
    if zones is not None:
        result["zones"] = zones
        del result["properties"]["zonalAllocationPolicy"]
    return result


@dataclass
class Refusal:
    """An ARM error as the client shows it."""

    status: int
    code: str
    message: str


def refused(action: Callable[[], Any]) -> Refusal:
    """Do what must be refused; give the error."""
    with pytest.raises(HttpResponseError) as caught:
        action()
    error = caught.value
    assert error.error is not None, f"no ARM error body: {error}"
    return Refusal(int(error.status_code or 0), str(error.error.code), str(error.error.message))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud.start(tmp_path_factory.mktemp("azure") / "home")
    with cloud.cleanup:
        cloud.make_group()
        yield cloud


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """Give local Azures of a test's own: `own_cloud("name", "--retired", "westus2")`."""
    with ExitStack() as stack:

        def start(name: str = "home", *options: str) -> Cloud:
            cloud = Cloud.start(tmp_path / name, *options)
            stack.enter_context(cloud.cleanup)
            cloud.make_group()
            return cloud

        yield start


@pytest.fixture(scope="module")
def caches(cloud: Cloud) -> Iterator[Caches]:
    caches = Caches(cloud)
    yield caches
    caches.close()
