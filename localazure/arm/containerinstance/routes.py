"""Addresses of Microsoft.ContainerInstance/containerGroups."""

from localazure.arm.containerinstance import handlers
from localazure.arm.http import ArmRoute

SUBSCRIPTION = "/subscriptions/{subscription}"
PROVIDER = f"{SUBSCRIPTION}/providers/Microsoft.ContainerInstance"
GROUPS = f"{SUBSCRIPTION}/resourceGroups/{{group}}/providers/Microsoft.ContainerInstance/containerGroups"
GROUP = f"{GROUPS}/{{name}}"

ROUTES = [
    ArmRoute(f"{PROVIDER}/containerGroups", handlers.list_by_subscription, ["GET"]),
    ArmRoute(f"{PROVIDER}/locations/{{location}}/operations/{{operation}}", handlers.get_operation, ["GET"]),
    ArmRoute(GROUPS, handlers.list_by_group, ["GET"]),
    ArmRoute(GROUP, handlers.put, ["PUT"]),
    ArmRoute(GROUP, handlers.update_tags, ["PATCH"]),
    ArmRoute(GROUP, handlers.get, ["GET"]),
    ArmRoute(GROUP, handlers.delete, ["DELETE"]),
    ArmRoute(f"{GROUP}/start", handlers.start, ["POST"]),
    ArmRoute(f"{GROUP}/stop", handlers.stop, ["POST"]),
    ArmRoute(f"{GROUP}/restart", handlers.restart, ["POST"]),
    ArmRoute(f"{GROUP}/containers/{{container}}/logs", handlers.get_logs, ["GET"]),
]
