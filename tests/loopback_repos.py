"""Repositories of a Hub on loopback, in memory: commits, tags, LFS, and what the Hub's API says of them.

Source of keys: huggingface_hub 2.4.0, `hf_api.py`, `lfs.py` and `_commit_api.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_LARGE = (".parquet", ".safetensors", ".png")
"""What goes to LFS."""
_TIME = "2026-11-27T00:00:00.000Z"


class Blob(NamedTuple):
    """A file at a commit.

    Attributes:
        body: its bytes.
        lfs: whether it lies in LFS.
    """

    body: bytes
    lfs: bool

    @property
    def git(self) -> str:
        """Git's sha1 of it, or of its pointer."""
        body = self.body
        if self.lfs:
            body = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(body)}\nsize {len(body)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()

    @property
    def etag(self) -> str:
        """What a download calls it by, and a second upload is compared with."""
        return sha256(self.body) if self.lfs else self.git

    def entry(self, path: str) -> dict[str, Any]:
        """One line of a tree."""
        told: dict[str, Any] = {"type": "file", "path": path, "size": len(self.body), "oid": self.git}
        return told | ({"lfs": {"oid": self.etag, "size": len(self.body), "pointerSize": 130}} if self.lfs else {})


class Commit(NamedTuple):
    """One commit.

    Attributes:
        oid: its hash.
        summary: its message.
        files: path -> file.
    """

    oid: str
    summary: str
    files: dict[str, Blob]


@dataclass
class Repo:
    """One repository.

    Attributes:
        id: OWNER/NAME.
        type: "models", "datasets" or "spaces".
        private: whether only its owner sees it.
        gated: False, "auto" or "manual".
        sdk: of a Space.
        commits: from the first on.
        tags: name -> commit.
    """

    id: str
    type: str
    private: bool = False
    gated: Any = False
    sdk: str | None = None
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.commits:
            self.add("initial commit", {".gitattributes": Blob(b"*.parquet filter=lfs\n", False)})

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self.id.split("/")[0]

    @property
    def head(self) -> Commit:
        """The last commit of main."""
        return self.commits[-1]

    @property
    def bodies(self) -> dict[str, bytes]:
        """What it holds at last, without what the Hub puts there."""
        return {path: blob.body for path, blob in self.head.files.items() if path != ".gitattributes"}

    def add(self, summary: str, files: dict[str, Blob]) -> Commit:
        """Commits a whole tree."""
        words = json.dumps([self.id, len(self.commits), summary, sorted((p, b.git) for p, b in files.items())])
        commit = Commit(hashlib.sha1(words.encode()).hexdigest(), summary, files)
        self.commits.append(commit)
        return commit

    def put(self, path: str, body: bytes) -> None:
        """Commits one file, as somebody else would."""
        self.add(f"somebody's {path}", {**self.head.files, path: Blob(body, path.endswith(_LARGE))})

    def at(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag or a hash."""
        oid = self.head.oid if revision == "main" else self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit.oid == oid), None)

    def info(self, commit: Commit) -> dict[str, Any]:
        """What is said of it."""
        siblings = [{"rfilename": path} for path in commit.files]
        told = {"_id": "1", "id": self.id, "author": self.owner, "sha": commit.oid, "lastModified": _TIME}
        return {
            **told,
            "createdAt": _TIME,
            "private": self.private,
            "gated": self.gated,
            "disabled": False,
            "tags": [],
            "siblings": siblings,
            "sdk": self.sdk,
        }

    def tree(self, commit: Commit, folder: str, deep: bool) -> list[dict[str, Any]] | None:
        """Files and folders below a folder; None where there is none."""
        prefix = f"{folder}/" if folder else ""
        below = {path: blob for path, blob in commit.files.items() if path.startswith(prefix)}
        if not below and folder:
            return None
        folders = {path[len(prefix) :].rsplit("/", 1)[0] for path in below if "/" in path[len(prefix) :]}
        shown = sorted(folders) if deep else sorted({name.split("/")[0] for name in folders})
        entries: list[dict[str, Any]] = [
            {"type": "directory", "path": prefix + name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
            for name in shown
        ]
        files = [(path, blob) for path, blob in below.items() if deep or "/" not in path[len(prefix) :]]
        return entries + [blob.entry(path) for path, blob in sorted(files)]

    def preupload(self, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """How each file is to be uploaded, and what is there."""
        there = self.head.files
        return [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LARGE) else "regular",
                "shouldIgnore": False,
                **({"oid": there[file["path"]].etag} if file["path"] in there else {}),
            }
            for file in files
        ]

    def commit(self, lines: list[dict[str, Any]], stored: dict[str, bytes]) -> Commit | str:
        """Commits what was sent; what is wrong with it where it cannot be."""
        files, header = dict(self.head.files), lines[0]["value"]
        if header.get("parentCommit", self.head.oid) != self.head.oid:
            return "parent"
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in stored:
                    return f"no object {value['oid']}"
                files[value["path"]] = Blob(stored[value["oid"]], True)
            else:
                del files[value["path"]]
        return self.add(header["summary"], files)

    def export(self, folder: Path) -> None:
        """Writes it as a git repository, for a Hub that somebody else made."""
        folder.mkdir(parents=True)
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder)]
        subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
        for path, body in self.bodies.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(body)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "exported"], check=True)


def sha256(body: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()
