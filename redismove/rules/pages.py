"""The pages that rules take their facts from, each with the day it was last read."""

from __future__ import annotations

from typing import Final

from redismove.rules.model import Source

REVIEWED: Final = "2026-11-24"
"""When the stored copies of the pages below were read."""

_ACR: Final = "https://learn.microsoft.com/azure/azure-cache-for-redis"
_AMR: Final = "https://learn.microsoft.com/azure/redis"
_ACI: Final = "https://learn.microsoft.com/azure/container-instances"
_SPEC: Final = "https://learn.microsoft.com/rest/api/redis/redis"


def article(says: str) -> Source:
    """The article this project implements, "Move Azure Cache for Redis instances to different regions"."""
    return _page("Move Azure Cache for Redis instances to different regions", f"{_ACR}/cache-moving-resources", says)


def geo(says: str) -> Source:
    """Configure passive geo-replication for Premium Azure Cache for Redis instances."""
    return _page(
        "Configure passive geo-replication for Premium instances", f"{_ACR}/cache-how-to-geo-replication", says
    )


def tiers(says: str) -> Source:
    """What is Azure Cache for Redis: service tiers."""
    return _page("What is Azure Cache for Redis: service tiers", f"{_ACR}/cache-overview", says)


def configure(says: str) -> Source:
    """How to configure Azure Cache for Redis: sizes, databases, clients, blocked commands."""
    return _page("How to configure Azure Cache for Redis", f"{_ACR}/cache-configure", says)


def vnet(says: str) -> Source:
    """Configure virtual network support for Premium instances."""
    return _page("Configure virtual network support for Premium instances", f"{_ACR}/cache-how-to-premium-vnet", says)


def private_link(says: str) -> Source:
    """Azure Cache for Redis with Azure Private Link."""
    return _page("Azure Cache for Redis with Azure Private Link", f"{_ACR}/cache-private-link", says)


def import_export(says: str) -> Source:
    """Import and Export data in Azure Cache for Redis."""
    return _page("Import and Export data in Azure Cache for Redis", f"{_ACR}/cache-how-to-import-export-data", says)


def container_quotas(says: str) -> Source:
    """Resource availability and quota limits for Azure Container Instances."""
    return _page(
        "Resource availability and quota limits for ACI", f"{_ACI}/container-instances-resource-and-quota-limits", says
    )


def container_networks(says: str) -> Source:
    """Virtual network scenarios and resources for Azure Container Instances."""
    return _page(
        "Virtual network scenarios and resources (ACI)",
        f"{_ACI}/container-instances-virtual-network-concepts",
        says,
    )


def retirement(says: str) -> Source:
    """Azure Cache for Redis retirement: what to know and how to prepare."""
    return _page("Azure Cache for Redis retirement FAQ", f"{_ACR}/retirement-faq", says)


def entra(says: str) -> Source:
    """Use Microsoft Entra for cache authentication."""
    return _page("Use Microsoft Entra for cache authentication", f"{_AMR}/entra-for-authentication", says)


def managed(says: str) -> Source:
    """Azure Managed Redis architecture."""
    return _page("Azure Managed Redis architecture", f"{_AMR}/architecture", says)


def migrate(says: str) -> Source:
    """Move from Azure Cache for Redis to Azure Managed Redis, and the checks of Azure's own tool for it."""
    return _page("Move from Azure Cache for Redis to Azure Managed Redis", f"{_AMR}/migrate/migrate-overview", says)


def rest(says: str) -> Source:
    """The REST reference of Microsoft.Cache/redis, api-version 2024-11-01."""
    return _page("Microsoft.Cache/redis REST reference, 2024-11-01", f"{_SPEC}/create", says)


def own(says: str) -> Source:
    """A rule of this project; the article's clean-up section is the nearest page of Microsoft's."""
    return _page("redismove: stages of a move", f"{_ACR}/cache-moving-resources#clean-up-source-resources", says)


def _page(page: str, url: str, says: str) -> Source:
    return Source(page=page, url=url, says=says, reviewed=REVIEWED)
