"""The custom resources of the sources, one class with its spec for each kind. Pure.

What differs between the kinds is a field, a class variable or a method of the spec. `RESOURCES` lists the
resources. The parts that steps need to know about a kind are in its row in `steps.model.sources`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field

from steps.model import hosts, kubeconfig
from steps.model.bare_disks import DIGITS, DiskFileFormat, format_of, is_checksum, is_gzip, name_of
from steps.model.machine import MOST_DEVICES
from steps.model.naming import is_namespace, shown
from steps.model.plan import BareDisk
from steps.model.quantity import to_bytes
from steps.model.sectors import whole_sectors
from steps.model.sources import SourceKind
from workflows.api.base import Flag, Model, none_to_list, rules
from workflows.api.resources import Metadata
from workflows.api.spec import ANY_TEXT, DNS_LABEL_OR_EMPTY, LONGEST_LABEL, STRUCT, SecretReference, Text

OPENSTACK_PAUSE: Final = 10
"""vm-import-controller's default for uploadImageRetryDelay."""
_INTERFACES: Final = ("public", "internal", "admin")
MOST_REDIRECT_HOSTS: Final = 64
_LAST_PORT: Final = 65535
LONGEST_HOST: Final = 255
LONGEST_URL: Final = 2048
LONGEST_PRINT: Final = 128
"""Characters of a SHA-256 fingerprint with something between its bytes."""
_PORT: Final[dict[str, Any]] = {"minimum": 0, "maximum": _LAST_PORT}
_PRINT: Final = rules(
    (
        "self.matches('^[0-9A-Fa-f: ]*$')",
        "it is not a fingerprint: write the SHA-1 (40) or SHA-256 (64 hexadecimal digits) of the certificate",
    )
)
_HTTPS: Final = rules(
    ("self.matches('^$|^[hH][tT][tT][pP][sS]://[^/]')", "it is not an https URL: write https://HOST")
)
_HOSTS: Final = rules(
    (
        "self.all(one, one != '' && self.exists_one(other, other == one))",
        "redirectHosts has an empty or a duplicate entry: remove it",
    )
)

Insecure = Annotated[
    Flag,
    Field(
        alias="insecureSkipTLSVerify",
        description="Whether the certificate of the source is not verified. The default is false: it is "
        "verified against the CA in the Secret, or else against the CAs of the system.",
    ),
]


class SourceSpec(Model):
    """The fields and properties that all sources have."""

    SUMMARY: ClassVar[str]
    """One sentence about the resource, for the CRD."""
    EXAMPLE: ClassVar[str]
    """An address, for error messages."""
    CREDENTIAL_KEYS: ClassVar[str]
    """The keys of the Secret, for people."""
    ADDRESS: ClassVar[str] = "endpoint"
    """The field with the address to which the credentials are sent."""
    FROM_ENVIRONMENT: ClassVar[tuple[str, ...]] = ("endpoint",)
    """Fields that the environment of the command line may fill in."""
    KEYS: ClassVar[tuple[str, ...]]
    """The keys of the Secret that the provider reads; no other key is copied."""
    ACCOUNT_KEYS: ClassVar[tuple[str, ...]] = ("username",)
    """Those of them that say who logs in."""
    NEEDS_SECRET: ClassVar[bool] = True
    HAS_FOLDERS: ClassVar[bool] = False
    """Whether the VMs are in folders, so that spec.folder of an import selects one."""
    LONE_VM_NEEDS_NO_NAME: ClassVar[bool] = False
    """Whether an import of the only VM may have any virtualMachineName, which then names the target VM."""

    credentials: SecretReference | None = None
    insecure_skip_tls_verify: Insecure = False
    profile: Text = Field(
        default="",
        description="The profile of the installation for the checks of this source, and for imports that "
        "name none: placement and second network of the pods, proxy, scratch. The default is that of the "
        "installation.",
        json_schema_extra={"maxLength": LONGEST_LABEL, **DNS_LABEL_OR_EMPTY},
    )

    @property
    def address(self) -> str:
        """The address to which the credentials are sent; empty if none is written."""
        return str(getattr(self, self.ADDRESS))

    @property
    def addresses(self) -> Mapping[str, str]:
        """All addresses that are read, by their fields; the first one is `address`."""
        return {f"spec.{self.ADDRESS}": self.address}

    def plan_fields(self) -> dict[str, Any]:
        """The fields of `SourcePlan` that only this kind has. Numbers below 1 mean the default."""
        return {}

    def reasons(self) -> Iterator[str]:
        """What is wrong with the fields of this kind, apart from a missing address."""
        yield from ()


class Source(Model):
    """A source of VMs."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: str
    metadata: Metadata
    spec: SourceSpec
    status: Any = None


class VmwareSourceSpec(SourceSpec):
    """A vCenter or a stand-alone ESXi host."""

    SUMMARY = "A vCenter or ESXi host to import from."
    EXAMPLE = "https://HOST/sdk"
    CREDENTIAL_KEYS = "username, password and, for a CA of your own, caCert"
    KEYS = ("username", "password", "caCert", "thumbprint")
    FROM_ENVIRONMENT = ("endpoint", "dc")
    HAS_FOLDERS = True

    endpoint: Text = Field(
        default="", description="The URL of the SDK, such as https://vcenter.example.com/sdk. Required."
    )
    dc: Text = Field(
        default="",
        description="The name or the inventory path of the datacenter. The default is the only datacenter, "
        "or the one that has the VM if it is given by its inventory path.",
    )
    credentials: SecretReference | None = Field(
        default=None,
        description="The Secret with username, password and optionally caCert (PEM) and thumbprint. "
        "Required.",
        json_schema_extra=STRUCT,
    )
    thumbprint: Text = Field(
        default="",
        description="The SHA-1 or SHA-256 fingerprint of the one certificate to trust, in hexadecimal. The "
        "default is none: the certificate is verified by its CA.",
        json_schema_extra={"maxLength": LONGEST_PRINT, **_PRINT},
    )

    def plan_fields(self) -> dict[str, Any]:
        return {"datacenter": self.dc, "thumbprint": self.thumbprint}


class VmwareSource(Source):
    """A VMware source."""

    kind: Literal["VmwareSource"]
    spec: VmwareSourceSpec = VmwareSourceSpec()


class OpenstackSourceSpec(SourceSpec):
    """An OpenStack cloud."""

    SUMMARY = "An OpenStack cloud to import from."
    EXAMPLE = "https://HOST:5000/v3"
    CREDENTIAL_KEYS = "username, password, project_name, domain_name and, for a CA of your own, ca_cert"
    KEYS = (
        *("username", "user_id", "password", "domain_name", "user_domain_name", "project_domain_name"),
        *("project_name", "project_id", "token", "ca_cert"),
        *("application_credential_id", "application_credential_name", "application_credential_secret"),
    )
    ACCOUNT_KEYS = (
        *("username", "user_id", "domain_name", "user_domain_name"),
        *("application_credential_id", "application_credential_name"),
    )
    FROM_ENVIRONMENT = ("endpoint", "region")

    endpoint: Text = Field(
        default="", description="The URL of Keystone, such as https://cloud.example.com:5000/v3. Required."
    )
    region: Text = Field(
        default="", description="The region of the services. The default is the only region of the catalogue."
    )
    credentials: SecretReference | None = Field(
        default=None,
        description="The Secret with username, password, project_name, domain_name and optionally ca_cert "
        "(PEM), or with an application credential. Required.",
        json_schema_extra=STRUCT,
    )
    interface: Text = Field(
        default="",
        description="Which endpoints of the services are used: public, internal or admin. The default is "
        "public.",
        json_schema_extra={
            "maxLength": 16,
            **rules(
                (
                    "self in ['', 'public', 'internal', 'admin']",
                    "interface is not a kind of endpoints: write public, internal or admin",
                )
            ),
        },
    )
    upload_image_retry_count: int = Field(
        default=0,
        description="How often one attempt checks whether the image of a volume is active: a number of "
        "checks. Numbers below 1 mean the default. The default is 30, or more for a large volume.",
    )
    upload_image_retry_delay: int = Field(
        default=0,
        description="The seconds between two such checks. Numbers below 1 mean the default. The default is "
        "10 seconds.",
    )

    def plan_fields(self) -> dict[str, Any]:
        looks, pause = self.upload_image_retry_count, self.upload_image_retry_delay
        return {
            "region": self.region,
            "interface": self.interface or "public",
            "image_looks": looks if looks > 0 else None,
            "image_pause": pause if pause > 0 else OPENSTACK_PAUSE,
        }

    def reasons(self) -> Iterator[str]:
        if self.interface not in ("", *_INTERFACES):
            yield f"spec.interface {self.interface!r} is not one of {', '.join(_INTERFACES)}"


class OpenstackSource(Source):
    """An OpenStack source."""

    kind: Literal["OpenstackSource"]
    spec: OpenstackSourceSpec = OpenstackSourceSpec()


class BareDiskSpec(Model):
    """A file with one disk."""

    url: Text = Field(
        default="",
        description="The http or https URL of the file, or of one in gzip (.gz). With `vmferry run` also a "
        "path. Required.",
    )
    format: Annotated[
        Literal["raw", "qcow2", "vmdk", "vhd", "vhdx"] | None,
        BeforeValidator(lambda value: value or None),
    ] = Field(
        default=None,
        description="The format of the file: raw, qcow2, vmdk, vhd or vhdx. The default is that of the "
        "ending of its name, where .img and .raw mean raw.",
        json_schema_extra=ANY_TEXT,
    )
    capacity: Text = Field(
        default="",
        description="The size of the disk as a quantity such as 20Gi. Only a compressed raw disk needs it. "
        "The default is the size in the file.",
    )
    checksum: Text = Field(
        default="",
        description="The checksum of the file as ALGORITHM:HEX, such as sha256:9f86..., which is compared "
        "while the file is read. The default is none.",
    )

    @property
    def qemu_format(self) -> DiskFileFormat | None:
        """By QEMU's name; None if it is neither written nor known by the name."""
        if self.format is None:
            return format_of(self.url)
        return "vpc" if self.format == "vhd" else self.format


class OvaSourceSpec(SourceSpec):
    """An OVA at a URL, or a list of disks."""

    SUMMARY = "An OVA to import, by its URL, or a list of files with disks."
    EXAMPLE = "https://HOST/PATH/MACHINE.ova"
    CREDENTIAL_KEYS = "username, password and, for a CA of your own, ca.crt"
    KEYS = ("username", "password", "ca.crt")
    ADDRESS = "url"
    FROM_ENVIRONMENT = ()
    NEEDS_SECRET = False
    LONE_VM_NEEDS_NO_NAME = True

    url: Text = Field(
        default="", description="The http or https URL of the archive. Required if there are no disks."
    )
    disks: Annotated[tuple[BareDiskSpec, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Files with one disk each, instead of url. The VM has these disks, in this order; the "
        "import sets its CPUs and memory. The default is none.",
    )
    firmware: Annotated[Literal["bios", "efi"] | None, BeforeValidator(lambda value: value or None)] = Field(
        default=None,
        description="With disks: how the VM boots, bios or efi. The default is bios.",
        json_schema_extra=ANY_TEXT,
    )
    networks: Annotated[tuple[str, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="With disks: the networks of the VM, with one NIC each, which spec.networkMapping of "
        "the import maps. The default is one NIC on the network default.",
    )
    http_timeout_seconds: int | None = Field(
        default=None,
        description="How many seconds the download of one disk may take. Numbers below 1 mean the default. "
        "The default is no limit, as long as bytes arrive.",
    )
    credentials: SecretReference | None = Field(
        default=None,
        description="The Secret with username, password and ca.crt (PEM), all optional. The default is none.",
    )
    redirect_hosts: Annotated[tuple[str, ...], BeforeValidator(none_to_list)] = Field(
        default=(),
        description="Other hosts to which the server may redirect, such as a CDN: HOST, *.DOMAIN for all "
        "hosts of a domain, or * for all hosts. The host of the URL and those of the installation need no "
        "entry. The default is none. At most 64 entries.",
        json_schema_extra={"maxItems": MOST_REDIRECT_HOSTS, "x-longest": LONGEST_HOST, **_HOSTS},
    )

    def plan_fields(self) -> dict[str, Any]:
        seconds = self.http_timeout_seconds or 0
        return {
            "download_seconds": seconds if seconds > 0 else None,
            "redirect_hosts": self.redirect_hosts,
            "disks": tuple(_bare_disk(disk) for disk in self.disks),
            "firmware": self.firmware or "bios",
            "bare_networks": self.networks,
        }

    @property
    def address(self) -> str:
        return self.url or next((disk.url for disk in self.disks), "")

    @property
    def addresses(self) -> Mapping[str, str]:
        if self.url or not self.disks:
            return {"spec.url": self.url}
        return {f"spec.disks[{number}].url": disk.url for number, disk in enumerate(self.disks)}

    def reasons(self) -> Iterator[str]:
        yield from self._disk_reasons()
        yield from self._redirect_reasons()

    def _disk_reasons(self) -> Iterator[str]:
        if self.disks and self.url:
            yield "spec.url and spec.disks exclude each other: write the URL of a package, or a list of disks"
        if not self.disks and (self.firmware or self.networks):
            yield "spec.firmware and spec.networks are only for spec.disks: a package has its own"
        for name, rows, most in (
            ("disks", self.disks, MOST_DEVICES),
            ("networks", self.networks, MOST_DEVICES),
        ):
            if len(rows) > most:
                yield f"spec.{name} has {len(rows)} entries; write at most {most}"
                return
        for number, disk in enumerate(self.disks):
            yield from _bare_disk_reasons(f"spec.disks[{number}]", disk)
        for number, network in enumerate(self.networks):
            if not network.strip() or not network.isprintable():
                yield f"spec.networks[{number}] {shown(network)} is not the name of a network"

    def _redirect_reasons(self) -> Iterator[str]:
        if len(self.redirect_hosts) > MOST_REDIRECT_HOSTS:
            yield (
                f"spec.redirectHosts has {len(self.redirect_hosts)} entries; "
                f"write at most {MOST_REDIRECT_HOSTS}"
            )
            return
        for entry in self.redirect_hosts:
            if not hosts.is_pattern(entry):
                yield f"spec.redirectHosts: {shown(entry)} is not a host; {hosts.PATTERN_HELP}"


def _bare_disk(disk: BareDiskSpec) -> BareDisk:
    """A disk of a source without `reasons`."""
    return BareDisk(
        url=disk.url,
        format=disk.qemu_format or "raw",
        is_gzip=is_gzip(disk.url),
        capacity=whole_sectors(to_bytes(disk.capacity)) if disk.capacity else None,
        checksum=disk.checksum.lower(),
    )


def _bare_disk_reasons(path: str, disk: BareDiskSpec) -> Iterator[str]:
    if disk.qemu_format is None:
        yield (
            f"{path}: the format of {shown(name_of(disk.url))} is not known; write format: raw, qcow2, vmdk, "
            "vhd or vhdx"
        )
    if disk.checksum and not is_checksum(disk.checksum):
        yield (
            f"{path}.checksum {shown(disk.checksum)} is not a checksum; write it as ALGORITHM:HEX, with "
            f"{', '.join(DIGITS)}"
        )
    if disk.qemu_format == "raw" and is_gzip(disk.url) and not disk.capacity:
        yield f"{path}: the size of a compressed raw disk is not known before it is read; write its capacity"
    if disk.capacity:
        try:
            size = to_bytes(disk.capacity)
        except ValueError:
            size = 0
        if size <= 0:
            yield f"{path}.capacity {shown(disk.capacity)} is not a size; write it as 20Gi"


class OvaSource(Source):
    """An OVA source."""

    kind: Literal["OvaSource"]
    spec: OvaSourceSpec = OvaSourceSpec()


class OvirtSourceSpec(SourceSpec):
    """An oVirt engine, or Red Hat Virtualization Manager."""

    SUMMARY = "An oVirt engine, or a Red Hat Virtualization Manager, to import from."
    EXAMPLE = "https://HOST/ovirt-engine/api"
    CREDENTIAL_KEYS = "username, password and, for a CA of your own, caCert"
    KEYS = ("username", "password", "caCert", "ca.cert")
    FROM_ENVIRONMENT = ("endpoint", "cluster")

    endpoint: Text = Field(
        default="",
        description="The URL of the API, such as https://engine.example.com/ovirt-engine/api. Required.",
    )
    cluster: Text = Field(
        default="",
        description="The name or the ID of the only cluster to import from. The default is all clusters.",
    )
    credentials: SecretReference | None = Field(
        default=None,
        description="The Secret with username (such as admin@internal), password and optionally caCert "
        "(PEM). Required.",
        json_schema_extra=STRUCT,
    )
    image_daemon_port: int = Field(
        default=0,
        description="The port number of ovirt-imageio on the hosts (ImageDaemonPort of the engine). 0 means "
        "the default. The default is 54322.",
        json_schema_extra=_PORT,
    )
    image_proxy_port: int = Field(
        default=0,
        description="The port number of ovirt-imageio on the engine, which passes disks on. 0 means the "
        "default. The default is 54323.",
        json_schema_extra=_PORT,
    )

    def plan_fields(self) -> dict[str, Any]:
        ports = {"image_daemon_port": self.image_daemon_port, "image_proxy_port": self.image_proxy_port}
        return {"cluster": self.cluster, **{name: port for name, port in ports.items() if port > 0}}

    def reasons(self) -> Iterator[str]:
        for name, port in (
            ("imageDaemonPort", self.image_daemon_port),
            ("imageProxyPort", self.image_proxy_port),
        ):
            if not 0 <= port <= _LAST_PORT:
                yield f"spec.{name} {port} is not a port; write 1 to {_LAST_PORT}"


class OvirtSource(Source):
    """An oVirt source."""

    kind: Literal["OvirtSource"]
    spec: OvirtSourceSpec = OvirtSourceSpec()


class KubeVirtSourceSpec(SourceSpec):
    """A cluster with KubeVirt, or a Harvester."""

    SUMMARY = "A cluster with KubeVirt, or a Harvester, to import from."
    EXAMPLE = "https://HOST:6443"
    CREDENTIAL_KEYS = kubeconfig.KEY
    KEYS = (kubeconfig.KEY,)
    ACCOUNT_KEYS = (kubeconfig.KEY,)
    FROM_ENVIRONMENT = ("endpoint", "namespace")

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.exportThumbprint) || self.exportThumbprint == '' || "
                "(has(self.exportAddress) && self.exportAddress != '')",
                "exportThumbprint is for exportAddress, which is not set: write it, or remove "
                "exportThumbprint",
            )
        )
    )

    endpoint: Text = Field(
        default="",
        description="The URL of the API server, as in the kubeconfig, such as https://host.example.com:6443. "
        "Required.",
        json_schema_extra={"maxLength": LONGEST_URL, **_HTTPS},
    )
    namespace: Text = Field(
        default="",
        description="The namespace of the VMs. The default is that of the context of the kubeconfig.",
        json_schema_extra={"maxLength": LONGEST_LABEL, **DNS_LABEL_OR_EMPTY},
    )
    export_address: Text = Field(
        default="",
        description="The URL under which the Service virt-exportproxy of the source can be reached, such as "
        "https://export.example.com. The default is what the export names: its Ingress, or its address "
        "within the cluster.",
        json_schema_extra={"maxLength": LONGEST_URL, **_HTTPS},
    )
    export_thumbprint: Text = Field(
        default="",
        description="The SHA-1 or SHA-256 fingerprint of the one certificate to trust at exportAddress, in "
        "hexadecimal. The default is none: the certificate is verified by the CA that KubeVirt names, or "
        "else by those of the system.",
        json_schema_extra={"maxLength": LONGEST_PRINT, **_PRINT},
    )
    credentials: SecretReference | None = Field(
        default=None,
        description="The Secret with the key kubeconfig: one context, with everything inside of it. "
        "Required.",
        json_schema_extra=STRUCT,
    )

    def plan_fields(self) -> dict[str, Any]:
        return {
            "vm_namespace": self.namespace,
            "export_address": self.export_address,
            "thumbprint": self.export_thumbprint,
        }

    def reasons(self) -> Iterator[str]:
        if self.namespace and not is_namespace(self.namespace):
            yield f"spec.namespace {shown(self.namespace)} is not a valid namespace"
        for name, url in (("endpoint", self.endpoint), ("exportAddress", self.export_address)):
            if url and not _is_https(url):
                yield f"spec.{name} {shown(url)} is not an https URL"
        if self.export_thumbprint and not self.export_address:
            yield "spec.exportThumbprint is set, but spec.exportAddress is not"


def _is_https(text: str) -> bool:
    """Whether it is an https URL with a host, and without credentials."""
    try:
        url = urlsplit(text)
        return url.scheme == "https" and bool(url.hostname) and url.port != 0 and url.username is None
    except ValueError:
        return False


class KubeVirtSource(Source):
    """A KubeVirt source."""

    kind: Literal["KubeVirtSource"]
    spec: KubeVirtSourceSpec = KubeVirtSourceSpec()


RESOURCES: Final[Mapping[str, type[Source]]] = {
    str(SourceKind.VMWARE): VmwareSource,
    str(SourceKind.OPENSTACK): OpenstackSource,
    str(SourceKind.OVA): OvaSource,
    str(SourceKind.OVIRT): OvirtSource,
    str(SourceKind.KUBEVIRT): KubeVirtSource,
}
"""The resource of each kind."""


def spec_of(kind: str) -> type[SourceSpec]:
    """The class of the spec of a kind."""
    return RESOURCES[kind].model_fields["spec"].annotation  # type: ignore[return-value] # as the classes declare
