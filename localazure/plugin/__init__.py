"""
The stand-in for Pulumi's azure-native provider: it turns resources into ARM calls against the Azure on this machine.

The engine finds the executable `pulumi-resource-azure-native` on PATH (see wrapper.py) and speaks Pulumi's provider
protocol with it over gRPC. README.md in this folder lists where it differs from the real provider.
"""
