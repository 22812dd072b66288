"""Pure: Flux's notification-controller, providers `generic` (a token) and `generic-hmac` (X-Signature).

An event tells of one Kustomization, HelmRelease or source of it, with a severity (error or info) and a reason. It has
no id, and controllers send the same one again as often as they fail.
https://fluxcd.io/flux/components/notification/providers/#generic-webhook
"""

from collections.abc import Mapping

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.fingerprint import identity, normal_severity
from knowledge.model import Alert, AlertStatus

# Whatever the controller: an object whose last word is one of these is as it should be.
_WELL = frozenset(
    {
        "reconciliationsucceeded", "installsucceeded", "upgradesucceeded", "testsucceeded", "rollbacksucceeded",
        "healthcheckpassed", "artifactup-to-date", "artifactuptodate", "newartifact", "gitoperationsucceeded",
        "succeeded", "readyisnowtrue",
    }
)  # fmt: skip
_REVISION = ("revision", "chartVersion")


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    about = fields.child(body, "involvedObject")
    kind, name = fields.name(about.get("kind")), fields.name(about.get("name"))
    if not name:
        raise BadInput("The field `involvedObject.name` is missing: this is no event of Flux.")
    severity, reason = normal_severity(body.get("severity")), fields.title(body.get("reason"))
    more = {_bare(key): value for key, value in fields.labels(body.get("metadata")).items()}
    namespace, cluster = fields.name(about.get("namespace")), more.get("cluster", "")
    revision = next((more[key] for key in _REVISION if more.get(key)), "")
    status = _status(severity, reason)
    return (
        Alert(
            source="flux",
            status=status,
            title=name,
            # An object has one state: a later success answers whichever of its failures came before.
            identity=identity("flux", cluster=cluster, namespace=namespace, owner=name, marks=[kind]),
            actionable=status is AlertStatus.FIRING,
            severity=severity,
            summary=". ".join(part for part in (reason, fields.text(body.get("message"))) if part),
            namespace=namespace,
            workload=name,
            owner=name,
            service=name,
            cluster=cluster,
            branch=revision.partition("@")[0] if "@" in revision else "",
            commit=_commit(revision),
            target=fields.hints(kind=kind, name=name, namespace=namespace, cluster=cluster),
            labels=fields.hints(
                kind=kind,
                reason=reason,
                revision=revision,
                controller=fields.name(body.get("reportingController")),
                environment=more.get("env", ""),
                summary=more.get("summary", ""),
            ),
        ),
    )


def event_of(_headers: Mapping[str, str], body: Json) -> str:
    return fields.name(fields.child(body, "involvedObject").get("kind"))


def _status(severity: str, reason: str) -> AlertStatus:
    if severity == "error":
        return AlertStatus.FIRING
    squashed = "".join(reason.lower().split())
    return AlertStatus.RESOLVED if squashed in _WELL else AlertStatus.INFO


def _bare(key: str) -> str:
    """Controllers write `kustomize.toolkit.fluxcd.io/revision`, an Alert's own metadata has plain keys."""
    return key.rpartition("/")[2]


def _commit(revision: str) -> str:
    """Of `main@sha1:4f4c…`, `sha256:…` of an artifact is none."""
    _, _, digest = revision.partition("@")
    kind, _, value = digest.partition(":")
    return value if kind == "sha1" else ""
