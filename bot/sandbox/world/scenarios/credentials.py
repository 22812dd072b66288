"""Passwords that the database no longer takes, and a release that asks for the wrong user with the same words."""

import base64
from collections.abc import Callable

from bot.sandbox.world.causes import Surroundings, Symptom, on_image
from bot.sandbox.world.objects import PASSWORD_KEY, Json
from bot.sandbox.world.scenarios.pods import OLD_SCHEMA
from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.state import State

NODE_REFUSED = Symptom(
    "crash",
    (
        '{{"level":30,"pid":1,"msg":"connecting to the database","host":"db.shared","user":"orders"}}',
        "/app/node_modules/pg-pool/index.js:45",
        "    Error.captureStackTrace(err)",
        "",
        'error: password authentication failed for user "orders"',
        "    at Parser.parseErrorMessage (/app/node_modules/pg-protocol/dist/parser.js:285:98)",
        "    at async connect (/app/dist/database.js:22:18) {{",
        "  severity: 'FATAL',",
        "  code: '28P01',",
        "  routine: 'auth_failed'",
        "}}",
    ),
)
PYTHON_REFUSED = Symptom(
    "crash",
    (
        "Traceback (most recent call last):",
        '  File "/app/app/database.py", line 31, in connect',
        "    return psycopg.connect(dsn, connect_timeout=5)",
        (
            'psycopg.OperationalError: connection failed: connection to server at "10.4.0.12", port 5432 failed: '
            'FATAL:  password authentication failed for user "notifications"'
        ),
    ),
)
WRONG_USER = Symptom(
    "crash",
    (
        "{now} INFO app.settings database user is notifications_rw since {version}",
        "Traceback (most recent call last):",
        '  File "/app/app/database.py", line 31, in connect',
        "    return psycopg.connect(dsn, connect_timeout=5)",
        (
            'psycopg.OperationalError: connection failed: connection to server at "10.4.0.12", port 5432 failed: '
            'FATAL:  password authentication failed for user "notifications_rw"'
        ),
    ),
)


def password_rotated(symptom: Symptom) -> Callable[[State, Scenario], None]:
    """The database takes a new password, and the store of secrets has it; the cluster's Secret was forgotten."""

    def begin(state: State, scenario: Scenario) -> None:
        service = state.service(scenario.service)
        state.rotate_password(service.name)
        older = on_image(service.image(service.previous), OLD_SCHEMA)

        def symptom_of(around: Surroundings, pod: Json) -> Symptom | None:
            secret = around.find("secrets", service.namespace, service.secret) or {"data": {}}
            given = base64.b64decode(secret["data"].get(PASSWORD_KEY, "")).decode()
            wrong = given != state.cluster.passwords[service.name]
            return older(around, pod) or (symptom if wrong else None)

        state.add_cause(scenario.id, service.name, symptom_of)

    return begin


def wrong_user(state: State, scenario: Scenario) -> None:
    image = state.release(scenario.service, state.next_version(scenario.service))
    state.add_cause(scenario.id, scenario.service, on_image(image, WRONG_USER))


ROTATE = (("rotate_secret",),)
RESTART_ROLLOUT = (("restart_rollout",),)
ROLLBACK = (("rollback",),)
TEXT = "Pods of {namespace}/{service} are restarting again and again."

SCENARIOS = (
    Scenario(
        id="password-rotated-orders",
        title="The database of orders takes another password",
        summary="The password was rotated and the cluster's Secret still has the old one.",
        service="orders",
        kind="credentials",
        right_action="k8s_update_secret",
        group="password-rotated",
        source="alertmanager",
        begin=password_rotated(NODE_REFUSED),
        proofs=Proofs(ROTATE, RESTART_ROLLOUT, ROLLBACK, "wrong-user-notifications"),
        alertname="KubePodCrashLooping",
        alert_text=TEXT,
    ),
    Scenario(
        id="password-rotated-notifications",
        title="Notifications is locked out of its database",
        summary="The same forgotten Secret in staging, told by another driver.",
        service="notifications",
        kind="credentials",
        right_action="k8s_update_secret",
        group="password-rotated",
        source="kubernetes",
        begin=password_rotated(PYTHON_REFUSED),
        proofs=Proofs(ROTATE, RESTART_ROLLOUT, ROLLBACK, "wrong-user-notifications"),
    ),
    Scenario(
        id="wrong-user-notifications",
        title="Notifications' new release asks for a user that does not exist",
        summary="The same refusal, but the password is right: the release renamed the user.",
        service="notifications",
        kind="credentials",
        right_action="k8s_rollback",
        group="wrong-user",
        source="alertmanager",
        begin=wrong_user,
        proofs=Proofs(ROLLBACK, ROTATE, (("restart_rollout",), ("rollback",)), "password-rotated-orders"),
        alertname="KubePodCrashLooping",
        alert_text=TEXT,
    ),
)
