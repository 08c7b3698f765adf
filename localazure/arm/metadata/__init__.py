"""Cloud metadata, from which azure-cli, go-azure-sdk and Pulumi learn every other address."""
