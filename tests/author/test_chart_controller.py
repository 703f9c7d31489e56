"""The controller in the chart: what it is told, what it may, how it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controller.operator import health, peer
from controller.operator.options import Options
from steps.plan import SourceKind
from tests.author.rendered import Json
from tests.author.test_chart import RELEASE, of_kind, rendered, without_helm
from workflows.stages import Limit

pytestmark = without_helm


def test_the_controller_may_look_for_each_of_todays_and_for_no_other() -> None:
    role = of_kind("ClusterRole")["vmferry-controller-facts"]
    (rule,) = [one for one in role["rules"] if one["resources"] == ["deployments"]]
    assert (set(rule["resourceNames"]), rule["verbs"]) == (set(peer.DEPLOYMENTS), ["get"])


def test_the_controller_is_told_what_the_values_say() -> None:
    values = {
        "namespaces": ["shop"],
        "scratch.storageClass": "fast",
        "import.reuseUnstamped": True,
        "import.format": "raw",
        "controller.crossNamespaceReferences": "same-namespace",
        "controller.recheckSeconds": 30,
        "limits.machines": 3,
    }
    given = of_kind("ConfigMap", **values)["vmferry-controller"]["data"]["controller.json"]
    options = Options.model_validate_json(given)  # refuses fields that nobody reads
    assert (options.namespace, options.namespaces) == (RELEASE, ("shop",))
    assert (options.settings.scratch.storage_class, options.settings.reuse_unstamped) == ("fast", True)
    assert (str(options.format), str(options.cross_namespace_references)) == ("raw", "same-namespace")
    assert (options.recheck_seconds, options.defaults[Limit.MACHINES]) == (30, 3)


def test_a_changed_setting_is_a_new_controller() -> None:
    def annotations(**values: Any) -> Json:
        found: Json = of_kind("Deployment", **values)["vmferry-controller"]["spec"]["template"]["metadata"]
        return found["annotations"]  # type: ignore[no-any-return]

    assert annotations() != annotations(**{"controller.recheckSeconds": 30})


def test_the_controller_is_restricted() -> None:
    """As Pod Security `restricted` asks for, and nothing written but in memory."""
    pod = of_kind("Deployment")["vmferry-controller"]["spec"]["template"]["spec"]
    (one,) = pod["containers"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [one["emptyDir"]["medium"] for one in pod["volumes"] if "emptyDir" in one] == ["Memory"]
    assert {one[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")} == {
        "/healthz",
        "/readyz",
    }


def probes(thing: Any) -> Iterator[Json]:
    """Every probe of every container inside."""
    if isinstance(thing, dict):
        for key, inner in thing.items():
            if key.endswith("Probe"):
                yield inner
            yield from probes(inner)
    elif isinstance(thing, list):
        for inner in thing:
            yield from probes(inner)


def test_a_busy_node_does_not_restart_the_controller() -> None:
    """With the default of one second a probe failed at load 58, and the controller was killed."""
    (one,) = of_kind("Deployment")["vmferry-controller"]["spec"]["template"]["spec"]["containers"]
    found = list(probes(rendered()))
    assert len(found) == 3 + len(SourceKind), "three of the controller, one of each template's serve"
    assert {probe.get("timeoutSeconds") for probe in found} == {5}
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] >= 120
    assert one["resources"]["requests"]["cpu"] == "100m"


def test_metrics_are_behind_a_service_where_one_is_wanted() -> None:
    assert of_kind("Service") == {}
    service = of_kind("Service", **{"controller.metricsService": True})["vmferry-controller-metrics"]["spec"]
    pod = of_kind("Deployment")["vmferry-controller"]["spec"]["template"]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    (port,) = service["ports"]
    assert {one["name"]: one["containerPort"] for one in pod["spec"]["containers"][0]["ports"]} == {
        port["targetPort"]: health.PORT
    }
