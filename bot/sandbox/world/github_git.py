"""GitHub's Git data: trees, commits and references, as a client makes a branch without a clone."""

import hashlib
from typing import Any

from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.github_shapes import blob_sha, node_id, tree_sha
from bot.sandbox.world.github_shared import Call, GithubError, Json, Reply
from bot.sandbox.world.github_store import Commit, Repository

MODES = {"100644", "100755", "040000", "160000", "120000"}


def files_of(repository: Repository, sha: str) -> dict[str, str] | None:
    """The files of a tree, or of a commit or branch; None when there is no such thing."""
    if sha in repository.trees:
        return repository.trees[sha]
    commit = repository.commit(sha)
    if commit is not None:
        return commit.files
    known = [*repository.commits, *repository.loose.values()]
    return next((c.files for c in known if tree_sha(c.files) == sha), None)


def get_tree(api: Any, call: Call) -> Reply:
    files = files_of(call.repository, call.parts["sha"])
    if files is None:
        raise GithubError(404, "Not Found")
    return 200, tree_body(api, call.repository, files), {}


def tree_body(api: Any, repository: Repository, files: dict[str, str]) -> Json:
    url = f"{api.shapes.repository_url(repository)}/git"
    rows: list[Json] = [
        {
            "path": path,
            "mode": "100644",
            "type": "blob",
            "sha": blob_sha(text),
            "size": len(text.encode()),
            "url": f"{url}/blobs/{blob_sha(text)}",
        }
        for path, text in sorted(files.items())
    ]
    folders = {path.rpartition("/")[0] for path in files} - {""}
    for folder in sorted(folders):
        inside = {p: t for p, t in files.items() if p.startswith(folder + "/")}
        rows.append({"path": folder, "mode": "040000", "type": "tree", "sha": tree_sha(inside)})
    sha = tree_sha(files)
    return {"sha": sha, "url": f"{url}/trees/{sha}", "tree": rows, "truncated": False}


def post_tree(api: Any, call: Call) -> Reply:
    """A tree on top of another one; a blob must be one that the repository has."""
    base = call.body.get("base_tree")
    files = dict(files_of(call.repository, str(base)) or {}) if base else {}
    if base and not files:
        raise GithubError(422, "base_tree is not a valid tree oid")
    blobs = {
        blob_sha(text): text
        for c in [*call.repository.commits, *call.repository.loose.values()]
        for text in c.files.values()
    }
    entries = call.body.get("tree")
    if not isinstance(entries, list) or not entries:
        raise GithubError(422, "Invalid tree info")
    for entry in entries:
        if entry.get("mode") not in MODES or not entry.get("path"):
            raise GithubError(422, "tree.mode is not valid")
        if "sha" in entry and entry["sha"] is None:
            files.pop(entry["path"], None)
        elif "content" in entry:
            files[entry["path"]] = entry["content"]
        elif entry.get("sha") in blobs:
            files[entry["path"]] = blobs[entry["sha"]]
        else:
            raise GithubError(422, f"tree.sha {entry.get('sha')} is not a valid blob")
    call.repository.trees[tree_sha(files)] = files
    return 201, tree_body(api, call.repository, files), {}


def post_commit(api: Any, call: Call) -> Reply:
    files = files_of(call.repository, str(call.body.get("tree", "")))
    parents = call.body.get("parents") or []
    if files is None or any(call.repository.commit(str(p)) is None for p in parents):
        raise GithubError(422, "Tree SHA does not exist" if files is None else "Parent SHA does not exist")
    message, now = str(call.body.get("message", "")), api.clock()
    text = f"{message}/{sorted(files.items())}/{parents}/{now}"
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    made = Commit(sha, message, "codehealer", now, files, str(parents[0]) if parents else "")
    call.repository.loose[sha] = made
    return 201, git_commit(api, call.repository, made), {}


def git_commit(api: Any, repository: Repository, commit: Commit) -> Json:
    url = f"{api.shapes.repository_url(repository)}/git"
    person = {"name": commit.author, "email": f"{commit.author}@acme.example", "date": rfc3339(commit.at)}
    page = f"{api.shapes.html}/{repository.name}/commit"
    parents = [{"sha": p, "url": f"{url}/commits/{p}", "html_url": f"{page}/{p}"} for p in [commit.parent] if p]
    tree = tree_sha(commit.files)
    return {
        "sha": commit.sha,
        "node_id": node_id("C", commit.sha),
        "url": f"{url}/commits/{commit.sha}",
        "html_url": f"{page}/{commit.sha}",
        "author": person,
        "committer": person,
        "message": commit.message,
        "tree": {"sha": tree, "url": f"{url}/trees/{tree}"},
        "parents": parents,
        "verification": {
            "verified": False,
            "reason": "unsigned",
            "signature": None,
            "payload": None,
            "verified_at": None,
        },
    }


def reference(api: Any, repository: Repository, name: str, sha: str) -> Json:
    url = f"{api.shapes.repository_url(repository)}/git"
    return {
        "ref": f"refs/heads/{name}",
        "node_id": node_id("REF", name),
        "url": f"{url}/refs/heads/{name}",
        "object": {"sha": sha, "type": "commit", "url": f"{url}/commits/{sha}"},
    }


def sha_of(repository: Repository, name: str) -> str:
    return repository.head.sha if name == "main" else repository.branches.get(name, "")


def get_ref(api: Any, call: Call) -> Reply:
    sha = sha_of(call.repository, call.parts["name"])
    if not sha:
        raise GithubError(404, "Not Found")
    return 200, reference(api, call.repository, call.parts["name"], sha), {}


def post_ref(api: Any, call: Call) -> Reply:
    name, sha = str(call.body.get("ref", "")).removeprefix("refs/heads/"), str(call.body.get("sha", ""))
    if sha_of(call.repository, name):
        raise GithubError(422, "Reference already exists")
    if call.repository.commit(sha) is None:
        raise GithubError(422, "Object does not exist")
    call.repository.branches[name] = sha
    return 201, reference(api, call.repository, name, sha), {}


def delete_ref(_: Any, call: Call) -> Reply:
    if call.parts["name"] == "main" or call.repository.branches.pop(call.parts["name"], None) is None:
        raise GithubError(422, "Reference does not exist")
    return 204, None, {}


GIT_ROUTES = (
    ("GET", r"git/trees/(?P<sha>[^/]+)", get_tree),
    ("POST", r"git/trees", post_tree),
    ("POST", r"git/commits", post_commit),
    ("GET", r"git/ref/heads/(?P<name>.+)", get_ref),
    ("POST", r"git/refs", post_ref),
    ("DELETE", r"git/refs/heads/(?P<name>.+)", delete_ref),
)
