"""Microsoft.Cache/redisEnterprise: Azure Managed Redis, and Enterprise and Enterprise Flash before it."""
