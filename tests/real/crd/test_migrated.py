"""The API server's own code checks what `vmferry migrate-manifests` writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

from steps.model.kinds import GROUP
from tests.real.crd.judge import judged
from workflows.api.crd import render

MIGRATED: Final = sorted((Path(__file__).parents[2] / "unit" / "golden" / "migrate").glob("*/new.yaml"))
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go builds the API server's judge")


@needs_go
@pytest.mark.parametrize("path", MIGRATED, ids=lambda path: path.parent.name)
def test_api_server_accepts_migrated_manifests_and_drops_nothing(path: Path, tmp_path: Path) -> None:
    documents = [one for one in YAML(typ="safe").load_all(path) if one["apiVersion"].startswith(f"{GROUP}/")]
    if not documents:
        pytest.skip("a Secret, which has no definition of ours")
    definitions = tmp_path / "crds.yaml"
    definitions.write_text(render())
    for answer in judged(definitions, documents):
        assert (answer["errors"], answer["pruned"]) == ([], [])
