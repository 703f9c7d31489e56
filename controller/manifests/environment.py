"""The QA plan's environment variables, named as in govc and openstackclient, and those of oVirt's own tools.

A source on KubeVirt is a kubeconfig. It has its own variable: KUBECONFIG names the cluster to import to.

Manifests take precedence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from steps.model import kubeconfig
from steps.model.contract import Exit, StepError
from steps.model.kinds import API_VERSION
from steps.model.kubeconfig import Kubeconfig
from steps.model.naming import normalise
from steps.model.sources import SourceKind
from workflows.api.resources import Metadata, VirtualMachineImport
from workflows.api.sources import (
    KubeVirtSource,
    KubeVirtSourceSpec,
    OpenstackSource,
    OpenstackSourceSpec,
    OvirtSource,
    OvirtSourceSpec,
    Source,
    VmwareSource,
    VmwareSourceSpec,
)
from workflows.api.spec import SourceReference, VirtualMachineImportSpec

NAME: Final = "environment"
"""Name of the sources that the environment describes, at most one per kind."""

ADDRESSES: Final = ("GOVC_URL", "OS_AUTH_URL", "OVIRT_URL", "KUBEVIRT_KUBECONFIG")
MACHINES: Final = ("VM_NAME", "OS_VM_NAME", "OVIRT_VM_NAME", "KUBEVIRT_VM_NAME")

_OPENSTACK_KEYS: Final = {
    "username": "OS_USERNAME",
    "user_id": "OS_USER_ID",
    "password": "OS_PASSWORD",
    "project_name": "OS_PROJECT_NAME",
    "project_id": "OS_PROJECT_ID",
    # The one domain in vm-import-controller's Secret applies to user and project; specific names win.
    "domain_name": "OS_USER_DOMAIN_NAME",
    "user_domain_name": "OS_USER_DOMAIN_NAME",
    "project_domain_name": "OS_PROJECT_DOMAIN_NAME",
    "token": "OS_TOKEN",
    "application_credential_id": "OS_APPLICATION_CREDENTIAL_ID",
    "application_credential_name": "OS_APPLICATION_CREDENTIAL_NAME",
    "application_credential_secret": "OS_APPLICATION_CREDENTIAL_SECRET",
}
"""Keys of an OpenStack source's Secret, with the variables of openstackclient."""


@dataclass(frozen=True)
class Given:
    """The environment's values for one kind of source: its address, its credentials, a VM."""

    source: Source | None
    credentials: dict[str, bytes]
    import_: VirtualMachineImport | None


@dataclass(frozen=True)
class Environment:
    """The sources and VMs that the environment names, by kind."""

    given: tuple[Given, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(given.source for given in self.given if given.source is not None)

    @property
    def imports(self) -> tuple[VirtualMachineImport, ...]:
        return tuple(given.import_ for given in self.given if given.import_ is not None)

    def source(self, kind: str) -> Source | None:
        """The source of that kind, case-insensitive; without a kind the only source, if there is one."""
        sources = [source for source in self.sources if kind.lower() in ("", source.kind.lower())]
        return sources[0] if len(sources) == 1 else None

    def credentials(self, source: Source) -> dict[str, bytes]:
        """The credentials for that source: never for another address."""
        for given in self.given:
            described = given.source
            if described and (described.kind, described.spec.address) == (source.kind, source.spec.address):
                return given.credentials
        return {}


def read(environ: Mapping[str, str]) -> Environment:
    """Read the environment's vCenter, OpenStack cloud, oVirt engine and cluster with KubeVirt.

    GOVC_URL, GOVC_USERNAME, GOVC_PASSWORD, GOVC_DATACENTER, GOVC_INSECURE, GOVC_TLS_CA_CERTS and VM_NAME: as
    with govc, the URL may hold user and password, and may lack the scheme and `/sdk`.
    OS_AUTH_URL, OS_REGION_NAME, OS_INTERFACE, OS_INSECURE, OS_CACERT, those of `_OPENSTACK_KEYS`, and
    OS_VM_NAME.
    OVIRT_URL, OVIRT_USERNAME, OVIRT_PASSWORD, OVIRT_CAFILE, OVIRT_INSECURE, OVIRT_CLUSTER and OVIRT_VM_NAME.
    KUBEVIRT_KUBECONFIG (a file), KUBEVIRT_NAMESPACE, KUBEVIRT_EXPORT_ADDRESS, KUBEVIRT_INSECURE and
    KUBEVIRT_VM_NAME.
    """
    given = (_vmware(environ), _openstack(environ), _ovirt(environ), _kubevirt(environ))
    return Environment(tuple(values for values in given if values.source or values.import_))


def _vmware(environ: Mapping[str, str]) -> Given:
    import_ = _import(environ, "VM_NAME", SourceKind.VMWARE)
    if not environ.get("GOVC_URL"):
        return Given(None, {}, import_)
    parts = _url(environ, "GOVC_URL", "https://HOST/sdk")
    return Given(_vcenter(environ, parts), _vmware_credentials(environ, parts), import_)


def _url(environ: Mapping[str, str], variable: str, example: str) -> SplitResult:
    url = environ[variable]
    try:
        return urlsplit(url if "://" in url else f"https://{url}")
    except ValueError as error:
        raise StepError(Exit.INVALID, f"{variable} is not a URL", str(error), f"write {example}") from None


def _vcenter(environ: Mapping[str, str], parts: SplitResult) -> VmwareSource:
    host = parts.netloc.rpartition("@")[2]
    return VmwareSource(
        api_version=API_VERSION,
        kind="VmwareSource",
        metadata=Metadata(name=NAME),
        spec=VmwareSourceSpec(
            endpoint=f"{parts.scheme}://{host}{parts.path or '/sdk'}",
            dc=environ.get("GOVC_DATACENTER", ""),
            insecure_skip_tls_verify=_flag(environ, "GOVC_INSECURE"),
        ),
    )


def _vmware_credentials(environ: Mapping[str, str], parts: SplitResult) -> dict[str, bytes]:
    credentials = _encode(
        {
            "username": environ.get("GOVC_USERNAME") or unquote(parts.username or ""),
            "password": environ.get("GOVC_PASSWORD") or unquote(parts.password or ""),
        }
    )
    if authorities := environ.get("GOVC_TLS_CA_CERTS"):
        files = authorities.split(os.pathsep)
        remedy = "GOVC_TLS_CA_CERTS names PEM files, with ':' between them"
        credentials["caCert"] = b"\n".join(_authority(name, remedy) for name in files)
    return credentials


def _openstack(environ: Mapping[str, str]) -> Given:
    import_ = _import(environ, "OS_VM_NAME", SourceKind.OPENSTACK)
    if not environ.get("OS_AUTH_URL"):
        return Given(None, {}, import_)
    parts = _url(environ, "OS_AUTH_URL", "https://HOST:5000/v3")
    return Given(_cloud(environ, parts), dict(_openstack_credentials(environ)), import_)


def _cloud(environ: Mapping[str, str], parts: SplitResult) -> OpenstackSource:
    return OpenstackSource(
        api_version=API_VERSION,
        kind="OpenstackSource",
        metadata=Metadata(name=NAME),
        spec=OpenstackSourceSpec(
            endpoint=parts.geturl(),
            region=environ.get("OS_REGION_NAME", ""),
            interface=environ.get("OS_INTERFACE", "").removesuffix("URL"),
            insecure_skip_tls_verify=_flag(environ, "OS_INSECURE"),
        ),
    )


def _openstack_credentials(environ: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    values = {key: environ.get(variable, "") for key, variable in _OPENSTACK_KEYS.items()}
    yield from _encode(values).items()
    if authority := environ.get("OS_CACERT"):
        yield "ca_cert", _authority(authority, "OS_CACERT names a PEM file")


def _ovirt(environ: Mapping[str, str]) -> Given:
    import_ = _import(environ, "OVIRT_VM_NAME", SourceKind.OVIRT)
    if not environ.get("OVIRT_URL"):
        return Given(None, {}, import_)
    parts = _url(environ, "OVIRT_URL", "https://HOST/ovirt-engine/api")
    source = OvirtSource(
        api_version=API_VERSION,
        kind="OvirtSource",
        metadata=Metadata(name=NAME),
        spec=OvirtSourceSpec(
            endpoint=parts.geturl(),
            cluster=environ.get("OVIRT_CLUSTER", ""),
            insecure_skip_tls_verify=_flag(environ, "OVIRT_INSECURE"),
        ),
    )
    return Given(source, dict(_ovirt_credentials(environ)), import_)


def _ovirt_credentials(environ: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    names = {"username": "OVIRT_USERNAME", "password": "OVIRT_PASSWORD"}
    yield from _encode({key: environ.get(variable, "") for key, variable in names.items()}).items()
    if authority := environ.get("OVIRT_CAFILE"):
        yield "caCert", _authority(authority, "OVIRT_CAFILE names a PEM file")


def _kubevirt(environ: Mapping[str, str]) -> Given:
    import_ = _import(environ, "KUBEVIRT_VM_NAME", SourceKind.KUBEVIRT)
    name = environ.get("KUBEVIRT_KUBECONFIG", "")
    if not name:
        return Given(None, {}, import_)
    credentials = _authority(name, "KUBEVIRT_KUBECONFIG names a kubeconfig")
    source = KubeVirtSource(
        api_version=API_VERSION,
        kind="KubeVirtSource",
        metadata=Metadata(name=NAME),
        spec=KubeVirtSourceSpec(
            endpoint=Kubeconfig.parse(credentials.decode(errors="replace")).server,
            namespace=environ.get("KUBEVIRT_NAMESPACE", ""),
            export_address=environ.get("KUBEVIRT_EXPORT_ADDRESS", ""),
            insecure_skip_tls_verify=_flag(environ, "KUBEVIRT_INSECURE"),
        ),
    )
    return Given(source, {kubeconfig.KEY: credentials}, import_)


def _flag(environ: Mapping[str, str], variable: str) -> bool:
    return environ.get(variable, "").lower() in ("1", "true")


def _encode(values: Mapping[str, str]) -> dict[str, bytes]:
    # surrogateescape: a password need not be UTF-8, and the environment holds bytes
    return {key: value.encode(errors="surrogateescape") for key, value in values.items() if value}


def _authority(name: str, remedy: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise StepError(Exit.INVALID, f"cannot read {name}", f"{error.strerror}", remedy) from None


def _import(environ: Mapping[str, str], variable: str, kind: SourceKind) -> VirtualMachineImport | None:
    name = environ.get(variable, "")
    if not name:
        return None
    if not name.isprintable():
        raise StepError(Exit.INVALID, f"{variable} is not printable text", remedy="set it in UTF-8")
    reference = SourceReference(api_version=API_VERSION, kind=str(kind), name=NAME)
    return VirtualMachineImport(
        api_version=API_VERSION,
        kind="VirtualMachineImport",
        metadata=Metadata(name=normalise(name)),
        spec=VirtualMachineImportSpec(source_cluster=reference, virtual_machine_name=name),
    )
