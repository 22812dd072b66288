"""GitHub's JSON: pure functions from the store's values to replies and webhook bodies in GitHub's full shapes."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.github_store import STEPS, Attempt, Commit, Job, Repository, Run

Json = dict[str, Any]
REPOSITORY_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
WORKFLOW_PATH = ".github/workflows/ci.yml"


def node_id(prefix: str, number: int | str) -> str:
    return f"{prefix}_" + base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Shapes:
    """`api` is the base of API addresses, `html` that of pages for people; neither ends with a slash."""

    api: str
    html: str

    def user(self, login: str = "kim", kind: str = "User") -> Json:
        number = int(hashlib.sha256(login.encode()).hexdigest()[:6], 16)
        url = f"{self.api}/users/{login}"
        return {
            "login": login,
            "id": number,
            "node_id": node_id("U", number),
            "avatar_url": f"{self.html}/avatars/{login}",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.html}/{login}",
            "type": kind,
            "site_admin": False,
            **{key: url + tail for key, tail in USER_LINKS.items()},
        }

    def repository_url(self, repository: Repository) -> str:
        return f"{self.api}/repos/{repository.name}"

    def minimal_repository(self, repository: Repository) -> Json:
        url = self.repository_url(repository)
        links = {key: url + tail for key, tail in REPOSITORY_LINKS.items()}
        return {
            "id": repository.id,
            "node_id": node_id("R", repository.id),
            "name": repository.service.name,
            "full_name": repository.name,
            "private": True,
            "owner": self.user("acme", "Organization"),
            "html_url": f"{self.html}/{repository.name}",
            "description": f"The {repository.service.name} service",
            "fork": False,
            "url": url,
            **links,
        }

    def repository(self, repository: Repository) -> Json:
        page = f"{self.html}/{repository.name}"
        created, pushed = rfc3339(repository.commits[0].at), rfc3339(repository.head.at)
        return {
            **self.minimal_repository(repository),
            "clone_url": f"{page}.git",
            "git_url": f"git:{page.partition(':')[2]}.git",
            "ssh_url": f"git@github.example:{repository.name}.git",
            "svn_url": page,
            "mirror_url": None,
            "homepage": None,
            "language": repository.service.language.capitalize(),
            "default_branch": "main",
            "forks": 0,
            "forks_count": 0,
            "stargazers_count": 0,
            "watchers": 0,
            "watchers_count": 0,
            "network_count": 0,
            "subscribers_count": 4,
            "open_issues": 2,
            "open_issues_count": 2,
            "size": 2048,
            "license": None,
            "has_issues": True,
            "has_projects": False,
            "has_wiki": False,
            "has_pages": False,
            "has_downloads": True,
            "has_discussions": False,
            "archived": False,
            "disabled": False,
            "visibility": "private",
            "permissions": {"admin": False, "maintain": False, "push": True, "triage": True, "pull": True},
            "created_at": created,
            "updated_at": pushed,
            "pushed_at": pushed,
        }

    def simple_commit(self, commit: Commit) -> Json:
        person = {"name": commit.author, "email": f"{commit.author}@acme.example"}
        return {
            "id": commit.sha,
            "tree_id": tree_sha(commit.files),
            "message": commit.message,
            "timestamp": rfc3339(commit.at),
            "author": person,
            "committer": person,
        }

    def workflow(self, repository: Repository) -> Json:
        url, number = self.repository_url(repository), repository.id + 1000
        return {
            "id": number,
            "node_id": node_id("W", number),
            "name": "CI",
            "path": WORKFLOW_PATH,
            "state": "active",
            "created_at": rfc3339(repository.commits[0].at),
            "updated_at": rfc3339(repository.commits[0].at),
            "url": f"{url}/actions/workflows/{number}",
            "html_url": f"{self.html}/{repository.name}/blob/main/{WORKFLOW_PATH}",
            "badge_url": f"{self.html}/{repository.name}/workflows/CI/badge.svg",
        }

    def run(self, repository: Repository, run: Run, attempt: Attempt | None = None) -> Json:
        attempt = attempt or run.last
        url = f"{self.repository_url(repository)}/actions/runs/{run.id}"
        workflow = self.workflow(repository)
        commit = repository.commit(run.sha) or repository.head
        suite = run.id + 40_000_000_000
        earlier = f"{url}/attempts/{attempt.number - 1}" if attempt.number > 1 else None
        return {
            "id": run.id,
            "name": "CI",
            "node_id": node_id("WFR", run.id),
            "head_branch": run.branch,
            "head_sha": run.sha,
            "path": WORKFLOW_PATH,
            "display_title": run.title,
            "run_number": run.number,
            "event": run.event,
            "status": attempt.status,
            "conclusion": attempt.conclusion,
            "workflow_id": workflow["id"],
            "check_suite_id": suite,
            "check_suite_node_id": node_id("CS", suite),
            "url": url,
            "html_url": f"{self.html}/{repository.name}/actions/runs/{run.id}",
            "pull_requests": [],
            "created_at": rfc3339(run.created_at),
            "updated_at": rfc3339(attempt.updated_at),
            "actor": self.user(commit.author),
            "run_attempt": attempt.number,
            "referenced_workflows": [],
            "run_started_at": rfc3339(attempt.created_at),
            "triggering_actor": self.user(commit.author),
            "jobs_url": f"{url}/jobs",
            "logs_url": f"{url}/logs",
            "check_suite_url": f"{self.repository_url(repository)}/check-suites/{suite}",
            "artifacts_url": f"{url}/artifacts",
            "cancel_url": f"{url}/cancel",
            "rerun_url": f"{url}/rerun",
            "previous_attempt_url": earlier,
            "workflow_url": workflow["url"],
            "head_commit": self.simple_commit(commit),
            "repository": self.minimal_repository(repository),
            "head_repository": self.minimal_repository(repository),
        }

    def job(self, repository: Repository, run: Run, attempt: Attempt, job: Job) -> Json:
        url = self.repository_url(repository)
        return {
            "id": job.id,
            "run_id": run.id,
            "workflow_name": "CI",
            "head_branch": run.branch,
            "run_url": f"{url}/actions/runs/{run.id}",
            "run_attempt": attempt.number,
            "node_id": node_id("CR", job.id),
            "head_sha": run.sha,
            "url": f"{url}/actions/jobs/{job.id}",
            "html_url": f"{self.html}/{repository.name}/actions/runs/{run.id}/job/{job.id}",
            "status": job.status,
            "conclusion": job.conclusion,
            "created_at": rfc3339(attempt.created_at),
            "started_at": rfc3339(job.started_at or attempt.created_at),
            "completed_at": rfc3339(job.completed_at) if job.completed_at else None,
            "name": job.name,
            "steps": steps_of(job),
            "check_run_url": f"{url}/check-runs/{job.id}",
            "labels": ["ubuntu-latest"],
            "runner_id": 21 if job.started_at else None,
            "runner_name": "GitHub Actions 21" if job.started_at else None,
            "runner_group_id": 2 if job.started_at else None,
            "runner_group_name": "GitHub Actions" if job.started_at else None,
        }

    def commit(self, repository: Repository, commit: Commit, *, with_files: bool) -> Json:
        url = self.repository_url(repository)
        page = f"{self.html}/{repository.name}/commit/{commit.sha}"
        person = {"name": commit.author, "email": f"{commit.author}@acme.example", "date": rfc3339(commit.at)}
        parents = [
            {"sha": p, "url": f"{url}/commits/{p}", "html_url": f"{self.html}/{repository.name}/commit/{p}"}
            for p in [commit.parent]
            if p
        ]
        body: Json = {
            "sha": commit.sha,
            "node_id": node_id("C", commit.sha),
            "url": f"{url}/commits/{commit.sha}",
            "html_url": page,
            "comments_url": f"{url}/commits/{commit.sha}/comments",
            "commit": {
                "author": person,
                "committer": person,
                "message": commit.message,
                "tree": {"sha": tree_sha(commit.files), "url": f"{url}/git/trees/{tree_sha(commit.files)}"},
                "url": f"{url}/git/commits/{commit.sha}",
                "comment_count": 0,
            },
            "author": self.user(commit.author),
            "committer": self.user(commit.author),
            "parents": parents,
        }
        if with_files:
            files = self.diff(repository, repository.commit(commit.parent) if commit.parent else None, commit)
            added, gone = sum(f["additions"] for f in files), sum(f["deletions"] for f in files)
            body |= {"files": files, "stats": {"total": added + gone, "additions": added, "deletions": gone}}
        return body

    def diff(self, repository: Repository, before: Commit | None, after: Commit) -> list[Json]:
        """The changed files between two commits, as whole-file patches."""
        url, page = self.repository_url(repository), f"{self.html}/{repository.name}"
        rows = []
        old_files = before.files if before else {}
        for path, text in after.files.items():
            old = old_files.get(path)
            if old == text:
                continue
            new_lines = [line for line in text.splitlines() if line not in (old or "").splitlines()]
            old_lines = [line for line in (old or "").splitlines() if line not in text.splitlines()]
            shown = [*("-" + line for line in old_lines), *("+" + line for line in new_lines)]
            rows.append(
                {
                    "sha": blob_sha(text),
                    "filename": path,
                    "status": "modified" if old is not None else "added",
                    "additions": len(new_lines),
                    "deletions": len(old_lines),
                    "changes": len(new_lines) + len(old_lines),
                    "blob_url": f"{page}/blob/{after.sha}/{path}",
                    "raw_url": f"{page}/raw/{after.sha}/{path}",
                    "contents_url": f"{url}/contents/{path}?ref={after.sha}",
                    "patch": f"@@ -1,{len(old_lines)} +1,{len(new_lines)} @@\n" + "\n".join(shown),
                }
            )
        for path in old_files.keys() - after.files.keys():
            gone = old_files[path].splitlines()
            rows.append(
                {
                    "sha": blob_sha(old_files[path]),
                    "filename": path,
                    "status": "removed",
                    "additions": 0,
                    "deletions": len(gone),
                    "changes": len(gone),
                    "blob_url": f"{page}/blob/{after.sha}/{path}",
                    "raw_url": f"{page}/raw/{after.sha}/{path}",
                    "contents_url": f"{url}/contents/{path}?ref={after.sha}",
                    "patch": f"@@ -1,{len(gone)} +0,0 @@\n" + "\n".join("-" + line for line in gone),
                }
            )
        return rows

    def content(self, repository: Repository, commit: Commit, path: str) -> Json:
        text = commit.files[path]
        url = f"{self.repository_url(repository)}/contents/{path}?ref={commit.sha}"
        git = f"{self.repository_url(repository)}/git/blobs/{blob_sha(text)}"
        page = f"{self.html}/{repository.name}/blob/{commit.sha}/{path}"
        return {
            "type": "file",
            "encoding": "base64",
            "size": len(text.encode()),
            "name": path.rpartition("/")[2],
            "path": path,
            "content": base64.encodebytes(text.encode()).decode(),
            "sha": blob_sha(text),
            "url": url,
            "git_url": git,
            "html_url": page,
            "download_url": f"{self.html}/{repository.name}/raw/{commit.sha}/{path}",
            "_links": {"self": url, "git": git, "html": page},
        }

    def annotations(self, repository: Repository, run: Run, job: Job) -> list[Json]:
        if job.failure is None:
            return []
        closing = f"Process completed with exit code {job.failure.exit_code}."
        # The runner's own error has no place in the code.
        places = [(".github", 1, closing)]
        if job.failure.note:
            places.append((job.failure.path, job.failure.line, job.failure.note))
        return [
            {
                "path": path,
                "blob_href": f"{self.html}/{repository.name}/blob/{run.sha}/{path}",
                "start_line": line,
                "end_line": line,
                "start_column": None,
                "end_column": None,
                "annotation_level": "failure",
                "title": "",
                "message": message,
                "raw_details": "",
            }
            for path, line, message in places
        ]

    def check_run(self, repository: Repository, run: Run, job: Job) -> Json:
        url = f"{self.repository_url(repository)}/check-runs/{job.id}"
        page = f"{self.html}/{repository.name}/actions/runs/{run.id}/job/{job.id}"
        return {
            "id": job.id,
            "node_id": node_id("CR", job.id),
            "head_sha": run.sha,
            "external_id": "",
            "url": url,
            "html_url": page,
            "details_url": page,
            "status": job.status,
            "conclusion": job.conclusion,
            "started_at": rfc3339(job.started_at) if job.started_at else None,
            "completed_at": rfc3339(job.completed_at) if job.completed_at else None,
            "output": {
                "title": None,
                "summary": None,
                "text": None,
                "annotations_count": len(self.annotations(repository, run, job)),
                "annotations_url": f"{url}/annotations",
            },
            "name": job.name,
            "check_suite": {"id": run.id + 40_000_000_000},
            "app": None,
            "pull_requests": [],
        }

    def run_webhook(self, repository: Repository, run: Run) -> Json:
        """The body of a workflow_run delivery for a completed run."""
        return {
            "action": "completed",
            "workflow_run": self.run(repository, run),
            "workflow": self.workflow(repository),
            **self._around(repository),
        }

    def job_webhook(self, repository: Repository, run: Run, job: Job) -> Json:
        """The body of a workflow_job delivery for a completed job."""
        return {
            "action": "completed",
            "workflow_job": self.job(repository, run, run.last, job),
            **self._around(repository),
        }

    def _around(self, repository: Repository) -> Json:
        """What every delivery says of where it comes from."""
        return {
            "repository": self.repository(repository),
            "organization": {
                "login": "acme",
                "id": 4242,
                "node_id": node_id("O", 4242),
                "url": f"{self.api}/orgs/acme",
                "repos_url": f"{self.api}/orgs/acme/repos",
                "events_url": f"{self.api}/orgs/acme/events",
                "hooks_url": f"{self.api}/orgs/acme/hooks",
                "issues_url": f"{self.api}/orgs/acme/issues",
                "members_url": f"{self.api}/orgs/acme/members{{/member}}",
                "public_members_url": f"{self.api}/orgs/acme/public_members{{/member}}",
                "avatar_url": f"{self.html}/avatars/acme",
                "description": None,
            },
            "sender": self.user("kim"),
        }


def steps_of(job: Job) -> list[Json]:
    """The step rows of a job: done up to the failing one, the rest skipped."""
    rows: list[Json] = []
    failed = False
    done = job.status == "completed"
    for number, name in enumerate(STEPS[job.name], start=1):
        here = done and job.failure is not None and job.failure.step == name
        last = name == "Complete job"
        conclusion = None
        if done:
            conclusion = "failure" if here else "skipped" if failed and not last else "success"
        failed = failed or here
        rows.append(
            {
                "name": name,
                "status": "completed" if done else job.status,
                "conclusion": conclusion,
                "number": number,
                "started_at": rfc3339(job.started_at) if job.started_at else None,
                "completed_at": rfc3339(job.completed_at) if job.completed_at else None,
            }
        )
    return rows


def tree_sha(files: dict[str, str]) -> str:
    """The sha of these files' tree; equal files have equal ones."""
    text = "tree" + "".join(f"{path}\0{blob_sha(text)}" for path, text in sorted(files.items()))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def blob_sha(text: str) -> str:
    raw = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()
