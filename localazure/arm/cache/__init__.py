"""Microsoft.Cache/redis, api-version 2024-11-01."""
