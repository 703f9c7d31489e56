"""A volume driver for Cinder: each volume and each snapshot is one sparse raw file in a folder."""

import os
from pathlib import Path
from typing import Any

from cinder import exception
from cinder.image import image_utils
from cinder.volume import driver, volume_utils
from oslo_concurrency import processutils
from oslo_config import cfg
from oslo_utils import units

_OPTIONS = [cfg.StrOpt("vmferry_lab_folder", help="Folder of the volumes' files")]


class FileDriver(driver.VolumeDriver):
    """Sizes are in GiB, as everywhere in Cinder; a file has the full size of its volume from the start."""

    VERSION = "1"
    CI_WIKI_NAME = "none"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(_OPTIONS)
        self._folder = Path(self.configuration.vmferry_lab_folder)

    @staticmethod
    def get_driver_options() -> list[Any]:
        return _OPTIONS

    def check_for_setup_error(self) -> None:
        if not os.access(self._folder, os.W_OK):
            raise exception.VolumeBackendAPIException(data=f"{self._folder} cannot be written to")

    def _file(self, named: Any) -> Path:
        """The file of a volume or a snapshot: volume-UUID or snapshot-UUID."""
        return self._folder / str(named.name)

    def local_path(self, volume: Any) -> str:
        return str(self._file(volume))

    def create_volume(self, volume: Any) -> None:
        with self._file(volume).open("xb") as file:
            file.truncate(volume.size * units.Gi)

    def extend_volume(self, volume: Any, new_size: int) -> None:
        os.truncate(self._file(volume), new_size * units.Gi)

    def delete_volume(self, volume: Any) -> None:
        self._file(volume).unlink(missing_ok=True)

    def create_snapshot(self, snapshot: Any) -> None:
        self._copy(snapshot.volume, snapshot, snapshot.volume_size)

    def delete_snapshot(self, snapshot: Any) -> None:
        self._file(snapshot).unlink(missing_ok=True)

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        self._copy(snapshot, volume, volume.size)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        self._copy(src_vref, volume, volume.size)

    def _copy(self, source: Any, target: Any, size: int) -> None:
        processutils.execute("cp", "--sparse=always", self._file(source), self._file(target))
        os.truncate(self._file(target), size * units.Gi)

    def copy_image_to_volume(
        self, context: Any, volume: Any, image_service: Any, image_id: str, disable_sparse: bool = False
    ) -> None:
        image_utils.fetch_to_raw(
            context,
            image_service,
            image_id,
            str(self._file(volume)),
            self.configuration.volume_dd_blocksize,
            size=volume.size,
            run_as_root=False,
            disable_sparse=disable_sparse,
        )
        os.truncate(self._file(volume), volume.size * units.Gi)

    def copy_volume_to_image(self, context: Any, volume: Any, image_service: Any, image_meta: Any) -> None:
        volume_utils.upload_volume(
            context, image_service, image_meta, str(self._file(volume)), volume, run_as_root=False
        )

    # Attaching passes the file's path: nothing is exported, so nothing must be removed

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Nothing to export."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        """Nothing to export."""

    def remove_export(self, context: Any, volume: Any) -> None:
        """Nothing was exported."""

    def initialize_connection(self, volume: Any, connector: Any, **_: Any) -> dict[str, Any]:
        return {"driver_volume_type": "local", "data": {"device_path": self.local_path(volume)}}

    def terminate_connection(self, volume: Any, connector: Any, **_: Any) -> None:
        """Nothing was exported."""

    def _update_volume_stats(self) -> None:
        disk = os.statvfs(self._folder)
        pool = {
            "pool_name": "files",
            "total_capacity_gb": disk.f_blocks * disk.f_frsize / units.Gi,
            "free_capacity_gb": disk.f_bavail * disk.f_frsize / units.Gi,
            "reserved_percentage": 0,
            "thin_provisioning_support": True,
            "max_over_subscription_ratio": "20",
            "QoS_support": False,
        }
        self._stats = {
            "volume_backend_name": self.configuration.volume_backend_name,
            "vendor_name": "vmferry",
            "driver_version": self.VERSION,
            "storage_protocol": "file",
            "pools": [pool],
        }
