"""Hooks in the manifests of `vmferry run` and `vmferry plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from controller.manifests import environment, read, resolve
from controller.manifests.read import InvalidManifestsError
from workflows.settings import Settings

LOCAL = Settings(hooks=True, mounts_claims=False, local_files=True)
API = "migration.harvesterhci.io/v1beta1"
ROW = {"before": "poweroff", "name": "cmdb"}


def hook(namespace: str = "vmferry", **spec: Any) -> dict[str, Any]:
    metadata = {"name": "cmdb", "namespace": namespace}
    return {"apiVersion": API, "kind": "ImportHook", "metadata": metadata, "spec": spec}


def the_jobs(folder: Path, *hooks: dict[str, Any]) -> list[resolve.Job]:
    source = {
        "apiVersion": API,
        "kind": "OvaSource",
        "metadata": {"name": "a"},
        "spec": {"url": "http://h/a.ova"},
    }
    import_ = {
        "apiVersion": API,
        "kind": "VirtualMachineImport",
        "metadata": {"name": "web"},
        "spec": {
            "virtualMachineName": "web",
            "sourceCluster": {"apiVersion": API, "kind": "OvaSource", "name": "a", "namespace": "default"},
            "hooks": [ROW],
        },
    }
    file = folder / "import.yaml"
    with file.open("w") as stream:
        YAML().dump_all([source, import_, *hooks], stream)
    return resolve.jobs(read.read([str(file)]), environment.read({}), LOCAL)


def test_an_import_gets_the_hook_of_that_name(tmp_path: Path) -> None:
    (job,) = the_jobs(tmp_path, hook(command=["./check"]))
    assert job.hooks["cmdb"].spec.command == ("./check",)
    resolve.refuse_hooks([job])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "the hook cmdb of spec.hooks is not given"),
        (
            [hook(container={"image": "example.com/cmdb"})],
            "has a container, which `vmferry run` does not run",
        ),
        ([hook(workflowTemplate={"name": "x"})], "has a WorkflowTemplate, which `vmferry run` does not run"),
        ([hook(command=["true"], allowedNamespaces=["team-a"])], "is not for imports of namespace default"),
    ],
)
def test_what_this_computer_does_not_run_is_refused_before_anything_begins(
    tmp_path: Path, given: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(InvalidManifestsError) as refused:
        resolve.refuse_hooks(the_jobs(tmp_path, *given))
    assert words in str(refused.value)


def test_two_hooks_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestsError) as refused:
        the_jobs(tmp_path, hook(command=["true"]), hook("other", command=["false"]))
    assert "the hook cmdb of spec.hooks is given in two namespaces" in str(refused.value)


def test_a_hook_that_is_not_valid_names_its_fault(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestsError) as refused:
        the_jobs(tmp_path, hook())
    assert "must have exactly one of container, workflowTemplate and command" in str(refused.value)
