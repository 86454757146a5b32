"""Uploads one folder as one Hub repository, or all folders of a release with a collection of them.

Shows first what would be done; does it with --yes. A repository stays private until --public, a dataset is gated until
--no-gate, and nothing is deleted without --prune. Only what the Hub has not, or has otherwise, is uploaded, in commits
of bounded size; the card comes with the last of them. The token is that of `hf auth login` or of HF_TOKEN.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cards.hub import TRIES, Hub, MovedError, Remote, say, url_of
from cards.kinds import RELEASE, header_word, loaded
from cards.reading import CardError
from cards.tables import size
from cards.targets import Target, targets_of

_COLLECTION = "MIS"
_COMMIT_FILES = 50
_COMMIT_BYTES = 10**9


class Changes(NamedTuple):
    """What there is to do, by paths.

    Attributes:
        add: not on the Hub.
        replace: with other bytes there.
        same: there already.
        remove: there and not in the folder, with --prune.
        left: there and not in the folder, without.
    """

    add: tuple[str, ...]
    replace: tuple[str, ...]
    same: tuple[str, ...]
    remove: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.add or self.replace or self.remove)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of one repository, or of a release")
    parser.add_argument("repo", metavar="REPO", help=f"OWNER/NAME; OWNER alone where FOLDER holds {RELEASE}")
    parser.add_argument("--yes", action="store_true", help="do what is shown")
    parser.add_argument("--public", action="store_true", help="everybody may see it, once all of it is there")
    parser.add_argument("--no-gate", action="store_true", help="readers of a dataset need not ask for access")
    parser.add_argument("--no-tag", action="store_true", help="set no tag, as for a card that was only reworded")
    parser.add_argument("--prune", action="store_true", help="delete what is on the Hub and not in FOLDER")
    parser.add_argument("--message", help="of the commits (MIS: KIND and version)")
    parser.add_argument(
        "--commit-files", type=_positive, default=_COMMIT_FILES, help="at most so many files a commit (%(default)s)"
    )
    parser.add_argument(
        "--tries", type=_positive, default=TRIES, help="of a request that fails, before giving up (%(default)s)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Shows what would be uploaded and, with ``--yes``, does it.

    Args:
        args: as `add_arguments` has them.

    Returns:
        What was pushed, for the line on stdout; ``"pushed": False`` where it was only shown.

    Raises:
        CardError: a folder is not as its kind has to be, or the Hub refuses. What is there stays there; the same
            command goes on.
        OSError: a file cannot be read.
    """
    release = (args.folder / RELEASE).is_file()
    targets = targets_of(args.folder, args.repo)
    hub = Hub(args.tries)
    for target in targets:
        _show(hub, target, args)
    if not args.yes:
        say("Nothing was uploaded; the same command with --yes does it.")
    pushed = [_push(hub, target, args) if args.yes else _told(hub, target) for target in targets]
    if not release:
        return {**pushed[0], "pushed": args.yes}
    collection = _collect(hub, args.repo, targets, args.public) if args.yes else None
    return {"owner": args.repo, "repositories": pushed, "collection": collection, "pushed": args.yes}


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected a whole number from 1 on")
    return number


def _show(hub: Hub, target: Target, args: argparse.Namespace) -> None:
    """What would be done, on stderr; refuses what must not be done."""
    remote = hub.look(target.repo, target.repo_type)
    changes = _changes(target, remote, args.prune)
    _refuse(hub, target, remote, changes, args)
    state = "is there" if remote else "is created"
    public = args.public or (remote and not remote.private)
    gate = _gate(target, remote, args)
    gated = (remote.gated if remote else False) if gate is None else gate
    say(
        f"{target.repo}: {target.kind.name}, {state}; {'public' if public else 'private'}"
        f"{', readers ask for access' if gated else ''}"
    )
    for word, paths in changes._asdict().items():
        for path in paths:
            local = target.folder / path
            held = local.stat().st_size if word in ("add", "replace", "same") else remote.files[path].size  # type: ignore[union-attr]
            say(f"  {word:8}{path}  {_size(held)}")
    sent = [target.folder / path for path in (*changes.add, *changes.replace)]
    total = sum(path.stat().st_size for path in sent)
    tag = "" if args.no_tag or not target.tag else f"; tag {target.tag}"
    say(f"  {len(sent)} files to upload, {_size(total)}; {len(changes.same)} there already{tag}")


def _size(count: int) -> str:
    return size(count) if count >= 10_000 else f"{count} bytes"


def _changes(target: Target, remote: Remote | None, prune: bool) -> Changes:
    held = remote.files if remote else {}
    add = tuple(path for path in target.paths if path not in held)
    replace = tuple(path for path in target.paths if path in held and not held[path].same(target.folder / path))
    same = tuple(path for path in target.paths if path in held and path not in replace)
    extra = tuple(sorted(set(held) - set(target.paths)))
    return Changes(add, replace, same, extra if prune else (), () if prune else extra)


def _refuse(hub: Hub, target: Target, remote: Remote | None, changes: Changes, args: argparse.Namespace) -> None:
    if remote is None:
        return
    if not remote.private and not args.public:
        raise CardError(f"{target.repo} is public; give --public, or make it private on its page first")
    stray = [path for path in changes.left if loaded(path)]
    if stray:
        raise CardError(
            f"{target.repo} holds {', '.join(stray)}, not in {target.folder}, which would be loaded with the rest; "
            "--prune deletes what the folder has not"
        )
    tagged = None if args.no_tag or not target.tag else remote.tags.get(target.tag)
    if tagged and not (tagged == remote.commit and not changes.any):
        _refuse_tag(hub, target, tagged)


def _refuse_tag(hub: Hub, target: Target, tagged: str) -> None:
    """That a tag of this version, whoever made it, stands for these files."""
    files = hub.files(target.repo, target.repo_type, tagged)
    other = [path for path in target.paths if path not in files or not files[path].same(target.folder / path)]
    if other:
        raise CardError(
            f"{target.repo}: version {target.tag} is a tag of commit {tagged[:7]} already, with other "
            f"{', '.join(other)}; raise the version, or give --no-tag where what it stands for is the same"
        )


def _gate(target: Target, remote: Remote | None, args: argparse.Namespace) -> str | bool | None:
    """What gating to set; None where it stays."""
    gated = remote.gated if remote else False
    if args.no_gate:
        return False if gated else None
    return "manual" if target.kind.gated and not gated else None


def _push(hub: Hub, target: Target, args: argparse.Namespace) -> dict[str, Any]:
    """Creates, fills, checks, tags and, at last, publishes one repository."""
    remote = hub.look(target.repo, target.repo_type) or _create(hub, target)
    _refuse(hub, target, remote, _changes(target, remote, args.prune), args)  # once more: others may have been there
    _settings(hub, target, gated=_gate(target, remote, args))
    remote, uploaded, commits = _upload(hub, target, args)
    _compare(target, remote)
    tag = None if args.no_tag else _tag(hub, target, remote)
    if args.public and remote.private:
        _settings(hub, target, visibility="public")
    say(f"{target.repo}: {len(target.paths)} files are there, of which {uploaded} were uploaded; all hashes agree")
    return {
        **_told(hub, target),
        "files": len(target.paths),
        "uploaded": uploaded,
        "commits": commits,
        "commit": remote.commit,
        "tag": tag,
        "public": args.public,
        "passed": True,
    }


def _told(hub: Hub, target: Target) -> dict[str, Any]:
    url = url_of(hub.endpoint, target.repo, target.repo_type)
    return {"repo": target.repo, "kind": target.kind.name, "url": url}


def _create(hub: Hub, target: Target) -> Remote:
    sdk = header_word(target.folder, "sdk") if target.repo_type == "space" else None
    create = hub.api.create_repo
    hub.call(
        target.repo,
        lambda: create(target.repo, repo_type=target.repo_type, private=True, exist_ok=True, space_sdk=sdk),
    )
    remote = hub.look(target.repo, target.repo_type)
    if remote is None:
        raise CardError(f"{target.repo}: was created and is not there; run the same command again")
    return remote


def _settings(hub: Hub, target: Target, gated: Any = None, visibility: Any = None) -> None:
    """Sets what is not None."""
    if gated is None and visibility is None:
        return
    settings = hub.api.update_repo_settings
    hub.call(
        target.repo,
        lambda: settings(target.repo, repo_type=target.repo_type, gated=gated, visibility=visibility),
    )


def _upload(hub: Hub, target: Target, args: argparse.Namespace) -> tuple[Remote, int, int]:
    """Commits what differs; returns the repository then, how many files were uploaded, and in how many commits."""
    message = args.message or f"MIS: {target.kind.name}{' ' + target.tag if target.tag else ''}"
    uploaded = commits = 0
    for _ in range(args.tries):
        remote = hub.look(target.repo, target.repo_type)
        if remote is None:
            raise CardError(f"{target.repo}: is gone; run the same command again")
        changes, head = _changes(target, remote, args.prune), remote.commit
        _refuse(hub, target, remote, changes, args)  # once more: others may have been there since it was shown
        if not changes.any:
            return remote, uploaded, commits
        try:
            for paths, removed in _batches(target, changes, args.commit_files):
                head = _commit(hub, target, paths, removed, head, message)
                uploaded, commits = uploaded + len(paths), commits + 1
        except MovedError:
            # By somebody else, or by ourselves, where the Hub's answer to a commit was lost.
            say(f"{target.repo}: has another last commit now; looking again")
            continue
        files = hub.files(target.repo, target.repo_type, head)
        return remote._replace(commit=head, files=files), uploaded, commits
    raise CardError(f"{target.repo}: somebody else commits to it all the time; run the same command later, it goes on")


def _batches(target: Target, changes: Changes, most: int) -> Iterator[tuple[list[str], Sequence[str]]]:
    """Paths of each commit, the card in the last one, and what that one deletes."""
    sent = [path for path in target.paths if path in {*changes.add, *changes.replace}]
    batches: list[list[str]] = [[]]
    room = _COMMIT_BYTES
    for path in sent:
        weight = (target.folder / path).stat().st_size
        if batches[-1] and (weight > room or len(batches[-1]) == most):
            batches.append([])
            room = _COMMIT_BYTES
        batches[-1].append(path)
        room -= weight
    for number, batch in enumerate(batches, start=1):
        yield batch, changes.remove if number == len(batches) else ()


def _commit(hub: Hub, target: Target, paths: Sequence[str], removed: Sequence[str], head: str, message: str) -> str:
    """One commit on top of `head`; returns its hash."""
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    added = [CommitOperationAdd(path, target.folder / path) for path in paths]
    repo, repo_type = target.repo, target.repo_type
    preupload, create = hub.api.preupload_lfs_files, hub.api.create_commit
    # It tries again itself; what it has uploaded is not sent again.
    hub.call(repo, lambda: preupload(repo, added, repo_type=repo_type, free_memory=False), tries=1)
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [*added]
    operations += [CommitOperationDelete(path, is_folder=False) for path in removed]
    made = hub.call(
        repo,
        lambda: create(repo, operations, commit_message=message, repo_type=repo_type, parent_commit=head),
    )
    say(f"{repo}: commit {made.oid[:7]}, {len(paths)} files")
    return str(made.oid)


def _compare(target: Target, remote: Remote) -> None:
    """Holds every file on the Hub against the folder."""
    wrong = [
        f"{path} {'differs' if path in remote.files else 'is missing'}"
        for path in target.paths
        if path not in remote.files or not remote.files[path].same(target.folder / path)
    ]
    if wrong:
        raise CardError(
            f"{target.repo} at {remote.commit[:7]} is not what {target.folder} holds: {', '.join(wrong)}; run the same "
            "command again, and where that does not help delete these on the Hub first"
        )


def _tag(hub: Hub, target: Target, remote: Remote) -> str | None:
    if target.tag is None:
        return None
    tagged = remote.tags.get(target.tag)
    if tagged:
        if tagged != remote.commit:  # somebody may have made it since `_refuse` has looked
            _refuse_tag(hub, target, tagged)
        return target.tag
    create = hub.api.create_tag
    hub.call(
        target.repo,
        # Not another's: somebody else may have made it since it was looked for, and that is an error (409).
        lambda: create(target.repo, tag=str(target.tag), revision=remote.commit, repo_type=target.repo_type),
    )
    return target.tag


def _collect(hub: Hub, owner: str, targets: Sequence[Target], public: bool) -> str:
    """Makes the collection, or adds what it lacks; returns its address on the Hub."""
    api = hub.api
    found = hub.call(owner, lambda: [each for each in api.list_collections(owner=owner) if each.title == _COLLECTION])
    if found:
        slug = found[0].slug
    else:
        create = api.create_collection
        slug = hub.call(owner, lambda: create(_COLLECTION, namespace=owner, private=not public, exists_ok=True)).slug
    collection = hub.call(slug, lambda: api.get_collection(slug))
    there = {(entry.item_type, entry.item_id) for entry in collection.items}
    for target in targets:
        if (target.repo_type, target.repo) not in there:
            _add(hub, slug, target)
    if public and collection.private:
        hub.call(slug, lambda: api.update_collection_metadata(slug, private=False))
    say(f"{slug}: a collection of {len(targets)} repositories")
    return str(slug)


def _add(hub: Hub, slug: str, target: Target) -> None:
    add = hub.api.add_collection_item
    hub.call(target.repo, lambda: add(slug, target.repo, target.repo_type, exists_ok=True))  # type: ignore[arg-type]
