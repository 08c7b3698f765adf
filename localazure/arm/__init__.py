"""Azure Resource Manager on loopback: one room a resource provider, each with routes, handlers, models and errors."""
