"""The provider stand-in between the real engine and the local Azure: a pair of caches from first `up` to `destroy`."""

from __future__ import annotations

import json
import ssl
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_cloud import LocalCloud
from tests.support.pulumi_project import PulumiProject, end_all, processes_that_name, wait_until

pytestmark = pytest.mark.engine

PAIR = """
    import pulumi
    import pulumi_azure_native as azure
    from pulumi_azure_native import redis, resources

    config = pulumi.Config()
    prefix = config.require("prefix")
    group = resources.ResourceGroup("group", resource_group_name=f"rg-{prefix}", location="eastus")


    def cache(name, location):
        return redis.Redis(
            name,
            name=f"{prefix}-{name}",
            resource_group_name=group.name,
            location=location,
            sku={"name": "Premium", "family": "P", "capacity": config.get_int("capacity") or 1},
            redis_configuration={"maxmemory_policy": config.get("policy") or "allkeys-lru"},
            zonal_allocation_policy="NoZones",
            replicas_per_primary=1,
            tags={"owner": config.get_secret("owner") or "nobody"},
        )


    source = cache("source", "eastus")
    target = cache("target", config.get("location") or "westus")
    if config.get_bool("linked"):
        link = redis.LinkedServer(
            "link",
            name=source.name,
            resource_group_name=group.name,
            linked_server_name=target.name,
            linked_redis_cache_id=target.id,
            linked_redis_cache_location=target.location,
            server_role="Secondary",
        )
        pulumi.export("link", link.provisioning_state)
    keys = redis.list_redis_keys_output(name=source.name, resource_group_name=group.name)
    pulumi.export("key", keys.primary_key)
    pulumi.export("host", source.host_name)
    pulumi.export("location", source.location)
    pulumi.export("client", azure.authorization.get_client_config_output().client_id)
"""

ADOPTED = """
    import pulumi
    from pulumi_azure_native import redis

    config = pulumi.Config()
    redis.Redis(
        "adopted",
        name=config.require("name"),
        resource_group_name=config.require("group"),
        location=config.get("location") or "eastus",
        sku={"name": "Premium", "family": "P", "capacity": config.get_int("capacity") or 1},
        opts=pulumi.ResourceOptions(
            import_=config.require("id"),
            protect=True,
            retain_on_delete=True,
            ignore_changes=["*"] if config.get_bool("ignore") else None,
        ),
    )
"""


FAMILY = """
    import os

    import pulumi
    import pulumi_azure_native as azure
    from pulumi import ResourceOptions
    from pulumi_azure_native import redis, resources

    second = azure.Provider("second", subscription_id=os.environ["ARM_SUBSCRIPTION_ID_2"])
    elsewhere = resources.ResourceGroup("elsewhere", location="westus", opts=ResourceOptions(provider=second))
    group = resources.ResourceGroup("group", resource_group_name="rg-family", location="eastus")
    cache = redis.Redis(
        "cache",
        resource_group_name=group.name,
        sku={"name": "Premium", "family": "P", "capacity": 1},
        shard_count=2,
        identity={"type": "SystemAssigned"},
        redis_configuration={"aad_enabled": "true", "notify_keyspace_events": "KEA"},
    )
    where = {"cache_name": cache.name, "resource_group_name": group.name}
    # one after the other: a cache that is busy with one refuses the next
    rule = redis.FirewallRule("office", start_ip="10.0.0.1", end_ip="10.0.0.9", **where)
    schedule = redis.PatchSchedule(
        "schedule",
        name=cache.name,
        resource_group_name=group.name,
        default="default",
        schedule_entries=[{"day_of_week": "Monday", "start_hour_utc": 3, "maintenance_window": "PT5H"}],
        opts=ResourceOptions(depends_on=[rule]),
    )
    policy = redis.AccessPolicy(
        "reader", permissions="+@read ~*", **where, opts=ResourceOptions(depends_on=[schedule])
    )
    redis.AccessPolicyAssignment(
        "assigned",
        access_policy_name="Data Contributor",
        object_id="11111111-2222-3333-4444-555555555555",
        object_id_alias="somebody",
        **where,
        opts=ResourceOptions(depends_on=[policy]),
    )


    def ask(names):
        found = redis.get_redis(name=names[0], resource_group_name=names[1])
        keys = redis.list_redis_keys(name=names[0], resource_group_name=names[1])
        return [found.host_name, found.shard_count, found.identity.type, bool(keys.primary_key)]


    pulumi.export("asked", pulumi.Output.all(cache.name, group.name).apply(ask))
    pulumi.export("host", cache.host_name)
    pulumi.export("name", cache.name)
    pulumi.export("location", cache.location)
    pulumi.export("elsewhere", elsewhere.id)
"""


class Arm:
    """ARM by hand, as somebody with the portal open."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._environment = cloud.environment
        self._context = ssl.create_default_context(cafile=cloud.environment["SSL_CERT_FILE"])
        self._token = ""

    @property
    def subscription(self) -> str:
        """The path of the first subscription."""
        return f"/subscriptions/{self._environment['ARM_SUBSCRIPTION_ID']}"

    def cache(self, group: str, name: str) -> str:
        """The id of a cache."""
        return f"{self.subscription}/resourceGroups/{group}/providers/Microsoft.Cache/redis/{name}"

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send one request; returns status and JSON."""
        if not self._token:
            self._token = self._sign_in()
        request = urllib.request.Request(
            f"{self._environment['ARM_ENDPOINT']}{path}?api-version=2024-11-01",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
                content = answer.read()
                return answer.status, json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def _sign_in(self) -> str:
        form = {
            "client_id": self._environment["ARM_CLIENT_ID"],
            "client_secret": self._environment["ARM_CLIENT_SECRET"],
            "grant_type": "client_credentials",
            "scope": f"{self._environment['ARM_ENDPOINT']}/.default",
        }
        url = f"{self._environment['ARM_ENDPOINT']}/{self._environment['ARM_TENANT_ID']}/oauth2/v2.0/token"
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(url, data=data, context=self._context, timeout=30) as answer:
            return str(json.loads(answer.read())["access_token"])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    running = LocalCloud.start(tmp_path_factory.mktemp("azure") / "home")
    yield running
    running.stop()


@pytest.fixture
def arm(cloud: LocalCloud) -> Arm:
    return Arm(cloud)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_all(processes_that_name(tmp_path))


def project(folder: Path, cloud: LocalCloud, program: str, **config: Any) -> PulumiProject:
    """A project whose provider is the local Azure's."""
    made = PulumiProject(folder, program)
    for name, value in cloud.environment.items():
        if name.startswith(("ARM_", "AZURE_")) or name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            made.variables[name] = value
    made.variables["PATH"] = f"{cloud.home / 'bin'}:{made.variables['PATH']}"
    configure(made, **config)
    return made


def configure(stack: PulumiProject, **config: Any) -> None:
    for name, value in config.items():
        secret = ["--secret"] if name == "owner" else []
        stack.pulumi(
            "config", "set", *secret, name, str(value).lower() if isinstance(value, bool) else str(value)
        ).good()


def up(stack: PulumiProject, *options: str) -> str:
    return stack.pulumi("up", "-y", "--skip-preview", *options).good().text


def resources(stack: PulumiProject) -> dict[str, Any]:
    """The state's resources by their names."""
    content = json.loads(stack.pulumi("stack", "export").good().text)
    return {one["urn"].rsplit("::", 1)[-1]: one for one in content["deployment"].get("resources", [])}


def test_a_pair_from_the_first_up_to_destroy(folder: Path, cloud: LocalCloud, arm: Arm) -> None:
    stack = project(folder, cloud, PAIR, prefix="life", linked=True, owner="hunter2")
    try:
        preview = stack.pulumi("preview").good().text
        assert "5 to create" in preview or "6 to create" in preview
        assert "Detected that" not in preview, "the plugin ends when the engine does"
        up(stack)
        assert "unchanged" in up(stack, "--expect-no-changes")
        stack.pulumi("preview", "--refresh", "--expect-no-changes").good()
        stack.pulumi("refresh", "-y", "--expect-no-changes").good()
        outputs = stack.outputs(show_secrets=True)
        assert (outputs["link"], outputs["location"]) == ("Succeeded", "East US")
        assert outputs["client"] == cloud.environment["ARM_CLIENT_ID"]
        _, keys = arm("POST", arm.cache("rg-life", "life-source") + "/listKeys")
        assert outputs["key"] == keys["primaryKey"]
        assert_encrypted(folder, keys["primaryKey"], keys["secondaryKey"], "hunter2")

        configure(stack, location="northeurope")
        elsewhere = stack.pulumi("preview").good().text
        assert "+-2 to replace" in elsewhere, "the cache in another region, and the link to it"
        configure(stack, location="westus")

        configure(stack, capacity=2)
        failed = stack.pulumi("up", "-y", "--skip-preview")
        assert failed.code != 0
        assert "BadRequest: The cache 'life-source' cannot be scaled while it is linked" in failed.text
        assert "Traceback" not in failed.text

        configure(stack, capacity=1, linked=False)
        assert "1 deleted" in up(stack)
        configure(stack, policy="volatile-lru")
        assert "2 updated" in up(stack)
        _, cache = arm("GET", arm.cache("rg-life", "life-source"))
        assert cache["properties"]["redisConfiguration"]["maxmemory-policy"] == "volatile-lru"
        assert cache["properties"].get("linkedServers", []) == []
    finally:
        destroyed = stack.pulumi("destroy", "-y", "--skip-preview")
    assert "4 deleted" in destroyed.good().text
    assert arm("GET", arm.cache("rg-life", "life-source"))[0] == 404


def assert_encrypted(folder: Path, *secrets: str) -> None:
    """No file below *folder* holds one of the secrets in clear."""
    files = [path for path in (folder / "home").rglob("*") if path.is_file()]
    assert any(path.suffix == ".json" for path in files), "the state was looked at"
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            # JSON writes a slash as it is, but quotes other characters of base64 in some places
            spellings = {secret, json.dumps(secret)[1:-1], secret.replace("+", "\\u002b")}
            assert not any(one.encode() in content for one in spellings), f"{path} holds a secret in clear"


def test_a_cache_with_all_its_children_and_a_group_in_the_other_subscription(
    folder: Path, cloud: LocalCloud, arm: Arm
) -> None:
    stack = project(folder, cloud, FAMILY)
    try:
        up(stack)
        stack.pulumi("preview", "--refresh", "--expect-no-changes").good()
        outputs = stack.outputs()
        assert outputs["asked"] == [outputs["host"], 2, "SystemAssigned", True]
        assert outputs["elsewhere"].startswith(f"/subscriptions/{cloud.environment['ARM_SUBSCRIPTION_ID_2']}/")
        assert outputs["location"] == "East US", "the resource group's, as nothing else was said"
        assert outputs["name"].startswith("cache")
        cache = arm.cache("rg-family", outputs["name"])
        children = ("firewallRules/office", "patchSchedules/default", "accessPolicies/reader")
        assert [arm("GET", f"{cache}/{child}")[0] for child in children] == [200, 200, 200]
        _, assigned = arm("GET", f"{cache}/accessPolicyAssignments/assigned")
        assert assigned["properties"]["objectIdAlias"] == "somebody"
    finally:
        destroyed = stack.pulumi("destroy", "-y", "--skip-preview")
    destroyed.good()
    assert arm("GET", cache)[0] == 404


def test_what_somebody_does_by_hand_is_seen_and_taken_back(folder: Path, cloud: LocalCloud, arm: Arm) -> None:
    stack = project(folder, cloud, PAIR, prefix="hand", linked=True)
    try:
        up(stack)
        source, target = (arm.cache("rg-hand", f"hand-{name}") for name in ("source", "target"))
        link = f"{source}/linkedServers/hand-target"
        assert arm("DELETE", link)[0] in (200, 202)
        wait_until(lambda: arm("GET", link)[0] == 404, 60, "the link's deletion")
        wait_until(lambda: settled(arm, source) and settled(arm, target), 60, "both caches' settling")
        assert arm("PATCH", source, {"tags": {"owner": "somebody"}})[0] in (200, 202)
        wait_until(lambda: settled(arm, source), 60, "the update")

        drifted = stack.pulumi("preview", "--refresh", "--expect-no-changes")
        assert drifted.code != 0
        assert "1 to create" in drifted.text
        assert "1 to update" in drifted.text
        stack.pulumi("refresh", "-y").good()
        state = resources(stack)
        assert "link" not in state, "the refresh saw that it is gone"
        assert state["source"]["inputs"]["tags"] == {"owner": "somebody"}
        # the update of the source keeps it busy, and a busy cache refuses the link: the link comes second
        up(stack, "--target", state["source"]["urn"])
        assert arm("GET", source)[1]["tags"] == {"owner": "nobody"}
        assert "1 created" in up(stack)
        assert arm("GET", link)[0] == 200
    finally:
        stack.pulumi("destroy", "-y", "--skip-preview").good()


def settled(arm: Arm, cache: str) -> bool:
    """Whether Azure is done with a cache."""
    return bool(arm("GET", cache)[1]["properties"]["provisioningState"] == "Succeeded")


def test_a_live_cache_is_adopted_without_a_write(folder: Path, cloud: LocalCloud, arm: Arm) -> None:
    cloud.seed("adopted", keys=10, resource_group="rg-adopted", tag="team=payments")
    identity = arm.cache("rg-adopted", "adopted")
    _, before = arm("GET", identity)
    stack = project(folder, cloud, ADOPTED, name="adopted", group="rg-adopted", id=identity, ignore=True, capacity=5)
    assert "1 imported" in up(stack)
    for command in ("up -y --skip-preview", "preview", "preview --refresh"):
        stack.pulumi(*command.split(), "--expect-no-changes").good()
    state = resources(stack)["adopted"]
    assert state["inputs"]["sku"] == {"name": "Premium", "family": "P", "capacity": 1}, "Azure's, not the program's"
    assert state["inputs"]["tags"]["team"] == "payments"
    assert state["outputs"]["hostName"] == before["properties"]["hostName"]
    assert arm("GET", identity)[1] == before
    protected = stack.pulumi("destroy", "-y", "--skip-preview")
    assert protected.code != 0
    assert arm("GET", identity)[0] == 200


def test_without_ignore_changes_the_engine_updates_what_it_imports(folder: Path, cloud: LocalCloud, arm: Arm) -> None:
    """Not the provider's doing, but the reason why a live cache is adopted with ignore_changes and not without."""
    cloud.seed("updated", keys=0, resource_group="rg-updated")
    identity = arm.cache("rg-updated", "updated")
    stack = project(folder, cloud, ADOPTED, name="updated", group="rg-updated", id=identity, capacity=2)
    text = up(stack)
    assert "1 imported" in text
    assert "1 updated" in text
    assert arm("GET", identity)[1]["properties"]["sku"]["capacity"] == 2


def test_a_cache_that_is_not_there_is_not_imported(folder: Path, cloud: LocalCloud, arm: Arm) -> None:
    identity = arm.cache("rg-nobody", "nobody")
    stack = project(folder, cloud, ADOPTED, name="nobody", group="rg-nobody", id=identity, ignore=True)
    failed = stack.pulumi("up", "-y", "--skip-preview")
    assert failed.code != 0
    assert f"resource '{identity}' does not exist" in failed.text


def test_a_cache_that_exists_is_not_taken_over(folder: Path, cloud: LocalCloud, arm: Arm) -> None:
    cloud.seed("taken-source", keys=0, resource_group="rg-taken")
    _, before = arm("GET", arm.cache("rg-taken", "taken-source"))
    # the group exists as well, so that nothing at all is made
    stack = project(folder, cloud, PAIR, prefix="taken")
    failed = stack.pulumi("up", "-y", "--skip-preview")
    assert failed.code != 0
    assert "cannot create already existing resource '/subscriptions/" in failed.text
    assert arm("GET", arm.cache("rg-taken", "taken-source"))[1] == before


GROUP = """
    from pulumi_azure_native import resources

    resources.ResourceGroup("group", resource_group_name="rg-alone", location="eastus")
"""


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "ARM_METADATA_HOSTNAME",
            "localhost:9",
            "the local Azure does not answer at https://localhost:9; start it with `redismove local start`",
        ),
        ("ARM_METADATA_HOSTNAME", "management.azure.com", "is the stand-in for the local Azure"),
        ("ARM_CLIENT_SECRET", "hunter2", "cannot sign in as client"),
        (
            "ARM_SUBSCRIPTION_ID",
            "",
            'needs ARM_SUBSCRIPTION_ID (or azure-native:subscriptionId); run eval "$(redismove',
        ),
        ("SSL_CERT_FILE", "/nowhere.pem", "the certificates in SSL_CERT_FILE (/nowhere.pem) cannot be read"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    folder: Path, cloud: LocalCloud, variable: str, value: str, sentence: str
) -> None:
    stack = project(folder, cloud, GROUP)
    stack.variables[variable] = value
    failed = stack.pulumi("up", "-y", "--skip-preview")
    assert failed.code != 0
    assert sentence in " ".join(failed.text.split())
    assert "hunter2" not in failed.text
    assert "Traceback" not in failed.text
