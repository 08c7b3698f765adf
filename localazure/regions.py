"""Azure regions, as ARM's short and display names; which have availability zones."""

from __future__ import annotations

REGIONS: dict[str, tuple[str, bool]] = {
    # short name: (display name, has availability zones)
    "australiacentral": ("Australia Central", False),
    "australiaeast": ("Australia East", True),
    "australiasoutheast": ("Australia Southeast", False),
    "brazilsouth": ("Brazil South", True),
    "canadacentral": ("Canada Central", True),
    "canadaeast": ("Canada East", False),
    "centralindia": ("Central India", True),
    "centralus": ("Central US", True),
    "eastasia": ("East Asia", True),
    "eastus": ("East US", True),
    "eastus2": ("East US 2", True),
    "francecentral": ("France Central", True),
    "francesouth": ("France South", False),
    "germanywestcentral": ("Germany West Central", True),
    "israelcentral": ("Israel Central", True),
    "italynorth": ("Italy North", True),
    "japaneast": ("Japan East", True),
    "japanwest": ("Japan West", False),
    "koreacentral": ("Korea Central", True),
    "koreasouth": ("Korea South", False),
    "mexicocentral": ("Mexico Central", True),
    "northcentralus": ("North Central US", False),
    "northeurope": ("North Europe", True),
    "norwayeast": ("Norway East", True),
    "norwaywest": ("Norway West", False),
    "polandcentral": ("Poland Central", True),
    "qatarcentral": ("Qatar Central", True),
    "southafricanorth": ("South Africa North", True),
    "southafricawest": ("South Africa West", False),
    "southcentralus": ("South Central US", True),
    "southindia": ("South India", False),
    "southeastasia": ("Southeast Asia", True),
    "spaincentral": ("Spain Central", True),
    "swedencentral": ("Sweden Central", True),
    "switzerlandnorth": ("Switzerland North", True),
    "switzerlandwest": ("Switzerland West", False),
    "uaenorth": ("UAE North", True),
    "uksouth": ("UK South", True),
    "ukwest": ("UK West", False),
    "westcentralus": ("West Central US", False),
    "westeurope": ("West Europe", True),
    "westindia": ("West India", False),
    "westus": ("West US", False),
    "westus2": ("West US 2", True),
    "westus3": ("West US 3", True),
}


def short_name(location: str) -> str:
    """Give the short form of a region as it may be written: `East US` and `eastus` are one."""
    return location.replace(" ", "").lower()


def display_name(location: str) -> str | None:
    """Give the form in which Microsoft.Cache answers; None for a region that does not exist."""
    entry = REGIONS.get(short_name(location))
    return entry[0] if entry else None


def has_zones(location: str) -> bool:
    """Tell whether a region has availability zones."""
    entry = REGIONS.get(short_name(location))
    return bool(entry and entry[1])
