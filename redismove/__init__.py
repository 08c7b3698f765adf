"""redismove moves an Azure Cache for Redis to another region, one stage at a time."""
