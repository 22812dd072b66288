"""What a rollback leaves behind: a migration between two revisions is found, ruled out, or said to be unknown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knowledge.model import FailureKind
from remediation.between import Between, between, jobs_of
from tests.remediation.site import Site

NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)


def template(image: str, *, init: str = "", args: tuple[str, ...] = (), config: str = "api-v1") -> dict[str, Any]:
    container = {"name": "api", "image": image, "args": list(args), "envFrom": [{"configMapRef": {"name": config}}]}
    first = [{"name": "migrate", "image": init, "args": ["upgrade", "head"]}] if init else []
    return {"spec": {"containers": [container], "initContainers": first}}


def compared(*files: str, commits: int = 1) -> dict[str, Any]:
    return {"files": [{"filename": name} for name in files], "commits": [{"sha": "a"}] * commits}


OLD = template("acme/api:1")


@pytest.mark.parametrize(
    ("new", "files", "sign"),
    [
        (template("acme/api:2"), ["db/migrate/0047_share.rb"], "db/migrate/0047_share.rb"),
        (template("acme/api:2"), ["alembic/versions/ab12_share.py"], "alembic/versions"),
        (template("acme/api:2"), ["src/main/resources/V12__share.sql"], "V12__share.sql"),
        (template("acme/api:2", init="acme/api:2"), [], "container migrate"),
        (template("acme/api:2", args=("sh", "-c", "alembic upgrade head && serve")), [], "container api"),
        (template("acme/api:2"), ["docs/migrations/howto.md", "src/immigration/form.py"], ""),
        (template("acme/api:2"), ["src/api.py", "deploy/kustomization.yaml"], ""),
    ],
)
def test_a_migration_is_known_by_its_path_or_its_container(new: dict[str, Any], files: list[str], sign: str) -> None:
    found = between(OLD, new, comparison=compared(*files), jobs=(), unknown="")
    assert bool(found.twice) == bool(sign)
    assert sign in found.twice
    assert "1 → 2" in found.words


def test_a_container_that_migrates_as_before_is_no_sign() -> None:
    old, new = (template("acme/api:1", init="acme/migrations:7", config=name) for name in ("api-v1", "api-v2"))
    found = between(old, new, comparison={}, jobs=(), unknown="")
    assert found.twice == ""
    assert "ConfigMap api-v1 → api-v2" in found.words


def test_what_cannot_be_ruled_out_is_said_and_asked_about_twice() -> None:
    found = between(OLD, template("acme/api:2"), comparison={}, jobs=(), unknown="the images name no commits")
    assert "cannot be ruled out: the images name no commits" in found.twice
    crds = between(OLD, template("acme/api:2"), comparison=compared("config/crd/bases/shop.yaml"), jobs=(), unknown="")
    assert "custom resource definitions (config/crd/bases/shop.yaml)" in crds.words
    assert Between().words == ""


def test_only_the_services_own_young_migration_jobs_count() -> None:
    def job(name: str, age: timedelta, app: str = "api") -> dict[str, Any]:
        made = (NOW - age).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"metadata": {"name": name, "creationTimestamp": made, "labels": {"app": app}}}

    workload = {"metadata": {"name": "api", "labels": {"app": "api"}}}
    young, old = timedelta(minutes=10), timedelta(days=3)
    jobs = [job("api-migrate-2", young), job("api-migrate-1", old), job("api-report", young)]
    jobs.append(job("billing-migrate", young, "billing"))
    found = jobs_of(workload, jobs, NOW - timedelta(hours=1))
    assert [one["metadata"]["name"] for one in found] == ["api-migrate-2"]


async def test_a_release_with_a_migration_asks_twice_and_a_plain_one_does_not(site: Site) -> None:
    await site.world.break_("release-migrated-storefront")
    await site.broken("release-crash-checkout")
    migrated = await site.plan(FailureKind.CRASHLOOP, site.incident("storefront"))
    plain = await site.plan(FailureKind.CRASHLOOP, site.incident("checkout"))
    assert migrated.action.name == plain.action.name == "k8s_rollback"
    assert "db/migrations/0047_flag_shares.sql" in migrated.twice
    assert plain.twice == ""
    assert "No database migration." in plain.preview
    # Without GitHub the commits are not known, so neither is what they did to the database.
    site.world.github.token = "another"
    unknown = await site.plan(FailureKind.CRASHLOOP, site.incident("checkout"))
    assert "cannot be ruled out: the commits could not be compared" in unknown.twice
