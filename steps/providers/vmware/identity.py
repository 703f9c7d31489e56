"""The identity that a guest on vSphere reads: SMBIOS UUID and serial number."""

from __future__ import annotations

import re
import uuid
from typing import Final

from steps.model.guestos import is_windows

_SMBIOS_2_7: Final = 13
"""Hardware version from which the VM's SMBIOS is 2.7, as of ESXi 6.5 (VMware KB 53609)."""


def guest_uuid(config_uuid: str, hardware: str, system: str) -> str:
    """The UUID as the guest reads it, if that differs from vSphere's notation; else "".

    vSphere's tables hold the bytes in the order in which it writes them. From SMBIOS 2.6 on the first three
    fields are read as little-endian, and Windows reads them so in any version. QEMU's tables are
    little-endian: a guest there reads what KubeVirt is given.
    """
    match = re.fullmatch(r"vmx-(\d+)", hardware)
    is_swapped = is_windows(system) or (match is not None and int(match[1]) >= _SMBIOS_2_7)
    try:
        return str(uuid.UUID(bytes_le=uuid.UUID(config_uuid).bytes)) if is_swapped else ""
    except ValueError:
        return ""


def serial(config_uuid: str) -> str:
    """The system serial number, which vSphere makes from the UUID's bytes; "" without a valid UUID.

    It looks like `VMware-42 1f 24 5c 7f a8 60 fa-6a f6 a4 63 51 ce d0 eb`.
    """
    try:
        pairs = [f"{byte:02x}" for byte in uuid.UUID(config_uuid).bytes]
    except ValueError:
        return ""
    return f"VMware-{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"
