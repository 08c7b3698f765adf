"""Addresses of Microsoft.Cache/redisEnterprise."""

from localazure.arm.enterprise import handlers
from localazure.arm.http import ArmRoute

SUBSCRIPTION = "/subscriptions/{subscription}"
CLUSTERS = f"{SUBSCRIPTION}/resourceGroups/{{group}}/providers/Microsoft.Cache/redisEnterprise"
CLUSTER = f"{CLUSTERS}/{{name}}"
DATABASES = f"{CLUSTER}/databases"
DATABASE = f"{DATABASES}/{{database}}"
ASSIGNMENTS = f"{DATABASE}/accessPolicyAssignments"
LOCATION = f"{SUBSCRIPTION}/providers/Microsoft.Cache/locations/{{location}}"

ROUTES = [
    ArmRoute(f"{SUBSCRIPTION}/providers/Microsoft.Cache/redisEnterprise", handlers.list_by_subscription, ["GET"]),
    ArmRoute(f"{LOCATION}/operationsStatus/{{operation}}", handlers.get_operation_status, ["GET"]),
    ArmRoute(CLUSTERS, handlers.list_by_group, ["GET"]),
    ArmRoute(CLUSTER, handlers.create_cluster, ["PUT"]),
    ArmRoute(CLUSTER, handlers.update_cluster, ["PATCH"]),
    ArmRoute(CLUSTER, handlers.get_cluster, ["GET"]),
    ArmRoute(CLUSTER, handlers.delete_cluster, ["DELETE"]),
    ArmRoute(f"{CLUSTER}/listSkusForScaling", handlers.list_skus_for_scaling, ["POST"]),
    ArmRoute(DATABASES, handlers.list_databases, ["GET"]),
    ArmRoute(DATABASE, handlers.create_database, ["PUT"]),
    ArmRoute(DATABASE, handlers.update_database, ["PATCH"]),
    ArmRoute(DATABASE, handlers.get_database, ["GET"]),
    ArmRoute(DATABASE, handlers.delete_database, ["DELETE"]),
    ArmRoute(f"{DATABASE}/listKeys", handlers.list_keys, ["POST"]),
    ArmRoute(f"{DATABASE}/regenerateKey", handlers.regenerate_key, ["POST"]),
    ArmRoute(f"{DATABASE}/flush", handlers.flush, ["POST"]),
    ArmRoute(f"{DATABASE}/import", handlers.import_data, ["POST"]),
    ArmRoute(f"{DATABASE}/export", handlers.export_data, ["POST"]),
    ArmRoute(ASSIGNMENTS, handlers.list_assignments, ["GET"]),
    ArmRoute(f"{ASSIGNMENTS}/{{assignment}}", handlers.put_assignment, ["PUT"]),
    ArmRoute(f"{ASSIGNMENTS}/{{assignment}}", handlers.get_assignment, ["GET"]),
    ArmRoute(f"{ASSIGNMENTS}/{{assignment}}", handlers.delete_assignment, ["DELETE"]),
]
