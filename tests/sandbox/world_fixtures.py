"""A world on a free port with real clients, and a receiver that stands where the bot's webhooks would be."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import github
import httpx
from aiohttp import web
from github.WorkflowRun import WorkflowRun
from kubernetes.aio import client

from bot.sandbox.tokens import Tokens
from bot.sandbox.world import Timings, World
from bot.sandbox.world.scenarios import BY_ID
from bot.sandbox.world.scenarios.table import Scenario, Step
from bot.sandbox.world.services import BY_NAME

Json = dict[str, Any]
SCALE = 0.01
PATIENCE_SECONDS = 20.0
STRATEGIC = "application/strategic-merge-patch+json"
REVISION = "deployment.kubernetes.io/revision"


@dataclass
class Running:
    """A started world with what its clients need and what it sent."""

    world: World
    tokens: Tokens
    url: str
    api: client.ApiClient
    http: httpx.AsyncClient
    webhooks: list[tuple[str, Json, dict[str, str], bytes]] = field(default_factory=list)
    posts: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @property
    def apps(self) -> client.AppsV1Api:
        return client.AppsV1Api(self.api)

    def hub(self) -> github.Github:
        return github.Github(
            base_url=f"{self.url}/github",
            auth=github.Auth.Token(self.tokens.github),
            seconds_between_requests=None,
            seconds_between_writes=None,
            retry=None,
        )

    async def argocd(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens.argocd}"}
        return await self.http.request(method, f"{self.url}/argocd/api/v1/{path}", json=body, headers=headers)

    async def github_get(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens.github}"}
        return await self.http.get(f"{self.url}/github/{path}", headers=headers)

    async def until(self, true: Callable[[], Any], what: str) -> Any:
        """Waits for a condition on the world; fails with `what` after a long time."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (value := true()):  # noqa: ASYNC110  the world has no event for "anything is so"
                    await asyncio.sleep(0.01)
                return value
        except TimeoutError:
            raise AssertionError(f"waited in vain until {what}: {self.world.snapshot()}") from None

    async def turns(self, count: int = 60) -> None:
        """Waits until the controller has made that many more passes."""
        target = self.world.passes + count
        await self.until(lambda: self.world.passes >= target, "the controller had its turns")

    async def break_(self, scenario_id: str) -> Scenario:
        """Breaks something and waits until it shows."""
        scenario = BY_ID[scenario_id]
        await self.world.break_(scenario_id)
        if scenario.kind != "healthy":
            await self.until(lambda: self.trouble(scenario), f"{scenario_id} shows")
        return scenario

    def trouble(self, scenario: Scenario) -> bool:
        """Whether it is broken by more than a step that is still going on."""
        if scenario.source == "github":
            run = next(r for r in self.world.snapshot()["runs"] if r["repository"] == f"acme/{scenario.service}")
            hub = self.world.github.store
            hangs = hub.find_run(hub.repositories[run["repository"]], run["id"]) if run["id"] in hub.hanging else None
            return run["conclusion"] == "failure" or bool(hangs and any(job.failure for job in hangs.last.jobs))
        if scenario.kind == "argocd_sync":
            app = next(a for a in self.world.snapshot()["apps"] if a["name"] == scenario.service)
            return app["operation"] == "Failed"
        row = self.service(scenario.service)
        return row["status"] != "healthy" and (
            row["ready"] < row["replicas"] or "pods are up to date" not in row["reason"]
        )

    def service(self, name: str) -> Json:
        return next(s for s in self.world.snapshot()["services"] if s["name"] == name)


@contextlib.asynccontextmanager
async def running_world(scale: float = SCALE) -> AsyncIterator[Running]:
    """Starts a world, a receiver for its webhooks, and real clients; ends all of them."""
    async with contextlib.AsyncExitStack() as stack:
        tokens = Tokens()
        posts: list[tuple[Any, ...]] = []
        webhooks: list[tuple[str, Json, dict[str, str], bytes]] = []

        async def receive(request: web.Request) -> web.Response:
            raw = await request.read()
            webhooks.append((request.match_info["source"], await request.json(), dict(request.headers), raw))
            return web.Response(status=202)

        async def post(*arguments: Any) -> str:
            posts.append(arguments)
            return "1.0"

        bot = web.Application()
        bot.router.add_post("/webhooks/{source}", receive)
        bot_port = await serve(stack, bot)
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        world = World(
            base_url=url,
            tokens=tokens,
            bot_url=f"http://127.0.0.1:{bot_port}",
            post_app_message=post,
            timings=Timings(scale=scale),
        )
        app = web.Application()
        world.add_routes(app)
        await serve(stack, app, listener)
        await world.start()
        stack.push_async_callback(world.stop)
        settings = client.Configuration(host=f"{url}/k8s")
        settings.api_key = {"authorization": tokens.kubernetes}
        settings.api_key_prefix = {"authorization": "Bearer"}
        api = await stack.enter_async_context(client.ApiClient(settings))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=10))
        yield Running(world, tokens, url, api, http, webhooks, posts)


async def serve(stack: contextlib.AsyncExitStack, app: web.Application, listener: socket.socket | None = None) -> int:
    """Serves an application until the stack closes; its port."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listener).start()
    port: int = listener.getsockname()[1]
    return port


# --- steps: what a proof does, through the real clients ---------------------------------------------------------------


async def take(running: Running, service: str, steps: tuple[Step, ...]) -> None:
    """Carries out the steps of a proof on a service."""
    for name, *arguments in steps:
        await STEPS[name](running, service, *arguments)
        await running.turns(10)


async def pods_of(running: Running, service: str) -> list[client.V1Pod]:
    found = await running.core.list_namespaced_pod(BY_NAME[service].namespace, label_selector=f"app={service}")
    return [p for p in found.items if p.metadata.deletion_timestamp is None]


def ready(pod: client.V1Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])


async def restart_broken_pod(running: Running, service: str) -> None:
    pods = await pods_of(running, service)
    pod = next((p for p in pods if not ready(p)), pods[0])
    body = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=pod.metadata.uid))
    await running.core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, body=body)


async def restart_all_pods(running: Running, service: str) -> None:
    for pod in await pods_of(running, service):
        await running.core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace)


async def restart_rollout(running: Running, service: str) -> None:
    annotations = {"kubectl.kubernetes.io/restartedAt": str(running.world.passes)}
    await patch(running, service, {"spec": {"template": {"metadata": {"annotations": annotations}}}})


async def patch(running: Running, service: str, body: Json) -> None:
    await running.apps.patch_namespaced_deployment(
        service, BY_NAME[service].namespace, body, _content_type=STRATEGIC, field_manager="tests"
    )


async def rollback(running: Running, service: str) -> None:
    """As `kubectl rollout undo` does it: the template of the revision before, in a JSON patch."""
    namespace = BY_NAME[service].namespace
    found = await running.apps.list_namespaced_replica_set(namespace, label_selector=f"app={service}")
    ordered = sorted(found.items, key=lambda r: int(r.metadata.annotations[REVISION]))
    template = running.api.sanitize_for_serialization(ordered[-2].spec.template)
    template["metadata"]["labels"].pop("pod-template-hash")
    await running.apps.patch_namespaced_deployment(
        service, namespace, [{"op": "replace", "path": "/spec/template", "value": template}]
    )


async def scale(running: Running, service: str, replicas: str) -> None:
    await running.apps.patch_namespaced_deployment_scale(
        service,
        BY_NAME[service].namespace,
        {"spec": {"replicas": int(replicas)}},
        _content_type="application/merge-patch+json",
    )


async def set_memory(running: Running, service: str, limit: str) -> None:
    resources = {"limits": {"memory": limit}, "requests": {"memory": "128Mi"}}
    await patch(
        running, service, {"spec": {"template": {"spec": {"containers": [{"name": service, "resources": resources}]}}}}
    )


async def rotate_secret(running: Running, service: str) -> None:
    """Puts the password that the database takes now into the Secret, and restarts the pods."""
    value = running.world.kubernetes.cluster.passwords[service]
    body = {"data": {"password": base64.b64encode(value.encode()).decode()}}
    name = BY_NAME[service].secret
    await running.core.patch_namespaced_secret(name, BY_NAME[service].namespace, body, _content_type=STRATEGIC)
    await restart_rollout(running, service)


async def set_image(running: Running, service: str, tag: str) -> None:
    container = {"name": service, "image": BY_NAME[service].image(tag)}
    await patch(running, service, {"spec": {"template": {"spec": {"containers": [container]}}}})


async def patch_configmap(running: Running, service: str, name: str, key: str, value: str) -> None:
    await running.core.patch_namespaced_config_map(
        name, BY_NAME[service].namespace, {"data": {key: value}}, _content_type=STRATEGIC
    )


async def create_configmap(running: Running, service: str, name: str) -> None:
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"LOG_LEVEL": "info"})
    await running.core.create_namespaced_config_map(BY_NAME[service].namespace, body)


async def uncordon(running: Running, _: str, node: str) -> None:
    await running.core.patch_node(node, {"spec": {"unschedulable": None, "taints": None}}, _content_type=STRATEGIC)


async def set_quota(running: Running, service: str, name: str, pods: str) -> None:
    body = {"metadata": {"name": name}, "spec": {"hard": {"pods": pods}}}
    await running.core.patch_namespaced_resource_quota(
        name, BY_NAME[service].namespace, body, _content_type="application/apply-patch+yaml", field_manager="tests"
    )


async def create_rolebinding(running: Running, service: str, name: str) -> None:
    body = client.V1RoleBinding(
        metadata=client.V1ObjectMeta(name=name),
        role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name=name),
    )
    await client.RbacAuthorizationV1Api(running.api).create_namespaced_role_binding(BY_NAME[service].namespace, body)


async def new_job(running: Running, service: str, name: str, lock_timeout: str) -> None:
    """Deletes the failed Job, where there is one, and makes it again with another lock time-out."""
    namespace, batch = BY_NAME[service].namespace, client.BatchV1Api(running.api)
    found = await batch.list_namespaced_job(namespace, field_selector=f"metadata.name={name}")
    for job in found.items:
        await batch.delete_namespaced_job(job.metadata.name, namespace)
    container = client.V1Container(
        name="migrate",
        image=BY_NAME[service].image(BY_NAME[service].version),
        env=[client.V1EnvVar(name="LOCK_TIMEOUT", value=lock_timeout)],
    )
    labels = {"app": f"{service}-migrate", "app.kubernetes.io/name": service}
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[container], restart_policy="Never"),
    )
    body = client.V1Job(
        metadata=client.V1ObjectMeta(name=name, labels=labels),
        spec=client.V1JobSpec(backoff_limit=2, template=template),
    )
    await batch.create_namespaced_job(namespace, body)


async def rerun(running: Running, service: str, *, only_failed: bool) -> None:
    def call() -> None:
        run: WorkflowRun = running.hub().get_repo(f"acme/{service}").get_workflow_runs()[0]
        assert run.rerun_failed_jobs() if only_failed else run.rerun()

    await asyncio.to_thread(call)
    await running.until(lambda: finished(running, service), "the run has finished")


def finished(running: Running, service: str) -> bool:
    return all(
        r["status"] == "completed" for r in running.world.snapshot()["runs"] if r["repository"] == f"acme/{service}"
    )


async def rerun_failed(running: Running, service: str) -> None:
    await rerun(running, service, only_failed=True)


async def rerun_all(running: Running, service: str) -> None:
    await rerun(running, service, only_failed=False)


async def cancel_run(running: Running, service: str) -> None:
    def call() -> None:
        running.hub().get_repo(f"acme/{service}").get_workflow_runs()[0].cancel()  # one that has ended stays ended

    await asyncio.to_thread(call)
    await running.until(lambda: finished(running, service), "the run has finished")


async def dispatch(running: Running, service: str, name: str, value: str) -> None:
    headers = {"Authorization": f"Bearer {running.tokens.github}"}
    url = f"{running.url}/github/repos/acme/{service}/actions/workflows/ci.yml/dispatches"
    response = await running.http.post(url, json={"ref": "main", "inputs": {name: value}}, headers=headers)
    assert response.status_code == 204, response.text
    await running.until(lambda: finished(running, service), "the run has finished")


async def rotate_registry_token(running: Running, service: str) -> None:
    """Seals the token that the registry takes now into the repository's secret, as PyGithub does it."""
    value = running.world.github.store.registry_tokens.get(f"acme/{service}", "none is wanted")

    def call() -> None:
        assert running.hub().get_repo(f"acme/{service}").create_secret("REGISTRY_TOKEN", value)

    await asyncio.to_thread(call)


async def put_file(running: Running, service: str, path: str, text: str) -> None:
    headers = {"Authorization": f"Bearer {running.tokens.github}"}
    url = f"{running.url}/github/repos/acme/{service}/contents/{path}"
    old = await running.http.get(url, headers=headers)
    body = {"message": f"Mend {path}", "content": base64.b64encode(text.encode()).decode()}
    if old.status_code == 200:
        body["sha"] = old.json()["sha"]
    response = await running.http.put(url, json=body, headers=headers)
    assert response.status_code in {200, 201}, response.text
    await running.until(lambda: finished(running, service), "the run has finished")


async def revert_manifest(running: Running, service: str) -> None:
    """A commit that names the version of the commit before again."""
    commits = running.world.github.store.repositories[f"acme/{service}"].commits
    path = "deploy/kustomization.yaml"
    await put_file(running, service, path, commits[-2].files[path])


async def argocd_sync(running: Running, service: str, *options: str) -> None:
    await operate(running, service, "sync", {"syncOptions": {"items": list(options)}})


async def argocd_sync_and_prune(running: Running, service: str) -> None:
    await operate(running, service, "sync", {"prune": True})


async def argocd_rollback(running: Running, service: str) -> None:
    """To the revision before, as the history has it."""
    history = (await running.argocd("GET", f"applications/{service}")).json()["status"]["history"]
    await operate(running, service, "rollback", {"id": history[-2]["id"]})


async def operate(running: Running, service: str, verb: str, body: Json) -> None:
    response = await running.argocd("POST", f"applications/{service}/{verb}", {"name": service, **body})
    assert response.status_code == 200, response.text
    await running.until(
        lambda: next(a for a in running.world.snapshot()["apps"] if a["name"] == service)["operation"] != "Running",
        "the sync has finished",
    )


STEPS: dict[str, Callable[..., Awaitable[None]]] = {
    f.__name__: f
    for f in (
        restart_broken_pod,
        restart_all_pods,
        restart_rollout,
        rollback,
        scale,
        set_memory,
        rotate_secret,
        set_image,
        patch_configmap,
        create_configmap,
        uncordon,
        set_quota,
        create_rolebinding,
        new_job,
        rerun_failed,
        rerun_all,
        cancel_run,
        put_file,
        dispatch,
        rotate_registry_token,
        revert_manifest,
        argocd_sync,
        argocd_sync_and_prune,
        argocd_rollback,
    )
}
