"""GitHub's API of the sandbox: against GitHub's own description and through PyGithub."""

import asyncio
import hmac
import json
from functools import cache
from pathlib import Path
from typing import Any

import github
import pytest
from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.sandbox.world_fixtures import Running, rerun_failed, running_world

DESCRIPTION = Path(__file__).parents[3] / "shared" / "facts" / "github.openapi.trimmed.json"
Json = dict[str, Any]


@cache
def description() -> Json:
    body: Json = json.loads(DESCRIPTION.read_text())
    return body


def check(schema: Json, body: Any) -> None:
    registry: Registry[Any] = Registry().with_resource("urn:github", Resource(description(), DRAFT202012))
    text = json.dumps(schema).replace('"#/components', '"urn:github#/components')
    problems = [e.message for e in OAS30Validator(json.loads(text), registry=registry).iter_errors(body)]
    assert not problems, problems


def reply_schema(path: str, method: str = "get", status: str = "200") -> Json:
    schema: Json = description()["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
    return schema


async def a_pull_request(running: Running, base: str) -> int:
    """Made as a client without a clone does it; every reply on the way is of GitHub's shape."""
    headers = {"Authorization": f"Bearer {running.tokens.github}"}

    async def post(path: str, body: Json) -> Json:
        answer = await running.http.post(f"{running.url}/github/{base}/{path}", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        check(reply_schema(f"/repos/{{owner}}/{{repo}}/{path}", "post", "201"), answer.json())
        found: Json = answer.json()
        return found

    head = (await running.github_get(f"{base}/git/ref/heads/main")).json()["object"]["sha"]
    entry = {"path": "README.md", "mode": "100644", "type": "blob", "content": "# Checkout\n"}
    tree = await post("git/trees", {"base_tree": head, "tree": [entry]})
    commit = await post("git/commits", {"message": "Shorten", "tree": tree["sha"], "parents": [head]})
    await post("git/refs", {"ref": "refs/heads/shorter", "sha": commit["sha"]})
    return int((await post("pulls", {"title": "Shorten", "head": "shorter", "base": "main"}))["number"])


async def failed_run(running: Running) -> Json:
    await running.break_("ci-network-checkout")
    run: Json = (await running.github_get("repos/acme/checkout/actions/runs")).json()["workflow_runs"][0]
    return run


@pytest.mark.shared
@pytest.mark.skipif(not DESCRIPTION.exists(), reason="needs ../shared/facts: GitHub's API description")
async def test_every_reply_satisfies_githubs_description() -> None:
    async with running_world() as running:
        run = await failed_run(running)
        base = "repos/acme/checkout"
        jobs = (await running.github_get(f"{base}/actions/runs/{run['id']}/jobs")).json()["jobs"]
        job = next(j for j in jobs if j["conclusion"] == "failure")
        number = await a_pull_request(running, base)
        paths = {
            f"{base}/pulls": "/repos/{owner}/{repo}/pulls",
            f"{base}/pulls/{number}": "/repos/{owner}/{repo}/pulls/{pull_number}",
            f"{base}/git/ref/heads/shorter": "/repos/{owner}/{repo}/git/ref/{ref}",
            f"{base}/git/trees/{run['head_sha']}?recursive=1": "/repos/{owner}/{repo}/git/trees/{tree_sha}",
            f"{base}/actions/secrets/public-key": "/repos/{owner}/{repo}/actions/secrets/public-key",
            f"{base}/actions/secrets/REGISTRY_TOKEN": "/repos/{owner}/{repo}/actions/secrets/{secret_name}",
            f"{base}": "/repos/{owner}/{repo}",
            f"{base}/actions/runs": "/repos/{owner}/{repo}/actions/runs",
            f"{base}/actions/runs/{run['id']}": "/repos/{owner}/{repo}/actions/runs/{run_id}",
            f"{base}/actions/runs/{run['id']}/jobs": "/repos/{owner}/{repo}/actions/runs/{run_id}/jobs",
            f"{base}/actions/runs/{run['id']}/attempts/1": (
                "/repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}"
            ),
            f"{base}/actions/runs/{run['id']}/attempts/1/jobs": (
                "/repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}/jobs"
            ),
            f"{base}/actions/jobs/{job['id']}": "/repos/{owner}/{repo}/actions/jobs/{job_id}",
            f"{base}/actions/workflows": "/repos/{owner}/{repo}/actions/workflows",
            f"{base}/check-runs/{job['id']}": "/repos/{owner}/{repo}/check-runs/{check_run_id}",
            f"{base}/check-runs/{job['id']}/annotations": "/repos/{owner}/{repo}/check-runs/{check_run_id}/annotations",
            f"{base}/commits": "/repos/{owner}/{repo}/commits",
            f"{base}/commits/{run['head_sha']}": "/repos/{owner}/{repo}/commits/{ref}",
            f"{base}/compare/{run['head_sha']}...main": "/repos/{owner}/{repo}/compare/{basehead}",
            f"{base}/contents/Dockerfile": "/repos/{owner}/{repo}/contents/{path}",
            "rate_limit": "/rate_limit",
        }
        for address, path in paths.items():
            response = await running.github_get(address)
            assert response.status_code == 200, (address, response.text)
            check(reply_schema(path), response.json())
        missing = await running.github_get(f"{base}/actions/runs/1")
        assert missing.status_code == 404
        check({"$ref": "#/components/schemas/basic-error"}, missing.json())


@pytest.mark.shared
@pytest.mark.skipif(not DESCRIPTION.exists(), reason="needs ../shared/facts: GitHub's API description")
async def test_the_failed_run_arrives_as_a_signed_webhook_of_the_full_shape() -> None:
    async with running_world() as running:
        run = await failed_run(running)
        await running.until(lambda: running.webhooks, "the webhook arrives")
        source, body, headers, raw = running.webhooks[0]
        assert source == "github"
        assert headers["X-GitHub-Event"] == "workflow_run"
        assert len(headers["X-GitHub-Delivery"]) == 36
        digest = hmac.new(running.tokens.github_webhook_secret.encode(), raw, "sha256").hexdigest()
        assert headers["X-Hub-Signature-256"] == f"sha256={digest}"
        assert (body["action"], body["workflow_run"]["id"]) == ("completed", run["id"])
        assert body["workflow_run"]["conclusion"] == "failure"
        check({"$ref": "#/components/schemas/workflow-run"}, body["workflow_run"])
        check({"$ref": "#/components/schemas/full-repository"}, body["repository"])
        check({"$ref": "#/components/schemas/workflow"}, body["workflow"])


async def test_pygithub_reads_the_run_its_jobs_and_the_log_behind_the_redirect() -> None:
    async with running_world() as running:
        await failed_run(running)

        def read() -> tuple[str, list[str], str]:
            run = running.hub().get_repo("acme/checkout").get_workflow_runs()[0]
            failed = [j for j in run.jobs() if j.conclusion == "failure"]
            steps = [s.name for s in failed[0].steps if s.conclusion == "failure"]
            return str(run.conclusion), steps, str(failed[0].logs_url())

        conclusion, steps, address = await asyncio.to_thread(read)
        assert (conclusion, steps) == ("failure", ["Install dependencies"])
        log = (await running.http.get(address)).text.splitlines()
        assert 100 <= len(log) <= 400
        assert any("connection reset by peer" in line for line in log)
        assert any(line.endswith("##[error]Process completed with exit code 2.") for line in log)
        assert all(line[:4] == "2026" or line[10:11] == "T" for line in log)


async def test_a_rerun_is_a_new_attempt_that_keeps_what_had_succeeded() -> None:
    async with running_world() as running:
        run = await failed_run(running)
        await rerun_failed(running, "checkout")
        again = (await running.github_get(f"repos/acme/checkout/actions/runs/{run['id']}")).json()
        assert (again["run_attempt"], again["conclusion"]) == (2, "success")
        first = (await running.github_get(f"repos/acme/checkout/actions/runs/{run['id']}/attempts/1")).json()
        assert (first["run_attempt"], first["conclusion"]) == (1, "failure")
        await running.until(lambda: len(running.webhooks) == 2, "the second completion is announced")
        assert running.webhooks[1][1]["workflow_run"]["conclusion"] == "success"


async def test_github_refuses_what_github_refuses() -> None:
    async with running_world() as running:
        run = await failed_run(running)

        def refused(call: Any) -> tuple[int, str]:
            with pytest.raises(github.GithubException) as caught:
                call()
            return caught.value.status, str(caught.value.data["message"])

        def story() -> None:
            repository = running.hub().get_repo("acme/checkout")
            runs = list(repository.get_workflow_runs())
            failed, recent, old = runs[0], runs[1], runs[-1]
            assert failed.id == run["id"]
            answer = failed._requester.requestJson("POST", f"{recent.url}/rerun-failed-jobs")
            assert answer[0] == 403
            assert json.loads(answer[2])["message"] == "This workflow run cannot be retried"
            answer = failed._requester.requestJson("POST", f"{old.url}/rerun")
            assert answer[0] == 403
            assert "over a month ago" in answer[2]
            answer = failed._requester.requestJson("POST", f"{failed.url}/cancel")
            assert answer[0] == 409
            assert failed.rerun_failed_jobs()
            answer = failed._requester.requestJson("POST", f"{failed.url}/rerun")
            assert answer[0] == 403
            assert json.loads(answer[2])["message"] == "This workflow is already running"
            stranger = github.Github(base_url=f"{running.url}/github", auth=github.Auth.Token("wrong"), retry=None)
            assert refused(lambda: stranger.get_repo("acme/checkout")) == (401, "Bad credentials")
            assert refused(lambda: running.hub().get_repo("acme/nothing")) == (404, "Not Found")

        await asyncio.to_thread(story)
