"""What the chart grants to each identity: the data of docs/reference/rights.md.

    python -m tests.real.chart.rights --write      after a change of the chart's roles; then `make golden`

tests/real/cluster/test_rights.py compares it with what a real API server lists.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Final

from tests.real.chart.test_chart import of_kind
from tests.unit.workflows.author.rendered import Json

FILE: Final = Path(__file__).parents[3] / "docs" / "reference" / "rights.json"
NAME: Final = "vmferry"
HERE, THERE = "release namespace", "other namespaces"
ACCOUNTS: Final = ("controller", "check", "data", "serve", "target", "scratch", "guest", "uninstall")
"""Service accounts of the chart, without its name."""
OPERATOR, EDIT, VIEW = "Role vmferry-operator", "edit in a namespace", "view in a namespace"
PEOPLE: Final = {
    OPERATOR: (HERE, "vmferry-operator"),
    EDIT: (THERE, "vmferry-edit"),
    VIEW: (THERE, "vmferry-view"),
}
"""People: the place of their rights, and the role that the chart has for them."""
ORDER: Final = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")

Rights = dict[str, str]
"""Verbs by resource, such as `pods`, `pods/log` or `deployments.apps [one]`."""
Table = dict[str, dict[str, Rights]]
"""Rights by identity and place."""


def granted() -> Table:
    """The rights that the chart grants with its default values, as Helm renders it."""
    found = {f"{NAME}-{account}": _of_account(f"{NAME}-{account}") for account in ACCOUNTS}
    for person, (place, role) in PEOPLE.items():
        kind = "Role" if person == OPERATOR else "ClusterRole"
        found[person] = {place: merged(_rules(of_kind(kind)[role]))}
    return found


def _of_account(account: str) -> dict[str, Rights]:
    """A ClusterRoleBinding counts in every namespace, a RoleBinding in the release namespace."""
    here: list[tuple[str, str]] = []
    there: list[tuple[str, str]] = []
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in of_kind(kind).values():
            if account in (subject["name"] for subject in binding["subjects"]):
                role = of_kind(binding["roleRef"]["kind"])[binding["roleRef"]["name"]]
                here += _rules(role)
                there += _rules(role) if kind == "ClusterRoleBinding" else ()
    return {HERE: merged(here), THERE: merged(there)}


def _rules(role: Json) -> Iterator[tuple[str, str]]:
    """Each resource of a role, as kubectl writes it, with one name and one verb."""
    for rule in role["rules"]:
        names = [f" [{name}]" for name in rule.get("resourceNames", [])] or [""]
        for group, resource, name in product(rule["apiGroups"], rule["resources"], names):
            plural, slash, part = resource.partition("/")
            title = f"{plural}.{group}" if group else plural
            yield from ((f"{title}{slash}{part}{name}", verb) for verb in rule["verbs"])


def merged(rules: Iterable[tuple[str, str]]) -> Rights:
    """The verbs of each resource, in the order of ORDER."""
    found: dict[str, set[str]] = {}
    for resource, verb in rules:
        found.setdefault(resource, set()).add(verb)
    return {resource: " ".join(sorted(verbs, key=_place)) for resource, verbs in sorted(found.items())}


def _place(verb: str) -> tuple[int, str]:
    return (ORDER.index(verb) if verb in ORDER else len(ORDER), verb)


def load() -> dict[str, Table]:
    """The documented tables: `before`, of an earlier version, and `now`."""
    found: dict[str, Table] = json.loads(FILE.read_text())
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Show what the chart grants to each identity.")
    parser.add_argument("--write", action="store_true", help=f"write it into {FILE.name}")
    found = granted()
    if parser.parse_args(argv).write:
        FILE.write_text(json.dumps({**load(), "now": found}, indent=1) + "\n")
    else:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
