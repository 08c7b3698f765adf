"""Addresses of Microsoft.Cache/redis."""

from localazure.arm.cache import handlers
from localazure.arm.http import ArmRoute

SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{group}}"
CACHES = f"{GROUP}/providers/Microsoft.Cache/redis"
CACHE = f"{CACHES}/{{name}}"
LOCATION = f"{SUBSCRIPTION}/providers/Microsoft.Cache/locations/{{location}}"

ROUTES = [
    ArmRoute(f"{SUBSCRIPTION}/providers/Microsoft.Cache/redis", handlers.list_by_subscription, ["GET"]),
    ArmRoute(
        f"{SUBSCRIPTION}/providers/Microsoft.Cache/checkNameAvailability", handlers.check_name_availability, ["POST"]
    ),
    ArmRoute(f"{LOCATION}/asyncOperations/{{operation}}", handlers.get_async_operation, ["GET"]),
    ArmRoute(f"{LOCATION}/operationresults/{{operation}}", handlers.get_operation_result, ["GET"]),
    ArmRoute(CACHES, handlers.list_by_group, ["GET"]),
    ArmRoute(CACHE, handlers.create, ["PUT"]),
    ArmRoute(CACHE, handlers.update, ["PATCH"]),
    ArmRoute(CACHE, handlers.get, ["GET"]),
    ArmRoute(CACHE, handlers.delete, ["DELETE"]),
    ArmRoute(f"{CACHE}/listKeys", handlers.list_keys, ["POST"]),
    ArmRoute(f"{CACHE}/regenerateKey", handlers.regenerate_key, ["POST"]),
    ArmRoute(f"{CACHE}/flush", handlers.flush, ["POST"]),
    ArmRoute(f"{CACHE}/forceReboot", handlers.force_reboot, ["POST"]),
    ArmRoute(f"{CACHE}/import", handlers.import_data, ["POST"]),
    ArmRoute(f"{CACHE}/export", handlers.export_data, ["POST"]),
    ArmRoute(f"{CACHE}/listUpgradeNotifications", handlers.list_upgrade_notifications, ["GET"]),
    ArmRoute(f"{CACHE}/linkedServers", handlers.list_links, ["GET"]),
    ArmRoute(f"{CACHE}/linkedServers/{{linked}}", handlers.put_link, ["PUT"]),
    ArmRoute(f"{CACHE}/linkedServers/{{linked}}", handlers.get_link, ["GET"]),
    ArmRoute(f"{CACHE}/linkedServers/{{linked}}", handlers.delete_link, ["DELETE"]),
    ArmRoute(f"{CACHE}/firewallRules", handlers.list_firewall_rules, ["GET"]),
    ArmRoute(f"{CACHE}/firewallRules/{{rule}}", handlers.put_firewall_rule, ["PUT"]),
    ArmRoute(f"{CACHE}/firewallRules/{{rule}}", handlers.get_firewall_rule, ["GET"]),
    ArmRoute(f"{CACHE}/firewallRules/{{rule}}", handlers.delete_firewall_rule, ["DELETE"]),
    ArmRoute(f"{CACHE}/patchSchedules", handlers.list_patch_schedules, ["GET"]),
    ArmRoute(f"{CACHE}/patchSchedules/{{schedule}}", handlers.put_patch_schedule, ["PUT"]),
    ArmRoute(f"{CACHE}/patchSchedules/{{schedule}}", handlers.get_patch_schedule, ["GET"]),
    ArmRoute(f"{CACHE}/patchSchedules/{{schedule}}", handlers.delete_patch_schedule, ["DELETE"]),
    ArmRoute(f"{CACHE}/accessPolicies", handlers.list_access_policies, ["GET"]),
    ArmRoute(f"{CACHE}/accessPolicies/{{policy}}", handlers.put_access_policy, ["PUT"]),
    ArmRoute(f"{CACHE}/accessPolicies/{{policy}}", handlers.get_access_policy, ["GET"]),
    ArmRoute(f"{CACHE}/accessPolicies/{{policy}}", handlers.delete_access_policy, ["DELETE"]),
    ArmRoute(f"{CACHE}/accessPolicyAssignments", handlers.list_assignments, ["GET"]),
    ArmRoute(f"{CACHE}/accessPolicyAssignments/{{assignment}}", handlers.put_assignment, ["PUT"]),
    ArmRoute(f"{CACHE}/accessPolicyAssignments/{{assignment}}", handlers.get_assignment, ["GET"]),
    ArmRoute(f"{CACHE}/accessPolicyAssignments/{{assignment}}", handlers.delete_assignment, ["DELETE"]),
    ArmRoute(f"{CACHE}/privateEndpointConnections", handlers.list_private_endpoints, ["GET"]),
    ArmRoute(f"{CACHE}/privateEndpointConnections/{{connection}}", handlers.put_private_endpoint, ["PUT"]),
    ArmRoute(f"{CACHE}/privateEndpointConnections/{{connection}}", handlers.get_private_endpoint, ["GET"]),
    ArmRoute(f"{CACHE}/privateEndpointConnections/{{connection}}", handlers.delete_private_endpoint, ["DELETE"]),
    ArmRoute(f"{CACHE}/privateLinkResources", handlers.list_private_link_resources, ["GET"]),
]
