"""Addresses of Microsoft.Storage/storageAccounts."""

from localazure.arm.http import ArmRoute
from localazure.arm.storage import handlers

SUBSCRIPTION = "/subscriptions/{subscription}"
PROVIDER = f"{SUBSCRIPTION}/providers/Microsoft.Storage"
ACCOUNTS = f"{SUBSCRIPTION}/resourceGroups/{{group}}/providers/Microsoft.Storage/storageAccounts"
ACCOUNT = f"{ACCOUNTS}/{{name}}"
CONTAINERS = f"{ACCOUNT}/blobServices/default/containers"

ROUTES = [
    ArmRoute(f"{PROVIDER}/storageAccounts", handlers.list_by_subscription, ["GET"]),
    ArmRoute(f"{PROVIDER}/checkNameAvailability", handlers.check_name_availability, ["POST"]),
    ArmRoute(f"{PROVIDER}/locations/{{location}}/asyncoperations/{{operation}}", handlers.get_operation, ["GET"]),
    ArmRoute(ACCOUNTS, handlers.list_by_group, ["GET"]),
    ArmRoute(ACCOUNT, handlers.create, ["PUT"]),
    ArmRoute(ACCOUNT, handlers.update, ["PATCH"]),
    ArmRoute(ACCOUNT, handlers.get, ["GET"]),
    ArmRoute(ACCOUNT, handlers.delete, ["DELETE"]),
    ArmRoute(f"{ACCOUNT}/listKeys", handlers.list_keys, ["POST"]),
    ArmRoute(f"{ACCOUNT}/regenerateKey", handlers.regenerate_key, ["POST"]),
    ArmRoute(f"{ACCOUNT}/blobServices/{{service}}", handlers.get_blob_service, ["GET"]),
    ArmRoute(CONTAINERS, handlers.list_containers, ["GET"]),
    ArmRoute(f"{CONTAINERS}/{{container}}", handlers.put_container, ["PUT"]),
    ArmRoute(f"{CONTAINERS}/{{container}}", handlers.get_container, ["GET"]),
    ArmRoute(f"{CONTAINERS}/{{container}}", handlers.delete_container, ["DELETE"]),
]
