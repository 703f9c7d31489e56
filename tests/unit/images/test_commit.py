"""A release says which commit it is made from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from images.release.commit import commit
from images.release.errors import ReleaseError

WHEN = 1_700_000_000


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    for variable in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
        monkeypatch.setenv(variable, f"{WHEN} +0000")
    (tmp_path / "file").write_text("1")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in (("init", "--quiet"), ("add", "file"), (*who, "commit", "--quiet", "--message=one")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_the_time_of_a_release_is_that_of_its_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision, when = commit(checkout, draft=False)
    assert len(revision) == 40
    assert when == WHEN
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    assert commit(checkout, draft=False) == (revision, 5)


def test_a_tree_with_changes_is_only_for_drafts(checkout: Path) -> None:
    (checkout / "file").write_text("2")
    with pytest.raises(ReleaseError, match=r"not committed.*--draft(?s:.*)file"):
        commit(checkout, draft=False)
    revision, _ = commit(checkout, draft=True)
    assert revision.endswith("-changed")


def test_a_folder_without_git_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ReleaseError, match="made from a git checkout"):
        commit(tmp_path, draft=False)
