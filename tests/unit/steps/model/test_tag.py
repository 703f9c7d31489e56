from __future__ import annotations

import pytest

from steps.model.machine import Tag
from tests.unit.builders import a_machine


@pytest.mark.parametrize(
    ("tag", "text"),
    [(Tag(name="env", value="prod"), "env:prod"), (Tag(name="old"), "old"), (Tag(name="a", value=""), "a:")],
)
def test_a_tag_shows_its_category_if_it_has_one(tag: Tag, text: str) -> None:
    assert str(tag) == text


def test_the_document_of_a_vm_without_tags_is_as_before() -> None:
    assert not {"tags", "storageUsed"} & a_machine().model_dump(by_alias=True).keys()
    whole = a_machine(tags=(Tag(name="env", value="prod"),), storage_used=5)
    assert type(whole).model_validate_json(whole.to_json()) == whole
