"""A compute driver: Nova's fake driver, with the bytes of local disks and the traits of a modern host.

No guest runs. In addition, a server made from an image has its disk as a raw file, and snapshots have those
bytes; the host has the traits that images require (secure boot, TPM, buses), as otherwise the scheduler finds
no host; servers are known again after a restart.
"""

import os
from pathlib import Path
from typing import Any

import os_traits
from nova import context as nova_context
from nova import exception, objects
from nova.compute import task_states
from nova.image import glance
from nova.virt import fake
from oslo_concurrency import processutils
from oslo_config import cfg
from oslo_utils import units

_OPTIONS = [cfg.StrOpt("folder", help="Folder of the servers' local disks")]
cfg.CONF.register_opts(_OPTIONS, group="vmferry_lab")

_TRAITS = (
    "COMPUTE_ARCH_",
    "COMPUTE_FIRMWARE_",
    "COMPUTE_GRAPHICS_",
    "COMPUTE_NET_VIF_MODEL_",
    "COMPUTE_SECURITY_",
    "COMPUTE_STORAGE_BUS_",
)


def _disk(instance: Any) -> Path:
    return Path(cfg.CONF.vmferry_lab.folder, f"{instance.uuid}.raw")


class LocalDiskDriver(fake.FakeDriverWithoutFakeNodes):
    """One host with room for every test."""

    vcpus, memory_mb, local_gb = 64, 262144, 4096
    capabilities = fake.FakeDriver.capabilities | {"supports_secure_boot": True, "supports_vtpm": True}

    def init_host(self, host: str) -> None:
        super().init_host(host)
        # the fake driver keeps its servers in memory only
        for server in objects.InstanceList.get_by_host(nova_context.get_admin_context(), host):
            self.instances[server.uuid] = fake.FakeInstance(server.name, server.power_state, server.uuid)
            flavor = server.flavor
            self.resources.claim(vcpus=flavor.vcpus, mem=flavor.memory_mb, disk=flavor.root_gb)

    def update_provider_tree(self, provider_tree: Any, nodename: str, allocations: Any = None) -> None:
        super().update_provider_tree(provider_tree, nodename, allocations)
        able = [trait for trait in os_traits.get_traits("COMPUTE_") if trait.startswith(_TRAITS)]
        provider_tree.add_traits(nodename, *able)

    def spawn(self, context: Any, instance: Any, image_meta: Any, *args: Any, **kwargs: Any) -> None:
        if instance.image_ref:  # empty if it boots from a volume
            self._land(context, instance)
        super().spawn(context, instance, image_meta, *args, **kwargs)

    @staticmethod
    def _land(context: Any, instance: Any) -> None:
        disk = _disk(instance)
        part = disk.with_suffix(".part")
        try:
            glance.API().download(context, instance.image_ref, dest_path=str(part))
            processutils.execute("qemu-img", "convert", "-O", "raw", part, disk)
        finally:
            part.unlink(missing_ok=True)
        os.truncate(disk, max(disk.stat().st_size, instance.flavor.root_gb * units.Gi))

    def snapshot(self, context: Any, instance: Any, image_id: str, update_task_state: Any) -> None:
        if instance.uuid not in self.instances:
            raise exception.InstanceNotRunning(instance_id=instance.uuid)
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        copy = _disk(instance).with_name(f"{image_id}.qcow2")
        try:
            processutils.execute("qemu-img", "convert", "-O", "qcow2", _disk(instance), copy)
            update_task_state(
                task_state=task_states.IMAGE_UPLOADING, expected_state=task_states.IMAGE_PENDING_UPLOAD
            )
            self._upload(context, image_id, copy)
        finally:
            copy.unlink(missing_ok=True)

    @staticmethod
    def _upload(context: Any, image_id: str, file: Path) -> None:
        """As libvirt's driver does it: the image that the API made before gets its bytes."""
        image = glance.API().get(context, image_id)
        form = {
            "name": image["name"],
            "disk_format": "qcow2",
            "container_format": "bare",
            "is_public": False,
            "status": "active",
            "properties": image["properties"],
        }
        with file.open("rb") as data:
            glance.API().update(context, image_id, form, data, purge_props=False)

    def destroy(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        _disk(instance).unlink(missing_ok=True)
        super().destroy(context, instance, *args, **kwargs)
