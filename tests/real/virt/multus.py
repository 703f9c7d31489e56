"""Multus in a lab, the real one or its stand-in, and a network for the second NIC of a VM."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from steps.model.kinds import NAD, Object
from tests.real.cluster.lab import SCRIPTS, Lab

LAN: Final = "lan"
"""The name of the network: a bridge of the node that nothing else is attached to."""
_INSTALL: Final = SCRIPTS / "multus" / "install"


@contextmanager
def installed(lab: Lab, environment: Mapping[str, str]) -> Iterator[None]:
    """Multus in the lab that `environment` names. Without it KubeVirt's tests expect no such networks."""
    subprocess.run([_INSTALL], check=True, env=environment)
    try:
        yield
    finally:
        subprocess.run([_INSTALL, "--remove"], check=True, env=environment)


def make_lan(lab: Lab, namespace: str) -> str:
    """The network in a namespace; returns NAMESPACE/NAME."""
    config = {"cniVersion": "0.3.1", "name": LAN, "type": "bridge", "bridge": "br-lan"}
    network: Object = {
        "apiVersion": NAD.api_version,
        "kind": NAD.kind,
        "metadata": {"name": LAN, "namespace": namespace},
        "spec": {"config": json.dumps(config)},
    }
    lab.apply(network)
    return f"{namespace}/{LAN}"
