# ruff: noqa: E501  samples of tools' output keep their lines
import json

import pytest

from knowledge.parsers import parse

ACTIONS = """2026-03-01T10:00:00.0000000Z Current runner version: '2.328.0'
2026-03-01T10:00:01.0000000Z ##[group]Run actions/checkout@v5
2026-03-01T10:00:02.0000000Z ##[endgroup]
2026-03-01T10:00:03.0000000Z ##[group]Run pytest -q tests
2026-03-01T10:00:03.1000000Z shell: /usr/bin/bash -e {0}
2026-03-01T10:00:03.2000000Z ##[endgroup]
2026-03-01T10:00:04.0000000Z E   AssertionError: assert 3 == 4
2026-03-01T10:00:05.0000000Z FAILED tests/test_cart.py::test_total - assert 3 == 4
2026-03-01T10:00:06.0000000Z 1 failed, 8 passed in 0.41s
2026-03-01T10:00:07.0000000Z ##[error]Process completed with exit code 1.
2026-03-01T10:00:08.0000000Z Post job cleanup.
"""


def test_actions_log_gives_step_command_exit_code_tool_and_test() -> None:
    parsed = parse(ACTIONS)
    assert parsed.format == "github_actions"
    assert parsed.tool == "pytest"
    assert parsed.command == "pytest -q tests"
    assert parsed.exit_code == 1
    assert parsed.first("test") == "tests/test_cart.py::test_total"
    assert 8 in [number for number, _ in parsed.error_lines]


# What each tool prints when it fails: [tool, its lines, what they name].
OUTPUTS: list[tuple[str, str, dict[str, str]]] = [
    (
        "pytest",
        "FAILED tests/a_test.py::test_b[1] - assert 1 == 2\n1 failed in 0.1s",
        {"test": "tests/a_test.py::test_b[1]"},
    ),
    (
        "jest",
        "FAIL src/cart.test.js\n  ● cart › adds up\n\n    expect(received).toBe(expected)\nTests:       1 failed, 2 total",
        {"test": "cart › adds up"},
    ),
    (
        "vitest",
        " FAIL  src/cart.test.ts > cart > adds up\nAssertionError: expected 3 to be 4 // Object.is equality\n Test Files  1 failed (1)",
        {"test": "src/cart.test.ts > cart > adds up"},
    ),
    (
        "go test",
        "--- FAIL: TestTotal (0.00s)\n    cart_test.go:12: got 3, want 4\nFAIL\nFAIL\texample.test/cart\t0.004s",
        {"test": "TestTotal", "file": "cart_test.go:12"},
    ),
    (
        "maven",
        "[ERROR] /w/src/App.java:[12,8] cannot find symbol\n[ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin:3.11.0:compile (default-compile) on project cart",
        {"file": "/w/src/App.java:12", "task": "org.apache.maven.plugins:maven-compiler-plugin:3.11.0:compile"},
    ),
    (
        "gradle",
        "CartTest > total() FAILED\nFAILURE: Build failed with an exception.\nExecution failed for task ':app:test'.",
        {"task": ":app:test", "test": "CartTest > total() FAILED"},
    ),
    (
        "cargo",
        "error[E0308]: mismatched types\n --> src/main.rs:7:5\nerror: could not compile `cart` (bin) due to 1 previous error",
        {"file": "src/main.rs:7"},
    ),
    (
        "tsc",
        "src/cart.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.",
        {"file": "src/cart.ts:3"},
    ),
    (
        "eslint",
        "/w/src/cart.js\n  3:7  error  'x' is assigned a value but never used  no-unused-vars\n\n✖ 1 problem (1 error, 0 warnings)",
        {},
    ),
    ("ruff", "cart/app.py:3:1: F401 `os` imported but unused\nFound 1 error.", {"file": "cart/app.py:3"}),
    (
        "mypy",
        "cart/app.py:4: error: Incompatible return value type  [return-value]\nFound 1 error in 1 file (checked 3 source files)",
        {"file": "cart/app.py:4"},
    ),
    (
        "pip",
        "ERROR: Could not find a version that satisfies the requirement cartlib==9\nERROR: No matching distribution found for cartlib==9",
        {"package": "cartlib==9"},
    ),
    (
        "npm",
        "npm error code E404\nnpm error 404 Not Found - GET https://registry.npmjs.example/@shop%2fui - Not found",
        {},
    ),
    (
        "yarn",
        'error Couldn\'t find package "@shop/ui@^9.0.0" required by "cart@1.0.0" on the "npm" registry.',
        {"package": "@shop/ui@^9.0.0"},
    ),
    ("pnpm", "ERR_PNPM_FETCH_404  GET https://registry.npmjs.example/shop-ui: Not Found - 404", {"package": "shop-ui"}),
    (
        "terraform",
        '│ Error: Unsupported argument\n│ \n│   on main.tf line 12, in resource "aws_s3_bucket" "logs":\n│   12:   colour = 1',
        {"file": "main.tf:12"},
    ),
    (
        "helm",
        'Error: UPGRADE FAILED: template: shop/templates/deployment.yaml:21:9: executing "x" at <.Values.a.b>: nil pointer',
        {"file": "shop/templates/deployment.yaml:21"},
    ),
    ("make", "Makefile:7: recipe for target 'lint' failed\nmake: *** [Makefile:7: lint] Error 127", {"target": "lint"}),
    (
        "kubectl",
        'Error from server (Forbidden): deployments.apps "cart" is forbidden: User "ci" cannot patch resource "deployments" in API group "apps" in the namespace "shop"',
        {"user": "ci", "namespace": "shop"},
    ),
]


@pytest.mark.parametrize(("tool", "text", "names"), OUTPUTS, ids=[row[0] for row in OUTPUTS])
def test_output_inside_actions_names_its_tool_and_what_it_is_about(tool: str, text: str, names: dict[str, str]) -> None:
    stamp = "2026-03-01T10:00:03.0000000Z "
    log = f"##[group]Run ci/check\nshell: /usr/bin/bash -e {{0}}\n##[endgroup]\n{text}\n##[error]Process completed with exit code 2."
    parsed = parse("\n".join(stamp + line for line in log.split("\n")))
    assert (parsed.format, parsed.tool, parsed.command, parsed.exit_code) == ("github_actions", tool, "ci/check", 2)
    assert {name: value for name in names for value in parsed.entities.get(name, ()) if value == names[name]} == names
    assert all(line in stamp + log.split("\n")[number - 1] for number, line in parsed.error_lines)


def test_step_that_may_fail_and_post_steps_are_not_the_failing_one() -> None:
    text = (
        "##[group]Run super/linter@v5\n##[endgroup]\n##[error]src/a.ts(3,5): unused\n"
        "##[group]Run make build\n##[endgroup]\nmake: *** [build] Error 2\n##[error]Process completed with exit code 2.\n"
        "Post job cleanup.\n##[error]Cache save failed.\n"
    )
    parsed = parse(text)
    assert (parsed.command, parsed.tool, parsed.exit_code) == ("make build", "make", 2)
    assert [number for number, _ in parsed.error_lines if number > 7] == [8]


def test_job_matrix_reusable_workflow_composite_action_and_annotation_are_given() -> None:
    text = (
        "Current runner version: '2.330.0'\nUses: acme/ci/.github/workflows/build.yml@refs/heads/main (4f9c2d1)\n"
        "Complete job name: build (ubuntu-24.04, 3.12)\n##[group]Run ./.github/actions/check\n##[endgroup]\n"
        "##[group]Run ruff check .\n##[endgroup]\n##[error]cart/app.py:3:1: F401 unused\n"
        "##[error]Process completed with exit code 1.\n"
    )
    parsed = parse(text)
    assert parsed.job == "build (ubuntu-24.04, 3.12)"
    assert parsed.first("workflow") == "acme/ci/.github/workflows/build.yml@refs/heads/main"
    assert parsed.first("action") == "./.github/actions/check"
    assert parsed.first("file") == "cart/app.py:3"
    assert parsed.command == "ruff check ."


def test_docker_build_inside_actions_is_followed() -> None:
    text = (
        "##[group]Run docker build .\n##[endgroup]\n#5 [2/4] RUN npm ci\n#5 ERROR: process did not complete\n"
        'ERROR: failed to solve: process "/bin/sh -c npm ci" did not complete successfully: exit code: 1\n'
        "##[error]Process completed with exit code 1.\n"
    )
    parsed = parse(text)
    assert (parsed.format, parsed.tool, parsed.exit_code) == ("github_actions", "docker build", 1)
    assert (parsed.nested, parsed.nested_step) == ("docker_build", "2/4")
    assert parsed.first("instruction") == "RUN"


@pytest.mark.parametrize(
    "text",
    [
        "Run",
        "Run the migration before you deploy",
        "Run tests\nok",
        "we saw an error in the pod yesterday",
        "the deployment of shop went fine",
        "Step by step guide",
        "#5 is the issue number",
        "#12 [fix] cart total\n#13 [feature] new cart",
        "Step 1/3 : read the guide",
        "docker is a tool that builds images\ndocker build is a command",
        "argocd and kubectl are installed",
        "Warning: the pod is nearly full",
        'the answer was {"a": 1}',
        "Events: none today",
        "Name: Ann\nBirthday: May",
        "",
    ],
)
def test_ordinary_words_are_not_claimed(text: str) -> None:
    assert parse(text).format == "text"


def test_buildkit_and_classic_builds_name_stage_and_instruction() -> None:
    buildkit = (
        "#9 [builder 3/5] RUN make install\n#9 0.9 make: *** [all] Error 2\n------\n > [builder 3/5] RUN make install:\n------\n"
        'Dockerfile:12\nERROR: failed to solve: process "/bin/sh -c make install" did not complete successfully: exit code: 2\n'
    )
    parsed = parse(buildkit)
    assert (parsed.format, parsed.step, parsed.exit_code) == ("docker_build", "builder 3/5", 2)
    assert parsed.command == "/bin/sh -c make install"
    classic = "Step 1/3 : FROM alpine\n ---> abc\nStep 2/3 : RUN make\nmake: not found\nThe command '/bin/sh -c make' returned a non-zero code: 127\n"
    parsed = parse(classic)
    assert (parsed.step, parsed.command, parsed.exit_code) == ("2/3", "/bin/sh -c make", 127)


def test_describe_gives_pod_namespace_image_reason_and_exit_code() -> None:
    text = (
        "Name:             cart-7d9c5b6f8-x2x4z\nNamespace:        shop\nNode:             node-1/10.0.0.4\nStatus:           Running\n"
        "Containers:\n  cart:\n    Image:          reg.example/shop/cart:1.4\n    State:          Waiting\n      Reason:       CrashLoopBackOff\n"
        "    Last State:     Terminated\n      Reason:       OOMKilled\n      Exit Code:    137\nEvents:\n"
        "  Warning  BackOff  6s (x2 over 7s)  kubelet  Back-off restarting failed container cart in pod cart-7d9c5b6f8-x2x4z_shop(1-2)\n"
    )
    parsed = parse(text, "pod_status")
    assert parsed.format == "kubernetes"
    assert parsed.exit_code == 137
    assert parsed.entities["reason"] == ("CrashLoopBackOff", "OOMKilled")
    assert parsed.first("namespace") == "shop"
    assert parsed.first("pod") == "cart-7d9c5b6f8-x2x4z"
    assert parsed.first("image") == "reg.example/shop/cart:1.4"
    assert parsed.first("container") == "cart"


def test_events_and_json_status_are_recognised() -> None:
    events = 'LAST SEEN   TYPE      REASON   OBJECT   MESSAGE\n2s  Warning  Failed  pod/db-0  Error: secret "db-main" not found\n'
    assert parse(events).first("secret") == "db-main"
    status = '{"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}, "restartCount": 0}]}'
    assert parse(status).entities["reason"] == ("ErrImagePull",)


def test_pod_table_names_the_failing_pods_only() -> None:
    parsed = parse(
        "NAMESPACE  NAME  READY  STATUS  RESTARTS  AGE\nshop  web-1  1/1  Running  0  2d\nshop  cart-1  0/1  CrashLoopBackOff  7  1h\n"
    )
    assert (parsed.format, parsed.first("pod"), parsed.first("reason")) == ("kubernetes", "cart-1", "CrashLoopBackOff")
    assert parsed.first("namespace") == "shop"


def test_pod_in_json_gives_names_image_reason_and_exit_code() -> None:
    status = {
        "name": "cart",
        "image": "reg.example/cart:2",
        "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }
    status["lastState"] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    pod = {
        "kind": "Pod",
        "metadata": {"name": "cart-0", "namespace": "shop"},
        "status": {"containerStatuses": [status]},
    }
    parsed = parse(json.dumps({"kind": "List", "items": [pod]}, indent=2))
    names = [parsed.first(name) for name in ("pod", "namespace", "container", "image")]
    assert names == ["cart-0", "shop", "cart", "reg.example/cart:2"]
    assert parsed.exit_code == 137
    assert set(parsed.entities["reason"]) == {"CrashLoopBackOff", "OOMKilled"}


def test_json_log_lines_keep_what_is_bad_and_name_what_they_speak_of() -> None:
    lines = [{"level": "info", "msg": "error budget is fine"}] * 3
    lines += [{"level": "error", "msg": "dial tcp: lookup mq.internal: no such host"}]
    parsed = parse("\n".join(json.dumps(line) for line in lines))
    assert (parsed.format, parsed.first("host")) == ("container_log", "mq.internal")
    assert [number for number, _ in parsed.error_lines] == [4]


def test_application_in_json_gives_conditions_hooks_and_revision() -> None:
    hook = {"kind": "Job", "namespace": "shop", "name": "migrate", "hookType": "PreSync", "hookPhase": "Failed"}
    operation = {"phase": "Failed", "syncResult": {"revision": "4f9c2d1", "resources": [hook, "odd"]}}
    status = {"conditions": [{"type": "SyncError", "message": "one or more hooks failed"}], "operationState": operation}
    parsed = parse(
        json.dumps({"kind": "Application", "metadata": {"name": "shop"}, "spec": {"syncPolicy": {}}, "status": status})
    )
    names = [parsed.first(name) for name in ("application", "condition", "hook", "revision", "failing_resource")]
    assert names == ["shop", "SyncError", "Job/migrate", "4f9c2d1", "Job/shop/migrate"]


def test_line_numbers_hold_at_the_end_of_a_long_text() -> None:
    text = "calm\n" * 600_000 + "##[group]Run make\n##[endgroup]\n##[error]Process completed with exit code 2."
    assert (600_003, "##[error]Process completed with exit code 2.") in parse(text, "job_log").error_lines


def test_argocd_gives_application_phase_health_and_revision() -> None:
    text = (
        "Name:               argocd/shop\nSync Status:        OutOfSync from main (4f9c2d1)\nHealth Status:      Degraded\n\n"
        'Operation:          Sync\nPhase:              Failed\nMessage:  no matches for kind "PodMonitor" in version "v1"\n'
    )
    parsed = parse(text)
    assert parsed.format == "argocd"
    assert parsed.first("application") == "shop"
    assert parsed.first("phase") == "Failed"
    assert parsed.first("health") == "Degraded"
    assert parsed.first("revision") == "4f9c2d1"
    assert parsed.first("crd") == "PodMonitor"


def test_unknown_text_still_gives_error_lines_and_names() -> None:
    parsed = parse("start\ndial tcp: lookup mq.internal on 10.0.0.2:53: no such host\nbye")
    assert parsed.format == "text"
    assert parsed.first("host") == "mq.internal"
    assert (2, "dial tcp: lookup mq.internal on 10.0.0.2:53: no such host") in parsed.error_lines
