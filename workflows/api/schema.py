"""Pydantic models → structural OpenAPI v3 schemas. Pure.

`structural` is as lenient as the schemas of vm-import-controller; `strict` is for other kinds, and for fields
of vmferry's own in it (`x-strict`).

The schemas of vm-import-controller come from rancher/wrangler by reflection over Go types: nothing is
required; strings, lists, maps and pointers may be null; the only enums accept the empty string. A stricter
schema would refuse manifests that vm-import-controller accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

Json = dict[str, Any]

_NULLABLE: Final = ("string", "array")
RULES: Final = "x-kubernetes-validations"
_BOUNDS: Final = ("maxLength", "minimum", "maximum", "maxItems", RULES)
"""What a lenient schema keeps of a field: only fields of vmferry's own have them."""
_KEPT: Final = ("format", "enum", "minLength", "pattern", "minItems", "maxProperties", *_BOUNDS)
"""What a strict schema keeps of a field."""


def structural(model: type[BaseModel], description: str = "") -> Json:
    """The schema of a model and all its parts, without references."""
    schema = model.model_json_schema(by_alias=True)
    resolved = _node({**schema, "nullable": False}, schema.get("$defs", {}))
    return {**resolved, "description": description} if description else resolved


def _node(node: Mapping[str, Any], defs: Mapping[str, Any]) -> Json:
    node, nullable = _resolve(node, defs)
    if node.get("x-strict"):
        return {**_strict(node, defs), "nullable": True}
    kind = node["type"]
    schema: Json = {"type": kind}
    if text := node.get("description"):
        schema["description"] = text
    if node.get("nullable", nullable or kind in _NULLABLE):
        schema["nullable"] = True
    if "enum" in node and not node.get("x-any-text"):
        schema["enum"] = [*node["enum"], ""]
    if kind == "array":
        schema["items"] = {**_item(node["items"], defs), **_bounds_of_items(node)}
    if kind == "object":
        schema["properties"] = {name: _node(part, defs) for name, part in node["properties"].items()}
    return {**schema, **{key: node[key] for key in _BOUNDS if key in node}}


def strict(model: type[BaseModel]) -> Json:
    """The schema of a model and all its parts: nothing is nullable, and some fields are required.

    Required are those with `x-required`; `x-any` is a field of any type, `x-int-or-string` one of two types,
    `x-schema` the schema of a field itself. `x-shortest`, `x-longest` and `x-item-pattern` are about the
    texts of a list.
    """
    schema = model.model_json_schema(by_alias=True)
    return _strict(schema, schema.get("$defs", {}))


def _strict(node: Mapping[str, Any], defs: Mapping[str, Any]) -> Json:
    if node.get("x-int-or-string"):
        kept = {key: node[key] for key in ("description", RULES) if key in node}
        return {"x-kubernetes-int-or-string": True, **kept}
    node, _ = _resolve(node, defs)
    text = {"description": node["description"]} if node.get("description") else {}
    if node.get("x-any"):
        return {**text, "x-kubernetes-preserve-unknown-fields": True}
    if "x-schema" in node:
        return {**node["x-schema"], **text}
    schema: Json = {"type": node["type"], **text, **{key: node[key] for key in _KEPT if key in node}}
    if node["type"] == "array":
        schema["items"] = {**_strict(node["items"], defs), **_bounds_of_items(node)}
    if node["type"] == "object" and "properties" not in node:  # a map of texts
        schema["additionalProperties"] = {
            "type": "string",
            "maxLength": node["x-longest"],
            **node.get("x-values", {}),
        }
    elif node["type"] == "object":
        required = [name for name, part in node["properties"].items() if part.get("x-required")]
        if required:
            schema["required"] = required
        schema["properties"] = {name: _strict(part, defs) for name, part in node["properties"].items()}
    return schema


def _bounds_of_items(node: Mapping[str, Any]) -> Json:
    """The bounds of the texts in a list."""
    names = {"x-shortest": "minLength", "x-longest": "maxLength", "x-item-pattern": "pattern"}
    return {of_item: node[name] for name, of_item in names.items() if name in node}


def _item(node: Mapping[str, Any], defs: Mapping[str, Any]) -> Json:
    """The items of a list: never empty, and without a description, as the list has one."""
    schema = _node(node, defs)
    if "enum" in schema:
        schema["enum"] = [value for value in schema["enum"] if value]
    return {key: value for key, value in schema.items() if key not in ("description", "nullable")}


def _resolve(node: Mapping[str, Any], defs: Mapping[str, Any]) -> tuple[Json, bool]:
    """The node, with references and `X | None` resolved, and whether None was one of the choices.

    The description at the place of use has precedence over the description of the type.
    """
    own = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "default", "title")}
    if "$ref" in node:
        target, nullable = _resolve(defs[node["$ref"].rsplit("/", 1)[-1]], defs)
        return {**target, **own}, nullable
    if "anyOf" in node:
        (choice,) = (choice for choice in node["anyOf"] if choice.get("type") != "null")
        return {**_resolve(choice, defs)[0], **own}, True
    return own, False
