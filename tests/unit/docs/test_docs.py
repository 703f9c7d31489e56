"""docs/ and README.md: generated parts are up to date, links are valid, messages exist in the code."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
from prometheus_client.core import CounterMetricFamily

from controller.operator.act.transitions import REACHED
from controller.operator.cache import StatusCache
from controller.operator.checkpods.runner import CheckPods
from controller.operator.metrics import Collector
from controller.operator.options import Options
from steps.model import names
from steps.model.kinds import GROUP
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from workflows.api.annotations import APPROVE, RETRY
from workflows.api.status import ImportPhase
from workflows.stages import STAGES

ROOT: Final = Path(__file__).parents[3]
DOCS: Final = ROOT / "docs"
PAGES: Final = [
    *sorted(DOCS.rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "examples" / "README.md",
]
STATUS: Final = DOCS / "reference" / "status.md"
TROUBLE: Final = DOCS / "how-to" / "troubleshooting.md"
LONGEST: Final = 125
PRODUCT: Final = ("controller", "workflows", "steps")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FILE: Final = re.compile(
    r"(?<![\w./-])((?:controller|workflows|steps|tests|charts|images|requirements)/[\w./-]+\.(?:py|yaml|md|sh|txt))"
)
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CUT: Final = re.compile(r"<[^>]+>|: |; |\. |…|, ")
"""The places where a message may consist of several texts of the code."""


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def generator() -> ModuleType:
    sys.path.append(str(DOCS))  # the folder of the modules that it imports
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_generated_page_is_stale() -> None:
    stale = [ids(path) for path in generator().stale()]
    assert stale == [], "run `PYTHONPATH=. python docs/generate.py`"


# --- links


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_relative_link_has_its_file_and_heading(page: Path) -> None:
    text = _FENCE.sub("", page.read_text())
    broken = []
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        # The site (`make docs`) contains only the folder docs, so its pages cannot link to other files.
        leaves_site = page.is_relative_to(DOCS) and not target.is_relative_to(DOCS)
        if leaves_site or not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


@cache
def headings(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#{1,6} (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(index)}
    decisions = DOCS / "decisions"
    linked |= {(decisions / link).resolve() for link in _LINK.findall((decisions / "index.md").read_text())}
    assert [ids(page) for page in DOCS.rglob("*.md") if page not in {*linked, DOCS / "index.md"}] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_named_file_exists(page: Path) -> None:
    if page.name == "0018-layout.md":  # it describes an earlier layout
        return
    named = (name for name in _FILE.findall(page.read_text()) if "NAME" not in name)
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []


# --- form


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_lines_are_short(page: Path) -> None:
    text = _FENCE.sub("", page.read_text())
    assert [line for line in text.splitlines() if len(line) > LONGEST and not line.startswith("|")] == []


# --- consistency with the code


@cache
def texts() -> str:
    """Every text in the product's code."""
    files = (path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text())))
    found = (node.value for node in nodes if isinstance(node, ast.Constant))
    return "\0".join(text for text in found if isinstance(text, str))


def messages() -> list[str]:
    blocks = re.findall(r"^```text\n(.*?)^```", TROUBLE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("message", messages())
def test_every_documented_message_is_in_the_code(message: str) -> None:
    parts = [part.strip(" ().") for part in _CUT.split(message)]
    assert [part for part in parts if part and part not in texts()] == []


def rows(title: str) -> list[str]:
    """The first cells of the table after a title of the status page."""
    section = STATUS.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line.split("|")[1] for line in section.splitlines() if line.startswith("|")][2:]


def listed(title: str) -> set[str]:
    return {name for cell in rows(title) for name in re.findall(r"`([^`]+)`", cell)}


def test_every_event_is_listed() -> None:
    reasons = {event.reason for event in REACHED.values()}
    reasons |= set(reasons_of("EventText", "EmitEvent", "emit"))
    assert reasons - listed("Events") == set()


def reasons_of(*functions: str) -> Iterator[str]:
    """The constant reasons that are passed to these functions."""
    for path in (ROOT / "controller" / "operator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in functions:
                yield from (text for text in constants(node.args) if re.fullmatch(r"[A-Z]\w+", text))


def constants(args: list[ast.expr]) -> Iterator[str]:
    """The texts among the first arguments, also both of a conditional expression."""
    for arg in args[:3]:
        for part in (arg.body, arg.orelse) if isinstance(arg, ast.IfExp) else (arg,):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def test_every_stage_is_explained() -> None:
    section = (DOCS / "reference" / "step-contract.md").read_text().partition("## Stages\n")[2]
    explained = re.findall(r"^\| `([\w-]+)` \|", section.partition("<!--")[0], re.MULTILINE)
    assert explained == [stage.name for stage in STAGES]


def test_every_phase_is_listed() -> None:
    assert {str(phase) for phase in ImportPhase if phase} == listed("importStatus")


def test_every_label_and_annotation_is_listed() -> None:
    labels = {value for name, value in vars(names).items() if name.startswith("LABEL_")}
    assert {label.removeprefix(f"{GROUP}/") for label in labels} == listed("Labels")
    assert {RETRY, APPROVE} <= listed("Annotations")


def test_every_metric_is_listed() -> None:
    checks = CheckPods(FakeCluster(), Options())
    collector = Collector(StatusCache(lambda: None), [], dict, checks)
    made = [
        f"{metric.name}_total" if isinstance(metric, CounterMetricFamily) else metric.name
        for metric in collector.collect()
    ]
    assert sorted(made) == sorted(name.partition("{")[0] for name in listed("Metrics"))


def test_every_line_of_the_design_document_of_v2v_has_a_test() -> None:
    section = (
        (DOCS / "reference" / "v2v.md").read_text().partition("## The design document, line by line\n")[2]
    )
    cells = [line.split("|") for line in section.splitlines() if line.startswith("|")][2:]
    named = [re.findall(r"`(test_\w+)`", cell[3]) for cell in cells]
    assert len(named) > 30
    assert [cells[row][1] for row, tests in enumerate(named) if not tests] == []
    defined = {
        name
        for path in (ROOT / "tests" / "unit").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert {name for tests in named for name in tests} - defined == set()
