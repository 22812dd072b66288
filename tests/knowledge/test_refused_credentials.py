"""A credential that was refused is the cause only of what fails with it."""

import pytest

from knowledge.live_state import read_state
from knowledge.model import FailureKind

CRASHES = "Pod api-1: 1/1 waiting, reason CrashLoopBackOff, back-off restarting failed container"


@pytest.mark.parametrize(
    "line",
    [
        'FATAL:  password authentication failed for user "shop"',
        "ERROR 1045 (28000): Access denied for user 'shop'@'10.1.0.7' (using password: YES)",
        "(error) WRONGPASS invalid username-password pair or user is disabled.",
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.",
        "An error occurred (InvalidClientTokenId) when calling the GetCallerIdentity operation",
    ],
)
def test_a_log_that_ends_with_a_refused_credential_explains_the_crash(line: str) -> None:
    log = "starting up\nreading settings\n" + line
    assert (
        read_state("api crashes", [CRASHES, log], ["pod_status", "previous_logs"]).facts[0].kind
        is FailureKind.CREDENTIALS
    )
    assert all(
        fact.kind is not FailureKind.CREDENTIALS
        for texts in ([log], ["Pod db-1: 1/1 running", log], [CRASHES, log + "\nserving" * 40])
        for fact in read_state("api", texts, ["previous_logs"] if len(texts) == 1 else ["pod_status", "logs"]).facts
    )
