"""Kubernetes quantities, as far as memory needs them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")
_UNITS: Final = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def mebibytes(text: str) -> int | None:
    """Whole MiB of a quantity (`8Gi`, `4096Mi`, `1.5Gi`); None when it is invalid, not whole, or 0.

    KubeVirt accepts any amount, but QEMU and the guest's own tools count in MiB, and users complain about the
    decimal megabytes of vm-import-controller. A quantity that is not whole MiB is usually a typo.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    number, unit = Decimal(match[1]), match[2] or ""
    base, power = (1024, _UNITS[unit[0].replace("K", "k")]) if unit.endswith("i") else (1000, _UNITS[unit])
    mib = number * base**power / 2**20
    return int(mib) if mib == mib.to_integral_value() and mib >= 1 else None
