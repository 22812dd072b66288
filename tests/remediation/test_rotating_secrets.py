"""Rotating a credential: from the policy's source into the cluster, seen by nobody, and done once."""

import base64
import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from knowledge.errors import Refused, Unavailable
from knowledge.model import Action, ExecutionState, FailureKind
from knowledge.store.codec import to_json
from remediation.execution import Busy, run
from remediation.policy_file import Service, Workload
from remediation.remediators import REMEDIATORS
from remediation.rotation import PolicySources
from remediation.secret_sources import SecretSource
from tests.remediation.site import MemoryStore, Site, execution, services, vault

NAME = "k8s_update_secret"
ENTRY = REMEDIATORS[NAME]


async def broken(site: Site) -> None:
    await site.broken("password-rotated-orders")


async def plan(site: Site) -> Any:
    return await site.plan(FailureKind.CREDENTIALS, site.incident("orders"))


def secret(site: Site) -> Any:
    return site.store().get("secrets", "shop", "orders-db")


def in_cluster(site: Site) -> str:
    return base64.b64decode(secret(site)["data"]["password"]).decode()


def writes(site: Site) -> list[str]:
    found = [r for r in site.world.requests if r["system"] == "k8s" and r["method"] == "PATCH"]
    return [r["path"].rsplit("/", 2)[1] for r in found]


async def test_the_new_value_arrives_and_is_seen_nowhere(site: Site) -> None:
    await broken(site)
    old, new = in_cluster(site), site.world.kubernetes.cluster.passwords["orders"]
    found = await plan(site)
    assert "cannot be undone" in found.preview
    assert "Deployment orders" in found.preview
    store, said = MemoryStore(execution(found.action)), []

    async def progress(text: str) -> None:
        said.append(text)

    with structlog.testing.capture_logs() as logged:
        outcome = await run(store.rows[7], services(site, store, progress=progress))
    assert outcome.ok, outcome.detail
    assert in_cluster(site) == new != old
    seen = json.dumps([to_json(found), to_json(store.rows[7]), said, [str(row) for row in logged]])
    for value in (old, new, *(base64.b64encode(v.encode()).decode() for v in (old, new))):
        assert value not in seen
    assert writes(site) == ["secrets", "deployments"]


async def test_a_kill_between_the_two_writes_goes_on_behind_the_first(site: Site) -> None:
    await broken(site)
    action = (await plan(site)).action
    ready = await ENTRY.preflight(action, site.clients)
    row = execution(action, state=ExecutionState.STARTED, snapshot=ready.snapshot)
    site.world.kubernetes.denied.add(("patch", "deployments", "*"))
    half = await ENTRY.execute(action, ready.snapshot, 7, site.clients)
    assert half.changed
    assert not half.ok
    assert "could not be restarted" in half.detail
    site.world.kubernetes.denied.clear()
    before = len(writes(site))
    store = MemoryStore(row)
    outcome = await run(row, services(site, store))
    assert outcome.ok, outcome.detail
    assert writes(site)[before:] == ["deployments"]


@pytest.mark.parametrize("after_write", [False, True], ids=["before the write", "after the write"])
async def test_a_lost_answer_is_settled_by_the_secrets_mark(site: Site, after_write: bool) -> None:
    await broken(site)
    action = (await plan(site)).action
    ready = await ENTRY.preflight(action, site.clients)
    real = site.clients.cluster

    class LosingTheFirst:
        lost = False

        def __getattr__(self, attribute: str) -> Any:
            if attribute == "patch" and not self.lost:
                self.lost = True
                site.world.faults["k8s"].update(error_next=1, status=500, after_write=after_write)
            return getattr(real, attribute)

    clients = replace(site.clients, cluster=LosingTheFirst())  # type: ignore[arg-type]
    if after_write:
        assert (await ENTRY.execute(action, ready.snapshot, 7, clients)).ok
        assert writes(site) == ["secrets", "deployments"]
        return
    with pytest.raises(Unavailable):
        await ENTRY.execute(action, ready.snapshot, 7, clients)
    found = await ENTRY.settled(action, ready.snapshot, 7, site.clients)
    assert found is not None
    assert not found.changed


async def test_what_needs_no_rotation_or_changed_meanwhile_is_left_alone(site: Site) -> None:
    await broken(site)
    action = (await plan(site)).action
    ready = await ENTRY.preflight(action, site.clients)
    theirs = copy.deepcopy(secret(site))
    theirs["data"]["password"] = base64.b64encode(site.world.kubernetes.cluster.passwords["orders"].encode()).decode()
    site.store().update("secrets", theirs)
    assert not (again := await ENTRY.preflight(action, site.clients)).ok
    assert "already" in again.reason
    store = MemoryStore(execution(action, state=ExecutionState.STARTED, snapshot=ready.snapshot))
    outcome = await run(store.rows[7], services(site, store))
    assert not outcome.ok
    assert secret(site)["data"] == theirs["data"]
    # Nor is anything read from a source that the policy no longer names, whatever it is called.
    same_words = SecretSource(command=("vault", "kv", "get", "another"))
    action = replace(action, parameters={**action.parameters, "source": same_words.words})
    for services_now in ((), (with_source(site, same_words),)):
        now = site.policy.model_copy(update={"services": services_now})
        with pytest.raises(Refused, match="no longer takes"):
            await ENTRY.preflight(action, replace(site.clients, secret_sources=PolicySources(now)))


async def test_a_command_is_run_once_and_only_for_the_write(site: Site, tmp_path: Path) -> None:
    """It may make a new credential each time."""
    await broken(site)
    script = f"echo >> {tmp_path}/runs; cat {vault()}/orders-db"
    row = with_source(site, SecretSource(command=("sh", "-c", script)))
    site.policy = site.policy.model_copy(update={"services": (row,)})
    site.clients = replace(site.clients, secret_sources=PolicySources(site.policy))
    action = (await plan(site)).action
    pretended = MemoryStore(execution(action))
    assert (await run(pretended.rows[7], services(site, pretended, dry_run=True))).ok
    assert not (tmp_path / "runs").exists()
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    assert (tmp_path / "runs").read_text() == "\n"
    assert in_cluster(site) == site.world.kubernetes.cluster.passwords["orders"]
    # What is there already is not written again.
    again = MemoryStore(replace(execution(action), id=8))
    assert "already" in (await run(again.rows[8], services(site, again))).detail


def with_source(site: Site, source: SecretSource) -> Service:
    """The row of orders with this source of its only secret."""
    row = next(s for s in site.policy.services if s.name == "orders")
    (named,) = row.secrets
    return row.model_copy(update={"secrets": (named.model_copy(update={"source": source}),)})


OWNER = {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "x", "uid": "u", "controller": True}


async def test_a_secret_that_is_not_ours_to_rotate_is_not_offered(site: Site) -> None:
    await broken(site)
    store, original = site.store(), copy.deepcopy(secret(site))

    async def why_not(**changes: Any) -> str:
        metadata = {**original["metadata"], **changes.pop("metadata", {})}
        store.update("secrets", {**original, **changes, "metadata": metadata})
        return str(dict((await plan(site)).excluded).get(NAME))

    assert "immutable" in await why_not(immutable=True)
    assert "has no key password" in await why_not(data={"other": "eA=="})
    assert "ExternalSecret x owns Secret orders-db" in await why_not(metadata={"ownerReferences": [OWNER]})
    assert "which another program fills" in await why_not(type="kubernetes.io/service-account-token")
    worker = copy.deepcopy(store.get("deployments", "shop", "orders"))
    store.create("deployments", {**worker, "metadata": {"name": "orders-worker", "namespace": "shop"}})
    assert "Deployment orders-worker reads it too" in await why_not()
    row = next(s for s in site.policy.services if s.name == "orders")
    theirs = row.model_copy(update={"name": "mail", "workload": Workload(name="orders-worker"), "secrets": ()})
    site.policy = site.policy.model_copy(update={"services": (*site.policy.services, theirs)})
    assert "Deployment orders-worker of mail reads it too" in await why_not()
    ours = theirs.model_copy(update={"name": "orders", "repository": ""})
    site.policy = site.policy.model_copy(update={"services": (*site.policy.services[:-1], ours)})
    offered = await plan(site)
    assert len(offered.action.parameters["users"]) == 2
    assert offered.touches.pods == 2 * worker["spec"]["replicas"]
    # A fix of the other workload waits for this one, and this one for it: they have one lease, so there is no order
    # in which two could wait for each other.
    store_of, busy = MemoryStore(execution(offered.action)), replace(offered.action.target, name="orders-worker")
    assert await store_of.lease_acquire(busy.family, "another/9", 30) is not None
    with pytest.raises(Busy):
        await run(store_of.rows[7], services(site, store_of))
    assert secret(site)["data"] == original["data"]
    store.delete("secrets", "shop", "orders-db")
    assert "not found" in dict((await plan(site)).excluded)[NAME]


async def test_a_source_that_fails_stops_before_anything_is_written(site: Site) -> None:
    await broken(site)
    action = (await plan(site)).action
    (vault() / "orders-db").unlink()
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert store.rows[7].state is ExecutionState.REFUSED
    assert "cannot be opened" in outcome.detail
    assert writes(site) == []
    forged = Action(NAME, action.target, {**action.parameters, "users": [{"kind": "Deployment", "name": "checkout"}]})
    site.world._state.keep_passwords()
    with pytest.raises(Refused, match="does not read"):
        await ENTRY.preflight(forged, site.clients)
