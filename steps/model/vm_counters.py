"""What a VM has read, written and sent, in the metrics of virt-handler. Pure.

virt-handler exports the counters of every VM of its node in the text format of Prometheus (kubevirt v1.8.4
pkg/monitoring/metrics/virt-handler/domainstats: block_metrics.go, network_metrics.go). Each disk and each NIC
has a line of its own, with the labels `namespace` and `name` of the VM.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

READ: Final = "kubevirt_vmi_storage_read_traffic_bytes_total"
WRITTEN: Final = "kubevirt_vmi_storage_write_traffic_bytes_total"
SENT: Final = "kubevirt_vmi_network_transmit_packets_total"
LONGEST_LINE: Final = 16 << 10
"""Characters. The labels of a VM become labels of its metrics, and a person chooses those."""
_LINE: Final = re.compile(r"(\w+)\{(.*)\} ([0-9.eE+]{1,40})(?: [0-9]+)?")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Counters(NamedTuple):
    """Sums over all disks and NICs since the VM was started."""

    read: int
    """Bytes."""
    written: int
    """Bytes."""
    sent: int
    """Frames, each of which the guest has sent."""


def find_counters(lines: Iterable[str], namespace: str, name: str) -> Counters | None:
    """The counters of one VM; None if the metrics do not have it."""
    sums: dict[str, int] = {}
    for line in lines:
        if line.startswith((READ, WRITTEN, SENT)) and len(line) <= LONGEST_LINE:
            found = _LINE.fullmatch(line.strip())
            if found and _is_of(found[2], namespace, name):
                sums[found[1]] = sums.get(found[1], 0) + _number(found[3])
    if READ not in sums and WRITTEN not in sums:
        return None
    return Counters(sums.get(READ, 0), sums.get(WRITTEN, 0), sums.get(SENT, 0))


def _is_of(labels: str, namespace: str, name: str) -> bool:
    """Whether the labels are those of the VM. Names of Kubernetes need no escapes."""
    given = dict(_LABEL.findall(labels))
    return (given.get("namespace"), given.get("name")) == (namespace, name)


def _number(text: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return 0
