"""`spec.bootCheck` of an import: how it is proved that the guest of the new VM has booted.

These fields are vmferry's own, so their schema is strict. The descriptions become those of the CRD.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field

from workflows.api.base import Flag, Model, rules

LEAST_SECONDS: Final = 60
MOST_SECONDS: Final = 4 * 60 * 60
LONGEST_ADDRESS: Final = 45
"""Characters of an IPv6 address."""


def _none_to_empty(value: Any) -> Any:
    return "" if value is None else value


class BootCheckSettings(Model):
    """How it is proved that the guest has booted."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.address) || self.address == '' || has(self.tcpPort)",
                "address has no effect without tcpPort: write the port that must answer there",
            )
        )
    )

    timeout_seconds: int | None = Field(
        default=None,
        description="For how many seconds the guest is watched: 60 to 14400. A guest that shows neither that "
        "it has booted nor that it is stuck is then not known, which is no failure. The default is 600 "
        "seconds, and 1200 for Windows, which restarts several times.",
        json_schema_extra={"minimum": LEAST_SECONDS, "maximum": MOST_SECONDS},
    )
    fall_back: Flag | None = Field(
        default=None,
        description="Whether a VM whose guest does not boot is stopped, gets SATA disks and e1000e NICs, and "
        "is started again, once. The VM is never deleted. The default is true.",
    )
    tcp_port: int | None = Field(
        default=None,
        description="The number of a TCP port of the guest that must accept a connection, such as 22. "
        "Nothing is sent. Without an answer, a guest that has booted otherwise gives a warning. The default "
        "is none.",
        json_schema_extra={"minimum": 1, "maximum": 65535},
    )
    address: Annotated[str, BeforeValidator(_none_to_empty)] = Field(
        default="",
        description="The IP address at which tcpPort must answer. The administrator decides in which "
        "networks it may be. The default is the address of the VM on the network of the pods.",
        json_schema_extra={"maxLength": LONGEST_ADDRESS},
    )
