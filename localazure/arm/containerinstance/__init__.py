"""Microsoft.ContainerInstance/containerGroups: groups in ARM, their containers as processes of this machine."""
