"""Azure Resource Manager and Redis on this machine, as the mover meets them on Azure."""
