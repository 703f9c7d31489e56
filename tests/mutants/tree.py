"""The modules to mutate, and the copy of the tree in which that happens."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("controller", "steps", "workflows")
"""The packages that may be mutated."""
READERS = ("test_docs.py", "test_mapping_document.py")
"""Tests that read the code as text; in the copy they would find the texts of all mutants."""

_SETTINGS = """
[tool.mutmut]
source_paths = [{code}]
only_mutate = [{modules}]
also_copy = [{others}]
pytest_add_cli_args = ["-p", "tests.mutants.plugin", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = [{tests}, "-m", "not vcenter and not programs", {readers}]
timeout_constant = 5.0  # seconds; the tests of a mutant may take ten times as long as before, and 50 seconds
timeout_multiplier = 10.0
use_git_change_detection = false
on_dependency_change = "ignore"
"""


class NothingToMutateError(Exception):
    """No module fits."""


def _git(*argv: str) -> list[str]:
    done = subprocess.run(["git", *argv], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def files() -> list[str]:
    """The files of the project, with those that are not committed yet."""
    names = _git("ls-files", "--cached", "--others", "--exclude-standard")
    return sorted({name for name in names if (ROOT / name).is_file()})


def changed(since: str) -> set[str]:
    """Files that differ from where this branch left `since`."""
    base = _git("merge-base", since, "HEAD")[0]
    return {*_git("diff", "--name-only", base), *_git("ls-files", "--others", "--exclude-standard")}


def named(names: Iterable[str], places: Sequence[str]) -> list[str]:
    """The files of `names` that are one of the places or in such a folder."""
    folders = [place.rstrip("/") for place in places]
    return [name for name in names if any(name == place or name.startswith(f"{place}/") for place in folders)]


def modules(names: Sequence[str], since: str, places: Sequence[str]) -> list[str]:
    """What to mutate: the modules in `places`, or those changed since `since`.

    Raises:
        NothingToMutateError: nothing is left.
    """
    code = [name for name in named(names, CODE) if name.endswith(".py")]
    if places:
        found, reason = named(code, places), f"no module of {', '.join(CODE)} is at {' '.join(places)}"
    else:
        different = changed(since)
        found, reason = [name for name in code if name in different], f"no module changed since {since}"
    if not found:
        raise NothingToMutateError(reason)
    return found


def _strings(values: Iterable[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def settings(names: Sequence[str], mutated: Sequence[str], tests: Sequence[str]) -> str:
    """What pyproject.toml of the copy has in addition."""
    others = sorted({name.partition("/")[0] for name in names} - {*CODE, "tests", "pyproject.toml"})
    return _SETTINGS.format(
        code=_strings(CODE),
        modules=_strings(mutated),
        others=_strings(others),
        tests=_strings(tests),
        readers=_strings(f"--ignore-glob=**/{name}" for name in READERS),
    )


def lay(tree: Path, names: Sequence[str], extra: str) -> None:
    """Copy the files; a copy of the same files with the same settings stays, with its verdicts."""
    digest = hashlib.sha256(extra.encode())
    for name in names:
        digest.update(f"{name}\0".encode() + (ROOT / name).read_bytes())
    mark = tree / ".digest"
    if mark.exists() and mark.read_text(encoding="utf-8") == digest.hexdigest():
        return
    shutil.rmtree(tree, ignore_errors=True)
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    with (tree / "pyproject.toml").open("a", encoding="utf-8") as pyproject:
        pyproject.write(extra)
    # mutmut fills it. Python would ignore a folder of PYTHONPATH that does not exist when it starts.
    (tree / "mutants").mkdir()
    mark.write_text(digest.hexdigest(), encoding="utf-8")
