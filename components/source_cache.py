"""SourceCache: the live cache, imported as it is and never changed."""

from __future__ import annotations

import pulumi
from pulumi_azure_native import redis

from components.cache_arguments import redis_arguments, within
from redismove.facts import CacheFacts
from redismove.stages import Declaration


class SourceCache(pulumi.ComponentResource):
    """
    The cache that is moved.

    It is imported with the inputs it has, and every later difference is ignored: adopting never plans a change, and
    nothing here can write to it. Before `retire` it is protected, and kept in Azure should it leave the state.
    """

    cache: redis.Redis

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
        self.cache = redis.Redis(
            "source",
            **redis_arguments(facts),
            opts=pulumi.ResourceOptions(
                parent=self,
                import_=facts.id,
                ignore_changes=["*"],
                protect=declared.source_protected,
                retain_on_delete=declared.source_retained,
                hooks=hooks,
                custom_timeouts=within(settle_s),
                additional_secret_outputs=["accessKeys"],
            ),
        )
        self.register_outputs({"id": self.cache.id})
