"""What a client of the engine does with the official SDK and the client of ovirt-imageio; prints JSON.

Runs in the environment of `tests/prepare.sh ovirt`, which has nothing of this project:

    sdk_client.py URL CA USERNAME download VM FOLDER
    sdk_client.py URL CA USERNAME describe VM

The password is read from standard input.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import ovirtsdk4 as sdk
from ovirt_imageio import client
from ovirtsdk4 import types

_SECONDS = 120


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("url", "ca", "username", "command", "vm"):
        parser.add_argument(name)
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args()
    connection = sdk.Connection(
        url=options.url, username=options.username, password=sys.stdin.read(), ca_file=options.ca
    )
    try:
        command = {"describe": describe, "download": download}[options.command]
        print(json.dumps(command(connection, options)))  # noqa: T201 - the result
    except sdk.Error as error:
        print(json.dumps({"error": type(error).__name__, "code": error.code, "text": str(error)}))  # noqa: T201
    finally:
        connection.close()


def describe(connection: Any, options: argparse.Namespace) -> dict[str, Any]:
    system = connection.system_service()
    follow = "nics.vnic_profile.network,disk_attachments.disk,cluster,snapshots"
    (vm,) = system.vms_service().list(search=f"name={options.vm}", all_content=True, follow=follow)
    return {
        "version": connection.system_service().get().product_info.version.full_version,
        "name": vm.name,
        "status": vm.status.value,
        "memory": vm.memory,
        "sockets": vm.cpu.topology.sockets,
        "cores": vm.cpu.topology.cores,
        "tpm": vm.tpm_enabled,
        "bios": vm.bios.type.value,
        "boot": [device.value for device in vm.os.boot.devices],
        "cluster": vm.cluster.name,
        "custom": {item.name: item.value for item in vm.custom_properties or []},
        "nics": [
            [
                *(nic.name, nic.mac.address, nic.interface.value, nic.plugged, nic.linked),
                *(nic.vnic_profile.name, nic.vnic_profile.network.name),
            ]
            for nic in vm.nics
        ],
        "disks": [
            [
                *(item.disk.alias, item.interface.value, item.bootable, item.active),
                *(item.disk.provisioned_size, item.disk.format.value, item.disk.status.value),
                item.disk.storage_domains[0].id,
            ]
            for item in vm.disk_attachments
        ],
        "snapshots": [item.description for item in vm.snapshots],
        "domains": {domain.id: domain.name for domain in system.storage_domains_service().list()},
        "events": [event.code for event in system.events_service().list(max=3)],
    }


def download(connection: Any, options: argparse.Namespace) -> dict[str, Any]:
    system = connection.system_service()
    (vm,) = system.vms_service().list(search=f"name={options.vm}")
    service = system.vms_service().vm_service(vm.id)
    attachments = connection.follow_link(vm.disk_attachments)
    if vm.status != types.VmStatus.DOWN:
        service.shutdown()
        _until(lambda: service.get().status == types.VmStatus.DOWN)
    phases = {}
    for attachment in attachments:
        disk = connection.follow_link(attachment.disk)
        phases[disk.alias] = _one(system, disk, options)
    return {"disks": phases}


def _one(system: Any, disk: Any, options: argparse.Namespace) -> list[str]:
    wanted = types.ImageTransfer(
        disk=types.Disk(id=disk.id),
        direction=types.ImageTransferDirection.DOWNLOAD,
        format=types.DiskFormat.RAW,
        inactivity_timeout=60,
        timeout_policy=types.ImageTransferTimeoutPolicy.CANCEL,
    )
    made = system.image_transfers_service().add(wanted)
    service = system.image_transfers_service().image_transfer_service(made.id)
    seen = [made.phase.value]

    def phase(*expected: str) -> bool:
        seen.append(service.get().phase.value)
        return seen[-1] in expected

    _until(lambda: phase("transferring"))
    transfer = service.get()
    target = options.folder / f"{disk.alias}.raw"
    client.download(transfer.transfer_url, str(target), options.ca, fmt="raw", proxy_url=transfer.proxy_url)
    service.finalize()
    _until(lambda: phase("finished_success", "finished_failure"))
    return list(dict.fromkeys(seen))


def _until(condition: Any) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the engine did not get there")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
