"""Addresses of Entra ID; both versions of the token endpoint."""

from localazure.arm.http import ArmRoute
from localazure.arm.identity import handlers

ROUTES = [
    ArmRoute("/{tenant}/v2.0/.well-known/openid-configuration", handlers.openid_configuration, ["GET"]),
    ArmRoute("/{tenant}/.well-known/openid-configuration", handlers.openid_configuration, ["GET"]),
    ArmRoute("/{tenant}/oauth2/v2.0/token", handlers.token, ["POST"]),
    ArmRoute("/{tenant}/oauth2/token", handlers.token, ["POST"]),
]
