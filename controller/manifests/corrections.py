"""What to write instead of common mistakes in manifests of `v2v.kubevirt.io`. Pure.

The design document of vm-import-operator has all of them in its examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel

from workflows.api.v2v import NetworkItem

Path = tuple[str | int, ...]
_METADATA: Final = ("name", "namespace", "labels", "annotations")
_SIBLINGS: Final = ("target", "type")
"""Fields of a row that people write into its field `source`."""


def corrections(document: Mapping[Any, Any], model: type[BaseModel]) -> Iterator[tuple[Path, str]]:
    """What to write instead of a common mistake: the place, and a sentence.

    Capital letters, a row's `target` inside of its `source`, and annotations that are no texts: the API
    server drops or refuses all of them.
    """
    yield from _of_model(document, model, ())
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping):
        return
    yield from _spellings(metadata, _METADATA, ("metadata",))
    for part in ("labels", "annotations"):
        texts = metadata.get(part)
        for name, value in texts.items() if isinstance(texts, Mapping) else ():
            if not isinstance(value, str):
                yield ("metadata", part, name), f'write "{value}" in quotes, or leave it out'


def _of_model(given: Any, model: type[BaseModel], at: Path) -> Iterator[tuple[Path, str]]:
    if not isinstance(given, Mapping):
        return
    fields = {str(info.alias or name): info.annotation for name, info in model.model_fields.items()}
    yield from _spellings(given, fields, at)
    source = given.get("source")
    if issubclass(model, NetworkItem) and isinstance(source, Mapping):
        for name in (name for name in _SIBLINGS if name in source):
            yield (*at, "source", name), f"write {name} next to source, with the same indentation"
    for name, part in given.items():
        inner = _model_in(fields.get(str(name)))
        if inner is None or name == "metadata":
            continue
        if isinstance(part, Sequence) and not isinstance(part, str):
            for number, item in enumerate(part):
                yield from _of_model(item, inner, (*at, str(name), number))
        else:
            yield from _of_model(part, inner, (*at, str(name)))


def _spellings(given: Mapping[Any, Any], known: Any, at: Path) -> Iterator[tuple[Path, str]]:
    by_lower = {name.lower(): name for name in known}
    for name in given:
        right = by_lower.get(str(name).lower())
        if right is not None and right != name:
            yield (*at, str(name)), f"write {right}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a field, of the items of a list, or of a choice with None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
