# ruff: noqa: E501  a line of a log is written as one line
"""The built-in diagnosis on live evidence: every scenario of the sandbox, and look-alikes in words of other tools."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.sandbox.world.scenarios import SCENARIOS
from bot.sandbox.world.scenarios.table import Scenario
from knowledge.diagnosis import BuiltinAnswerer, diagnose_builtin
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.model import Diagnosis, Evidence, FailureKind, Unsure
from knowledge.ports import Vector
from knowledge.signs import Sign, signs_of
from tests.knowledge.live_world import Seen, live_world

K = FailureKind
# Where a person would agree with another answer as well, by scenario. Of the failed migration's pod the watch says no
# more than "error", and what is collected is the healthy service's: to be unsure is right then.
NEIGHBOURS: dict[str, set[str]] = {"migration-orders": {"unsure"}}
# So many pieces of the same work can go on side by side.
PARTS = 4
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")


class InProcess:
    """The local embedder behind the asynchronous protocol, without its child process."""

    name = "local"
    dimension = 384

    def __init__(self, embed: Callable[[str], Vector]) -> None:
        self._embed = embed

    async def embed_query(self, text: str) -> Vector:
        return self._embed(text)

    async def embed_passages(self, texts: list[str]) -> list[Vector]:
        return [self._embed(text) for text in texts]


@pytest.fixture(scope="module")
def embed() -> Callable[[str], Vector]:
    return LocalEmbedder(threads=1).embed


# --- the sandbox's scenarios ------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
async def test_every_scenario_gets_its_kind_and_its_fix_and_never_a_wrong_one(
    tmp_path: Path, embed: Callable[[str], Vector], capsys: pytest.CaptureFixture[str], part: int
) -> None:
    """At the first alert, a while later, and from each object that the watch would tell of."""
    answerer = BuiltinAnswerer(InProcess(embed))
    looks: list[tuple[Scenario, str, Seen]] = []
    async with live_world(tmp_path) as world:
        for scenario in SCENARIOS[part::PARTS]:
            alert = await world.break_(scenario)
            looks.append((scenario, "first", await world.look(alert, [answerer])))
            await world.running.turns(40)
            looks.append((scenario, "later", await world.look(alert, [answerer])))
            if scenario.source in {"alertmanager", "slack", "kubernetes"}:
                told = world.watched(scenario)
                looks += [(scenario, f"watch {one.title}", await world.look(one, [answerer])) for one in told]
    with capsys.disabled():
        sys.stdout.write(table(looks))
    wrong_action = [line(*look) for look in looks if look[2].action not in {"", right_action(look[0])}]
    assert wrong_action == []
    assert [line(*look) for look in looks if not right_kind(*look)] == []
    assert [line(*look) for look in looks if look[2].action != right_action(look[0])] == []
    for scenario, _, seen in looks:
        if isinstance(seen.answer, Diagnosis):
            sentence_is_plain(seen.answer, scenario)


def right_action(scenario: Scenario) -> str:
    """What everything visible speaks for; where that is wrong nobody can know it beforehand."""
    if scenario.misleads:
        return scenario.misleads
    return scenario.right_action if scenario.right_action not in {"escalate", "noop"} else ""


def right_kind(scenario: Scenario, when: str, seen: Seen) -> bool:
    also = NEIGHBOURS.get(scenario.id, set()) if when.startswith("watch") else set()
    return seen.kind in {scenario.kind, *also}


def sentence_is_plain(answer: Diagnosis, scenario: Scenario) -> None:
    assert 10 < len(answer.cause) <= 160, scenario.id
    assert not _UID.search(answer.cause), answer.cause
    assert not set("*`<>|") & set(answer.cause), answer.cause
    assert "back-off" not in answer.cause.lower(), answer.cause
    assert len(answer.quotes) <= 6, scenario.id


def line(scenario: Scenario, when: str, seen: Seen) -> str:
    confidence = seen.answer.confidence if isinstance(seen.answer, Diagnosis) else 0.0
    mark = "ok " if right_kind(scenario, when, seen) and seen.action == right_action(scenario) else "BAD"
    said = seen.answer.cause if isinstance(seen.answer, Diagnosis) else seen.answer.reason
    return f"{mark} {scenario.id:28} {when:28} {seen.kind:22} {confidence:.2f} {seen.action or '-':16} {said}"


def table(looks: list[tuple[Scenario, str, Seen]]) -> str:
    rows = [line(*look) for look in looks]
    good = sum(row.startswith("ok") for row in rows)
    count = len({scenario.id for scenario, *_ in looks})
    return "\n" + "\n".join(rows) + f"\nlive evidence: {good}/{len(rows)} looks right, {count} scenarios\n"


# --- the same in other words -------------------------------------------------------------------------------------------


def item(kind: str, text: str) -> Evidence:
    return Evidence(kind, "test", text)


def unhealthy(message: str) -> Evidence:
    head = "LAST SEEN   TYPE      REASON              OBJECT   COUNT   MESSAGE\n"
    return item(
        "events", f"{head}4s          Warning   Unhealthy           pod/basket-6c5d7f9b84-x2x4z   x6   {message}"
    )


STATUS = item(
    "pod_status",
    "Deployment basket: 3 desired, 3 updated, 2 ready, 1 unavailable\nPod basket-6c5d7f9b84-x2x4z: Running, 0/1 ready, 0 restarts, node n1",
)
TIMED_OUT = unhealthy(
    'Readiness probe failed: Get "http://10.0.0.9:3000/up": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
)
REFUSED = unhealthy(
    'Readiness probe failed: Get "http://10.0.0.9:3000/up": dial tcp 10.0.0.9:3000: connect: connection refused'
)
UNAVAILABLE = unhealthy("Readiness probe failed: HTTP probe failed with statuscode: 503")
CALM = "INFO GET /basket/17 200 in 9 ms\n" * 12


def ci(step: str, *lines: str) -> list[Evidence]:
    at = "2026-02-03T04:05:06.0000000Z "
    log = [f"##[group]Run {step}", "##[endgroup]", *lines, "##[error]Process completed with exit code 1."]
    return [
        item("alert", "CI\nworkflow run of acme/basket: failure"),
        item("job_log", "".join(f"{at}{one}\n" for one in ["Current runner version: '2.330.0'", *log])),
    ]


def service(events: Evidence, *lines: str) -> list[Evidence]:
    return [item("alert", "KubePodNotReady"), STATUS, events, item("logs", CALM + "\n".join(lines))]


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        (service(TIMED_OUT, "puma: all 16 threads busy, 210 requests waiting; cpu usage 99 %"), K.PERFORMANCE),
        (service(TIMED_OUT, "[pool www] server reached pm.max_children setting (40), consider raising it"), K.PERFORMANCE),
        (service(TIMED_OUT, "nginx: 1024 worker_connections are not enough"), K.PERFORMANCE),
        (service(TIMED_OUT, "WARN overloaded: dropping work, cpu throttled in 71 % of periods"), K.PERFORMANCE),
        (service(UNAVAILABLE, "ERROR handler 7 stuck: 32 threads blocked, Found one Java-level deadlock"), K.PROBE_FAILURE),
        (service(REFUSED, "INFO now listening on :3100"), K.PROBE_FAILURE),
        (service(UNAVAILABLE, "ERROR not ready: GET http://rates.corp.test/v1 failed: 503 Service Unavailable; cpu 3 %"), K.UPSTREAM_UNAVAILABLE),
        (service(TIMED_OUT, "WARN circuit breaker for ledger is open", "WARN p99 latency 6 s; cpu 40m of 1000m"), K.UPSTREAM_UNAVAILABLE),
        (ci("npm ci", "npm error code ECONNRESET", "npm error network read ECONNRESET while fetching zod"), K.GITHUBACTION_TRANSIENT),
        (ci("cargo fetch", "error: failed to download from the mirror", "curl failed: Connection reset by peer"), K.GITHUBACTION_TRANSIENT),
        (ci("mvn package", "Could not transfer artifact a:b:jar:1.0 from mirror: Read timed out"), K.GITHUBACTION_TRANSIENT),
        (ci("npm ci", "npm error code ETARGET", "npm error notarget No matching version found for @acme/ui@^9.0.0."), K.DEPENDENCY_RESOLUTION),
        (ci("pip install", "WARNING: Retrying after connection broken by ReadTimeoutError: Read timed out.", "ERROR: No matching distribution found for flsk==1.0"), K.DEPENDENCY_RESOLUTION),
        (ci("go test", "dial tcp 127.0.0.1:5432: connect: connection refused", "--- FAIL: TestOrders (0.02s)", "FAIL\tacme/orders\t0.4s"), K.TEST_FAILURE),
    ],
    ids=["puma", "php", "nginx", "throttled", "deadlock", "port", "dependency", "breaker", "npm-reset", "cargo-reset", "maven-timeout", "npm-version", "pip-name", "go-test"],
)  # fmt: skip
def test_look_alikes_are_told_apart_in_words_of_other_tools(
    embed: Callable[[str], Vector], items: list[Evidence], kind: FailureKind
) -> None:
    result = diagnose_builtin("CI" if len(items) == 2 else "KubePodNotReady", items, embed=embed)
    assert isinstance(result, Diagnosis)
    assert result.kind is kind, result.candidates


def test_pods_that_came_up_late_are_healthy_and_restarting_ones_are_not(embed: Callable[[str], Vector]) -> None:
    up = "Deployment basket: 3 desired, 3 updated, 3 ready, 0 unavailable\nPod basket-6c5d7f9b84-x2x4z: Running, 1/1 ready, {} restarts, node n1"
    log = item("logs", CALM)
    late = diagnose_builtin("RolloutStuck", [item("pod_status", up.format(0)), REFUSED, log], embed=embed)
    assert isinstance(late, Diagnosis)
    assert late.kind is K.HEALTHY
    restarting = diagnose_builtin("RolloutStuck", [item("pod_status", up.format(4)), REFUSED, log], embed=embed)
    assert isinstance(restarting, Unsure) or restarting.kind is not K.HEALTHY


def test_signs_for_or_against_a_fix_are_quoted_whatever_the_kind(embed: Callable[[str], Vector]) -> None:
    noise = [f"ERROR unit {word} failed to parse input" for word in ("alpha", "beta", "gamma", "delta", "eta", "zeta")]
    result = diagnose_builtin("t", service(TIMED_OUT, *noise, "all 8 workers busy, 99 requests queued"), embed=embed)
    assert any(Sign.CAPACITY in signs_of(quote.text) for quote in result.quotes)
    assert len(result.quotes) <= 6


def test_quotes_begin_with_the_log_and_repeat_no_line_that_differs_by_names_and_numbers_only(
    embed: Callable[[str], Vector],
) -> None:
    back_off = "".join(
        f"3s          Warning   BackOff             pod/basket-6c5d7f9b84-{name}   x4   Back-off restarting failed container basket in pod basket-6c5d7f9b84-{name}_shop(1f0c{number}b9e-84f2-4acd-9a3b-adf2d87c2cb5)\n"
        for number, name in enumerate(("x2x4z", "b7k2m", "q9w3e"))
    )
    log = CALM + "Traceback (most recent call last):\n  File \"/srv/main.py\", line 9, in load\nKeyError: 'region'\n"
    items = [item("alert", "KubePodCrashLooping"), STATUS, item("events", back_off), item("previous_logs", log)]
    result = diagnose_builtin("KubePodCrashLooping", items, embed=embed)
    assert isinstance(result, Diagnosis)
    assert result.quotes[0].text == "KeyError: 'region'"
    assert sum("Back-off" in quote.text for quote in result.quotes) == 1
    assert result.cause == "basket keeps crashing: KeyError: 'region' in load"


@pytest.mark.parametrize(
    ("line_", "signs"),
    [
        ("cpu 30m of 1000m", {Sign.IDLE}),
        ('{"msg":"late","cpu":"0.98 of 1 core"}', {Sign.CAPACITY}),
        ("Limits: cpu 1, memory 512Mi", set()),
        ("40 of 40 workers wait for lock ledger", {Sign.LOCK}),
        ("12 of 12 workers wait for inventory", {Sign.DEPENDENCY}),
        ("INFO GET /orders 200 in 4 ms", set()),
        ("Liveness probe failed: dial tcp 10.0.0.1:80: i/o timeout", {Sign.PROBE_TIMEOUT}),
    ],
)
def test_a_line_shows_its_signs_and_no_others(line_: str, signs: set[Sign]) -> None:
    assert signs_of(line_) == signs
