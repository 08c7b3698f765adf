"""TargetCache: the new cache, like the source, in the new region."""

from __future__ import annotations

import pulumi
from pulumi_azure_native import redis, redisenterprise

from components.cache_arguments import DATABASE, cluster_arguments, database_arguments, redis_arguments, within
from redismove.facts import MANAGED, CacheFacts
from redismove.stages import Declaration


class TargetCache(pulumi.ComponentResource):
    """
    The cache that is moved to, with its firewall rules, patch schedule, access policies and assignments.

    Where it exists already it is taken over, not made again: a killed update may have made it without recording it. A
    cache that this stack did not make is used as it is, and stays in Azure when it leaves the state.
    """

    cache: redis.Redis | redisenterprise.RedisEnterprise
    parts: list[pulumi.Resource]

    def __init__(
        self,
        name: str,
        facts: CacheFacts,
        declared: Declaration,
        *,
        live: CacheFacts | None,
        made_by_stack: bool,
        settle_s: float,
        hooks: pulumi.ResourceHookBinding,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """
        Declare the target that *facts* describe.

        *live* is the cache as it is now, None where it does not exist; *made_by_stack* is False for one that was there
        before. *settle_s* bounds each operation of Azure on it, in seconds.
        """
        super().__init__("redismove:index:TargetCache", name, {"cacheId": facts.id}, opts)
        foreign = live is not None and not made_by_stack
        import_id = live.id if live is not None else None
        options = pulumi.ResourceOptions(
            parent=self,
            ignore_changes=["*"] if foreign else _ignored(facts, declared),
            retain_on_delete=foreign,
            protect=declared.target_protected,
            hooks=hooks,
            custom_timeouts=within(settle_s),
        )
        if facts.product == MANAGED:
            self._managed(facts, live, options)
        else:
            self.cache = redis.Redis(
                "target",
                **redis_arguments(facts),
                opts=pulumi.ResourceOptions.merge(
                    options, pulumi.ResourceOptions(import_=import_id, additional_secret_outputs=["accessKeys"])
                ),
            )
            self.parts = [self.cache]
            if not foreign:
                self._details(facts, live)
        self.register_outputs({"id": self.cache.id, "hostName": self.cache.host_name})

    def _managed(self, facts: CacheFacts, live: CacheFacts | None, options: pulumi.ResourceOptions) -> None:
        """Declare a managed target: its cluster, the database on it, and who may sign in to that."""
        database_id = f"{facts.id}/databases/{DATABASE}"
        self.cache = redisenterprise.RedisEnterprise(
            "target",
            **cluster_arguments(facts),
            opts=pulumi.ResourceOptions.merge(
                options, pulumi.ResourceOptions(import_=live.id if live is not None else None)
            ),
        )
        # A killed update may have made the cluster alone; its database then has no clustering policy yet.
        has_database = live is not None and bool(live.clustering_policy)
        database = redisenterprise.Database(
            "target-database",
            **database_arguments(facts),
            opts=pulumi.ResourceOptions.merge(
                options,
                pulumi.ResourceOptions(
                    import_=database_id if has_database else None, depends_on=[self.cache], deleted_with=self.cache
                ),
            ),
        )
        self.parts = [self.cache, database]
        if live is not None and options.retain_on_delete:
            return
        for assignment in facts.access_policy_assignments:
            there = live is not None and any(a.name == assignment.name for a in live.access_policy_assignments)
            self.parts.append(
                redisenterprise.AccessPolicyAssignment(
                    f"target-access-{assignment.name}",
                    access_policy_assignment_name=assignment.name,
                    access_policy_name=assignment.access_policy_name,
                    cluster_name=facts.name,
                    database_name=DATABASE,
                    resource_group_name=facts.resource_group,
                    user={"object_id": assignment.object_id},
                    opts=self._child(f"{database_id}/accessPolicyAssignments/{assignment.name}" if there else None),
                )
            )

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


def _ignored(facts: CacheFacts, declared: Declaration) -> list[str]:
    """
    Properties whose differences are not acted upon.

    Region and version are answered in another form than they were given (display name, full version), and fixed when
    the cache is made. The configuration is declared at `prepare` alone: later an update by the engine, a PUT of the
    whole cache, would fill a linked target anew, or disturb applications, for what somebody changed by hand and a
    refresh has read; from `cutover` on it is TargetPosture's.
    """
    if facts.product == MANAGED:
        return ["location"]
    after_prepare = declared.replication or declared.evidence or declared.target_protected
    return ["location", "redisVersion", *(["redisConfiguration"] if after_prepare else [])]
