"""TargetCache: the new cache, like the source, in the new region."""

from __future__ import annotations

import pulumi
from pulumi_azure_native import redis

from components.cache_arguments import redis_arguments
from redismove.facts import CacheFacts
from redismove.stages import Declaration


class TargetCache(pulumi.ComponentResource):
    """
    The cache that is moved to, with its firewall rules, patch schedule, access policies and assignments.

    Where it exists already it is taken over, not made again: a killed update may have made it without recording it. A
    cache that this stack did not make is used as it is, and stays in Azure when it leaves the state.
    """

    cache: redis.Redis
    parts: list[pulumi.Resource]

    def __init__(
        self,
        name: str,
        facts: CacheFacts,
        declared: Declaration,
        *,
        live: CacheFacts | None,
        made_by_stack: bool,
        hooks: pulumi.ResourceHookBinding,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """
        Declare the target that *facts* describe.

        *live* is the cache as it is now, None where it does not exist; *made_by_stack* is False for one that was there
        before.
        """
        super().__init__("redismove:index:TargetCache", name, {"cacheId": facts.id}, opts)
        foreign = live is not None and not made_by_stack
        self.cache = redis.Redis(
            "target",
            **redis_arguments(facts),
            opts=pulumi.ResourceOptions(
                parent=self,
                import_=live.id if live is not None else None,
                ignore_changes=["*"] if foreign else _answered_in_another_form(),
                retain_on_delete=foreign,
                protect=declared.target_protected,
                hooks=hooks,
                additional_secret_outputs=["accessKeys"],
                custom_timeouts=pulumi.CustomTimeouts(create="2h", update="2h", delete="2h"),
            ),
        )
        self.parts = [self.cache]
        if not foreign:
            self._details(facts, live)
        self.register_outputs({"id": self.cache.id, "hostName": self.cache.host_name})

    def _details(self, facts: CacheFacts, live: CacheFacts | None) -> None:
        where = {"resource_group_name": facts.resource_group, "cache_name": self.cache.name}
        for rule in facts.firewall_rules:
            there = live is not None and any(r.name == rule.name for r in live.firewall_rules)
            self.parts.append(
                redis.FirewallRule(
                    f"target-firewall-{rule.name}",
                    rule_name=rule.name,
                    start_ip=rule.start_ip,
                    end_ip=rule.end_ip,
                    **where,
                    opts=self._child(f"{facts.id}/firewallRules/{rule.name}" if there else None),
                )
            )
        if facts.patch_schedule:
            there = live is not None and bool(live.patch_schedule)
            self.parts.append(
                redis.PatchSchedule(
                    "target-patch-schedule",
                    resource_group_name=facts.resource_group,
                    name=self.cache.name,
                    default="default",
                    schedule_entries=[
                        redis.ScheduleEntryArgs(
                            day_of_week=entry.day_of_week,
                            start_hour_utc=entry.start_hour_utc,
                            maintenance_window=entry.maintenance_window,
                        )
                        for entry in facts.patch_schedule
                    ],
                    opts=self._child(f"{facts.id}/patchSchedules/default" if there else None),
                )
            )
        # Azure takes policies and assignments one at a time: each waits for the one before it.
        for policy in facts.access_policies:
            there = live is not None and any(p.name == policy.name for p in live.access_policies)
            self.parts.append(
                redis.AccessPolicy(
                    f"target-access-policy-{policy.name}",
                    access_policy_name=policy.name,
                    permissions=policy.permissions,
                    **where,
                    opts=self._child(f"{facts.id}/accessPolicies/{policy.name}" if there else None),
                )
            )
        for assignment in facts.access_policy_assignments:
            there = live is not None and any(a.name == assignment.name for a in live.access_policy_assignments)
            self.parts.append(
                redis.AccessPolicyAssignment(
                    f"target-access-{assignment.name}",
                    access_policy_assignment_name=assignment.name,
                    access_policy_name=assignment.access_policy_name,
                    object_id=assignment.object_id,
                    object_id_alias=assignment.object_id_alias,
                    **where,
                    opts=self._child(f"{facts.id}/accessPolicyAssignments/{assignment.name}" if there else None),
                )
            )

    def _child(self, import_id: str | None) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(
            parent=self,
            import_=import_id,
            depends_on=list(self.parts),
            # Deleting the cache deletes what it holds; one request instead of one each, while the cache is busy.
            deleted_with=self.cache,
        )


def _answered_in_another_form() -> list[str]:
    """
    Properties that Azure answers in another form than it was given: the region's display name, the full version.

    Both are fixed when the cache is made, so nothing that could change is ignored.
    """
    return ["location", "redisVersion"]
