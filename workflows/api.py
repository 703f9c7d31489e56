"""The custom resources of `migration.harvesterhci.io/v1beta1`, in today's field names plus additive fields.

Field by field after harvester/vm-import-controller (pkg/apis/migration.harvesterhci.io/v1beta1): everything
is optional and nullable there, so it is here; what an import cannot do without, `workflows.plan` says.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from steps.plan import InterfaceModel, SourceKind

GROUP: Final = "migration.harvesterhci.io"
API_VERSION: Final = f"{GROUP}/v1beta1"


class Model(BaseModel):
    """Part of a resource. A field nobody knows is an error: on a cluster it would be dropped in silence."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


def _empty_to_none(value: Any) -> Any:
    return None if value == "" else value


def _none_to_empty(value: Any) -> Any:
    return "" if value is None else value


def _none_to_list(value: Any) -> Any:
    return [] if value is None else value


Text = Annotated[str, BeforeValidator(_none_to_empty)]
"""A string that may be null, which is the same as empty."""
NicChoice = Annotated[InterfaceModel | None, BeforeValidator(_empty_to_none)]
"""An interface model, or nothing, or the empty string that today's schema allows as well."""


class Metadata(BaseModel):
    """The part of Kubernetes' ObjectMeta that is used; the rest is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1


class SecretReference(Model):
    """Where the credentials are."""

    name: Text = ""
    namespace: Text = ""


class VmwareSourceSpec(Model):
    """A vCenter or a stand-alone ESXi host."""

    endpoint: Text = Field(default="", description="URL of the SDK, such as https://vcenter/sdk")
    dc: Text = Field(default="", description="name or inventory path of the datacenter")
    credentials: SecretReference | None = Field(
        default=None, description="Secret with username, password and optionally caCert (PEM), thumbprint"
    )
    insecure_skip_tls_verify: bool = Field(
        default=False, alias="insecureSkipTLSVerify", description="do not verify the certificate (additive)"
    )
    thumbprint: Text = Field(
        default="", description="SHA-1 or SHA-256 of the certificate to trust (additive)"
    )


class OpenstackSourceSpec(Model):
    """An OpenStack cloud."""

    endpoint: Text = ""
    region: Text = ""
    credentials: SecretReference | None = None
    upload_image_retry_count: int = 0
    upload_image_retry_delay: int = 0


class OvaSourceSpec(Model):
    """An OVA behind a URL."""

    url: Text = ""
    http_timeout_seconds: int | None = None
    credentials: SecretReference | None = None


class NetworkMapping(Model):
    """Which network a NIC of the source's network goes to."""

    source_network: Text = ""
    destination_network: Text = ""
    network_interface_model: NicChoice = None


class SourceReference(Model):
    """Which source the machine is at: an ObjectReference of which four fields count."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    api_version: Text = ""
    kind: Text = ""
    name: Text = ""
    namespace: Text = ""


class VirtualMachineImportSpec(Model):
    """Which machine is to be imported, and as what."""

    source_cluster: SourceReference = SourceReference()
    virtual_machine_name: Text = ""
    folder: str | None = None
    network_mapping: Annotated[tuple[NetworkMapping, ...], BeforeValidator(_none_to_list)] = ()
    default_network_interface_model: NicChoice = None
    storage_class: Text = ""
    default_disk_bus_type: Annotated[
        Literal["virtio", "scsi", "sata", "usb"] | None, BeforeValidator(_empty_to_none)
    ] = None
    force_power_off: bool | None = None
    graceful_shutdown_timeout_seconds: int | None = None
    skip_preflight_checks: bool | None = None
    target_virtual_machine_name: Text = Field(
        default="", description="name of the machine here; default: the source's name, made to fit (additive)"
    )
    start_virtual_machine: bool | None = Field(
        default=None, description="whether to start the machine; default true (additive)"
    )


class VmwareSource(Model):
    """A VMware source."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: Literal["VmwareSource"]
    metadata: Metadata
    spec: VmwareSourceSpec = VmwareSourceSpec()
    status: Any = None


class OpenstackSource(Model):
    """An OpenStack source."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: Literal["OpenstackSource"]
    metadata: Metadata
    spec: OpenstackSourceSpec = OpenstackSourceSpec()
    status: Any = None


class OvaSource(Model):
    """An OVA source."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: Literal["OvaSource"]
    metadata: Metadata
    spec: OvaSourceSpec = OvaSourceSpec()
    status: Any = None


Source = VmwareSource | OpenstackSource | OvaSource
KINDS: Final[Mapping[str, type[Model]]] = {
    str(SourceKind.VMWARE): VmwareSource,
    str(SourceKind.OPENSTACK): OpenstackSource,
    str(SourceKind.OVA): OvaSource,
}


class VirtualMachineImport(Model):
    """One machine to be imported."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: Literal["VirtualMachineImport"]
    metadata: Metadata
    spec: VirtualMachineImportSpec = VirtualMachineImportSpec()
    status: Any = None


def _decodable(data: dict[str, str]) -> dict[str, str]:
    for key, value in data.items():
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{key} is not base64 ({error}); plain text belongs under stringData") from None
    return data


class Secret(BaseModel):
    """A Secret, of which `data` (base64) and `stringData` (plain, wins) are read."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    api_version: Literal["v1"] = Field(alias="apiVersion")
    kind: Literal["Secret"]
    metadata: Metadata
    data: Annotated[
        dict[str, str], BeforeValidator(lambda value: value or {}), AfterValidator(_decodable)
    ] = {}
    string_data: Annotated[dict[str, str], BeforeValidator(lambda value: value or {})] = Field(
        default={}, alias="stringData"
    )

    def values(self) -> dict[str, bytes]:
        """Every key's value, decoded."""
        decoded = {key: base64.b64decode(value) for key, value in self.data.items()}
        return decoded | {key: value.encode() for key, value in self.string_data.items()}
