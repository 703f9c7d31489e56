"""The custom resources of `migration.harvesterhci.io/v1beta1`, as manifests hold them.

The sources are in `workflows.api.sources`. The spec of an import is in `workflows.api.spec`; the statuses are
in `workflows.api.status`. Parsing ignores the status.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from workflows.api.base import Model
from workflows.api.spec import VirtualMachineImportSpec

_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""RFC 1123, as the API server requires for names. vmferry uses them as names of folders."""
_KEY: Final = re.compile(r"(?!\.\.)(?!\.$)[-._a-zA-Z0-9]{1,253}")
"""What the API server accepts as a Secret's key (apimachinery IsConfigMapKey). It becomes a file name."""


def _or_default(value: Any) -> Any:
    return value or "default"


class Metadata(BaseModel):
    """The part of Kubernetes' ObjectMeta that vmferry uses; other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[str, Field(max_length=253, pattern=_SUBDOMAIN)]
    namespace: Annotated[str, BeforeValidator(_or_default), Field(max_length=63, pattern=_LABEL)] = "default"
    uid: str = ""
    generation: int = 1


class VirtualMachineImport(Model):
    """One VM to import."""

    api_version: Literal["migration.harvesterhci.io/v1beta1"]
    kind: Literal["VirtualMachineImport"]
    metadata: Metadata
    spec: VirtualMachineImportSpec = VirtualMachineImportSpec()
    status: Any = None


def _decodable(data: dict[str, str]) -> dict[str, str]:
    for key, value in data.items():
        try:
            _decode(value)
        except binascii.Error as error:
            raise ValueError(f"{key} is not base64 ({error}); plain text belongs under stringData") from None
    return data


def _decode(value: str) -> bytes:
    """Base64 as the API server reads it: line breaks, as base64(1) writes them, are ignored."""
    return base64.b64decode("".join(value.split()), validate=True)


def _entries(value: Any) -> Any:
    """The entries of a Secret: null means no entries, and an entry that is null is empty."""
    if not isinstance(value, Mapping):
        return value or {}
    for key in value:
        if not _KEY.fullmatch(str(key)):
            raise ValueError(f"{key!r} is not a valid key of a Secret: use letters, digits, '-', '_' and '.'")
    return {key: "" if entry is None else entry for key, entry in value.items()}


class Secret(BaseModel):
    """A Secret with `data` (base64) and `stringData` (plain text, has precedence)."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    api_version: Literal["v1"] = Field(alias="apiVersion")
    kind: Literal["Secret"]
    metadata: Metadata
    data: Annotated[dict[str, str], BeforeValidator(_entries), AfterValidator(_decodable)] = {}
    string_data: Annotated[dict[str, str], BeforeValidator(_entries)] = Field(default={}, alias="stringData")

    def values(self) -> dict[str, bytes]:
        """Every key's value, decoded."""
        decoded = {key: _decode(value) for key, value in self.data.items()}
        return decoded | {key: value.encode() for key, value in self.string_data.items()}


class ConfigMap(BaseModel):
    """A ConfigMap with `data` (plain text) and `binaryData` (base64)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    api_version: Literal["v1"] = Field(alias="apiVersion")
    kind: Literal["ConfigMap"]
    metadata: Metadata
    data: Annotated[dict[str, str], BeforeValidator(_entries)] = {}
    binary_data: Annotated[dict[str, str], BeforeValidator(_entries), AfterValidator(_decodable)] = Field(
        default={}, alias="binaryData"
    )

    def values(self) -> dict[str, bytes]:
        """Every key's value, decoded."""
        decoded = {key: _decode(value) for key, value in self.binary_data.items()}
        return decoded | {key: value.encode() for key, value in self.data.items()}
