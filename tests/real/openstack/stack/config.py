"""Writes the services' configuration: the minimum with which they work together on one host."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .layout import REGION, VENV, Layout

Sections = Mapping[str, Mapping[str, object]]

SERVICE_USERS: Final = ("glance", "cinder", "nova", "placement", "neutron")
HOST_NAME: Final = "vmferry-lab"
"""The host name for Nova, Cinder and Neutron."""


def passwords(layout: Layout) -> dict[str, str]:
    """The passwords of `admin` and of each service; made once per state."""
    path = layout.state / "passwords.json"
    if not path.exists():
        made = {user: secrets.token_urlsafe(12) for user in ("admin", *SERVICE_USERS)}
        path.touch(mode=0o600)
        path.write_text(json.dumps(made))
    read: dict[str, str] = json.loads(path.read_text())
    return read


def write(layout: Layout) -> None:
    """Write all files, under `etc`."""
    secret = passwords(layout)
    files: dict[str, Sections] = {
        "keystone/keystone.conf": _keystone(layout),
        "glance/glance-api.conf": _glance(layout, _account(layout, secret, "glance")),
        "placement/placement.conf": _placement(layout, _account(layout, secret, "placement")),
        "cinder/cinder.conf": _cinder(layout, secret),
        "cinder/rootwrap.conf": _rootwrap(),
        "nova/nova.conf": _nova(layout, _account(layout, secret, "nova")),
        "neutron/neutron.conf": _neutron(layout, _account(layout, secret, "neutron")),
        "neutron/ml2.ini": _ML2,
    }
    for name, sections in files.items():
        path = layout.etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(_ini(sections))
    # Nova's API reads the first file of its own folder as this one, whatever its options are
    shutil.copyfile(VENV / "etc/nova/api-paste.ini", layout.etc / "nova" / "api-paste.ini")


def folders(layout: Layout) -> list[Path]:
    """The folders that the services expect."""
    glance, cinder = layout.state / "glance", layout.state / "cinder"
    own = [layout.run, layout.logs, layout.etc, layout.volumes, layout.disks, layout.images]
    own += [layout.state / "nova", layout.state / "neutron"]
    return [*own, glance / "staging", glance / "tasks", cinder / "conversion", layout.state / "locks"]


def _ini(sections: Sections) -> str:
    def section(name: str, options: Mapping[str, object]) -> str:
        return "".join([f"[{name}]\n", *(f"{key} = {value}\n" for key, value in options.items())])

    return "\n".join(section(name, options) for name, options in sections.items())


def _account(layout: Layout, secret: Mapping[str, str], user: str) -> dict[str, object]:
    """The account with which a service logs in to others."""
    return {
        "www_authenticate_uri": layout.public("keystone") + "/v3",
        "auth_url": layout.inner("keystone") + "/v3",
        "auth_type": "password",
        "username": user,
        "password": secret[user],
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "region_name": REGION,
        "valid_interfaces": "internal",
    }


def _common(layout: Layout) -> dict[str, Mapping[str, object]]:
    return {
        "oslo_messaging_notifications": {"driver": "noop"},
        "oslo_concurrency": {"lock_path": layout.state / "locks"},
    }


def _keystone(layout: Layout) -> Sections:
    return {
        "DEFAULT": {},
        "database": {"connection": layout.database("keystone")},
        "token": {"provider": "fernet"},
        "identity": {"password_hash_rounds": 4},  # a login takes 0.2 s less
        "fernet_tokens": {"key_repository": layout.state / "keystone" / "fernet"},
        "credential": {"key_repository": layout.state / "keystone" / "credential"},
    }


def _glance(layout: Layout, account: Mapping[str, object]) -> Sections:
    glance = layout.state / "glance"
    return {
        "DEFAULT": {"enabled_backends": "disk:file"},
        "database": {"connection": layout.database("glance")},
        "glance_store": {"default_backend": "disk"},
        "disk": {"filesystem_store_datadir": layout.images},
        "os_glance_staging_store": {"filesystem_store_datadir": glance / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": glance / "tasks"},
        "keystone_authtoken": account,
        "paste_deploy": {"flavor": "keystone", "config_file": VENV / "etc/glance/glance-api-paste.ini"},
        **_common(layout),
    }


def _placement(layout: Layout, account: Mapping[str, object]) -> Sections:
    return {
        "DEFAULT": {},
        "placement_database": {"connection": layout.database("placement")},
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": account,
    }


def _cinder(layout: Layout, secret: Mapping[str, str]) -> Sections:
    account = _account(layout, secret, "cinder")
    cinder = layout.state / "cinder"
    return {
        "DEFAULT": {
            "state_path": cinder,
            "transport_url": layout.broker,
            "my_ip": layout.settings.host,
            "host": HOST_NAME,
            "auth_strategy": "keystone",
            "enabled_backends": "files",
            "glance_api_servers": layout.inner("glance"),
            "api_paste_config": VENV / "etc/cinder/api-paste.ini",
            "resource_query_filters_file": VENV / "etc/cinder/resource_filters.json",
            "rootwrap_config": layout.etc / "cinder" / "rootwrap.conf",
            "image_conversion_dir": cinder / "conversion",
            "volume_clear": "none",
            "report_interval": 3,
        },
        # no default_volume_type: the migrations make one
        "files": {
            "volume_driver": "vmferry_lab.volumes.FileDriver",
            "volume_backend_name": "files",
            "vmferry_lab_folder": layout.volumes,
        },
        "database": {"connection": layout.database("cinder")},
        "coordination": {"backend_url": f"file://{layout.state / 'locks'}"},
        "keystone_authtoken": {
            **account,
            "service_token_roles_required": True,
            "service_token_roles": "service",
        },
        "service_user": {**account, "send_service_user_token": True},
        "nova": {**account, "interface": "internal"},
        **_common(layout),
    }


def _rootwrap() -> Sections:
    """Cinder runs programs "as root" with this: without the environment's own folders each is refused."""
    return {
        "DEFAULT": {
            "filters_path": f"{VENV}/etc/cinder/rootwrap.d,{VENV}/etc/os-brick/rootwrap.d",
            "exec_dirs": f"{VENV}/bin,/sbin,/usr/sbin,/bin,/usr/bin",
            "use_syslog": False,
        }
    }


def _nova(layout: Layout, account: Mapping[str, object]) -> Sections:
    return {
        "DEFAULT": {
            "state_path": layout.state / "nova",
            "transport_url": layout.broker,
            "my_ip": layout.settings.host,
            "host": HOST_NAME,
            "compute_driver": "vmferry_lab.LocalDiskDriver",
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
            "report_interval": 3,
        },
        "vmferry_lab": {"folder": layout.disks},
        "api_database": {"connection": layout.database("nova_api")},
        "database": {"connection": layout.database("nova")},
        "keystone_authtoken": account,
        # Cinder lets only a service remove an attachment (CVE-2023-2088)
        "service_user": {**account, "send_service_user_token": True},
        "glance": account,
        "cinder": {**account, "catalog_info": "volumev3::internalURL"},
        "neutron": account,
        "placement": account,
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1},
        **_common(layout),
    }


def _neutron(layout: Layout, account: Mapping[str, object]) -> Sections:
    return {
        "DEFAULT": {
            "state_path": layout.state / "neutron",
            "transport_url": layout.broker,
            "bind_host": layout.settings.host,
            "host": HOST_NAME,
            "core_plugin": "ml2",
            "service_plugins": "",
            "notify_nova_on_port_status_changes": False,
            "notify_nova_on_port_data_changes": False,
            "api_paste_config": VENV / "etc/neutron/api-paste.ini",
            "rpc_workers": 1,
        },
        "database": {"connection": layout.database("neutron")},
        "keystone_authtoken": account,
        **_common(layout),
    }


_ML2: Final[Sections] = {
    "ml2": {
        "type_drivers": "flat,local",
        "tenant_network_types": "local",
        "mechanism_drivers": "vmferry_lab",
        "extension_drivers": "port_security",
    },
    "ml2_type_flat": {"flat_networks": "physnet1"},
    "securitygroup": {"enable_security_group": False},
}
