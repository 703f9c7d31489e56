"""Names and labels: valid everywhere, the same every time, and equal to those of other controllers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model import names
from steps.model.plan import ImportRef
from steps.targets.harvester import image_names
from tests.unit.builders import a_plan

LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
SUBDOMAIN = st.from_regex(
    r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}", fullmatch=True
)


@given(SUBDOMAIN, SUBDOMAIN)
def test_image_names_fit_the_names_that_harvester_derives(name: str, uid: str) -> None:
    made = image_names.image_name(ImportRef(name=name, uid=uid), "disk-127", "digest")
    assert re.fullmatch(r"image-[0-9a-f]{12}", made)
    assert len(f"longhorn-{made}") <= 63


@given(SUBDOMAIN)
def test_display_names_are_valid_labels(name: str) -> None:
    made = image_names.display_name(ImportRef(name=name), "disk-0", "0a1b2c3d")
    assert LABEL.fullmatch(made)
    assert image_names.display_label(made) == made


def test_a_short_display_name_is_that_of_vm_import_controller() -> None:
    assert image_names.display_name(ImportRef(name="web"), "disk-0") == "vm-import-web-disk-0"


def test_image_names_differ_by_import_and_disk_and_bytes() -> None:
    one, other = ImportRef(name="web", uid="1"), ImportRef(name="web", uid="2")
    made = [
        image_names.image_name(of, disk, digest)
        for of in (one, other)
        for disk in ("disk-0", "disk-1")
        for digest in ("", "x")
    ]
    assert len(set(made)) == 8
    assert image_names.image_name(one, "disk-0") == image_names.image_name(one, "disk-0")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("vm-import-web-disk-0", "vm-import-web-disk-0"),
        # From cluster-api's own test of MustFormatValue (util/labels/format/helpers_test.go).
        ("a" * 63, "a" * 63),
        ("", "hash_gRydxQ_z"),  # FNV-1a of an empty text is its offset basis, 0x811c9dc5
    ],
)
def test_the_label_equals_that_of_vm_import_controller(text: str, label: str) -> None:
    assert image_names.display_label(text) == label


@given(st.text(max_size=300))
def test_the_label_of_vm_import_controller_is_always_valid(text: str) -> None:
    assert LABEL.fullmatch(image_names.display_label(text))


@given(SUBDOMAIN)
def test_labels_of_an_import_are_valid_and_part_of_those_of_its_runs(name: str) -> None:
    plan = a_plan(name="web").model_copy(update={"import_": ImportRef(name=name, uid="6f1d")})
    made = names.labels(plan)
    assert all(LABEL.fullmatch(value) for value in made.values())
    assert names.run_labels(plan) == {**made, names.LABEL_RUN: plan.run}
