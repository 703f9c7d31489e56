from __future__ import annotations

import pytest

from steps.model.patterns import fits_vm, folders_of, matcher, unused
from tests.unit.builders import a_machine

WEB = a_machine(name="web01", path="/DC0/vm/prod/web01", source_id="vm-42")


@pytest.mark.parametrize(
    "pattern",
    [
        "web01",
        "web*",
        "web0?",
        "web0[0-9]",
        "*",
        "/DC0/vm/prod/web01",
        "/DC0/vm/prod/*",
        "/DC0/*/web01",
        "vm-42",
    ],
)
def test_a_vm_is_selected_by_name_path_and_id(pattern: str) -> None:
    assert fits_vm([pattern])(WEB)


@pytest.mark.parametrize(
    "pattern", ["", "web", "WEB*", "web?", "web0[2-9]", "prod/web01", "/DC0/vm/prod", "vm-4", "vm-*", "vm-4?"]
)
def test_a_pattern_fits_a_whole_name_with_its_case_and_no_id(pattern: str) -> None:
    assert not fits_vm([pattern])(WEB)


@pytest.mark.parametrize("name", ["web [old]", "50%*", "a?b", "[", "[!", "a\nb", "ü", "*"])
def test_a_name_with_special_characters_fits_itself(name: str) -> None:
    assert matcher([name])([name])


def test_one_of_several_patterns_must_fit() -> None:
    fits = fits_vm(["db*", "web*"])
    assert fits(WEB)
    assert not fits(a_machine(name="mail"))


def test_patterns_that_fit_nothing_are_found() -> None:
    assert unused(["web*", "bd*", "vm-42", "nothing"], [WEB]) == ("bd*", "nothing")
    assert unused(["web*"], []) == ("web*",)


@pytest.mark.timeout(60)
def test_many_stars_need_no_backtracking() -> None:
    assert not matcher(["*a" * 40 + "b"])(["a" * 5000])


def test_folders_of_other_sources_are_their_clusters_and_namespaces() -> None:
    assert folders_of(a_machine(path="Default/web")) == ("Default", "/")
    assert folders_of(a_machine(path="web")) == ("/",)
