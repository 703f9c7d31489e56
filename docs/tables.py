"""The tables of the reference, from the code that they describe."""

from __future__ import annotations

import ast
import enum
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from ruamel.yaml import YAML

from controller.cli.main import app
from steps.model.contract import Exit, is_retryable
from steps.model.kinds import GROUP
from steps.targets.checks.catalogue import CHECKS
from workflows.api.crd import KINDS, VERSION, Kind
from workflows.api.schema import structural
from workflows.stages import STAGES

ROOT: Final = Path(__file__).parents[1]
NOTE: Final = "<!-- Made by docs/generate.py; do not edit. -->"
WIDTH: Final = 125
"""Characters of a line, except in tables."""

Json = Mapping[str, Any]


# --- custom resources


def resources() -> str:
    """The reference of the custom resources."""
    parts = [NOTE, "", "# Custom resources", "", *_wrapped(_RESOURCES), ""]
    for kind in KINDS:
        parts += [
            f"## {kind.name}",
            "",
            f"{kind.description} `kubectl get {kind.name.lower()}.migration`",
            "",
        ]
        parts += [f"### {kind.name} spec", ""]
        parts += _table(("field", "type", "meaning"), _fields(kind.spec_schema))
        if kind.status is not None:
            parts += ["", f"### {kind.name} status", ""]
            parts += _table(("field", "type", "meaning"), _fields(structural(kind.status)))
        parts += ["", f"### {kind.name} columns", "", *_columns(kind), ""]
    return "\n".join(parts).rstrip() + "\n"


_RESOURCES: Final = (
    f"The group is `{GROUP}`, the version `{VERSION}`. The names, kinds and fields are those of "
    "vm-import-controller; vmferry adds fields, and the kinds ImportMapping and MigrationPlan. All kinds are "
    "namespaced. The schema requires no field, except in these two: the controller checks what an import "
    "needs, and the condition `Succeeded` has every reason. "
    "A name of a field with `[]` is one entry of a list. The folder `examples` has manifests."
)


def _fields(schema: Json, at: str = "") -> Iterator[tuple[str, ...]]:
    for name, part in schema.get("properties", {}).items():
        item = part.get("items", {})
        where = f"{at}{name}"
        yield f"`{where}`", _type(part, item), _sentence(part.get("description", ""))
        if name not in _OF_IMPORT:
            yield from _fields(part, f"{where}.")
        yield from _fields(item, f"{where}[].")


_OF_IMPORT: Final = ("template", "overrides")
"""Fields whose parts are those of the spec of an import."""


def _type(part: Json, item: Json) -> str:
    if part.get("x-kubernetes-int-or-string"):
        return "integer or string"
    values = [value for value in (item or part).get("enum", ()) if value]
    kind = f"list of {item['type']}" if item else str(part["type"])
    return f"{kind}: {', '.join(f'`{value}`' for value in values)}" if values else kind


def _columns(kind: Kind) -> Iterator[str]:
    rows = (
        (one["name"], f"`{one['jsonPath']}`", "yes" if one.get("priority") else "") for one in kind.columns
    )
    yield from _table(("column", "shows", "only with `-o wide`"), rows)


# --- command line


def commands() -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    found: Mapping[str, Any] = group.commands
    return "\n".join(line for name, command in found.items() for line in _command(name, command)).rstrip()


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    words = " ".join(_word(one) for one in arguments)
    yield from (f"### {name}", "", "```", f"vmferry {name} [OPTIONS] {words}".rstrip(), "```", "")
    for paragraph in (command.help or "").strip().split("\n\n"):
        yield from (*_wrapped(" ".join(paragraph.split())), "")
    yield from _table(
        ("argument or option", "values", "default", "meaning"), map(_parameter, (*arguments, *options))
    )
    yield ""
    if command.epilog:
        yield from ("```", *_examples(command.epilog), "```", "")


def _word(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _parameter(one: Any) -> tuple[str, ...]:
    names = [*one.opts, *one.secondary_opts] if one.param_type_name == "option" else [_word(one)]
    annotation = one.type_descriptor.annotation
    kind = next(iter(typing.get_args(annotation)), annotation)  # of an option that may be given several times
    choices = tuple(kind) if isinstance(kind, type) and issubclass(kind, enum.Enum) else ()
    values = ", ".join(f"`{choice}`" for choice in choices)
    shown = "" if one.default in (None, "", False) else f"`{_value(one)}`"
    text = _sentence(getattr(one, "help", "") or "")
    return ", ".join(f"`{name}`" for name in names), values, "required" if one.required else shown, text


def _value(one: Any) -> str:
    return str(one.opts[0] if one.default is True else one.default)


def _examples(epilog: str) -> list[str]:
    return [part.strip() for part in epilog.partition(":")[2].split(" · ")]


# --- chart


def chart() -> str:
    """Every value of the chart, from the comments of values.yaml."""
    parts = [NOTE, "", "# Values of the chart", "", *_wrapped(_CHART), ""]
    parts += _table(("value", "default", "meaning"), _values())
    return "\n".join(parts) + "\n"


_CHART: Final = (
    "The defaults are those of `charts/vmferry/values.yaml`. `values.schema.json` refuses a value that is "
    "not in this table. A row without a default is a group."
)


def _values() -> Iterator[tuple[str, ...]]:
    path: list[str] = []
    words: list[str] = []
    for line in (ROOT / "charts" / "vmferry" / "values.yaml").read_text().splitlines()[1:]:
        text = line.strip()
        if not text:
            words = []
        elif text.startswith("#"):
            words.append(text.lstrip("# "))
        else:
            name, _, default = text.partition(":")
            path[(len(line) - len(line.lstrip())) // 2 :] = [name]
            shown = f"`{default.strip()}`" if default.strip() else ""
            yield f"`{'.'.join(path)}`", shown, " ".join(words).replace("``", "`")
            words = []


# --- steps


def exits() -> str:
    """The exit codes with the reason that a condition shows."""
    rows = ((str(int(code)), f"`{code.word}`", "yes" if is_retryable(code) else "no") for code in Exit)
    return "\n".join(_table(("code", "reason of the condition", "tried again"), rows))


def actions() -> str:
    """The actions of the operator, by their docstrings."""
    text = (ROOT / "controller" / "operator" / "decide" / "actions.py").read_text()
    classes = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    rows = ((f"`{one.name}`", (ast.get_docstring(one) or "").partition("\n")[0]) for one in classes)
    return "\n".join(_table(("action", "what it does"), rows))


def stages() -> str:
    """The stage table."""
    rows = (
        (
            f"`{stage.name}`",
            ", ".join(f"`{name}`" for name in stage.after),
            stage.scope.value,
            "a gate" if stage.gate else "the controller" if stage.answer else f"`vmferry-{stage.identity}`",
            "" if stage.gate or stage.answer else str(stage.retry.limit),
        )
        for stage in STAGES
    )
    return "\n".join(_table(("stage", "after", "how often", "service account", "retries"), rows))


# --- security


def threats() -> str:
    """The threats of explanation/threats.yaml, by who attacks."""
    rows = YAML(typ="safe").load((ROOT / "docs" / "explanation" / "threats.yaml").read_text())
    parts: list[str] = []
    for attacker, title in ATTACKERS.items():
        parts += [f"### {title}", ""]
        chosen = (row for row in rows if row["from"] == attacker)
        parts += [*_table(("id", "threat", "defence", "test"), map(_threat, chosen)), ""]
    return "\n".join(parts).rstrip()


ATTACKERS: Final = {
    "tenant": "A tenant",
    "source": "A hostile source",
    "step": "A compromised step",
    "person": "A person with the Role vmferry-operator",
    "network": "Somebody on the network",
    "chance": "Without an attacker: kills, outages, mistakes",
    "supply": "A changed package or image",
}
"""The words in threats.yaml, with the titles of their tables."""


def _threat(row: Json) -> tuple[str, ...]:
    tests = "<br>".join(f"`{name}`" for name in row["tests"])
    return f"`{row['id']}`", _sentence(row["threat"]), _sentence(row["defence"]), tests


def rights() -> str:
    """The rights of every identity, before and now, from reference/rights.json."""
    tables = json.loads((ROOT / "docs" / "reference" / "rights.json").read_text())
    before, now = tables["before"], tables["now"]
    parts = [NOTE, "", "# Rights of every identity", ""]
    for paragraph in _RIGHTS:
        parts += [*_wrapped(paragraph), ""]
    for identity in (*now, *(name for name in before if name not in now)):
        parts += [f"## {identity}", ""]
        rows = list(_rights(before.get(identity, {}), now.get(identity, {})))
        table = _table(("where", "resource", "before", "now"), rows) if rows else ["It has no rights."]
        parts += [*table, ""]
    return "\n".join(parts).rstrip() + "\n"


_RIGHTS: Final = (
    "The API server lists these rights (`kubectl auth can-i --list --as=…`) with the chart installed and its "
    "default values. Left out are the rights that every account has and, for the roles `edit` and `view`, "
    "those that Kubernetes gives to them. [Security](../explanation/security.md#service-accounts) says what "
    "each identity is for.",
    "`before` is the chart before tenants were separated (commit 6ccfa8e). With the value `namespaces`, "
    "`all namespaces` are only those in that list; resources without a namespace stay.",
)


def _rights(before: Json, now: Json) -> Iterator[tuple[str, ...]]:
    """One row for each resource and place. What is true in every namespace is not repeated."""
    old, new = _by_place(before), _by_place(now)
    for place, resource in sorted({*old, *new}):
        name, _, names = resource.partition(" ")
        key = place, resource
        yield place, f"`{name}` {names}".rstrip(), old.get(key, ""), new.get(key, "")


def _by_place(found: Json) -> dict[tuple[str, str], str]:
    """Verbs by place and resource."""
    here, there = found.get("release namespace", {}), found.get("other namespaces", {})
    where = "all namespaces" if "release namespace" in found else "that namespace"
    rows = {(where, resource): verbs for resource, verbs in there.items()}
    for resource, verbs in here.items():
        more = [verb for verb in verbs.split() if verb not in there.get(resource, "").split()]
        if more:
            rows["release namespace", resource] = " ".join(more)
    return rows


# --- checks


def checks() -> str:
    """The checks of a target in a cluster."""
    return "\n".join(
        _table(
            ("check", "target", "refuses the import when", "warns when", "not checked when", "reads"),
            (
                (
                    f"`{check.name}`",
                    check.targets,
                    check.refuses or "never",
                    check.warns,
                    check.not_checked,
                    "<br>".join(f"`{right}`" for right in check.reads),
                )
                for check in CHECKS
            ),
        )
    )


# --- text


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    first = text.partition(" ")[0]
    text = f"{text[:1].upper()}{text[1:]}" if first.isalpha() and first != "http" else text
    return text if text.endswith(".") or not text else f"{text}."


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]] | Any) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |".replace("  |", " |")


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
