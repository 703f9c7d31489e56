"""What the registry and the files of a Windows say. Runs in the child of `run.py`."""

from __future__ import annotations

from typing import Any, Final

from steps.guest.ask import FAILURES, Guest

DRIVERS: Final = (
    *(
        "viostor",
        "vioscsi",
        "netkvm",
        "vioser",
        "storahci",
        "msahci",
        "iaStorV",
        "stornvme",
        "pvscsi",
        "vmxnet3ndis6",
    ),
    *("LSI_SAS", "e1iexpress", "E1G60", "BALLOON"),
)
"""Services of drivers that decide which bus and NIC work."""
AGENTS: Final = {
    "qemu_guest_agent": "/Program Files/Qemu-ga/qemu-ga.exe",
    "vmware_tools": "/Program Files/VMware/VMware Tools/vmtoolsd.exe",
    "virtio_win": "/Program Files/Virtio-Win",
    "cloudbase_init": "/Program Files/Cloudbase Solutions/Cloudbase-Init",
}
PREPARED: Final = "/Windows/Drivers/VirtIO"
MOST_INTERFACES: Final = 64
MOST_ADDRESSES: Final = 32
LARGEST_HIVE: Final = 512 << 20
HIBERNATED: Final = (b"hibr", b"HIBR", b"RSTR", b"rstr")
"""The first bytes of hiberfil.sys while Windows is suspended to it; `wake` after it has resumed."""


def read(guest: Guest, root: str) -> dict[str, Any]:
    """What the mounted Windows says of itself."""
    hibernation = guest.any_case("/hiberfil.sys")
    found: dict[str, Any] = {
        "hibernated": bool(hibernation) and guest.head(hibernation, 4) in HIBERNATED,
        "fast_startup": False,
        "agents": [name for name, path in AGENTS.items() if guest.any_case(path) and _exists(guest, path)],
        "boot_manager": any(
            guest.is_file(guest.any_case(path)) for path in ("/bootmgr", "/Windows/Boot/PCAT/bootmgr")
        ),
        "drivers": [],
        "prepared": _prepared(guest),
        "network": [],
    }
    hive = guest.quiet("", "inspect_get_windows_system_hive", root)
    control = guest.quiet("", "inspect_get_windows_current_control_set", root)
    if not hive or not control or guest.size(hive) > LARGEST_HIVE:
        guest.trouble.append("reading the registry: there is no usable hive SYSTEM")
        return found
    try:
        guest.handle.hivex_open(hive)
        found |= _of_registry(guest, Registry(guest, control))
    except FAILURES as error:
        guest.note("reading the registry", error)
    guest.quiet(None, "hivex_close")
    return found


def _prepared(guest: Guest) -> list[str]:
    """Drivers that virt-v2v has copied, and that Windows installs at its next start."""
    names = guest.names(guest.any_case(PREPARED) or PREPARED)
    return [name[:-4].lower() for name in names if name.lower().endswith(".inf")][:MOST_INTERFACES]


def _exists(guest: Guest, path: str) -> bool:
    place = guest.any_case(path)
    return guest.is_file(place) or guest.is_folder(place)


class Registry:
    """The current control set of the opened hive SYSTEM."""

    def __init__(self, guest: Guest, control_set: str) -> None:
        self._guest = guest
        self._root = self.child(guest.quiet(0, "hivex_root"), control_set)

    def key(self, *names: str) -> int:
        """The node of a key below the control set; 0 if it does not exist."""
        node = self._root
        for name in names:
            node = self.child(node, name)
        return node

    def child(self, node: int, name: str) -> int:
        return self._guest.quiet(0, "hivex_node_get_child", node, name) if node else 0

    def children(self, node: int) -> list[tuple[str, int]]:
        rows: list[dict[str, int]] = self._guest.quiet([], "hivex_node_children", node) if node else []
        handles = [row["hivex_node_h"] for row in rows[:MOST_INTERFACES]]
        return [(self._guest.quiet("", "hivex_node_name", handle), handle) for handle in handles]

    def value(self, node: int, name: str) -> bytes:
        """The bytes of a value; none if it does not exist."""
        handle = self._guest.quiet(0, "hivex_node_get_value", node, name) if node else 0
        return self._guest.quiet(b"", "hivex_value_value", handle) if handle else b""

    def number(self, node: int, name: str) -> int | None:
        found = self.value(node, name)
        return int.from_bytes(found, "little") if len(found) == 4 else None

    def texts(self, node: int, name: str) -> list[str]:
        """A text, or a list of texts, without empty ones."""
        plain = self.value(node, name)[:8192].decode("utf-16-le", errors="replace")
        return [text[:256] for text in plain.split("\0") if text][:MOST_ADDRESSES]


def _of_registry(guest: Guest, registry: Registry) -> dict[str, Any]:
    power = registry.key("Control", "Session Manager", "Power")
    return {
        "fast_startup": registry.number(power, "HiberbootEnabled") == 1,
        "drivers": [row for name in DRIVERS if (row := _driver(guest, registry, name))],
        "network": [
            _interface(registry, name, node)
            for name, node in registry.children(registry.key("Services", "Tcpip", "Parameters", "Interfaces"))
        ],
    }


def _driver(guest: Guest, registry: Registry, name: str) -> dict[str, Any] | None:
    node = registry.key("Services", name)
    if not node:
        return None
    file = guest.any_case(f"/Windows/System32/drivers/{name}.sys")
    return {"name": name.lower(), "start": registry.number(node, "Start"), "file": guest.is_file(file)}


def _interface(registry: Registry, name: str, node: int) -> dict[str, Any]:
    def texts(*names: str) -> list[str]:
        return [text for each in names for text in registry.texts(node, each)]

    return {
        "name": name[:128],
        "dhcp": registry.number(node, "EnableDHCP") == 1,
        "addresses": texts("IPAddress"),
        "masks": texts("SubnetMask"),
        "gateways": texts("DefaultGateway"),
        "nameservers": texts("NameServer"),
    }
