"""The custom resource ImportMapping: rows for networks, storage and disks that many imports share.

Its schema is strict: it is a kind of vmferry only, so no older manifest has to stay valid. The same rules are
in `workflows.import_mapping`, for manifests that no API server has seen. The descriptions become those of the
CRD, which `kubectl explain` shows.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from steps.model.plan import Bus, InterfaceModel, MacPolicy
from workflows.api.base import Model, none_to_list
from workflows.api.resources import Metadata
from workflows.api.spec import NetworkType

LONGEST_NAME: Final = 512
"""Characters of a name or an ID at a source. An inventory path of vSphere has several names of 80."""
LONGEST_OBJECT: Final = 253
LONGEST_DESTINATION: Final = 63 + 1 + LONGEST_OBJECT
MOST_ROWS: Final = 256
"""Rows of one list."""
MOST_BYTES: Final = 256 << 10
"""Bytes of all rows as JSON. They become part of a request, which is a ConfigMap: at most 1 MiB."""
_DESTINATION: Final = "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_CLASS: Final = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"
_MAC: Final = "^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"

Json = dict[str, Any]


def _rules(*rules: tuple[str, str]) -> Json:
    """Rules in CEL for `workflows.api.schema`, each with its message."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def _exactly_one(*names: str) -> Json:
    given = ", ".join(f"has(self.{name})" for name in names)
    return _rules(
        (
            f"[{given}].filter(given, given).size() == 1",
            f"source must have exactly one of {', '.join(names)}: remove the others, or write a row for each",
        )
    )


_UNIQUE: Final = _rules(
    (
        "self.all(one, self.exists_one(other, other.source == one.source))",
        "two rows have the same source, so it is not clear which one counts: keep one of them",
    )
)
REQUIRED: Final[Json] = {"x-required": True}
"""For `workflows.api.schema`: the schema requires the field."""
_TEXT: Final[Json] = {"minLength": 1, "maxLength": LONGEST_NAME}


def _rows(**more: Any) -> Json:
    return {"maxItems": MOST_ROWS, **_UNIQUE, **more}


class NetworkMatch(Model):
    """The NICs that a row is for: exactly one field is set."""

    model_config = ConfigDict(json_schema_extra=_exactly_one("name", "id", "vlan", "mac"))

    name: str | None = Field(
        default=None,
        description="The name of the network at the source; one of the four fields is required. vSphere: "
        "also its inventory path. oVirt: NETWORK/PROFILE of a vNIC profile. KubeVirt: NAMESPACE/NAME of a "
        "NetworkAttachmentDefinition. A row with an ID or a MAC address has precedence.",
        json_schema_extra=_TEXT,
    )
    id: str | None = Field(
        default=None,
        description="The ID of the network at the source; one of the four fields is required. vSphere: the "
        "key of a distributed port group (dvportgroup-12) or the managed object ID (network-7). OpenStack: "
        "the ID of the network. oVirt: the ID of the vNIC profile. A row with a MAC address has precedence.",
        json_schema_extra=_TEXT,
    )
    vlan: int | None = Field(
        default=None,
        description="The ID of the VLAN that the network is bound to, from 1 to 4094; one of the four "
        "fields is required. Rows with a name, an ID or a MAC address have precedence. OpenStack shows it "
        "to administrators only; an OVA has none.",
        json_schema_extra={"minimum": 1, "maximum": 4094},
    )
    mac: str | None = Field(
        default=None,
        description="The MAC address of one NIC at the source, such as 00:50:56:aa:bb:01; one of the four "
        "fields is required. The row has precedence over all others of this mapping.",
        json_schema_extra={"pattern": _MAC, "maxLength": 17},
    )


class SharedNetwork(Model):
    """What the NICs of a network at the source are attached to."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                "has(self.destinationNetwork) == (!has(self.type) || self.type == 'multus')",
                "a row of the type multus needs destinationNetwork, and one of the type pod or ignored must "
                "not have it: write destinationNetwork, or the type pod or ignored",
            ),
            (
                f"!has(self.destinationNetwork) || self.destinationNetwork.matches('{_DESTINATION}')",
                "destinationNetwork must be NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition: "
                "lower-case letters, digits, '-' and '.'",
            ),
            (
                "!has(self.type) || self.type != 'ignored' || "
                "(!has(self.networkInterfaceModel) && !has(self.mac))",
                "a row of the type ignored leaves the NICs out, so networkInterfaceModel and mac have no "
                "effect: remove them",
            ),
        )
    )

    source: NetworkMatch = Field(
        default=NetworkMatch(),
        description="The NICs that the row is for: those of a network, by its name, ID or VLAN, or one NIC "
        "by its MAC address.",
        json_schema_extra=REQUIRED,
    )
    type: NetworkType | None = Field(
        default=None,
        description="What the NICs become. multus: they are bridged to destinationNetwork. pod: the network "
        "of the pods, which only one NIC of a VM can have. ignored: the VM does not get them. The default is "
        "multus.",
    )
    destination_network: str | None = Field(
        default=None,
        description="The NetworkAttachmentDefinition, as NAME or NAMESPACE/NAME. NAME alone means the "
        "namespace of the new VM. Required for the type multus.",
        json_schema_extra={"maxLength": LONGEST_DESTINATION},
    )
    network_interface_model: InterfaceModel | None = Field(
        default=None, description="The model of these NICs. The default is that of the source."
    )
    mac: MacPolicy | None = Field(
        default=None,
        description="Which MAC addresses these NICs get. keep: those of the source. new: the target chooses "
        "new ones. The default is keep.",
    )


class StorageMatch(Model):
    """A storage or a disk at the source: exactly one field is set."""

    model_config = ConfigDict(json_schema_extra=_exactly_one("name", "id"))

    name: str | None = Field(
        default=None,
        description="Its name at the source, required if `id` is not set. Storage: the name of a datastore "
        "(vSphere), a storage domain (oVirt), a volume type (OpenStack) or a storage class (KubeVirt). Disk: "
        "its label, such as Hard disk 2, or its alias.",
        json_schema_extra=_TEXT,
    )
    id: str | None = Field(
        default=None,
        description="Its ID at the source, required if `name` is not set. Storage: the managed object ID of "
        "a datastore or the ID of a storage domain. Disk: its key, its UUID, or its ID in vmferry (disk-0). "
        "A row with an ID has precedence over one with a name.",
        json_schema_extra=_TEXT,
    )


class SharedStorage(Model):
    """The storage class of the disks in one storage of the source."""

    source: StorageMatch = Field(
        default=StorageMatch(),
        description="The storage at the source, by its name or its ID.",
        json_schema_extra=REQUIRED,
    )
    storage_class: str | None = Field(
        default=None,
        description="The storage class of the disks in it. An empty text means the default class of the "
        "cluster.",
        json_schema_extra={**REQUIRED, "pattern": _CLASS, "maxLength": LONGEST_OBJECT},
    )


class SharedDisk(Model):
    """Settings of one disk of each VM."""

    model_config = ConfigDict(
        json_schema_extra=_rules(
            (
                "has(self.storageClass) || has(self.busType)",
                "a row needs storageClass or busType; else it has no effect",
            )
        )
    )

    source: StorageMatch = Field(
        default=StorageMatch(),
        description="The disk at the source, by its name or its ID.",
        json_schema_extra=REQUIRED,
    )
    storage_class: str | None = Field(
        default=None,
        description="The storage class of the disk; it has precedence over spec.storage. An empty text means "
        "the default class of the cluster. The default is what spec.storage says.",
        json_schema_extra={"pattern": _CLASS, "maxLength": LONGEST_OBJECT},
    )
    bus_type: Bus | None = Field(
        default=None, description="The bus of the disk. The default is that of the source."
    )


class ImportMappingSpec(Model):
    """Rows for networks, storage and disks. The rows of an import have precedence over these."""

    networks: Annotated[tuple[SharedNetwork, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="What NICs are attached to. The default is no row. Without a row, the first such NIC of "
        "a VM goes to the pod network, and the others are left out with a warning. At most 256 rows.",
        json_schema_extra=_rows(),
    )
    storage: Annotated[tuple[SharedStorage, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Storage classes by datastore, storage domain or volume type. The default is no row: "
        "then the default class of the cluster is used. At most 256 rows.",
        json_schema_extra=_rows(),
    )
    disks: Annotated[tuple[SharedDisk, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Storage class and bus of single disks. The default is no row. At most 256 rows.",
        json_schema_extra=_rows(),
    )


class ImportMapping(Model):
    """Rows for networks, storage and disks of a source, which many imports share."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: Literal["ImportMapping"]
    metadata: Metadata
    spec: ImportMappingSpec = ImportMappingSpec()

    @property
    def title(self) -> str:
        """The mapping, for messages."""
        return f"ImportMapping {self.metadata.namespace}/{self.metadata.name}"
