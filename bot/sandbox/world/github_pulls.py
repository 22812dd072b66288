"""GitHub's pull requests: opened and closed through the API, merged there or by a person on the request's page."""

import html
from typing import Any

from aiohttp import web

from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.github_shapes import node_id
from bot.sandbox.world.github_shared import Call, GithubError, Json, Reply, paged
from bot.sandbox.world.github_store import Commit, Pull, Repository

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title} · pull request {number}</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ background: #f6f8fa; padding: 1rem; overflow: auto }}
form {{ display: inline }} button {{ font: inherit; padding: .4rem 1rem; margin-right: .5rem }}
</style>
<h1>{title} <small>#{number}</small></h1>
<p>{repository}: <code>{branch}</code> into <code>main</code>. It is {state}.</p>
<pre>{body}</pre><pre>{diff}</pre>{buttons}</html>
"""
BUTTONS = """<form method="post" action="{number}/merge"><button{off}>Merge pull request</button></form>
<form method="post" action="{number}/close"><button>Close pull request</button></form>"""


def head_of(repository: Repository, pull: Pull) -> Commit | None:
    return repository.commit(repository.branches.get(pull.branch, "") or "-")


def changes(repository: Repository, pull: Pull) -> tuple[dict[str, str], frozenset[str]]:
    """(files that it writes, files that it deletes)."""
    head, base = head_of(repository, pull), repository.commit(pull.base_sha)
    if head is None or base is None:
        return {}, frozenset()
    written = {path: text for path, text in head.files.items() if base.files.get(path) != text}
    return written, frozenset(base.files.keys() - head.files.keys())


def mergeable(repository: Repository, pull: Pull) -> bool:
    """No file that it changes was changed on main since it was made."""
    written, gone = changes(repository, pull)
    base, main = repository.commit(pull.base_sha), repository.head
    return base is not None and all(base.files.get(p) == main.files.get(p) for p in [*written, *gone])


def body_of(api: Any, repository: Repository, pull: Pull) -> Json:
    """The pull request in GitHub's shape, without what nobody here reads."""
    url, page = api.shapes.repository_url(repository), f"{api.shapes.html}/{repository.name}/pull/{pull.number}"
    bot, head = api.shapes.user("codehealer", "Bot"), repository.branches.get(pull.branch, "")
    moment = rfc3339(pull.created_at)
    owner, full = api.shapes.user("acme", "Organization"), api.shapes.repository(repository)
    here = f"{url}/pulls/{pull.number}"
    is_open = pull.state == "open"
    return {
        "id": repository.id * 1000 + pull.number,
        "node_id": node_id("PR", pull.number),
        "number": pull.number,
        "url": here,
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "issue_url": f"{url}/issues/{pull.number}",
        "commits_url": f"{here}/commits",
        "review_comments_url": f"{here}/comments",
        "review_comment_url": f"{url}/pulls/comments{{/number}}",
        "comments_url": f"{url}/issues/{pull.number}/comments",
        "statuses_url": f"{url}/statuses/{head}",
        "_links": {
            name: {"href": f"{here}/{name}"}
            for name in (
                "comments",
                "commits",
                "statuses",
                "html",
                "issue",
                "review_comments",
                "review_comment",
                "self",
            )
        },
        "state": pull.state,
        "locked": False,
        "title": pull.title,
        "body": pull.body,
        "user": bot,
        "labels": [],
        "milestone": None,
        "active_lock_reason": None,
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [],
        "requested_teams": [],
        "author_association": "CONTRIBUTOR",
        "auto_merge": None,
        "draft": False,
        "created_at": moment,
        "updated_at": rfc3339(pull.closed_at or pull.created_at),
        "closed_at": rfc3339(pull.closed_at) if pull.closed_at else None,
        "merged_at": rfc3339(pull.closed_at) if pull.merged and pull.closed_at else None,
        "merge_commit_sha": pull.merged or None,
        "head": {"label": f"acme:{pull.branch}", "ref": pull.branch, "sha": head, "user": owner, "repo": full},
        "base": {"label": "acme:main", "ref": "main", "sha": pull.base_sha, "user": owner, "repo": full},
        "merged": bool(pull.merged),
        "mergeable": mergeable(repository, pull) if is_open else None,
        "rebaseable": None,
        "mergeable_state": "clean" if is_open and mergeable(repository, pull) else "dirty" if is_open else "unknown",
        "merged_by": api.shapes.user("kim") if pull.merged else None,
        "comments": 0,
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": 1,
        "additions": 1,
        "deletions": 1,
        "changed_files": len(changes(repository, pull)[0]),
    }


def of(call: Call) -> Pull:
    found = next((p for p in call.repository.pulls if p.number == int(call.parts["pull"])), None)
    if found is None:
        raise GithubError(404, "Not Found")
    return found


def list_pulls(api: Any, call: Call) -> Reply:
    state, head = call.query.get("state", "open"), call.query.get("head", "")
    rows = [
        p
        for p in reversed(call.repository.pulls)
        if state in {"all", p.state}
        and (not head or head == f"acme:{p.branch}")
        and call.query.get("base", "main") == "main"
    ]
    single = {"merged", "mergeable", "rebaseable", "mergeable_state", "merged_by", "comments", "review_comments"}
    single |= {"maintainer_can_modify", "commits", "additions", "deletions", "changed_files"}
    bodies = [{k: v for k, v in body_of(api, call.repository, p).items() if k not in single} for p in rows]
    return 200, paged(bodies, call.query), {}


def open_pull(api: Any, call: Call) -> Reply:
    branch, base = str(call.body.get("head", "")), str(call.body.get("base", ""))
    head = call.repository.commit(call.repository.branches.get(branch, "") or "-")
    if head is None or base != "main":
        field = "head" if head is None else "base"
        raise invalid({"resource": "PullRequest", "field": field, "code": "invalid"})
    if any(p.branch == branch and p.state == "open" for p in call.repository.pulls):
        raise invalid(
            {
                "resource": "PullRequest",
                "code": "custom",
                "message": f"A pull request already exists for acme:{branch}.",
            }
        )
    number = len(call.repository.pulls) + 41
    made = Pull(
        number, str(call.body.get("title", "")), str(call.body.get("body", "")), branch, head.parent, api.clock()
    )  # fmt: skip
    call.repository.pulls.append(made)
    return 201, body_of(api, call.repository, made), {}


def invalid(error: Json) -> GithubError:
    return GithubError(422, "Validation Failed", [error])


def get_pull(api: Any, call: Call) -> Reply:
    return 200, body_of(api, call.repository, of(call)), {}


def change_pull(api: Any, call: Call) -> Reply:
    pull = of(call)
    if call.body.get("state") == "closed" and pull.state == "open":
        pull.state, pull.closed_at = "closed", api.clock()
    return 200, body_of(api, call.repository, pull), {}


def merge_pull(api: Any, call: Call) -> Reply:
    made = merge(api, call.repository, of(call))
    return 200, {"sha": made, "merged": True, "message": "Pull Request successfully merged"}, {}


def merge(api: Any, repository: Repository, pull: Pull) -> str:
    """Puts it on main, whose push starts the workflow; the merge's sha."""
    if pull.state != "open" or not mergeable(repository, pull):
        raise GithubError(405, "Pull Request is not mergeable")
    written, gone = changes(repository, pull)
    text = f"{pull.title} (#{pull.number})"
    made = api.store.commit(repository, text, written, gone=gone)
    api.store.start(repository, made.sha, text)
    pull.state, pull.merged, pull.closed_at = "closed", made.sha, api.clock()
    return str(made.sha)


def merge_page(api: Any, repository: Repository, number: int, pressed: str) -> web.Response:
    """The page of a pull request; `pressed` is the button that brought a person here, empty for none."""
    pull = next((p for p in repository.pulls if p.number == number), None)
    if pull is None:
        raise GithubError(404, "Not Found")
    if pressed:
        if pressed == "merge":
            merge(api, repository, pull)
        elif pull.state == "open":
            pull.state, pull.closed_at = "closed", api.clock()
        return web.Response(status=303, headers={"Location": f"{api.shapes.html}/{repository.name}/pull/{number}"})
    head, base = head_of(repository, pull), repository.commit(pull.base_sha)
    files = api.shapes.diff(repository, base, head) if head and base else []
    state = "merged" if pull.merged else pull.state
    off = "" if mergeable(repository, pull) else " disabled"
    text = PAGE.format(
        title=html.escape(pull.title),
        number=number,
        repository=html.escape(repository.name),
        branch=html.escape(pull.branch),
        state=state,
        body=html.escape(pull.body),
        diff=html.escape("\n".join(f"{f['filename']}\n{f['patch']}" for f in files)),
        buttons=BUTTONS.format(number=number, off=off) if pull.state == "open" else "",
    )
    return web.Response(text=text, content_type="text/html")


PULL_ROUTES = (
    ("GET", r"pulls", list_pulls),
    ("POST", r"pulls", open_pull),
    ("GET", r"pulls/(?P<pull>\d+)", get_pull),
    ("PATCH", r"pulls/(?P<pull>\d+)", change_pull),
    ("PUT", r"pulls/(?P<pull>\d+)/merge", merge_pull),
)
