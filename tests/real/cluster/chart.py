"""The chart in the lab, installed by the real Helm."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Final

from steps.model.kinds import Kind, Object
from tests.real.cluster.lab import ROOT, Lab

CHART: Final = ROOT / "charts" / "vmferry"
NAME: Final = "vmferry"
TEMPLATE: Final = Kind("argoproj.io/v1alpha1", "WorkflowTemplate", "workflowtemplates")
VALUES: Final[dict[str, Any]] = {
    # Here node and volume are chosen together, unlike with Harvester's own classes.
    "scratch": {"storageClass": "wffc"},
    "controller": {"debug": True, "recheckSeconds": 30},
    "sourceNetwork": {
        "blocked": [
            os.environ.get("LAB_POD_CIDR", "10.244.0.0/16"),
            os.environ.get("LAB_SERVICE_CIDR", "10.96.0.0/16"),
        ]
    },
}
"""Values that fit the lab."""


@dataclass(frozen=True)
class Chart:
    """One release in one lab."""

    lab: Lab

    def install(self, **values: Any) -> str:
        """Install, or upgrade to these values, until all objects are ready. Returns what Helm prints."""
        given = [
            f"--set-json={key}={json.dumps(value)}"
            for key, value in (VALUES | self._addresses() | values).items()
        ]
        return self.lab.helm("upgrade", "--install", NAME, str(CHART), "--wait", "--timeout=120s", *given)

    def _addresses(self) -> dict[str, Any]:
        """Of programs that are pods in other clusters: the name server, and who downloads disks."""
        return {
            "egress.nameServers": [{"ipBlock": {"cidr": f"{self.lab.node}/32"}}],
            "serve.networkPolicy.addresses": [self.lab.host],
        }

    def uninstall(self) -> None:
        self.lab.helm("uninstall", NAME, "--ignore-not-found", "--wait", "--timeout=120s")

    def template(self, name: str = "vmferry-vmware") -> Object:
        """An installed WorkflowTemplate, as Helm rendered it and the API server accepted it."""
        found = self.lab.get(TEMPLATE, name)
        assert found is not None, "the chart is not installed"
        return found
