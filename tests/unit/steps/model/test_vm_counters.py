"""The counters of a VM among the metrics of virt-handler."""

from __future__ import annotations

import time

from steps.model.vm_counters import Counters, find_counters

METRICS = """\
# HELP kubevirt_vmi_storage_read_traffic_bytes_total Total number of bytes read from storage.
# TYPE kubevirt_vmi_storage_read_traffic_bytes_total counter
kubevirt_vmi_storage_read_traffic_bytes_total{drive="disk-0",name="web",namespace="default",node="n1"} 6.0e+07
kubevirt_vmi_storage_read_traffic_bytes_total{drive="disk-1",name="web",namespace="default",node="n1"} 1024
kubevirt_vmi_storage_read_traffic_bytes_total{drive="disk-0",name="web",namespace="other",node="n1"} 5
kubevirt_vmi_storage_write_traffic_bytes_total{drive="disk-0",name="web",namespace="default"} 2097152
kubevirt_vmi_network_transmit_packets_total{interface="default",name="web",namespace="default",node="n1"} 12
kubevirt_vmi_network_transmit_packets_total{interface="nic-1",name="web",namespace="default",node="n1"} 2
kubevirt_vmi_network_receive_packets_total{interface="nic-1",name="web",namespace="default",node="n1"} 99
"""


def test_disks_and_nics_are_added_up() -> None:
    assert find_counters(METRICS.splitlines(), "default", "web") == Counters(60_001_024, 2_097_152, 14)


def test_another_vm_has_its_own() -> None:
    assert find_counters(METRICS.splitlines(), "other", "web") == Counters(5, 0, 0)
    assert find_counters(METRICS.splitlines(), "default", "db") is None


def test_a_label_of_a_tenant_is_no_name() -> None:
    line = (
        'kubevirt_vmi_storage_write_traffic_bytes_total{kubernetes_vmi_label_x="a\\",name=\\"web",'
        'name="evil",namespace="default"} 7'
    )
    assert find_counters([line], "default", "web") is None
    assert find_counters([line], "default", "evil") == Counters(0, 7, 0)


def test_nonsense_is_ignored() -> None:
    name = "kubevirt_vmi_storage_read_traffic_bytes_total"
    nonsense = [
        name,
        f"{name}{{",
        f'{name}{{name="web",namespace="default"}} NaN',
        f'{name}{{name="web",namespace="default"}} 1e999',
        f'{name}{{name="web",namespace="default",x="{"y" * 100_000}"}} 5',
    ]
    assert find_counters(nonsense, "default", "web") in (None, Counters(0, 0, 0))
    start = time.process_time()
    find_counters([f"{name}{{{'a' * 16000}"] * 200, "default", "web")
    assert time.process_time() - start < 2
