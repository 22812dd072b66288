"""Failing GitHub Actions runs: some pass when run again, most do not."""

# ruff: noqa: E501  a line of a log is written as one line

from collections.abc import Callable

from bot.sandbox.world.github_store import REGISTRY_TOKEN, Failure, FailureOf, Job, Repository, Run
from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.state import State

PIP_TIMEOUT = Failure(
    "Install dependencies",
    (
        (
            "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by "
            "'ReadTimeoutError(\"HTTPSConnectionPool(host='packages.acme.example', port=443): Read timed out. (read timeout=15)\")': /simple/orjson/"
        ),
        (
            "ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='packages.acme.example', port=443): "
            'Max retries exceeded with url: /simple/orjson/ (Caused by ReadTimeoutError("Read timed out. (read timeout=15)"))'
        ),
        "make: *** [Makefile:12: install-dependencies] Error 1",
    ),
    exit_code=2,
)
GO_PROXY_RESET = Failure(
    "Install dependencies",
    (
        "go: downloading golang.org/x/sync v0.17.0",
        (
            'go: golang.org/x/sync@v0.17.0: read "https://proxy.acme.example/golang.org/x/sync/@v/v0.17.0.zip": '
            "read tcp 10.1.0.93:48822->10.9.4.11:443: read: connection reset by peer"
        ),
        "make: *** [Makefile:9: install-dependencies] Error 1",
    ),
    exit_code=2,
)
WRONG_INDEX = Failure(
    "Install dependencies",
    (
        (
            "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by "
            "'NewConnectionError(\"Failed to establish a new connection: [Errno -2] Name or service not known\")': /simple/orjson/"
        ),
        "ERROR: Could not find a version that satisfies the requirement orjson==3.11.4 (from versions: none)",
        "ERROR: No matching distribution found for orjson==3.11.4",
        "make: *** [Makefile:12: install-dependencies] Error 1",
    ),
    exit_code=2,
)
TEST_RED = Failure(
    "Run tests",
    (
        "=================================== FAILURES ===================================",
        "________________________ test_total_is_rounded_to_cents ________________________",
        "    def test_total_is_rounded_to_cents():",
        '        order = Order([Line("0.125", 1), Line("0.125", 1)])',
        '>       assert order.total() == Decimal("0.24")',
        "E       AssertionError: assert Decimal('0.26') == Decimal('0.24')",
        "tests/test_totals.py:57: AssertionError",
        "=========================== short test summary info ============================",
        "FAILED tests/test_totals.py::test_total_is_rounded_to_cents - AssertionError: assert Decimal('0.26') == Decimal('0.24')",
        "======================== 1 failed, 412 passed in 38.11s ========================",
    ),
    path="tests/test_totals.py",
    line=57,
    note="AssertionError: assert Decimal('0.26') == Decimal('0.24')",
)
DOCKER_COPY = Failure(
    "Build and push image",
    (
        "#9 [4/6] COPY dist/templates /app/templates",
        '#9 ERROR: failed to calculate checksum of ref 8xk2v::p0c: "/dist/templates": not found',
        "------",
        " > [4/6] COPY dist/templates /app/templates:",
        "------",
        "Dockerfile:3",
        (
            "ERROR: failed to build: failed to solve: failed to compute cache key: failed to calculate checksum of ref "
            '8xk2v::p0c: "/dist/templates": not found'
        ),
    ),
    path="Dockerfile",
    line=3,
)

CACHE_BROKEN = Failure(
    "Build and push image",
    (
        "#6 importing cache manifest from registry.acme.example/acme/storefront:buildcache",
        "#6 DONE 0.3s",
        "#9 [4/6] RUN /app/build.sh",
        "#9 CACHED",
        "#10 exporting cache to registry",
        (
            "ERROR: failed to build: failed to solve: failed to compute cache key: failed to get blob: blob "
            "sha256:4f1c09ab7d22e5c81f0b6f6d3b9f6a1cc7d04b9be2a9c1f3de85c6b1f0f7a0d2: not found"
        ),
    ),
    path="Dockerfile",
    line=3,
)


TOKEN_EXPIRED = Failure(
    "Build and push image",
    (
        "#11 exporting to image",
        "#11 pushing layers 0.2s done",
        (
            "#11 ERROR: failed to push registry.acme.example/acme/search: failed to authorize: failed to fetch oauth token: "
            "unexpected status from GET request to https://registry.acme.example/token: 401 Unauthorized: token has expired"
        ),
        "ERROR: failed to build: failed to solve: failed to push: 401 Unauthorized: token has expired",
    ),
)


def token_expired(state: State, scenario: Scenario) -> None:
    """The registry's token in the repository's secrets has expired; the store of secrets has a new one."""
    repository = state.repository(scenario.service)
    state.renew_registry_token(scenario.service)

    def failure_of(where: Repository, _: Run, __: int, job: str) -> Failure | None:
        if where is not repository or job != "image":
            return None
        stored = where.secrets["", REGISTRY_TOKEN].value
        return None if stored == state.hub.registry_tokens[where.name] else TOKEN_EXPIRED

    state.hub.causes[scenario.id] = failure_of
    number = len(repository.commits)
    commit = state.hub.commit(repository, "Rank by freshness", {f"docs/change-{number}.md": "Freshness.\n"})
    state.hub.start(repository, commit.sha, commit.message)


def broken_cache(state: State, scenario: Scenario) -> None:
    """The build's cache in the registry has lost a layer: each build fails that uses it, until one is made without."""
    repository, lost = state.repository(scenario.service), {scenario.id}

    def failure_of(where: Repository, run: Run, _: int, job: str) -> Failure | None:
        uses = where is repository and run.inputs.get("no-cache") != "true"
        return CACHE_BROKEN if uses and lost and job == "image" else None

    def built(run: Run, job: Job) -> None:
        if run.repository == repository.name and job.name == "image" and run.inputs.get("no-cache") == "true":
            lost.clear()

    state.hub.causes[scenario.id] = failure_of
    state.hub.on_job.append(built)
    number = len(repository.commits)
    commit = state.hub.commit(repository, "Show the basket's total", {f"docs/change-{number}.md": "The total.\n"})
    state.hub.start(repository, commit.sha, commit.message)


def network_blip(failure: Failure, message: str) -> Callable[[State, Scenario], None]:
    """The first attempt of one run met a broken connection; the connection is well again."""

    def begin(state: State, scenario: Scenario) -> None:
        repository = state.repository(scenario.service)
        number = len(repository.commits)
        commit = state.hub.commit(repository, message, {f"docs/change-{number}.md": f"{message}\n"})
        run = state.hub.start(repository, commit.sha, message)
        state.hub.marked[scenario.id] = run.id
        state.hub.causes[f"{scenario.id}/{run.id}"] = first_attempt_of(run.id, failure)

    return begin


def hung(failure: Failure) -> Callable[[State, Scenario], None]:
    """A run of two hours ago: one job failed, and another never ends. GitHub tells of the job, not of the run."""

    def begin(state: State, scenario: Scenario) -> None:
        repository = state.repository(scenario.service)
        commit = state.hub.commit(repository, "Log the card's network", {"docs/networks.md": "Networks.\n"})
        run = state.hub.start(repository, commit.sha, commit.message, at=state.hub.clock() - HUNG_FOR)
        state.hub.marked[scenario.id] = run.id
        state.hub.hanging[run.id] = "image"
        state.hub.causes[f"{scenario.id}/{run.id}"] = first_attempt_of(run.id, failure)

    return begin


def first_attempt_of(run_id: int, failure: Failure) -> FailureOf:
    def failure_of(_: Repository, run: Run, attempt: int, job: str) -> Failure | None:
        return failure if run.id == run_id and attempt == 1 and job == "test" else None

    return failure_of


def bad_commit(job: str, failure: Failure, path: str, text: str, message: str) -> Callable[[State, Scenario], None]:
    """A commit that cannot pass: every run of a commit with this text in that file fails."""

    def begin(state: State, scenario: Scenario) -> None:
        repository = state.repository(scenario.service)

        def failure_of(where: Repository, run: Run, _: int, name: str) -> Failure | None:
            commit = where.commit(run.sha) if where is repository else None
            wrong = commit is not None and commit.files.get(path) == text
            return failure if wrong and name == job else None

        state.hub.causes[scenario.id] = failure_of
        commit = state.hub.commit(repository, message, {path: text})
        state.hub.start(repository, commit.sha, message)

    return begin


HUNG_FOR = 2 * 3600.0
CANCEL = (("cancel_run",),)
RERUN_FAILED = (("rerun_failed",),)
RERUN_ALL = (("rerun_all",),)
RESTART = (("restart_all_pods",),)
ROTATE = (("rotate_registry_token",), ("rerun_failed",))
NO_CACHE = (("dispatch", "no-cache", "true"),)
WRONG_PIP = "[global]\nindex-url = https://packges.acme.example/simple\n"
RIGHT_PIP = "[global]\nindex-url = https://packages.acme.example/simple\n"
WRONG_TOTALS, RIGHT_TOTALS = "rounding = half-up\n", "rounding = half-even\n"
WRONG_DOCKER = "FROM registry.acme.example/base/runtime:24.04\nCOPY . /app\nCOPY dist/templates /app/templates\n"
RIGHT_DOCKER = "FROM registry.acme.example/base/runtime:24.04\nCOPY . /app\nRUN /app/build.sh\n"

SCENARIOS = (
    Scenario(
        id="ci-hung-payments",
        title="A build of payments has hung for two hours",
        summary="One job failed long ago, another waits for a runner's network that never comes back.",
        service="payments-api",
        kind="githubaction_transient",
        right_action="github_cancel_run",
        group="ci-hung",
        source="github",
        begin=hung(PIP_TIMEOUT),
        proofs=Proofs(CANCEL, RESTART, None, "ci-index-reports"),
    ),
    Scenario(
        id="ci-network-catalog",
        title="Catalog's build lost its package index for a moment",
        summary="Reading from the package index timed out while dependencies were installed.",
        service="catalog",
        kind="githubaction_transient",
        right_action="github_rerun",
        group="ci-network",
        source="github",
        begin=network_blip(PIP_TIMEOUT, "Describe the price cache"),
        proofs=Proofs(RERUN_FAILED, RESTART, RERUN_ALL, "ci-index-reports"),
    ),
    Scenario(
        id="ci-network-checkout",
        title="Checkout's build had its connection reset",
        summary="The same broken network in other words: the module proxy reset the connection.",
        service="checkout",
        kind="githubaction_transient",
        right_action="github_rerun",
        group="ci-network",
        source="github",
        begin=network_blip(GO_PROXY_RESET, "Name the cart's owner in logs"),
        proofs=Proofs(RERUN_FAILED, RESTART, RERUN_ALL, "ci-index-reports"),
    ),
    Scenario(
        id="ci-index-reports",
        title="Reports installs from a package index that does not exist",
        summary="Reads like a broken network, but the commit misspelt the index's host: it fails each time.",
        service="reports",
        kind="dependency_resolution",
        right_action="escalate",
        group="ci-dependencies",
        source="github",
        begin=bad_commit("test", WRONG_INDEX, "pip.conf", WRONG_PIP, "Move to the new package index"),
        proofs=Proofs((("put_file", "pip.conf", RIGHT_PIP),), RERUN_FAILED, RERUN_ALL, "ci-network-catalog"),
    ),
    Scenario(
        id="ci-test-orders",
        title="A test of orders is red",
        summary="The rounding rule changed and a test says so: running it again changes nothing.",
        service="orders",
        kind="test_failure",
        right_action="github_revert_pr",
        group="ci-test",
        source="github",
        begin=bad_commit("test", TEST_RED, "src/totals.txt", WRONG_TOTALS, "Round halves up"),
        proofs=Proofs((("put_file", "src/totals.txt", RIGHT_TOTALS),), RERUN_FAILED, RERUN_ALL, "ci-network-checkout"),
    ),
    Scenario(
        id="ci-docker-notifications",
        title="Notifications' image does not build",
        summary="The Dockerfile copies a folder that the build context does not have.",
        service="notifications",
        kind="buildfailure",
        right_action="github_revert_pr",
        group="ci-image",
        source="github",
        begin=bad_commit("image", DOCKER_COPY, "Dockerfile", WRONG_DOCKER, "Ship the mail templates"),
        proofs=Proofs((("put_file", "Dockerfile", RIGHT_DOCKER),), RERUN_FAILED, RERUN_ALL, "image-missing-payments"),
    ),
    Scenario(
        id="ci-cache-storefront",
        title="Storefront's build cache has lost a layer",
        summary="Every build that uses the cache fails the same way; one without it makes a new cache.",
        service="storefront",
        kind="buildcacheerror",
        right_action="docker_clear_cache",
        group="ci-cache",
        source="github",
        begin=broken_cache,
        proofs=Proofs(NO_CACHE, RERUN_FAILED, RERUN_ALL, "ci-docker-notifications"),
    ),
    Scenario(
        id="ci-token-search",
        title="Search's pipeline may not push its image any more",
        summary="The registry's token in the repository's secrets has expired: no rerun helps until it is replaced.",
        service="search",
        kind="credentials",
        right_action="github_secret_rotate",
        group="ci-token",
        source="github",
        begin=token_expired,
        proofs=Proofs(ROTATE, RERUN_FAILED, RERUN_ALL, "ci-docker-notifications"),
    ),
)
