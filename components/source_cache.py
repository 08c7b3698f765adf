"""SourceCache: the live cache, imported as it is and never changed."""

from __future__ import annotations

import pulumi
from pulumi_azure_native import redis, redisenterprise

from components.cache_arguments import DATABASE, cluster_arguments, database_arguments, redis_arguments, within
from redismove.facts import MANAGED, CacheFacts
from redismove.stages import Declaration


class SourceCache(pulumi.ComponentResource):
    """
    The cache that is moved.

    It is imported with the inputs it has, and every later difference is ignored: adopting never plans a change, and
    nothing here can write to it. Before `retire` it is protected, and kept in Azure should it leave the state.
    """

    cache: redis.Redis | redisenterprise.RedisEnterprise

    def __init__(
        self,
        name: str,
        facts: CacheFacts,
        declared: Declaration,
        *,
        settle_s: float,
        hooks: pulumi.ResourceHookBinding,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """
        Declare the cache that *facts* describe, live, as stage *declared* asks for; *settle_s* bounds its deletion, in
        seconds.
        """
        super().__init__("redismove:index:SourceCache", name, {"cacheId": facts.id}, opts)
        options = pulumi.ResourceOptions(
            parent=self,
            ignore_changes=["*"],
            protect=declared.source_protected,
            retain_on_delete=declared.source_retained,
            hooks=hooks,
            custom_timeouts=within(settle_s),
        )
        if facts.product == MANAGED:
            self.cache = self._cluster(facts, options)
        else:
            self.cache = redis.Redis(
                "source",
                **redis_arguments(facts),
                opts=pulumi.ResourceOptions.merge(
                    options, pulumi.ResourceOptions(import_=facts.id, additional_secret_outputs=["accessKeys"])
                ),
            )
        self.register_outputs({"id": self.cache.id})

    def _cluster(self, facts: CacheFacts, options: pulumi.ResourceOptions) -> redisenterprise.RedisEnterprise:
        """Declare a managed source: its cluster, and the database that goes with it."""
        cluster = redisenterprise.RedisEnterprise(
            "source",
            **cluster_arguments(facts),
            opts=pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(import_=facts.id)),
        )
        redisenterprise.Database(
            "source-database",
            **database_arguments(facts),
            opts=pulumi.ResourceOptions.merge(
                options,
                pulumi.ResourceOptions(
                    import_=f"{facts.id}/databases/{DATABASE}", depends_on=[cluster], deleted_with=cluster
                ),
            ),
        )
        return cluster
