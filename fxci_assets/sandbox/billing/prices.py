"""What the clouds ask for the machines of the catalogue, in dollars.

Here belong prices and discounts as data, near to those that are public. How a bill is made of them
is `gcp` and `azure`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fxci_assets.sandbox.catalogue import LEVEL_3_PROJECT


@dataclass(frozen=True, slots=True)
class GcpMachine:
    family: str
    """As the SKUs spell it."""
    cores: int
    gibibytes: int
    core_hour: float
    gibibyte_hour: float
    spot_discount: float


def _c2(cores: int) -> GcpMachine:
    return GcpMachine("Compute optimized", cores, 4 * cores, 0.03398, 0.00455, 0.62)


def _c3d(cores: int) -> GcpMachine:
    return GcpMachine("C3D Instance", cores, 4 * cores, 0.02956, 0.00396, 0.68)


GCP_MACHINES: dict[str, GcpMachine] = {
    "c2-standard-4": _c2(4),
    "c2-standard-16": _c2(16),
    "c3d-standard-4": _c3d(4),
    "c3d-standard-8-lssd": _c3d(8),
}

GCP_COMMITTED_PROJECTS: frozenset[str] = frozenset({LEVEL_3_PROJECT})
"""Projects whose machines, if not spot, are covered by commitments."""

GCP_COMMITMENTS: dict[str, float] = {
    "COMMITTED_USAGE_DISCOUNT": 0.28,
    "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE": 0.09,
}
"""Types of commitment, and the share of the cost that each takes off."""

GCP_EGRESS_GIBIBYTE = 0.085
GCP_DISK_GIBIBYTES = 75
GCP_DISK_GIBIBYTE_MONTH = 0.10


@dataclass(frozen=True, slots=True)
class AzureMachine:
    series: str
    meter: str
    hour: float
    spot_discount: float


AZURE_MACHINES: dict[str, AzureMachine] = {
    "Standard_F8s_v2": AzureMachine("FSv2 Series Windows", "F8s v2", 0.706, 0.8),
    "Standard_F16s_v2": AzureMachine("FSv2 Series Windows", "F16s v2", 1.412, 0.8),
    "Standard_NV12s_v3": AzureMachine("NVSv3 Series Windows", "NV12s v3", 1.692, 0.7),
}

AZURE_EGRESS_GIGABYTE = 0.087
AZURE_DISK_MONTH = 19.71
AZURE_EXTENSION_HOUR = 0.0002
AZURE_IMAGE = 3.5
"""For an image from the marketplace, once."""
