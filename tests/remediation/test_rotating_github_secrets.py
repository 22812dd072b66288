"""A secret of GitHub Actions gets a new value once, is never shown, and the failed jobs run again with it."""

import logging
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.sandbox.world.github_store import REGISTRY_TOKEN, StoredSecret
from knowledge.errors import Refused, Unavailable
from knowledge.model import Action, ExecutionState, FailureKind, Incident, Plan
from remediation import sealing
from remediation.execution import run
from remediation.policy_workflows import RepositorySecret
from remediation.registry import Preflight
from remediation.remediators import REMEDIATORS
from remediation.remediators.github_secret_rotate import _meant
from remediation.sealing import Place, PolicyRepositorySecrets
from remediation.secret_sources import SecretSource
from remediation.verification import verify_once
from tests.remediation.site import MemoryStore, Site, execution, services, vault

REPOSITORY = "acme/search"


def repository(site: Site) -> Any:
    return site.world.github.store.repositories[REPOSITORY]


def value(site: Site) -> str:
    """What the registry takes."""
    return str(site.world.github.store.registry_tokens[REPOSITORY])


async def incident_of(site: Site) -> Incident:
    await site.world.break_("ci-token-search")
    await site.until(lambda: repository(site).runs[-1].last.conclusion == "failure", "the run failed")
    number = str(repository(site).runs[-1].id)
    found = site.incident("search", source="github", namespace="", workload="", repository=REPOSITORY)
    return replace(found, run_id=number)


async def planned(site: Site) -> Plan:
    found: Plan = await site.plan(FailureKind.CREDENTIALS, await incident_of(site))
    return found


async def action_of(site: Site) -> Action:
    found = await planned(site)
    assert found.action is not None, found.no_action_because
    return found.action


def writes(site: Site) -> list[str]:
    rows = [r for r in site.world.requests if r["system"] == "github" and r["method"] != "GET"]
    return [f"{r['method']} {r['path'].rsplit('/', 1)[-1]}" for r in rows]


async def test_the_new_value_is_sealed_and_the_jobs_run_again_and_nobody_sees_it(site: Site, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    found = await planned(site)
    assert found.action is not None, found.no_action_because
    assert found.action.name == "github_secret_rotate"
    assert "cannot be undone" in found.preview
    assert not found.undo
    pretended = await run(execution(found.action), services(site, MemoryStore(execution(found.action)), dry_run=True))
    assert (pretended.ok, pretended.changed, writes(site)) == (True, False, [])
    store = MemoryStore(execution(found.action))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    assert writes(site) == ["PUT REGISTRY_TOKEN", "POST rerun-failed-jobs"]
    assert repository(site).secrets["", REGISTRY_TOKEN].value == value(site)
    row = store.rows[7]
    assert row.finished_at is not None
    later = row.finished_at + timedelta(seconds=20)

    async def verified() -> bool:
        return (await verify_once(row, site.clients, now=later, signal_firing=None)).verdict == "verified"

    await site.until(verified, "it is verified")
    shown = f"{asdict(found)} {asdict(row)} {site.world.requests} {caplog.text}"
    assert value(site) not in shown


@pytest.mark.parametrize("step", ["PUT", "POST"])
@pytest.mark.parametrize("after_write", [False, True], ids=["before", "after"])
async def test_a_death_at_either_write_ends_with_one_new_value_and_one_rerun(
    site: Site, step: str, after_write: bool
) -> None:
    action = await action_of(site)
    real: Any = site.clients.code_host

    class Dying:
        done = False

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def write(self, method: str, *rest: Any, **more: Any) -> Any:
            return await self._at(method == step, lambda: real.write(method, *rest, **more))

        async def rerun(self, *rest: Any, **more: Any) -> Any:
            return await self._at(step == "POST", lambda: real.rerun(*rest, **more))

        async def _at(self, here: bool, act: Any) -> Any:
            here = here and not self.done
            self.done = self.done or here
            if here and not after_write:
                raise KeyboardInterrupt
            answer = await act()
            if here:
                raise KeyboardInterrupt
            return answer

    store = MemoryStore(execution(action))
    clients = replace(site.clients, code_host=Dying())
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store, clients=clients))
    outcome = await run(store.rows[7], services(site, store, clients=clients))
    assert outcome.ok, outcome.detail
    assert writes(site) == ["PUT REGISTRY_TOKEN", "POST rerun-failed-jobs"]


@pytest.mark.parametrize("read_only", ["CodeHealer is read-only", ""])
async def test_what_was_half_done_goes_on_in_a_pause_and_not_where_nothing_may_be_sent(
    site: Site, read_only: str
) -> None:
    action = await action_of(site)
    real: Any = site.clients.code_host

    class DyingBetween:
        done = False

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def rerun(self, *rest: Any, **more: Any) -> Any:
            if self.done:
                return await real.rerun(*rest, **more)
            self.done = True
            raise KeyboardInterrupt

    async def paused() -> str:
        return "CodeHealer was paused."

    store = MemoryStore(execution(action))
    clients = replace(site.clients, code_host=DyingBetween())
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store, clients=clients))
    changes = {"clients": clients, "not_again": paused, "read_only": lambda: read_only}
    outcome = await run(store.rows[7], services(site, store, **changes))
    assert outcome.changed
    assert outcome.ok is not bool(read_only), outcome.detail
    assert writes(site) == ["PUT REGISTRY_TOKEN", *([] if read_only else ["POST rerun-failed-jobs"])]
    assert read_only in outcome.detail
    assert "has a new value" in outcome.detail


@pytest.mark.parametrize("step", ["", "PUT", "POST"], ids=["before", "at the secret", "at the rerun"])
async def test_a_run_that_a_newer_one_came_after_is_not_run_again(site: Site, step: str) -> None:
    action = await action_of(site)
    real: Any = site.clients.code_host

    class DyingBefore:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def write(self, method: str, *rest: Any, **more: Any) -> Any:
            if step == "PUT":
                raise KeyboardInterrupt
            return await real.write(method, *rest, **more)

        async def rerun(self, *_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

    store = MemoryStore(execution(action))
    clients = replace(site.clients, code_host=DyingBefore())
    if step:
        with pytest.raises(KeyboardInterrupt):
            await run(store.rows[7], services(site, store, clients=clients))
    site.world.github.store.start(repository(site), repository(site).runs[-1].sha, "Newer")
    outcome = await run(store.rows[7], services(site, store))
    assert (outcome.ok, outcome.changed) == (False, step == "POST")
    assert store.rows[7].state is (ExecutionState.FAILED if step else ExecutionState.REFUSED)
    assert writes(site) == (["PUT REGISTRY_TOKEN"] if step == "POST" else [])
    assert "of this workflow came after run" in outcome.detail
    assert ("has a new value, but the failed jobs were not run again" in outcome.detail) is (step == "POST")


@pytest.mark.parametrize(("status", "said"), [(403, "GitHub forbids it"), (429, "rate limit is used up")])
async def test_a_refused_rerun_does_not_hide_that_the_secret_has_a_new_value(
    site: Site, status: int, said: str
) -> None:
    action = await action_of(site)
    real: Any = site.clients.code_host

    class Forbidding:
        def __getattr__(self, name: str) -> Any:
            if name == "rerun":
                site.world.faults["github"].update(error_next=1, status=status)
            return getattr(real, name)

    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store, clients=replace(site.clients, code_host=Forbidding())))
    assert store.rows[7].state is ExecutionState.FAILED
    assert (outcome.ok, outcome.changed) == (False, True)
    assert "has a new value" in outcome.detail
    assert said in outcome.detail


async def test_a_lost_answer_says_how_far_it_came(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr("remediation.execution.SETTLE_PAUSE_S", 0.01)
    action = await action_of(site)
    real: Any = site.clients.code_host

    class Losing:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def rerun(self, *_: Any, **__: Any) -> Any:
            raise Unavailable("GitHub answered 502", maybe_done=True)

    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store, clients=replace(site.clients, code_host=Losing())))
    assert store.rows[7].state is ExecutionState.FAILED
    assert outcome.changed
    assert "were not run again" in outcome.detail


async def test_what_stands_in_the_way_is_seen_before_anything_is_changed(site: Site) -> None:
    action = await action_of(site)

    async def refusal() -> str:
        memory = MemoryStore(execution(action))
        outcome = await run(memory.rows[7], services(site, memory))
        assert memory.rows[7].state is ExecutionState.REFUSED
        return outcome.detail

    kept = repository(site).secrets.pop(("", REGISTRY_TOKEN))
    assert "There is no secret REGISTRY_TOKEN" in await refusal()
    repository(site).secrets["", REGISTRY_TOKEN] = kept
    (vault() / "search-registry").unlink()
    assert "cannot be opened" in await refusal()
    elsewhere = Action(action.name, action.target, {**action.parameters, "secret": "GITHUB_ADMIN"})
    memory = MemoryStore(execution(elsewhere))
    repository(site).secrets["", "GITHUB_ADMIN"] = kept
    assert "names no source" in (await run(memory.rows[7], services(site, memory))).detail
    assert writes(site) == []


async def test_the_source_is_that_of_the_secret_in_its_place_and_the_one_that_was_shown(site: Site) -> None:
    action = await action_of(site)
    row = next(s for s in site.policy.services if s.name == "search")
    (named,) = row.github_secrets
    elsewhere = named.model_copy(update={"environment": "prod", "source": SecretSource(file=Path("/another"))})

    async def ready(*secrets: RepositorySecret) -> Preflight:
        policy = site.policy.model_copy(update={"services": (row.model_copy(update={"github_secrets": secrets}),)})
        clients = replace(site.clients, repository_secrets=PolicyRepositorySecrets(policy))
        return await REMEDIATORS[action.name].preflight(action, clients)

    assert (await ready(elsewhere, named)).ok
    with pytest.raises(Refused, match="names no source"):
        await ready(elsewhere)
    with pytest.raises(Refused, match="another source"):
        await ready(named.model_copy(update={"source": elsewhere.source}))


@pytest.mark.parametrize(
    "place",
    [
        Place(REPOSITORY, "DEPLOY_KEY", environment="prod east"),
        Place(REPOSITORY, "NPM_TOKEN", organization=True),
    ],
    ids=["environment", "organisation"],
)
async def test_secrets_of_environments_and_of_the_organisation_are_sealed_too(site: Site, place: Place) -> None:
    hub, host = site.world.github.store, site.clients.code_host
    assert host is not None
    known = StoredSecret("", 1.0, 1.0)
    if place.organization:
        hub.org_secrets[place.name] = known
    else:
        repository(site).secrets["prod east", place.name] = known
    before = await sealing.state(host, place)
    await sealing.put(host, place, SecretStr("new-one"))
    after = await sealing.state(host, place)
    assert after["updated_at"] != before["updated_at"]
    stored = hub.org_secrets[place.name] if place.organization else repository(site).secrets["prod east", place.name]
    assert stored.value == "new-one"
    assert "new-one" not in str(site.world.requests)


def secret(name: str, *steps: str) -> RepositorySecret:
    return RepositorySecret(name=name, steps=steps, source=SecretSource(command=("true",)))


def test_only_the_failed_step_tells_which_secret_is_meant() -> None:
    push, deploy, any_step = secret("PUSH", "Push image"), secret("DEPLOY", "Deploy"), secret("ANY")
    assert _meant((push, deploy), frozenset({"Deploy"})) == deploy
    assert _meant((any_step,), frozenset()) == any_step
    assert "cannot be told" in str(_meant((push, deploy), frozenset({"Test"})))
    assert "PUSH, ANY" in str(_meant((push, any_step), frozenset({"Push image"})))
    assert "names no source" in str(_meant((), frozenset()))


def test_a_value_that_github_would_refuse_and_a_key_that_is_none_are_told_without_the_value() -> None:
    with pytest.raises(Refused, match="48 KiB"):
        sealing.sealed("", SecretStr("x" * 50_000))
    with pytest.raises(Unavailable, match="public key") as caught:
        sealing.sealed("bm8=", SecretStr("of-the-source"))
    assert "of-the-source" not in str(caught.value)
