"""Which commit a job clones, and that recipes are compared with it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from mis_dataset.errors import MISError, UsageError
from tests.made_checkout import URL, Checkout, make_checkout
from trainer.pushed import Commit, named_commit, path_in, pushed_commit

FILES = {"trainer/configs/a.yaml": "twins: true\n"}
ELSE = "or name one that is pushed: --code https://HOST/OWNER/NAME@COMMIT"


@pytest.fixture
def made(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path, FILES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout that no test changes."""
    return make_checkout(tmp_path_factory.mktemp("whole"), FILES)


def test_what_is_committed_and_pushed_is_taken(whole: Checkout) -> None:
    assert pushed_commit(whole.folder) == Commit(URL, whole.git("rev-parse", "HEAD"))


def test_a_file_that_is_not_committed_is_refused_by_name(made: Checkout) -> None:
    made.write("trainer/configs/a.yaml", "twins: false\n")
    made.write("new.py", "")
    told = f"{made.folder}: is not as committed: trainer/configs/a.yaml, new.py; commit and push, {ELSE}"
    with pytest.raises(MISError, match=re.escape(told)):
        pushed_commit(made.folder)
    made.commit()
    assert pushed_commit(made.folder).url == URL


def test_a_commit_that_is_not_pushed_is_refused(made: Checkout) -> None:
    made.write("new.py", "")
    head = made.commit(push=False)
    with pytest.raises(MISError, match=re.escape(f"{made.folder}: commit {head} is not at origin; `git push`, {ELSE}")):
        pushed_commit(made.folder)
    made.git("push", "--quiet", "origin", "HEAD:main")
    assert pushed_commit(made.folder).id == head


def test_a_folder_without_git_and_one_without_origin_are_refused(made: Checkout, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(MISError, match="is no git checkout with a commit"):
        pushed_commit(tmp_path / "plain")
    made.git("remote", "remove", "origin")
    with pytest.raises(MISError, match="has no remote named origin"):
        pushed_commit(made.folder)


def test_without_git_that_is_said(whole: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(MISError, match=r"git does not run \(\w+\); install it"):
        pushed_commit(whole.folder)


def test_an_origin_that_no_container_reaches_is_refused(made: Checkout) -> None:
    made.git("config", "remote.origin.url", "git@example.org:mis.git")
    with pytest.raises(MISError, match=re.escape("'git@example.org:mis.git': a job has no key and no disk of yours")):
        pushed_commit(made.folder)


@pytest.mark.parametrize(
    "url", ["ssh://git@example.org/mis", "/srv/mis", "ext::sh -c a", "http://a/b", "https:///b", ""]
)
def test_an_address_that_is_not_of_https_is_refused(whole: Checkout, url: str) -> None:
    with pytest.raises(MISError, match=re.escape(f"{url!r}: a job has no key and no disk of yours")):
        named_commit(f"{url}@{whole.git('rev-parse', 'HEAD')}", whole.folder)


@pytest.mark.parametrize("who", ["hf_0f3c9a51d7", "me:hf_0f3c9a51d7", ":hf_0f3c9a51d7"])
@pytest.mark.parametrize("scheme", ["https", "http", "git"])
def test_a_token_in_an_address_is_refused_and_not_repeated(whole: Checkout, scheme: str, who: str) -> None:
    with pytest.raises(MISError, match="holds a user or a password") as caught:
        named_commit(f"{scheme}://{who}@example.org/mis@{whole.git('rev-parse', 'HEAD')}", whole.folder)
    assert "hf_0f3c9a51d7" not in str(caught.value)


def test_a_commit_that_is_named_has_to_be_known_here(made: Checkout) -> None:
    head = made.git("rev-parse", "HEAD")
    made.write("trainer/configs/a.yaml", "twins: false\n")
    assert named_commit(f"https://example.com/fork@{head}", made.folder) == Commit("https://example.com/fork", head)
    with pytest.raises(MISError, match=f"does not know commit {'0' * 40}"):
        named_commit(f"https://example.com/fork@{'0' * 40}", made.folder)
    for text in ("https://example.com/fork", "https://example.com/fork@main", f"https://example.com/fork@{head[:7]}"):
        with pytest.raises(UsageError, match="give URL@COMMIT"):
            named_commit(text, made.folder)


def test_a_recipe_is_that_of_the_commit(made: Checkout, tmp_path: Path) -> None:
    commit = pushed_commit(made.folder)
    recipe = made.folder / "trainer/configs/a.yaml"
    assert path_in(commit, recipe, made.folder) == "trainer/configs/a.yaml"
    with pytest.raises(MISError, match="lies outside of"):
        path_in(commit, tmp_path / "a.yaml", made.folder)
    with pytest.raises(MISError, match=re.escape(f"b.yaml: is not in commit {commit.id}; commit and push it")):
        path_in(commit, made.write("b.yaml", ""), made.folder)
    recipe.write_text("twins: false\n")
    with pytest.raises(MISError, match=f"is not as in commit {commit.id}"):
        path_in(commit, recipe, made.folder)


def test_a_recipe_may_be_named_from_any_folder(made: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder / "trainer")
    assert path_in(pushed_commit(made.folder), Path("configs/a.yaml"), made.folder) == "trainer/configs/a.yaml"
    (tmp_path / "link").symlink_to(made.folder)
    linked = tmp_path / "link/trainer/configs/a.yaml"
    assert path_in(pushed_commit(made.folder), linked, made.folder) == "trainer/configs/a.yaml"
