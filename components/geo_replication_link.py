"""GeoReplicationLink: the passive geo-replication link from the source to the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi.dynamic import Resource
from pulumi_azure_native import redis

from components.cache_arguments import within
from components.dynamic import Provider, told
from redismove.facts import CacheFacts, LinkFacts
from redismove.steps.link import wait_until_linked


class LinkReadyProvider(Provider):
    """Waits until the link and both caches say Succeeded; it only reads."""

    significant = ("sourceId", "targetId")

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """Wait, telling how far it is."""
        del olds
        wait_until_linked(news["sourceId"], news["targetId"], timeout_s=news["settleSeconds"], tell=told)
        return {}


class LinkReady(Resource, name="LinkReady", module="redismove"):
    """The link as it stands once data flows: everything that needs the data depends on it."""

    def __init__(
        self, name: str, source_id: str, target_id: str, settle_s: float, opts: pulumi.ResourceOptions
    ) -> None:
        """Wait for the link from *source_id* to *target_id*, at most *settle_s* seconds."""
        super().__init__(
            LinkReadyProvider(), name, {"sourceId": source_id, "targetId": target_id, "settleSeconds": settle_s}, opts
        )


class GeoReplicationLink(pulumi.ComponentResource):
    """
    The link; the source is its primary.

    A PUT of a link that exists is an error on Azure, so one that is there already (after a killed update, say) is taken
    over by import. Its deletion passes the delete hook, whatever command asked for it.
    """

    link: redis.LinkedServer
    ready: LinkReady

    def __init__(
        self,
        name: str,
        source: CacheFacts,
        target: CacheFacts,
        *,
        live: LinkFacts | None,
        settle_s: float,
        hooks: pulumi.ResourceHookBinding,
        needs: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """
        Declare the link from *source* to *target*.

        *live* is the link as it is now. *needs* must be there first: both caches, with all their settings.
        """
        super().__init__(
            "redismove:index:GeoReplicationLink", name, {"primaryId": source.id, "secondaryId": target.id}, opts
        )
        self.link = redis.LinkedServer(
            "link",
            resource_group_name=source.resource_group,
            name=source.name,
            linked_server_name=target.name,
            linked_redis_cache_id=target.id,
            linked_redis_cache_location=target.location,
            server_role=redis.ReplicationRole.SECONDARY,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(needs),
                import_=f"{source.id}/linkedServers/{target.name}" if live is not None and live.exists else None,
                # Every property of a link is fixed when it is made; Azure answers ids and regions in other case.
                ignore_changes=["linkedRedisCacheId", "linkedRedisCacheLocation"],
                hooks=hooks,
                custom_timeouts=within(settle_s),
            ),
        )
        self.ready = LinkReady(
            "link-ready", source.id, target.id, settle_s, pulumi.ResourceOptions(parent=self, depends_on=[self.link])
        )
        self.register_outputs({"id": self.link.id})
