"""What a Hub on loopback answers to each request of `push`, `verify` and the libraries that load what was published.

Source of paths and keys: huggingface_hub 2.4.0, `hf_api.py`, `lfs.py`, `_commit_api.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from tests.loopback_repos import Commit, Repo, sha256

ME, READER, OTHER = ("hf_" + word * 6 for word in ("Writes", "Reads1", "Others"))
"""Tokens: of `me` with write access, of `me` without, of somebody else; found at once wherever they should not be."""
USERS = {ME: ("me", "write"), READER: ("me", "read"), OTHER: ("other", "write")}
_TYPES = "models|datasets|spaces"
_API = rf"/api/(?P<type>{_TYPES})/(?P<repo>[^/]+/[^/]+)"


class Reply(NamedTuple):
    """What is sent."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it


@dataclass
class Fault:
    """What goes wrong.

    Attributes:
        method: of the request.
        path: a pattern that its path holds.
        how: a status; ``"drop"``: the connection ends midway through what is sent; ``"lost"``: it is done, and the
            connection ends instead of an answer; ``"moved"``: somebody else commits before; ``"other bytes"`` are
            kept of what is sent; ``"hold"``: it waits until it is let go on.
        times: how often; then it goes well.
        headers: that go with a status.
    """

    method: str
    path: str
    how: str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Held:
    """What a Hub holds.

    Attributes:
        repos: (type, id) -> repository.
        objects: sha256 -> bytes that were uploaded to LFS.
        collections: slug -> collection.
        url: its address.
    """

    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""


class Call(NamedTuple):
    """A request.

    Attributes:
        parts: of its path.
        asked: after the question mark.
        body: what was sent.
        token: without "Bearer".
        method: such as "GET".
        fault: of what it does.
    """

    parts: dict[str, str]
    asked: dict[str, list[str]]
    body: bytes
    token: str
    method: str
    fault: Fault | None

    @property
    def json(self) -> Any:
        """What was sent, read."""
        return json.loads(self.body)

    @property
    def user(self) -> str:
        """Whose token it is."""
        return USERS[self.token][0] if self.token else ""


def _json(content: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _refused(status: int, code: str, call: Call) -> Reply:
    # A Hub that tells what it was given, which no message of ours may repeat.
    return Reply(status, b"{}", {"X-Error-Code": code, "X-Error-Message": f"Bearer {call.token} is not allowed"})


def _seen(hub: Held, call: Call) -> Repo | Reply:
    """The repository of a request, where its token may see it."""
    kind = (call.parts.get("type") or "models").strip("/")
    repo = hub.repos.get((kind, call.parts["repo"]))
    if repo is None or (repo.private and repo.owner != call.user):
        return _refused(404 if call.token else 401, "RepoNotFound", call)
    return repo


def _mine(hub: Held, call: Call) -> Repo | Reply:
    """The same, where its token may write."""
    repo = _seen(hub, call)
    if isinstance(repo, Repo) and (repo.owner != call.user or USERS[call.token][1] != "write"):
        return _refused(403 if call.token else 401, "", call)
    return repo


def _whoami(hub: Held, call: Call) -> Reply:
    if not call.token:
        return Reply(401, b"{}")
    return _json({"type": "user", "name": call.user, "fullname": call.user, "orgs": []})


def _create(hub: Held, call: Call) -> Reply:
    told = call.json
    if not call.token:
        return Reply(401, b"{}")
    if told["organization"] != call.user or USERS[call.token][1] != "write":
        return _refused(403, "", call)
    kind, repo = f"{told.get('type', 'model')}s", f"{told['organization']}/{told['name']}"
    url = f"{hub.url}/{'' if kind == 'models' else kind + '/'}{repo}"
    if (kind, repo) in hub.repos:
        return _json({"url": url, "error": "You already created this repo"}, 409)
    private = told.get("visibility") == "private"
    hub.repos[kind, repo] = Repo(repo, kind, private=private, sdk=told.get("sdk"))
    return _json({"url": url})


def _settings(hub: Held, call: Call) -> Reply:
    repo = _mine(hub, call)
    if isinstance(repo, Repo):
        repo.gated = call.json.get("gated", repo.gated)
        repo.private = call.json.get("visibility", "private" if repo.private else "public") == "private"
    return repo if isinstance(repo, Reply) else _json({})


def _validate(hub: Held, call: Call) -> Reply:
    if "not: [valid" in call.json["content"]:
        return _json({"errors": [{"message": f"bad YAML, {call.token}"}], "warnings": []}, 400)
    return _json({"errors": [], "warnings": []})


def _preupload(hub: Held, call: Call) -> Reply:
    repo = _mine(hub, call)
    return repo if isinstance(repo, Reply) else _json({"files": repo.preupload(call.json["files"])})


def _batch(hub: Held, call: Call) -> Reply:
    repo = _mine(hub, call)
    if isinstance(repo, Reply):
        return repo
    told = []
    for wanted in call.json["objects"]:
        href = {"href": f"{hub.url}/lfs/{wanted['oid']}"}
        actions = {"upload": href, "verify": {"href": f"{hub.url}/lfs-verify/{wanted['oid']}"}}
        told.append({**wanted, **({} if wanted["oid"] in hub.objects else {"actions": actions})})
    return _json({"transfer": "basic", "objects": told})


def _store(hub: Held, call: Call) -> Reply:
    other = call.fault is not None and call.fault.how == "other bytes"
    if not other and sha256(call.body) != call.parts["oid"]:
        return Reply(400, b"other bytes")
    hub.objects[call.parts["oid"]] = call.body[::-1] if other else call.body
    return Reply(200)


def _stored(hub: Held, call: Call) -> Reply:
    return _json({}, 200 if call.parts["oid"] in hub.objects else 404)


def _commit(hub: Held, call: Call) -> Reply:
    repo = _mine(hub, call)
    if isinstance(repo, Reply):
        return repo
    if call.fault and call.fault.how == "moved":
        repo.put("somebody.txt", b"%d" % len(repo.commits))
    made = repo.commit([json.loads(line) for line in call.body.splitlines()], hub.objects)
    if not isinstance(made, Commit):
        return _json({"error": made}, 412 if made == "parent" else 400)
    return _json({"commitOid": made.oid, "commitUrl": f"{hub.url}/{repo.type}/{repo.id}/commit/{made.oid}"})


def _info(hub: Held, call: Call) -> Reply:
    repo = _seen(hub, call)
    if isinstance(repo, Reply):
        return repo
    commit = repo.at(call.parts.get("rev") or "main")
    return _json(repo.info(commit)) if commit else _refused(404, "RevisionNotFound", call)


def _tree(hub: Held, call: Call) -> Reply:
    repo = _seen(hub, call)
    commit = repo if isinstance(repo, Reply) else repo.at(call.parts["rev"])
    if isinstance(repo, Reply) or commit is None or isinstance(commit, Reply):
        return repo if isinstance(repo, Reply) else _refused(404, "RevisionNotFound", call)
    deep = call.asked.get("recursive", [""])[0].lower() == "true"
    entries = repo.tree(commit, call.parts.get("folder") or "", deep)
    return _refused(404, "EntryNotFound", call) if entries is None else _json(entries)


def _paths(hub: Held, call: Call) -> Reply:
    repo = _seen(hub, call)
    commit = None if isinstance(repo, Reply) else repo.at(call.parts["rev"])
    if isinstance(repo, Reply) or commit is None:
        return repo if isinstance(repo, Reply) else _refused(404, "RevisionNotFound", call)
    paths = parse_qs(call.body.decode()).get("paths", [])
    folders = [path for path in paths if path not in commit.files and repo.tree(commit, path, False)]
    told = [commit.files[path].entry(path) for path in paths if path in commit.files]
    return _json(told + [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders])


def _refs(hub: Held, call: Call) -> Reply:
    repo = _seen(hub, call)
    if isinstance(repo, Reply):
        return repo
    tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repo.tags.items()]
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head.oid}
    return _json({"branches": [main], "converts": [], "tags": tags})


def _tag(hub: Held, call: Call) -> Reply:
    repo = _mine(hub, call)
    if isinstance(repo, Reply):
        return repo
    commit, name = repo.at(call.parts["rev"]), call.json["tag"]
    if commit is None or name in repo.tags:
        return _refused(409 if commit else 404, "" if commit else "RevisionNotFound", call)
    repo.tags[name] = commit.oid
    return _json({})


def _resolve(hub: Held, call: Call) -> Reply:
    repo = _seen(hub, call)
    if isinstance(repo, Reply):
        return repo
    if repo.gated and repo.owner != call.user:
        return _refused(403 if call.token else 401, "GatedRepo", call)
    commit = repo.at(call.parts["rev"])
    if commit is None:
        return _refused(404, "RevisionNotFound", call)
    blob = commit.files.get(call.parts["path"])
    if blob is None:
        return Reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit.oid})
    linked = {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.body))} if blob.lfs else {}
    return Reply(200, blob.body, {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit.oid, **linked})


def _collections(hub: Held, call: Call) -> Reply:
    if call.method == "GET":
        owner = call.asked.get("owner", [""])[0]
        shown = [each for each in hub.collections.values() if each["owner"] == owner]
        return _json([{key: value for key, value in each.items() if key != "position"} for each in shown])
    told = call.json
    slug = f"{told['namespace']}/{told['title'].lower()}-{len(hub.collections)}"
    hub.collections[slug] = {
        "slug": slug,
        "title": told["title"],
        "owner": told["namespace"],
        "items": [],
        "lastUpdated": "2026-11-27T00:00:00.000Z",
        "position": 0,
        "private": told["private"],
        "theme": "blue",
        "upvotes": 0,
    }
    return _json(hub.collections[slug])


def _collection(hub: Held, call: Call) -> Reply:
    collection = hub.collections[call.parts["slug"]]
    if call.method == "PATCH":
        collection |= {key: value for key, value in call.json.items() if key in ("private", "title")}
    return _json({"data": collection} if call.method == "PATCH" else collection)


def _collected(hub: Held, call: Call) -> Reply:
    collection, entry = hub.collections[call.parts["slug"]], call.json["item"]
    collection["items"].append({"_id": str(len(collection["items"])), "position": 0, **entry})
    return _json(collection)


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/api/whoami-v2", _whoami),
    ("POST", "/api/repos/create", _create),
    ("POST", "/api/validate-yaml", _validate),
    ("GET POST", "/api/collections", _collections),
    ("POST", r"/api/collections/(?P<slug>[^/]+/[^/]+)/items", _collected),
    ("GET PATCH", r"/api/collections/(?P<slug>[^/]+/[^/]+)", _collection),
    ("PUT", rf"{_API}/settings", _settings),
    ("POST", rf"{_API}/preupload/(?P<rev>[^/]+)", _preupload),
    ("POST", rf"{_API}/commit/(?P<rev>[^/]+)", _commit),
    ("GET", rf"{_API}/refs", _refs),
    ("POST", rf"{_API}/tag/(?P<rev>[^/]+)", _tag),
    ("GET", rf"{_API}/tree/(?P<rev>[^/]+)(/(?P<folder>.+))?", _tree),
    ("POST", rf"{_API}/paths-info/(?P<rev>[^/]+)", _paths),
    ("GET", rf"{_API}(/revision/(?P<rev>[^/]+))?", _info),
    ("POST", r"/((?P<type>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", _batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", _store),
    ("POST", "/lfs-verify/(?P<oid>[0-9a-f]{64})", _stored),
    ("GET HEAD", r"/((?P<type>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)", _resolve),
]
