"""Microsoft.Storage/storageAccounts: accounts in ARM, their blobs in a real Azurite."""
