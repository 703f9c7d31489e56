"""A patch changes only what the installation allows, and some parts of a VM never."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import pytest

from steps.model.contract import Exit, StepError
from steps.model.patching import (
    DEEPEST,
    DEFAULT_PATHS,
    MOST_BYTES,
    MOST_REASONS,
    changed_paths,
    check_patch,
    patched,
    reasons,
)

EVERYTHING: Final = ("metadata", "spec", "status", "apiVersion", "kind")
"""An installation that allows whatever can be allowed."""
DEVICES: Final = ("spec", "template", "spec", "domain", "devices")
VMI: Final = ("spec", "template", "spec")


def at(*path: Any) -> dict[str, Any]:
    """A patch of one value: its path, and the value at the end."""
    *names, value = path
    for name in reversed(names):
        value = {name: value}
    made: dict[str, Any] = value
    return made


ALLOWED: Final = [
    at(*VMI, "domain", "cpu", "model", "host-passthrough"),
    at(*VMI, "domain", "cpu", "features", [{"name": "vmx", "policy": "require"}]),
    at(*DEVICES, "rng", {}),
    at(*DEVICES, "watchdog", {"name": "w", "i6300esb": {"action": "reset"}}),
    at(*DEVICES, "inputs", []),
    at(*DEVICES, "autoattachGraphicsDevice", False),
    at(*DEVICES, "sound", None),
    at(*VMI, "nodeSelector", {"disk": "ssd", "secret-team": "yes"}),
    at(*VMI, "tolerations", [{"key": "gpu", "operator": "Exists"}]),
    at(*VMI, "affinity", "nodeAffinity", {"requiredDuringSchedulingIgnoredDuringExecution": {}}),
    at(
        *VMI,
        "topologySpreadConstraints",
        [{"maxSkew": 1, "labelSelector": {"matchLabels": {"configmap": "a"}}}],
    ),
]


@pytest.mark.parametrize("patch", ALLOWED, ids=lambda patch: changed_paths(patch)[0])
def test_the_default_list_allows_cpu_model_harmless_devices_and_scheduling(patch: dict[str, Any]) -> None:
    assert list(reasons(patch, DEFAULT_PATHS)) == []
    check_patch(patch, DEFAULT_PATHS)


NOT_LISTED: Final = [
    at(*VMI, "domain", "cpu", "sockets", 64),
    at(*VMI, "domain", "memory", "guest", "1Ti"),
    at(*VMI, "domain", "resources", "limits", {"cpu": "64"}),
    at(*VMI, "domain", "cpu", "dedicatedCpuPlacement", True),
    at(*VMI, "domain", "cpu", None),
    at(*VMI, "domain", "launchSecurity", {"sev": {}}),
    at(*DEVICES, "interfaces", []),
    at(*VMI, "networks", []),
    at(*VMI, "schedulerName", "own"),
    at(*VMI, "priorityClassName", "system-node-critical"),
    at(*VMI, "hostname", "other"),
    at("metadata", "labels", {"team": "a"}),
    at("metadata", "annotations", {"note": "a"}),
    at("spec", "template", "metadata", "annotations", {"hooks.example/sidecar": "a"}),
]


@pytest.mark.parametrize("patch", NOT_LISTED, ids=lambda patch: changed_paths(patch)[0])
def test_a_path_that_is_not_listed_is_refused_and_an_installation_can_allow_it(patch: dict[str, Any]) -> None:
    found = list(reasons(patch, DEFAULT_PATHS))
    assert found
    assert all("import.patchPaths" in reason for reason in found)
    path = changed_paths(patch)[0].rsplit(".", 1)[0]
    if "labels" not in path and "annotations" not in path:
        assert list(reasons(patch, (path,))) == []


SECRET: Final = {"name": "x", "secret": {"secretName": "db-password"}}

NEVER: Final = {
    "a volume of a secret": at(*VMI, "volumes", [SECRET]),
    "a volume of a config map": at(*VMI, "volumes", [{"name": "x", "configMap": {"name": "a"}}]),
    "a volume of a service account": at(
        *VMI, "volumes", [{"name": "x", "serviceAccount": {"serviceAccountName": "admin"}}]
    ),
    "a disk of the node": at(*VMI, "volumes", [{"name": "x", "hostDisk": {"path": "/etc"}}]),
    "another claim": at(*VMI, "volumes", [{"name": "x", "persistentVolumeClaim": {"claimName": "db"}}]),
    "no volumes": at(*VMI, "volumes", None),
    "volumes as an object": at(*VMI, "volumes", {}),
    "volumes by number": at(*VMI, "volumes", {"0": {"name": "x"}}),
    "utility volumes": at(*VMI, "utilityVolumes", [{"name": "x", "claimName": "db"}]),
    "data volume templates": at(
        "spec", "dataVolumeTemplates", [{"spec": {"source": {"pvc": {"name": "db"}}}}]
    ),
    "the disks": at(*DEVICES, "disks", []),
    "filesystems": at(*DEVICES, "filesystems", [{"name": "x", "virtiofs": {}}]),
    "access credentials": at(*VMI, "accessCredentials", [{"sshPublicKey": {"source": {"secret": SECRET}}}]),
    "host devices": at(*DEVICES, "hostDevices", [{"name": "gpu", "deviceName": "a.example/b"}]),
    "host devices in capitals": at(*DEVICES, "HostDevices", [{"name": "gpu", "deviceName": "a.example/b"}]),
    "gpus": at(*DEVICES, "gpus", [{"name": "gpu", "deviceName": "a.example/b"}]),
    "metrics of the host": at(*DEVICES, "downwardMetrics", {}),
    "devices of a client": at(*DEVICES, "clientPassthrough", {}),
    "a channel to the host": at(*DEVICES, "autoattachVSOCK", True),
    "claims of devices": at(*VMI, "resourceClaims", [{"name": "x"}]),
    "a kernel from an image": at(*VMI, "domain", "firmware", "kernelBoot", {"container": {"image": "a"}}),
    "a secret deep inside": at(*VMI, "affinity", "own", [{"deep": [{"secretRef": {"name": "a"}}]}]),
    "a service account": at(*VMI, "serviceAccountName", "admin"),
    "a pull secret": at(*VMI, "domain", "own", {"imagePullSecret": "a"}),
    "a config map inside a probe": at(*VMI, "readinessProbe", {"exec": {"configMapRef": {"name": "a"}}}),
    "owner references": at("metadata", "ownerReferences", [{"kind": "Pod", "name": "a", "uid": "b"}]),
    "no owner references": at("metadata", "ownerReferences", None),
    "owner references of the template": at("spec", "template", "metadata", "ownerReferences", []),
    "the namespace": at("metadata", "namespace", "kube-system"),
    "the namespace of the template": at("spec", "template", "metadata", "namespace", "kube-system"),
    "the name": at("metadata", "name", "other"),
    "finalizers": at("metadata", "finalizers", ["a.example/b"]),
    "no metadata": {"metadata": None},
    "a label of Harvester": at("metadata", "labels", "harvesterhci.io/vmName", "other"),
    "an annotation of Harvester": at("metadata", "annotations", "harvesterhci.io/volumeClaimTemplates", "[]"),
    "an annotation of a part of Harvester": at(
        "metadata", "annotations", "network.harvesterhci.io/type", "a"
    ),
    "a label of vmferry": at("metadata", "labels", "migration.harvesterhci.io/import-uid", "other"),
    "our annotation removed": at("metadata", "annotations", "migration.harvesterhci.io/run", None),
    "a label of migration": at("metadata", "labels", "migration.example/x", "a"),
    "an annotation of KubeVirt": at("metadata", "annotations", "kubevirt.io/vm-generation", "9"),
    "a hook sidecar": at(
        "spec", "template", "metadata", "annotations", "hooks.kubevirt.io/hookSidecars", "[]"
    ),
    "a label of KubeVirt in the template": at(
        "spec", "template", "metadata", "labels", "kubevirt.io/domain", "a"
    ),
    "labels as a text": at("metadata", "labels", "none"),
    "no labels": at("metadata", "labels", None),
    "a label that is no text": at("metadata", "labels", "team", {"a": "b"}),
    "the start": at("spec", "runStrategy", "Always"),
    "the old start": at("spec", "running", True),
    "an instancetype": at("spec", "instancetype", {"name": "u1.large"}),
    "a preference": at("spec", "preference", {"name": "fedora"}),
    "another kind": {"kind": "Pod"},
    "another API": {"apiVersion": "v1"},
    "the status": at("status", "ready", True),
    "all devices removed": at(*DEVICES, None),
    "the domain removed": at(*VMI, "domain", None),
    "the template replaced": at("spec", "template", "x"),
    "the spec removed": {"spec": None},
    "the spec as a list": {"spec": [at("template", "spec", "volumes", [SECRET])]},
    "names with dots": {"spec.template.spec.volumes": [SECRET]},
    "a case that a decoder ignores": at(*VMI, "Volumes", [SECRET]),
    "an upper case section": at("Spec", "template", "spec", "volumes", [SECRET]),
}


@pytest.mark.parametrize("patch", NEVER.values(), ids=NEVER)
@pytest.mark.parametrize("allowed", [DEFAULT_PATHS, EVERYTHING], ids=["default", "everything"])
def test_no_installation_can_allow(patch: dict[str, Any], allowed: tuple[str, ...]) -> None:
    found = list(reasons(patch, allowed))
    assert found, "it was accepted"
    assert any("cannot be patched" in reason for reason in found)
    with pytest.raises(StepError) as caught:
        check_patch(patch, allowed)
    assert caught.value.code is Exit.INVALID


def test_every_part_of_a_patch_is_judged() -> None:
    good = at(*VMI, "domain", "cpu", "model", "host-model")
    good["spec"]["template"]["spec"]["volumes"] = [SECRET]
    good["metadata"] = {"namespace": "other"}
    found = list(reasons(good, DEFAULT_PATHS))
    assert [reason.split("'")[1] for reason in found] == ["spec.template.spec.volumes", "metadata.namespace"]


@pytest.mark.parametrize("levels", [DEEPEST + 1, 500, 5000])
def test_a_deep_patch_is_refused_without_recursion(levels: int) -> None:
    deep: Any = "end"
    for _ in range(levels):
        deep = {"a": deep}
    (reason,) = reasons(deep, DEFAULT_PATHS)
    assert "levels" in reason
    listed: Any = []
    for _ in range(levels):
        listed = [listed]
    assert any("levels" in one for one in reasons({"spec": listed}, DEFAULT_PATHS))


def test_a_large_patch_is_refused() -> None:
    (reason,) = reasons(at(*VMI, "domain", "cpu", "model", "x" * MOST_BYTES), DEFAULT_PATHS)
    assert f"write at most {MOST_BYTES}" in reason


def test_a_patch_with_many_faults_gives_a_short_list() -> None:
    found = list(reasons({"spec": {f"field{number}": 1 for number in range(100)}}, DEFAULT_PATHS))
    assert len(found) == MOST_REASONS + 1
    assert found[-1] == f"and {100 - MOST_REASONS} more reasons"


def test_a_message_quotes_no_control_characters_and_no_long_text() -> None:
    (reason,) = reasons({"spec": {"a\x1b[31m" + "x" * 5000: 1}}, DEFAULT_PATHS)
    assert "\x1b" not in reason
    assert len(reason) < 400


def test_an_empty_patch_has_nothing_to_refuse() -> None:
    assert list(reasons({}, ())) == []


MERGES: Final = [  # RFC 7386, appendix A
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), MERGES)
def test_it_is_merged_as_the_standard_says_and_changes_no_argument(
    target: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]
) -> None:
    before = deepcopy((target, patch))
    assert patched(target, patch) == result
    assert (target, patch) == before
    assert patched(result, patch) == result, "a step that runs twice gives the same"
