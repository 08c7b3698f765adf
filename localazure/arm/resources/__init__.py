"""Subscriptions, providers and resource groups."""
