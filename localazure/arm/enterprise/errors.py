"""What Microsoft.Cache answers for redisEnterprise alone; the rest is common with `arm/cache/errors.py`."""

from __future__ import annotations

from localazure.arm.cache.errors import BadRequest


class EnterpriseClosed(BadRequest):
    """The older product is no longer created (text as seen, shortened there)."""

    def __init__(self) -> None:
        super().__init__(
            "Creation of new Azure Cache for Redis Enterprise resources is no longer supported, please create Azure "
            "Managed Redis instead."
        )


class CannotBeChanged(BadRequest):
    """A property that is fixed when the resource is made."""

    def __init__(self, prop: str) -> None:
        super().__init__(f"'{prop}' cannot be changed")
