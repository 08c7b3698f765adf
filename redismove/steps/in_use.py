"""The last look before anything is written over a cache."""

from __future__ import annotations

from pathlib import Path

from redismove.azure.caches import CacheId, same
from redismove.azure.errors import AzureError
from redismove.endpoint import EndpointMissing, FileEndpointStore


def refuse_if_in_use(endpoint_file: str, cache_id: str) -> None:
    """
    Refuse to write over the cache that applications are sent to.

    The gates see to that before; this looks once more at the moment of writing, whatever state led here.

    Raises:
        AzureError: the Endpoint names *cache_id*.
    """
    try:
        entry = FileEndpointStore(Path(endpoint_file).absolute()).read().entry
    except EndpointMissing:
        return
    if same(entry.resource_id, cache_id):
        raise AzureError(
            f'cache "{CacheId.parse(cache_id).name}": found applications sent to it, allowed only a cache that nobody '
            "uses to be written over; nothing was written [RM-L13]"
        )
