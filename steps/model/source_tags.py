"""Labels of the new VM from the tags that the VM has at its source. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from steps.model.concerns import warn
from steps.model.machine import Concern, Tag
from steps.model.names import label_value
from steps.model.naming import shown
from steps.model.vm_settings import TagLabel


def labels_of_tags(tags: Iterable[Tag], rules: Iterable[TagLabel]) -> tuple[dict[str, str], list[Concern]]:
    """The labels that tags at the source become, and a warning for each rule that several tags fit.

    A label has one value: of several tags the first by name counts.
    """
    labels, concerns = {}, []
    tags = tuple(tags)
    for rule in rules:
        values = sorted({tag.value for tag in tags if tag.name == rule.tag})
        if not values:
            continue
        labels[rule.label] = label_value(values[0])
        if len(values) > 1:
            concerns.append(
                warn(
                    "tag-several",
                    f"the VM has {len(values)} tags of {shown(rule.tag)}, and a label has one value",
                    f"the label {rule.label} gets {labels[rule.label]!r}",
                )
            )
    return labels, concerns


MOST_TAGS: Final = 256
LONGEST_VALUE: Final = 256
"""Characters of a value. A label has 63, and a hash if the value is longer."""


def wanted_tags(tags: Iterable[Tag], rules: Iterable[TagLabel]) -> tuple[Tag, ...]:
    """The tags that a rule names, with short values: a source may have thousands of any length."""
    names = {rule.tag for rule in rules}
    found = {Tag(name=tag.name, value=tag.value[:LONGEST_VALUE]) for tag in tags if tag.name in names}
    return tuple(sorted(found, key=lambda tag: (tag.name, tag.value))[:MOST_TAGS])
