"""The environment of the QA plan (govc's names): what it says where no manifest does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from steps.contract import Exit, StepError
from steps.naming import normalise
from workflows.api import (
    API_VERSION,
    Metadata,
    SourceReference,
    VirtualMachineImport,
    VirtualMachineImportSpec,
    VmwareSource,
    VmwareSourceSpec,
)

NAME: Final = "environment"
"""Name of the source that the environment describes."""


@dataclass(frozen=True)
class Environment:
    """A VMware source, its credentials and a machine, as far as the environment names them."""

    source: VmwareSource | None
    credentials: dict[str, bytes]
    import_: VirtualMachineImport | None


def read(environ: Mapping[str, str]) -> Environment:
    """GOVC_URL, GOVC_USERNAME, GOVC_PASSWORD, GOVC_DATACENTER, GOVC_INSECURE, GOVC_TLS_CA_CERTS, VM_NAME.

    As with govc, the URL may hold user and password, and may lack the scheme and `/sdk`.
    """
    url = environ.get("GOVC_URL", "")
    if not url:
        return Environment(None, {}, _import(environ))
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
    except ValueError as error:
        raise StepError(Exit.INVALID, "GOVC_URL is not a URL", str(error), "write https://HOST/sdk") from None
    return Environment(_source(environ, parts), _credentials(environ, parts), _import(environ))


def _source(environ: Mapping[str, str], parts: SplitResult) -> VmwareSource:
    host = parts.netloc.rpartition("@")[2]
    return VmwareSource(
        api_version=API_VERSION,
        kind="VmwareSource",
        metadata=Metadata(name=NAME),
        spec=VmwareSourceSpec(
            endpoint=f"{parts.scheme}://{host}{parts.path or '/sdk'}",
            dc=environ.get("GOVC_DATACENTER", ""),
            insecure_skip_tls_verify=environ.get("GOVC_INSECURE", "").lower() in ("1", "true"),
        ),
    )


def _credentials(environ: Mapping[str, str], parts: SplitResult) -> dict[str, bytes]:
    found = {
        "username": environ.get("GOVC_USERNAME") or unquote(parts.username or ""),
        "password": environ.get("GOVC_PASSWORD") or unquote(parts.password or ""),
    }
    # surrogateescape: a password need not be UTF-8, and the environment brings it as bytes
    credentials = {key: value.encode(errors="surrogateescape") for key, value in found.items() if value}
    if authorities := environ.get("GOVC_TLS_CA_CERTS"):
        credentials["caCert"] = b"\n".join(map(_authority, authorities.split(os.pathsep)))
    return credentials


def _authority(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise StepError(
            Exit.INVALID,
            f"cannot read {name}",
            f"{error.strerror}",
            "GOVC_TLS_CA_CERTS names PEM files, with ':' between them",
        ) from None


def _import(environ: Mapping[str, str]) -> VirtualMachineImport | None:
    name = environ.get("VM_NAME", "")
    if not name:
        return None
    if not name.isprintable():
        raise StepError(Exit.INVALID, "VM_NAME is not printable text", remedy="give it in UTF-8")
    reference = SourceReference(api_version=API_VERSION, kind="VmwareSource", name=NAME)
    return VirtualMachineImport(
        api_version=API_VERSION,
        kind="VirtualMachineImport",
        metadata=Metadata(name=normalise(name)),
        spec=VirtualMachineImportSpec(source_cluster=reference, virtual_machine_name=name),
    )
