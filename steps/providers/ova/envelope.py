"""The envelope of OVF 1.x and 2.0 (DMTF DSP0243), and of 0.9 as oVirt writes it: files, disks, systems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from steps.model import unique
from steps.model.contract import Exit, StepError
from steps.model.sectors import whole_sectors
from steps.model.unique import Index
from steps.providers.ova import units
from steps.providers.ova.markup import Node, parse
from steps.providers.ova.names import checked_name

_PROPERTY: Final = re.compile(r"\$\{([^}]+)\}")
_MAX_SYSTEMS: Final = 1000
MAX_PIECES: Final = 100_000
"""Files that one file may be split into."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file next to the descriptor. With `chunk` it is split: NAME.000000000, NAME.000000001 and so on."""

    id: str
    name: str
    size: int | None = None
    compression: str = ""
    chunk: int = 0
    declared: File | None = None
    """The file as the descriptor has it, if the package has another one (`steps.providers.ova.stored`)."""


@dataclass(frozen=True, kw_only=True)
class VirtualDisk:
    """A disk of the package; `capacity` in bytes, 0 if it is not readable."""

    id: str
    file: File | None
    missing_reference: str = ""
    """Its reference, if there is no such file."""
    capacity: int
    format: str = ""
    volume_format: str = ""
    """oVirt's own word, as its `format` says VMDK of raw files (OvfWriter.getVolumeImageFormat)."""
    parent: str = ""
    allocated: int | None = None
    interface: str = ""
    """oVirt's: its controller."""


@dataclass(frozen=True, kw_only=True)
class System:
    """A VM in the descriptor."""

    id: str
    name: str
    node: Node

    @property
    def hardware(self) -> Node:
        """The first alternative (DSP0243, 8.1: the most preferred one)."""
        return self.node.child("VirtualHardwareSection")

    @cached_property
    def host_resources(self) -> frozenset[str]:
        """What its devices refer to, in any configuration and section."""
        nodes = (node for node in self.node.walk() if node.name == "HostResource")
        return frozenset(text for node in nodes if (text := node.text.strip()))


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A whole descriptor."""

    files: Index[str, File]
    disks: Index[str, VirtualDisk]
    networks: tuple[str, ...]
    systems: tuple[System, ...]
    configuration: str = ""
    """The default deployment option."""
    configurations: tuple[str, ...] = ()


def piece_name(file: File, number: int) -> str:
    """The name of a piece of a file that is split (DSP0243, 7.1)."""
    return f"{file.name}.{number:09d}"


def read(text: bytes, name: str) -> Envelope:
    """Read a descriptor; `name` is for errors.

    Raises:
        StepError: CORRUPT or UNSUPPORTED, if it cannot be used; AMBIGUOUS, if several files or
            VMs that it refers to have one identifier.
    """
    root = parse(text, name)
    if root.name != "Envelope":
        raise StepError(
            Exit.INVALID,
            f"{name} is not an OVF descriptor",
            f"its root element is {root.name!r}, not Envelope",
        )
    systems = tuple(_systems(root))
    if not systems or len(systems) > _MAX_SYSTEMS:
        why = f"it describes {len(systems)} VMs"
        raise StepError(Exit.INVALID, f"{name} cannot be used", why, "use a descriptor that describes a VM")
    _check_distinct(systems, name)
    files = unique.index(_files(root, name), lambda file: file.id, what="files with the id", where=name)
    listed_disks = _disks(root, files, name)
    disks = unique.index(listed_disks, lambda disk: disk.id, what="disks with the diskId", where=name)
    configurations = tuple(
        option.get("id") for option in root.child("DeploymentOptionSection").find_all("Configuration")
    )
    return Envelope(
        files=files,
        disks=disks,
        networks=tuple(network.get("name") for network in _section_nodes(root, "NetworkSection", "Network")),
        systems=systems,
        configuration=_default_configuration(root) or next(iter(configurations), ""),
        configurations=configurations,
    )


def _check_distinct(systems: tuple[System, ...], name: str) -> None:
    """Several VMs are distinguished by id, or by name if one has no id. Raises AMBIGUOUS."""
    unique.index(systems, lambda system: system.id or system.name, what="VMs called", where=name).check()


def _default_configuration(root: Node) -> str:
    """Which deployment option is the default; without one the first is (DSP0243, 9.8)."""
    options = root.child("DeploymentOptionSection").find_all("Configuration")
    return next((option.get("id") for option in options if option.get("default") == "true"), "")


def _systems(node: Node) -> Iterator[System]:
    """All VMs, including those of collections."""
    for child in node.children:
        if child.name == "VirtualSystem":
            system_id = child.get("id")
            vssd = child.child("VirtualHardwareSection", "System").value("VirtualSystemIdentifier")
            yield System(id=system_id, name=child.value("Name") or vssd or system_id, node=child)
        elif child.name == "VirtualSystemCollection":
            yield from _systems(child)


def _files(root: Node, name: str) -> Iterator[File]:
    for node in _section_nodes(root, "References", "File"):
        yield File(
            id=node.get("id"),
            name=_file_name(node.get("href"), name),
            size=_parse_int(node.get("size")),
            compression=node.get("compression").removeprefix("identity"),
            chunk=_parse_int(node.get("chunkSize")) or 0,
        )


def _file_name(href: str, name: str) -> str:
    """A file of the package. An address elsewhere is kept as it is, and refused only when it is needed."""
    return href if "://" in href else checked_name(href, name)


def _section_nodes(root: Node, section: str, name: str) -> Iterator[Node]:
    """The content of a section. The standard allows one of a kind; a second one counts too."""
    return (node for section_node in root.find_all(section) for node in section_node.find_all(name))


def _file_reference(node: Node) -> str | None:
    """The file that a disk is in; None where it has none. One that is named badly is not none."""
    references = (value for key, value in node.attributes.items() if key.lower() == "fileref")
    reference = next(references, None)
    return reference if reference is None else reference.strip()


def _disks(root: Node, files: Index[str, File], name: str) -> Iterator[VirtualDisk]:
    # oVirt refers by name
    names = unique.index(files, lambda file: file.name, what="files called", where=name)
    properties = _property_defaults(root)
    for node in _section_nodes(root, "DiskSection", "Disk"):
        reference = _file_reference(node)
        file = None if reference is None else files.find(reference) or names.find(reference)
        yield VirtualDisk(
            id=node.get("diskId"),
            file=file,
            missing_reference="" if reference is None or file else reference or "a file without a name",
            capacity=_capacity(node, properties),
            format=node.get("format"),
            volume_format=node.get("volume-format").upper(),
            parent=node.get("parentRef"),
            allocated=_parse_int(node.get("populatedSize")),
            interface=node.get("disk-interface"),
        )


def _capacity(node: Node, properties: Mapping[str, str]) -> int:
    """Bytes, in whole sectors; oVirt has `size` in GiB instead."""
    quantity, unit = node.get("capacity"), node.get("capacityAllocationUnits")
    if not quantity and node.get("size"):
        quantity, unit = node.get("size"), "GB"
    match = _PROPERTY.fullmatch(quantity)
    try:
        return whole_sectors(units.parse_size(properties.get(match[1], "") if match else quantity, unit))
    except ValueError:
        return 0


def _property_defaults(root: Node) -> dict[str, str]:
    """The defaults of the properties, which may stand in for a capacity (DSP0243, 9.1); "" if several differ.

    All of them in one walk: each disk may name one.
    """
    defaults: dict[str, str] = {}
    for node in root.walk():
        if node.name == "Property":
            key, value = node.get("key"), node.get("value")
            defaults[key] = value if defaults.get(key, value) == value else ""
    return defaults


def _parse_int(text: str) -> int | None:
    try:
        return units.parse_number(text)
    except ValueError:
        return None
