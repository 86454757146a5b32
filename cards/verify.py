"""Loads a published repository back as a user would, in fresh processes with empty caches, and compares every file.

A dataset is loaded whole and streamed, a model from its safetensors and by the code that its card shows, an adapter on
its base, a metric by evaluate; the code of a demo is compiled. Code that the repository holds is run (a card's, a
metric's): with your token only where the repository is yours or your organization's, and with no other secret of the
environment.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cards.hub import TRIES, Hub, Remote, check_id, say, url_of
from cards.kinds import MANIFEST, Kind, check_folder, kind_of
from cards.loads import ADAPTER, DATASET, METRIC, MODEL, LoadError, fresh
from cards.pages import CARD
from cards.reading import CardError, read_json

TYPES = ("dataset", "model", "space")
_FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Published(NamedTuple):
    """A repository that was downloaded and compared.

    Attributes:
        hub: where it lies.
        repo: OWNER/NAME.
        repo_type: "dataset", "model" or "space".
        remote: what the Hub holds, at one commit.
        folder: its files here.
        kind: what it is.
    """

    hub: Hub
    repo: str
    repo_type: str
    remote: Remote
    folder: Path
    kind: Kind

    @property
    def commit(self) -> str:
        """Which is loaded."""
        return self.remote.commit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("repo", metavar="REPO", help="OWNER/NAME")
    parser.add_argument("--type", choices=TYPES, help="of repository (found out)")
    parser.add_argument("--revision", default="main", help="branch, tag or commit (%(default)s)")
    parser.add_argument("--base", help="checkpoint below an adapter, where its own configuration names no public one")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Downloads, compares and loads.

    Args:
        args: as `add_arguments` has them.

    Returns:
        What was loaded, and `problems`; `passed` where there are none.

    Raises:
        CardError: there is no such repository, it cannot be fetched, or holds what its kind may not.
        OSError: the disk is full.
    """
    hub = Hub(TRIES, must_log_in=False)
    repo = check_id(args.repo)
    repo_type, remote = _find(hub, repo, args.type, args.revision)
    with tempfile.TemporaryDirectory(prefix="mis-verify-") as temporary:
        folder = _fetch(hub, repo, repo_type, remote, Path(temporary))
        kind = kind_of(folder)
        paths = check_folder(folder, kind)
        published = Published(hub, repo, repo_type, remote, folder, kind)
        loaded, problems = _load(published, Path(temporary) / "loads", args.base)
        total = sum((folder / path).stat().st_size for path in paths)
    for problem in problems:
        say(f"{repo}: {problem}")
    return {
        "repo": repo,
        "kind": kind.name,
        "url": url_of(hub.endpoint, repo, repo_type),
        "commit": remote.commit,
        "files": len(paths),
        "bytes": total,
        "loaded": loaded,
        "problems": problems,
        "passed": not problems,
    }


def _find(hub: Hub, repo: str, repo_type: str | None, revision: str) -> tuple[str, Remote]:
    """The repository of that name, whatever its type."""
    found = [(each, hub.look(repo, each, revision)) for each in ([repo_type] if repo_type else TYPES)]
    there = [(each, remote) for each, remote in found if remote]
    if not there:
        login = "" if hub.token else "; a private one wants `hf auth login` or HF_TOKEN"
        raise CardError(f"{repo}: no such {repo_type or 'repository'}, or this token may not see it{login}")
    if len(there) > 1:
        types = ", ".join(each for each, _ in there)
        raise CardError(f"{repo}: is the name of several repositories ({types}); give --type")
    return there[0]


def _fetch(hub: Hub, repo: str, repo_type: str, remote: Remote, temporary: Path) -> Path:
    """Downloads a repository and compares every file with what the Hub says of it."""
    folder = temporary / repo.split("/")[1]
    download = hub.api.snapshot_download
    hub.call(
        repo,
        lambda: download(
            repo,
            repo_type=repo_type,
            revision=remote.commit,
            local_dir=folder,
            cache_dir=temporary / "cache",
            ignore_patterns=[".gitattributes"],
        ),
    )
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    wrong = [
        path for path, file in remote.files.items() if not (folder / path).is_file() or not file.same(folder / path)
    ]
    if wrong:
        raise CardError(f"{repo}: other bytes came than the Hub says: {', '.join(wrong)}; push it again")
    return folder


def _load(published: Published, folder: Path, base: str | None) -> tuple[dict[str, Any], list[str]]:
    """Loads it by all ways that its kind has; returns what was loaded, and problems."""
    steps: dict[str, Callable[[Path], dict[str, Any]]] = {
        "dataset": {
            "whole": lambda place: _dataset(published, place, "whole"),
            "streamed": lambda place: _dataset(published, place, "streaming"),
        },
        "model": {
            "weights": lambda place: _model(published, place),
            "card": lambda place: _card(published, place),
        },
        "adapter": {"on its base": lambda place: _adapter(published, place, base)},
        "metric": {"evaluate": lambda place: _metric(published, place)},
        "demo": {"code": lambda _: _demo(published)},
    }[published.kind.name]
    loaded: dict[str, Any] = {}
    problems = []
    for number, (name, step) in enumerate(steps.items()):
        say(f"{published.repo}: loading ({name})")
        try:
            loaded[name] = step(folder / str(number))
        except LoadError as error:
            problems.append(f"does not load ({name}): {published.hub.mask(str(error))}")
        except CardError as error:
            problems.append(f"{name}: {error}")
    return loaded, problems


def _dataset(published: Published, place: Path, way: str) -> dict[str, Any]:
    told = read_json(published.folder / MANIFEST)
    config = "" if told["config"] == "default" else told["config"]
    loaded = fresh(DATASET, [published.repo, published.commit, config, way], place, published.hub.token)
    if loaded.get("rows") != told["rows"]:
        raise CardError(f"{loaded.get('rows')} rows were loaded, {MANIFEST} counts {told['rows']}; push it again")
    return loaded


def _model(published: Published, place: Path) -> dict[str, Any]:
    loaded = fresh(MODEL, [published.repo, published.commit], place, published.hub.token)
    wrong = loaded.pop("wrong")
    if wrong:
        raise CardError(f"{len(wrong)} weights are missing, unknown or of another shape, such as {wrong[0]}")
    return loaded


def _card(published: Published, place: Path) -> dict[str, Any]:
    """Runs what the card shows, as one program; it loads what the card names, which is the branch main."""
    pieces = _FENCE.findall((published.folder / CARD).read_text("utf-8"))
    if not pieces:
        raise CardError(f"{CARD} shows no python; a model's card shows how it is loaded")
    end = f"print({json.dumps({'pieces': len(pieces)})!r})"
    return fresh("\n".join([*pieces, end]), [], place, _token_for_code(published))


def _adapter(published: Published, place: Path, base: str | None) -> dict[str, Any]:
    named = read_json(published.folder / "adapter_config.json").get("base_model_name_or_path")
    base = base or named
    if not base:
        raise CardError("adapter_config.json names no base; give --base")
    base = str(Path(base).resolve()) if Path(base).is_dir() else base
    loaded = fresh(ADAPTER, [published.repo, published.commit, base], place, published.hub.token)
    if not loaded.get("parameters"):
        raise CardError(f"nothing was added to {base}")
    return {**loaded, "base": named}


def _metric(published: Published, place: Path) -> dict[str, Any]:
    return fresh(METRIC, [published.repo, published.commit], place, _token_for_code(published))


def _demo(published: Published) -> dict[str, Any]:
    from packaging.requirements import InvalidRequirement, Requirement

    names = sorted(path.name for path in published.folder.glob("*.py"))
    problems = []
    for name in names:
        try:
            compile((published.folder / name).read_bytes(), name, "exec")
        except (SyntaxError, ValueError) as error:
            problems.append(f"{name}: {error}")
    lines = (published.folder / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [words for line in lines if (words := line.split("#")[0].strip())]
    for words in wanted:
        try:
            Requirement(words)
        except InvalidRequirement:
            problems.append(f"requirements.txt: {words!r} is no requirement")
    if problems:
        raise CardError("; ".join(problems))
    return {"files": names, "requirements": len(wanted)}


def _token_for_code(published: Published) -> str | None:
    """The token, where the code that is going to run is by who owns the token."""
    hub = published.hub
    if not hub.token:
        return None
    me = hub.call(published.repo, lambda: hub.api.whoami())
    names = {me.get("name"), *(each.get("name") for each in me.get("orgs") or [])}
    return hub.token if published.repo.split("/")[0] in names else None
