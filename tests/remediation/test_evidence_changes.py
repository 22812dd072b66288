"""What changed between two versions of a thing, from values alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

from remediation.evidence.changes import (
    Revision,
    commits_change,
    differences,
    image_change,
    rollout_change,
    template_changes,
)
from remediation.evidence.kubernetes_history import commit_of

NOW = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)


def template(
    version: str, *, settings: str = "app-settings", env: dict[str, str] | None = None, **container: Any
) -> Any:
    variables = [{"name": k, "value": v} for k, v in (env or {}).items()]
    app = {
        "name": "app", "image": f"registry.example:5000/shop/app:{version}", "env": variables,
        "envFrom": [{"configMapRef": {"name": settings}}], **container,
    }  # fmt: skip
    return {"metadata": {}, "spec": {"containers": [app], "volumes": [{"name": "t", "secret": {"secretName": "tls"}}]}}


def test_images_references_and_variables_are_named_and_no_value_is() -> None:
    old = template("1.4.0", env={"DB_PASSWORD": "hunter-one", "OLD": "x"})
    new = template("1.5.0", settings="app-settings-v2", env={"DB_PASSWORD": "hunter-two", "NEW": "y"}, command=["run"])
    found = template_changes(old, new)
    assert found[:2] == ["image 1.4.0 → 1.5.0", "ConfigMap app-settings → app-settings-v2"]
    assert {"variable DB_PASSWORD changed", "variable OLD removed", "variable NEW added", "command changed"} <= set(
        found
    )
    assert "hunter" not in str(found)
    assert template_changes(old, old) == []


def test_images_are_shortened_only_where_the_name_stays() -> None:
    digest = "sha256:" + "ab" * 32
    assert image_change("reg:5000/a/b:1", "reg:5000/a/b:2") == "1 → 2"
    assert image_change("reg/a/b:1", "mirror/a/b:1") == "reg/a/b:1 → mirror/a/b:1"
    assert image_change("reg:5000/a/b", "reg:5000/a/b:2") == "reg:5000/a/b → reg:5000/a/b:2"
    assert image_change(f"a/b@{digest}", "a/b:2") == "sha256:abababababab → 2"


def test_the_last_healthy_revision_is_compared_with_not_the_last_one() -> None:
    current = Revision(7, template("3"), NOW - timedelta(minutes=3), "release 3")
    broken = Revision(6, template("2"), NOW - timedelta(minutes=5))
    healthy = Revision(5, template("1"), NOW - timedelta(days=9), served=True)
    text = rollout_change(current, [broken, healthy], NOW)
    assert text.splitlines()[0] == "image 1 → 3; revision 5 → 7, 3 min before the failure"
    assert "release 3" in text
    assert "not known to have been healthy" in rollout_change(current, [broken], NOW)
    assert rollout_change(current, [], NOW) == ""


def test_an_old_rollout_is_not_what_changed() -> None:
    current = Revision(7, template("3"), NOW - timedelta(days=4))
    text = rollout_change(current, [Revision(6, template("2"), NOW - timedelta(days=9), served=True)], NOW)
    assert text.startswith("nothing was rolled out: revision 7 is from 4 days before the failure\n")


def test_commits_and_files_are_counted_and_bounded() -> None:
    commits = [
        {"sha": f"{n:010d}" + "a" * 30, "commit": {"message": f"Change {n}\n\nbody", "author": {"name": "kim"}}}
        for n in range(30)
    ]
    files = [{"filename": f"src/f{n}.py", "status": "modified", "additions": 1, "deletions": 0} for n in range(50)]
    lines = commits_change({"total_commits": 30, "commits": commits, "files": files}).splitlines()
    assert lines[0] == '30 commits, newest "Change 29"; src/f0.py, src/f1.py, src/f2.py and 47 more'
    assert "  0000000029 kim: Change 29" in lines
    assert "body" not in "".join(lines)
    assert "  ... 20 earlier ones" in lines
    assert len(lines) < 40
    assert commits_change({"total_commits": 0, "commits": [], "files": []}) == ""


def test_small_diffs_are_shown_and_large_ones_left_out() -> None:
    small = {"filename": "deploy.yaml", "patch": "@@ -7,3 +7,3 @@\n  limits:\n-  memory: 512Mi\n+  memory: 64Mi"}
    large = {"filename": "lock.json", "patch": "+x\n" * 2_000}
    text = commits_change({"total_commits": 1, "commits": [], "files": [large, small]})
    assert text.endswith("  --- deploy.yaml\n  @@ -7,3 +7,3 @@\n  -  memory: 512Mi\n  +  memory: 64Mi")
    assert "+x" not in text


def test_drift_names_paths_and_hides_values_of_secrets_and_variables() -> None:
    live = {"spec": {"replicas": 3, "containers": [{"name": "app", "env": [{"name": "TOKEN", "value": "one"}]}]}}
    wanted = {"spec": {"replicas": 2, "containers": [{"name": "app", "env": [{"name": "TOKEN", "value": "two"}]}]}}
    found = differences(live | {"status": {"a": 1}}, wanted, names_only=False)
    assert found == ["spec.replicas: 3 → 2", "spec.containers[app].env[TOKEN].value"]
    assert differences({"data": {"k": "one"}}, {"data": {"k": "two"}}, names_only=True) == ["data.k"]
    assert len(differences({}, {str(n): n for n in range(99)}, names_only=False)) == 20


def test_an_image_names_its_commit_by_a_note_or_by_its_tag() -> None:
    def of(tag: str, **notes: str) -> str:
        spec = {"containers": [{"image": f"registry.example:5000/shop/app:{tag}"}]}
        return commit_of({"metadata": {"annotations": notes}, "spec": spec})

    assert of("1.4", **{"org.opencontainers.image.revision": "ab" * 20}) == "ab" * 20
    assert of("sha-4fe827e") == "4fe827e"
    assert of("4fe827e648") == "4fe827e648"
    assert of("20260302") == of("2.14.1") == of("main") == ""
