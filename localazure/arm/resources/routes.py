"""Addresses of subscriptions and resource groups."""

from localazure.arm.http import ArmRoute
from localazure.arm.resources import handlers

SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{group}}"

ROUTES = [
    ArmRoute("/subscriptions", handlers.list_subscriptions, ["GET"]),
    ArmRoute("/tenants", handlers.list_tenants, ["GET"]),
    ArmRoute(SUBSCRIPTION, handlers.get_subscription, ["GET"]),
    ArmRoute(f"{SUBSCRIPTION}/locations", handlers.list_locations, ["GET"]),
    ArmRoute(f"{SUBSCRIPTION}/providers", handlers.list_providers, ["GET"]),
    ArmRoute(f"{SUBSCRIPTION}/providers/{{namespace}}", handlers.get_provider, ["GET"]),
    ArmRoute(f"{SUBSCRIPTION}/providers/{{namespace}}/register", handlers.get_provider, ["POST"]),
    ArmRoute(f"{SUBSCRIPTION}/resources", handlers.list_resources, ["GET"]),
    ArmRoute(f"{SUBSCRIPTION}/operationresults/{{operation}}", handlers.get_group_operation, ["GET"]),
    ArmRoute(f"{SUBSCRIPTION}/resourceGroups", handlers.list_groups, ["GET"]),
    ArmRoute(GROUP, handlers.put_group, ["PUT"]),
    ArmRoute(GROUP, handlers.patch_group, ["PATCH"]),
    ArmRoute(GROUP, handlers.head_group, ["HEAD"]),
    ArmRoute(GROUP, handlers.get_group, ["GET"]),
    ArmRoute(GROUP, handlers.delete_group, ["DELETE"]),
    ArmRoute(f"{GROUP}/resources", handlers.list_group_resources, ["GET"]),
]
