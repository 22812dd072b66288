# ruff: noqa: E501  samples of tools' output keep their lines
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


def test_docker_build_inside_actions_is_followed() -> None:
    text = (
        "##[group]Run docker build .\n##[endgroup]\n#5 [2/4] RUN npm ci\n#5 ERROR: process did not complete\n"
        'ERROR: failed to solve: process "/bin/sh -c npm ci" did not complete successfully: exit code: 1\n'
        "##[error]Process completed with exit code 1.\n"
    )
    parsed = parse(text)
    assert (parsed.format, parsed.tool, parsed.exit_code) == ("github_actions", "docker build", 1)


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
