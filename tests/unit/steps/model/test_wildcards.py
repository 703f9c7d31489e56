from __future__ import annotations

import pytest

from steps.model.wildcards import has_wildcard, remedy


@pytest.mark.parametrize(
    ("name", "has"), [("web*", True), ("we?", True), ("w[ab]", True), ("web", False), ("", False)]
)
def test_a_name_with_a_wildcard_gets_another_remedy(name: str, has: bool) -> None:
    assert has_wildcard(name) is has
    assert ("vmferry run --vm" in remedy(name, "correct the name")) is has
    assert (remedy(name, "correct the name") == "correct the name") is not has
