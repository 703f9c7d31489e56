"""examples/: vmferry reads every file that a user may copy, and can plan its imports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from controller.manifests.read import Manifests, read
from controller.manifests.v2v import job_of
from steps.model.plan import TargetKind
from workflows.api.mapping import ImportMapping
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import Source
from workflows.migration.rules import reasons
from workflows.plan import plan
from workflows.settings import Profile, Settings

EXAMPLES: Final = Path(__file__).parents[4] / "examples"
FILES: Final = sorted(EXAMPLES.glob("*.yaml"))
EVERYTHING: Final = read([str(EXAMPLES)])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_read_completely(path: Path) -> None:
    found = read([str(path)])
    assert found.imports or found.v2v_imports or found.plans
    assert not found.ignored


@pytest.mark.parametrize("import_", EVERYTHING.imports.values(), ids=lambda import_: import_.metadata.name)
def test_an_import_has_its_source_and_a_plan(import_: VirtualMachineImport) -> None:
    runs = import_.spec.boot_check is not None or import_.spec.hooks
    target = TargetKind.HARVESTER if runs else TargetKind.DIRECTORY
    # As the comments of the examples say. Only `vmferry run` adapts guests.
    settings = Settings(
        target=target,
        profiles={"dmz": Profile()},
        boot_check=True,
        hooks=True,
        mounts_claims=import_.spec.guest is None,
    )
    made = plan(import_, source_of(import_, EVERYTHING), settings, mapping_of(import_, EVERYTHING))
    assert made.vm == import_.spec.virtual_machine_name
    assert (made.target.mapping is None) == (import_.spec.import_mapping is None)


@pytest.mark.parametrize("source", EVERYTHING.sources.values(), ids=lambda source: source.metadata.name)
def test_a_source_has_its_secret(source: Source) -> None:
    reference = source.spec.credentials
    assert reference is None or (reference.namespace, reference.name) in EVERYTHING.secrets


def test_an_import_of_the_other_api_has_a_plan() -> None:
    (import_,) = EVERYTHING.v2v_imports.values()
    made, credentials = job_of(import_, EVERYTHING, Settings())
    assert (made.vm, credentials["username"]) == ("web-05", b"importer@vsphere.local")
    assert len(made.target.networks) == 2


def test_a_plan_is_right_and_its_mapping_is_there() -> None:
    (found,) = EVERYTHING.plans.values()
    assert list(reasons(found)) == []
    assert ("default", found.spec.template["importMapping"]["name"]) in EVERYTHING.import_mappings
    source = found.spec.source_cluster
    assert (str(source.kind).lower(), "default", source.name) in EVERYTHING.sources


def test_the_readme_lists_every_file() -> None:
    listed = re.findall(r"^\| \[([\w.-]+)\]\(\1\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert listed == [path.name for path in FILES]


def mapping_of(import_: VirtualMachineImport, found: Manifests) -> ImportMapping | None:
    reference = import_.spec.import_mapping
    if reference is None:
        return None
    return found.import_mappings[reference.namespace or import_.metadata.namespace, reference.name]


def source_of(import_: VirtualMachineImport, found: Manifests) -> Source:
    wanted = import_.spec.source_cluster
    return found.sources[wanted.kind.lower(), wanted.namespace or import_.metadata.namespace, wanted.name]
