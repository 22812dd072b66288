"""The Kubernetes API of the sandbox through the real client: what it answers, and what it refuses."""

import asyncio
from typing import Any

import pytest
from kubernetes.aio import client, watch

from tests.sandbox.world_fixtures import STRATEGIC, Running, pods_of, ready, rollback, running_world

MERGE = "application/merge-patch+json"


def image_patch(image: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "checkout", "image": image}]}}}}


def bearer(running: Running) -> dict[str, str]:
    return {"Authorization": f"Bearer {running.tokens.kubernetes}"}


async def refused(call: Any, status: int) -> client.ApiException:
    with pytest.raises(client.ApiException) as caught:
        await call
    assert caught.value.status == status, caught.value.body
    assert '"kind":"Status"' in caught.value.body
    return caught.value


async def test_a_wrong_token_is_unauthorized() -> None:
    async with running_world() as running:
        for token in ("", "Bearer wrong"):
            response = await running.http.get(f"{running.url}/k8s/api/v1/pods", headers={"Authorization": token})
            assert (response.status_code, response.json()["reason"]) == (401, "Unauthorized")


async def test_version_discovery_and_access_reviews_answer() -> None:
    async with running_world() as running:
        assert (await client.VersionApi(running.api).get_code()).git_version.startswith("v1.")
        groups = await client.ApisApi(running.api).get_api_versions()
        assert {"apps", "batch", "autoscaling"} <= {g.name for g in groups.groups}
        running.world.kubernetes.denied.add(("delete", "pods", "shop"))
        authorization = client.AuthorizationV1Api(running.api)
        for verb, allowed in (("delete", False), ("get", True)):
            attributes = client.V1ResourceAttributes(verb=verb, resource="pods", namespace="shop")
            spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
            body = client.V1SelfSubjectAccessReview(spec=spec)
            assert (await authorization.create_self_subject_access_review(body)).status.allowed is allowed


async def test_rbac_forbids_with_the_api_servers_words() -> None:
    async with running_world() as running:
        running.world.kubernetes.denied.add(("delete", "pods", "*"))
        pod = (await pods_of(running, "checkout"))[0]
        problem = await refused(running.core.delete_namespaced_pod(pod.metadata.name, "shop"), 403)
        assert 'cannot delete resource \\"pods\\" in API group \\"\\" in the namespace \\"shop\\"' in problem.body


async def test_owners_lead_from_the_pod_to_the_deployment() -> None:
    async with running_world() as running:
        pod = (await pods_of(running, "checkout"))[0]
        owner = pod.metadata.owner_references[0]
        replica_set = await running.apps.read_namespaced_replica_set(owner.name, "shop")
        deployment = await running.apps.read_namespaced_deployment("checkout", "shop")
        assert (owner.kind, owner.uid) == ("ReplicaSet", replica_set.metadata.uid)
        assert replica_set.metadata.owner_references[0].uid == deployment.metadata.uid
        assert deployment.metadata.annotations["deployment.kubernetes.io/revision"] == "2"
        assert pod.metadata.labels["pod-template-hash"] in replica_set.metadata.name


async def test_a_dry_run_shows_the_change_and_changes_nothing() -> None:
    async with running_world() as running:
        before = await running.apps.read_namespaced_deployment("checkout", "shop")
        shown = await running.apps.patch_namespaced_deployment(
            "checkout",
            "shop",
            image_patch("registry.acme.example/acme/checkout:2.14.0"),
            dry_run="All",
            _content_type=STRATEGIC,
        )
        assert shown.spec.template.spec.containers[0].image.endswith(":2.14.0")
        assert len(shown.spec.template.spec.containers) == 1
        after = await running.apps.read_namespaced_deployment("checkout", "shop")
        assert after.metadata.resource_version == before.metadata.resource_version
        pod = (await pods_of(running, "checkout"))[0]
        await running.core.delete_namespaced_pod(pod.metadata.name, "shop", dry_run="All")
        await running.turns(20)
        assert pod.metadata.uid in {p.metadata.uid for p in await pods_of(running, "checkout")}


async def test_a_stale_version_conflicts_in_every_way_of_writing() -> None:
    async with running_world() as running:
        old = await running.apps.read_namespaced_deployment("checkout", "shop")
        await running.apps.patch_namespaced_deployment(
            "checkout", "shop", {"metadata": {"annotations": {"seen": "yes"}}}, _content_type=MERGE
        )
        version = {"metadata": {"resourceVersion": old.metadata.resource_version}}
        await refused(
            running.apps.patch_namespaced_deployment(
                "checkout", "shop", {**version, "spec": {"replicas": 4}}, _content_type=MERGE
            ),
            409,
        )
        await refused(running.apps.replace_namespaced_deployment("checkout", "shop", old), 409)
        await refused(
            running.apps.patch_namespaced_deployment_scale(
                "checkout", "shop", {**version, "spec": {"replicas": 4}}, _content_type=MERGE
            ),
            409,
        )
        pod = (await pods_of(running, "checkout"))[0]
        wrong = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"))
        await refused(running.core.delete_namespaced_pod(pod.metadata.name, "shop", body=wrong), 409)


async def test_invalid_objects_are_unprocessable() -> None:
    async with running_world() as running:
        apps = running.apps

        def patched(body: Any, **kind: str) -> Any:
            return apps.patch_namespaced_deployment("checkout", "shop", body, **kind)

        await refused(patched({"spec": {"replicas": -1}}, _content_type=MERGE), 422)
        await refused(patched(image_patch(""), _content_type=STRATEGIC), 422)
        await refused(patched({"spec": {"selector": {"matchLabels": {"app": "other"}}}}, _content_type=MERGE), 422)
        await refused(patched([{"op": "replace", "path": "/spec/nothing/here", "value": 1}]), 422)
        await refused(patched([{"op": "test", "path": "/spec/replicas", "value": 99}]), 422)
        url, headers = f"{running.url}/k8s/apis/apps/v1/namespaces/shop/deployments/checkout", bearer(running)
        plain = await running.http.patch(url, content=b"{}", headers={**headers, "Content-Type": "text/plain"})
        assert plain.status_code == 415
        strict = {"spec": {"template": {"spec": {"restart_policy": "Always"}}}}
        await refused(patched(strict, _content_type=MERGE, field_validation="Strict"), 400)
        await refused(apps.read_namespaced_deployment("nothing", "shop"), 404)


async def test_selectors_choose_and_refuse() -> None:
    async with running_world() as running:
        core = running.core
        some = await core.list_pod_for_all_namespaces(label_selector="app in (checkout,orders),pod-template-hash")
        assert {p.metadata.labels["app"] for p in some.items} == {"checkout", "orders"}
        one = await core.list_namespaced_pod("shop", field_selector=f"metadata.name={some.items[0].metadata.name}")
        assert len(one.items) == 1
        assert (await core.list_namespaced_pod("shop", field_selector="status.phase!=Running")).items == []
        await refused(core.list_namespaced_pod("shop", field_selector="spec.nothing=1"), 400)
        page = await core.list_pod_for_all_namespaces(limit=5)
        rest = await core.list_pod_for_all_namespaces(limit=50, _continue=page.metadata._continue)
        assert len(page.items) == 5
        assert not {p.metadata.uid for p in page.items} & {p.metadata.uid for p in rest.items}


async def test_a_deleted_pod_comes_back_under_another_name() -> None:
    async with running_world() as running:
        pod = (await pods_of(running, "checkout"))[0]
        body = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=pod.metadata.uid))
        gone = await running.core.delete_namespaced_pod(pod.metadata.name, "shop", body=body)
        assert gone.metadata.deletion_timestamp is not None
        await running.until(lambda: running.service("checkout")["status"] != "healthy", "the pod is missed")
        await running.until(lambda: running.service("checkout")["status"] == "healthy", "another pod is ready")
        assert pod.metadata.uid not in {p.metadata.uid for p in await pods_of(running, "checkout")}


async def test_eviction_respects_the_disruption_budget() -> None:
    async with running_world() as running:
        pod = (await pods_of(running, "checkout"))[0]
        eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod.metadata.name, namespace="shop"))
        budget = client.V1PodDisruptionBudget(
            metadata=client.V1ObjectMeta(name="all"),
            spec=client.V1PodDisruptionBudgetSpec(
                min_available=3, selector=client.V1LabelSelector(match_labels={"app": "checkout"})
            ),
        )
        policy = client.PolicyV1Api(running.api)
        await policy.create_namespaced_pod_disruption_budget("shop", budget)
        await refused(running.core.create_namespaced_pod_eviction(pod.metadata.name, "shop", eviction), 429)
        await policy.delete_namespaced_pod_disruption_budget("all", "shop")
        await running.core.create_namespaced_pod_eviction(pod.metadata.name, "shop", eviction)
        assert pod.metadata.uid not in {p.metadata.uid for p in await pods_of(running, "checkout")}


async def test_a_rollback_raises_the_revision_and_reuses_the_replica_set() -> None:
    async with running_world() as running:
        await rollback(running, "checkout")
        await running.until(
            lambda: running.service("checkout")["image"].endswith(":2.14.0"), "the template is the old one"
        )
        await running.turns(10)
        await running.until(lambda: running.service("checkout")["status"] == "healthy", "the rollout is done")
        live = await running.apps.read_namespaced_deployment("checkout", "shop")
        sets = (await running.apps.list_namespaced_replica_set("shop", label_selector="app=checkout")).items
        assert live.metadata.annotations["deployment.kubernetes.io/revision"] == "3"
        assert sorted(s.metadata.annotations["deployment.kubernetes.io/revision"] for s in sets) == ["2", "3"]
        assert live.status.observed_generation == live.metadata.generation
        assert {c.type: c.reason for c in live.status.conditions}["Progressing"] == "NewReplicaSetAvailable"


async def test_a_crash_looping_pod_shows_what_a_person_would_look_for() -> None:
    async with running_world() as running:
        await running.break_("release-crash-orders")

        async def crashed() -> client.V1Pod | None:
            for pod in await pods_of(running, "orders"):
                state = (pod.status.container_statuses or [None])[0]
                if state and state.restart_count >= 2 and state.state.waiting:
                    return pod
            return None

        async with asyncio.timeout(20):
            while (pod := await crashed()) is None:
                await running.turns(2)
        status = pod.status.container_statuses[0]
        assert status.state.waiting.reason == "CrashLoopBackOff"
        assert (status.last_state.terminated.exit_code, status.last_state.terminated.reason) == (1, "Error")
        assert not ready(pod)
        name = pod.metadata.name
        text = await running.core.read_namespaced_pod_log(name, "shop", previous=True)
        lines = text.splitlines()
        assert 60 <= len(lines) <= 400
        assert "Cannot read properties of null" in text
        assert "postgresql://orders:" in text
        tail = await running.core.read_namespaced_pod_log(name, "shop", previous=True, tail_lines=3, limit_bytes=4096)
        assert tail.splitlines() == lines[-3:]
        found = await running.core.list_namespaced_event(
            "shop", field_selector=f"involvedObject.name={name},reason=BackOff"
        )
        assert found.items
        assert found.items[0].type == "Warning"
        healthy = next(p for p in await pods_of(running, "orders") if ready(p))
        problem = await refused(running.core.read_namespaced_pod_log(healthy.metadata.name, "shop", previous=True), 400)
        assert "previous terminated container" in problem.body


async def test_a_watch_sees_changes_bookmarks_and_its_own_end() -> None:
    async with running_world() as running:
        listed = await running.core.list_namespaced_pod("shop")
        pod = (await pods_of(running, "checkout"))[0]
        seen: list[tuple[str, str]] = []

        async def follow() -> None:
            async for event in watch.Watch().stream(
                running.core.list_namespaced_pod,
                "shop",
                resource_version=listed.metadata.resource_version,
                label_selector="app=checkout",
                allow_watch_bookmarks=True,
                timeout_seconds=2,
            ):
                name = "" if event["type"] == "BOOKMARK" else event["object"].metadata.name
                seen.append((event["type"], name))

        task = asyncio.create_task(follow())
        await running.core.delete_namespaced_pod(pod.metadata.name, "shop")
        await task
        assert ("DELETED", pod.metadata.name) in seen
        assert any(kind == "ADDED" for kind, _ in seen)
        assert seen[-1] == ("BOOKMARK", "")


async def test_a_watch_from_a_forgotten_version_is_gone() -> None:
    async with running_world() as running:
        old = (await running.core.list_pod_for_all_namespaces()).metadata.resource_version
        await running.world.reset()
        with pytest.raises(client.ApiException) as caught:
            async for _ in watch.Watch().stream(
                running.core.list_pod_for_all_namespaces, resource_version=old, timeout_seconds=5
            ):
                pass
        assert caught.value.status == 410


async def test_reset_ends_open_watches_with_gone() -> None:
    async with running_world() as running:
        version = (await running.core.list_pod_for_all_namespaces()).metadata.resource_version

        async def follow() -> int:
            try:
                async for _ in watch.Watch().stream(
                    running.core.list_pod_for_all_namespaces, resource_version=version, timeout_seconds=20
                ):
                    pass
            except client.ApiException as problem:
                return int(problem.status)
            return 0

        task = asyncio.create_task(follow())
        await running.until(lambda: any(r["query"].get("watch") for r in running.world.requests), "the watch is open")
        await running.world.reset()
        async with asyncio.timeout(10):
            assert await task == 410


async def test_faults_strike_before_or_after_the_write() -> None:
    async with running_world() as running:
        scale = {"spec": {"replicas": 5}}

        async def write() -> None:
            await running.apps.patch_namespaced_deployment_scale("checkout", "shop", scale, _content_type=MERGE)

        running.world.faults["k8s"].update(error_next=1, status=503)
        await refused(write(), 503)
        assert running.service("checkout")["replicas"] == 3
        running.world.faults["k8s"].update(error_next=1, status=500, after_write=True)
        await refused(write(), 500)
        assert running.service("checkout")["replicas"] == 5
        recorded = [r for r in running.world.requests if r["method"] == "PATCH"]
        assert [r["status"] for r in recorded] == [503, 500]


async def restored(running: Running) -> bool:
    return all(s["status"] == "healthy" for s in running.world.snapshot()["services"])


async def test_reset_gives_a_healthy_world_back() -> None:
    async with running_world() as running:
        await running.break_("oom-orders")
        await running.world.reset()
        await running.turns(30)
        assert await restored(running)
