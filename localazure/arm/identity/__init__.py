"""Entra ID: tokens for the one service principal."""
