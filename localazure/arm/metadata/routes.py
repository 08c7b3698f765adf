"""Address of the cloud's metadata."""

from localazure.arm.http import ArmRoute
from localazure.arm.metadata import handlers

ROUTES = [ArmRoute("/metadata/endpoints", handlers.get_endpoints, ["GET"])]
