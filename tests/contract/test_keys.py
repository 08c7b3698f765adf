"""Access keys and Entra tokens."""

from __future__ import annotations

import pytest
import redis
from azure.core.exceptions import ResourceNotFoundError

from .conftest import GROUP, Caches, Cloud, refused

REDIS_SCOPE = "https://redis.azure.com/.default"


@pytest.mark.parametrize("shards", [0, 2])
def test_two_keys_are_valid_and_rotate_one_at_a_time(caches: Caches, shards: int) -> None:
    name = f"rotate{shards}"
    caches.make(**{name: {"shardCount": shards} if shards else {}})
    client = caches.client.redis
    old = client.list_keys(GROUP, name)
    open_connection = caches.connect(name, password=old.primary_key, single_connection_client=True)
    assert open_connection.ping()
    assert caches.connect(name, password=old.secondary_key).ping()

    new = client.regenerate_key(GROUP, name, {"keyType": "Primary"})

    assert new.primary_key != old.primary_key
    assert new.secondary_key == old.secondary_key
    assert client.list_keys(GROUP, name).primary_key == new.primary_key
    ports = [entry.ssl_port for entry in client.get(GROUP, name).instances]
    for port in [6380, *ports]:
        with pytest.raises(redis.AuthenticationError):
            caches.connect(name, password=old.primary_key, port=port).ping()
        assert caches.connect(name, password=new.primary_key, port=port).ping()
        assert caches.connect(name, password=old.secondary_key, port=port).ping()
    # What Azure does with open connections is not confirmed; here they stay, so that the mover must cut them.
    assert open_connection.ping()


def test_no_connection_without_a_key(caches: Caches) -> None:
    caches.make(nokey={})
    with pytest.raises(redis.AuthenticationError):
        caches.connect("nokey", password=None).ping()


def test_access_policies_and_assignments(cloud: Cloud, caches: Caches) -> None:
    caches.make(entra={})
    client = caches.client
    built_in = {policy.name: policy.type_properties_type for policy in client.access_policy.list(GROUP, "entra")}
    assert built_in == {"Data Owner": "BuiltIn", "Data Contributor": "BuiltIn", "Data Reader": "BuiltIn"}

    policy = client.access_policy.begin_create_update(
        GROUP, "entra", "only carts", {"properties": {"permissions": "+@read +set ~cart:*"}}
    ).result()
    assert (policy.provisioning_state, policy.permissions) == ("Succeeded", "+@read +set ~cart:*")
    error = refused(
        lambda: client.access_policy.begin_create_update(
            GROUP, "entra", "bad one", {"properties": {"permissions": "+no-such-command ~*"}}
        ).result()
    )
    assert error.code == "InvalidRequestBody"
    error = refused(
        lambda: client.access_policy.begin_create_update(
            GROUP, "entra", "Data Owner", {"properties": {"permissions": "+@all ~*"}}
        ).result()
    )
    assert "built in" in error.message

    object_id = token_object_id(cloud)
    assignment = {"properties": {"objectId": object_id, "objectIdAlias": "app", "accessPolicyName": "only carts"}}
    made = client.access_policy_assignment.begin_create_update(GROUP, "entra", "app-1", assignment).result()
    assert (made.provisioning_state, made.access_policy_name) == ("Succeeded", "only carts")
    error = refused(
        lambda: client.access_policy_assignment.begin_create_update(GROUP, "entra", "app-2", assignment).result()
    )
    assert "duplicate entries" in error.message
    error = refused(lambda: client.access_policy.begin_delete(GROUP, "entra", "only carts").result())
    assert "assigned by app-1" in error.message

    # Entra off: no login with a token.
    token = cloud.credential().get_token(REDIS_SCOPE).token
    with pytest.raises(redis.AuthenticationError):
        caches.connect("entra", username=object_id, password=token).ping()
    client.redis.begin_update(GROUP, "entra", {"properties": {"redisConfiguration": {"aad-enabled": "true"}}}).result()
    token = cloud.credential().get_token(REDIS_SCOPE).token
    user = caches.connect("entra", username=object_id, password=token)
    assert user.set("cart:1", "x")
    assert user.get("cart:1") == b"x"
    for refused_words in (("SET", "other", "x"), ("DEL", "cart:1"), ("CONFIG", "GET", "*")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            user.execute_command(*refused_words)
    arm_token = cloud.credential().get_token(f"{cloud.env['ARM_ENDPOINT']}/.default").token
    with pytest.raises(redis.AuthenticationError):
        caches.connect("entra", username=object_id, password=arm_token).ping()

    with_keys = caches.connect("entra", single_connection_client=True)
    assert with_keys.ping()
    client.redis.begin_update(GROUP, "entra", {"properties": {"disableAccessKeyAuthentication": True}}).result()
    with pytest.raises((redis.ConnectionError, redis.AuthenticationError)):
        with_keys.ping()
    with pytest.raises(redis.AuthenticationError):
        caches.connect("entra").ping()
    assert caches.connect("entra", username=object_id, password=token).get("cart:1") == b"x"

    client.access_policy_assignment.begin_delete(GROUP, "entra", "app-1").result()
    with pytest.raises(ResourceNotFoundError):
        client.access_policy_assignment.get(GROUP, "entra", "app-1")
    with pytest.raises(redis.AuthenticationError):
        caches.connect("entra", username=object_id, password=token).ping()
    client.access_policy.begin_delete(GROUP, "entra", "only carts").result()


def token_object_id(cloud: Cloud) -> str:
    import base64
    import json

    token = cloud.credential().get_token(f"{cloud.env['ARM_ENDPOINT']}/.default").token
    part = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["oid"])


def test_firewall_rules_patch_schedule_and_private_endpoints(caches: Caches) -> None:
    caches.make(children={})
    client = caches.client
    rule = client.firewall_rules.create_or_update(
        GROUP, "children", "office", {"properties": {"startIP": "10.0.0.1", "endIP": "10.0.0.9"}}
    )
    assert (rule.name, rule.start_ip, rule.end_ip) == ("children/office", "10.0.0.1", "10.0.0.9")
    assert [entry.name for entry in client.firewall_rules.list(GROUP, "children")] == ["children/office"]
    for name, start, end in (("o-f", "10.0.0.1", "10.0.0.2"), ("x", "10.0.0.9", "10.0.0.1"), ("x", "ten", "10.0.0.1")):
        bounds = {"properties": {"startIP": start, "endIP": end}}
        error = refused(lambda n=name, b=bounds: client.firewall_rules.create_or_update(GROUP, "children", n, b))
        assert error.code == "InvalidRequestBody"
    client.firewall_rules.delete(GROUP, "children", "office")
    assert list(client.firewall_rules.list(GROUP, "children")) == []

    entries = [{"dayOfWeek": "Monday", "startHourUtc": 2, "maintenanceWindow": "PT6H"}]
    schedule = {"properties": {"scheduleEntries": entries}}
    made = client.patch_schedules.create_or_update(GROUP, "children", "default", schedule)
    assert made.schedule_entries[0].day_of_week == "Monday"
    entries[0]["maintenanceWindow"] = "PT4H"
    error = refused(lambda: client.patch_schedules.create_or_update(GROUP, "children", "default", schedule))
    assert "maintenanceWindow" in error.message
    assert len(list(client.patch_schedules.list_by_redis_resource(GROUP, "children"))) == 1
    client.patch_schedules.delete(GROUP, "children", "default")

    connection = client.private_endpoint_connections.begin_put(
        GROUP,
        "children",
        "pe1",
        {"properties": {"privateLinkServiceConnectionState": {"status": "Approved", "description": "ok"}}},
    ).result()
    assert connection.private_link_service_connection_state.status == "Approved"
    assert client.redis.get(GROUP, "children").private_endpoint_connections[0].name == "pe1"
    assert [entry.group_id for entry in client.private_link_resources.list_by_redis_cache(GROUP, "children")] == [
        "redisCache"
    ]
    client.private_endpoint_connections.delete(GROUP, "children", "pe1")
    assert list(client.redis.list_upgrade_notifications(GROUP, "children", history=5000)) == []


def test_flush_and_reboot(caches: Caches) -> None:
    caches.make(flushed={}, rebooted={"sku": "C1", "tier": "Standard"})
    connection = caches.connect("flushed")
    connection.set("a", 1)
    assert caches.client.redis.begin_flush_cache(GROUP, "flushed").result().status == "Succeeded"
    assert connection.dbsize() == 0

    caches.connect("rebooted").set("a", 1)
    run_id = caches.connect("rebooted").info("server")["run_id"]
    message = caches.client.redis.force_reboot(GROUP, "rebooted", {"rebootType": "PrimaryNode"}).message
    assert "rebooted" in message
    assert caches.connect("rebooted").get("a") == b"1"
    assert caches.connect("rebooted").info("server")["run_id"] != run_id
    caches.client.redis.force_reboot(GROUP, "rebooted", {"rebootType": "AllNodes"})
    assert caches.connect("rebooted").dbsize() == 0
