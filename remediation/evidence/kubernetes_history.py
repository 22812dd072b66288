"""A workload's revisions, and what the present one changed since the last that is known to have served."""

import re
from collections.abc import Sequence

from knowledge.errors import CodeHealerError
from knowledge.model import EvidenceKind
from remediation import kube
from remediation.evidence import changes
from remediation.evidence.kubernetes_place import Place
from remediation.evidence.piece import Piece, Pieces, Subject
from remediation.ports import Json

MAX_REVISIONS = 6
# Where builds write the commit that an image was made from; many use it as the image's tag instead.
COMMIT_NOTES = ("org.opencontainers.image.revision", "app.kubernetes.io/commit", "git-commit", "commit")
_COMMIT = re.compile(r"(?=.*[a-f])[0-9a-f]{7,40}|[0-9a-f]{40}")


async def history(place: Place, subject: Subject) -> Pieces:
    """The rollout history, and the change, each in a piece of its own; nothing without a workload."""
    if place.workload is None:
        return []
    rows = place.replica_sets or await _controller_revisions(place, place.workload)
    if not rows:
        return []
    current, older = _revisions(place.workload, rows)
    told = Piece(EvidenceKind.ROLLOUT, place.source, _rollout(place.workload, rows, current.number))
    return [told, *await _changed(place, subject, current, older)]


async def _changed(
    place: Place, subject: Subject, current: changes.Revision, older: Sequence[changes.Revision]
) -> Pieces:
    since = subject.incident.opened_at
    text = changes.rollout_change(current, older, since)
    if not text:
        return []
    commits = [] if changes.is_old(current.created_at, since) else await _commits(subject, current, older)
    head, _, rest = text.partition("\n")
    if commits and commits[0]:
        head = f"{head}; {commits[0]}"
    return [Piece(EvidenceKind.CHANGES, place.source, "\n".join([head, rest, *commits[1:]]))]


async def _commits(subject: Subject, current: changes.Revision, older: Sequence[changes.Revision]) -> list[str]:
    """The commits between two images, where both name theirs; the first line sums up.

    Argo CD knows the revisions better, so where the service names an application that is left to its collector.
    """
    host, row = subject.clients.code_host, subject.service
    if host is None or not subject.repository or (subject.clients.argocd and row and row.argocd_app):
        return []
    base, head = commit_of(changes.healthy_of(older).template), commit_of(current.template)
    if not base or not head or base == head:
        return []
    try:
        return changes.commits_change(await host.compare(subject.repository, base, head)).splitlines()
    except CodeHealerError as error:
        return ["", f"  the commits could not be compared in {subject.repository}: {error}"]


def commit_of(template: Json) -> str:
    """The commit that a pod template's image was made from, "" where nothing says so: pure."""
    meta = template.get("metadata") or {}
    notes = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    tags = [image.rpartition("/")[2].partition("@")[0].rpartition(":")[2] for image in kube.images(template)[:1]]
    said = [str(notes[key]) for key in COMMIT_NOTES if notes.get(key)]
    tags += [tag.removeprefix("sha-").removeprefix("git-") for tag in tags]
    return next((word for word in [*said, *tags] if _COMMIT.fullmatch(word)), "")


async def _controller_revisions(place: Place, workload: Json) -> tuple[Json, ...]:
    """What stateful and daemon sets keep instead of replica sets, in the same shape."""
    found = await place.cluster.list(
        place.name, "ControllerRevision", place.namespace, labels=kube.selector(workload)
    )  # fmt: skip
    mine = [row for row in found if kube.controller_uid(row) == kube.uid_of(workload)]
    return tuple({**row, "spec": {"template": _template_in(row)}} for row in mine)


def _template_in(row: Json) -> Json:
    """The pod template in a controller revision, which is kept there as a patch."""
    template = ((row.get("data") or {}).get("spec") or {}).get("template") or {}
    return {key: value for key, value in template.items() if key != "$patch"}


def _revisions(workload: Json, rows: Sequence[Json]) -> tuple[changes.Revision, list[changes.Revision]]:
    """The present revision and the earlier ones with another template, newest first."""
    current = max([r for r in rows if kube.same_template(r, workload)] or rows, key=_number)
    older = [r for r in rows if _number(r) < _number(current) and not kube.same_template(r, current)]
    older.sort(key=_number, reverse=True)
    known = [_number(row) for row in kube.best_known(older)]
    return _revision(current, rows, []), [_revision(row, rows, known) for row in older]


def _revision(row: Json, rows: Sequence[Json], known: Sequence[int]) -> changes.Revision:
    newer = [other for other in rows if _number(other) > _number(row)]
    return changes.Revision(
        number=_number(row),
        template=kube.template_of(row),
        created_at=kube.created_at(row),
        cause=kube.annotations(row).get("kubernetes.io/change-cause", ""),
        served=_number(row) in known and kube.ran_healthy(row, newer, least_seconds=kube.STOOD_SECONDS),
    )


def _number(row: Json) -> int:
    return int(row["revision"]) if "revision" in row else kube.revision_of(row)


def _rollout(workload: Json, rows: Sequence[Json], current: int) -> str:
    lines = [f"Rollout history of {workload['kind'].lower()}/{kube.name_of(workload)}"]
    for row in sorted(rows, key=_number)[-MAX_REVISIONS:]:
        status = row.get("status") or {}
        ready = f"{status.get('readyReplicas', 0) or 0}/{(row.get('spec') or {}).get('replicas', 0)} ready; "
        cause = kube.annotations(row).get("kubernetes.io/change-cause", "")
        lines.append(
            f"  revision {_number(row)}{' (current)' if _number(row) == current else ''}: "
            f"{', '.join(kube.images(kube.template_of(row)))}; {ready if 'status' in row else ''}"
            f"created {changes.stamp(kube.created_at(row))}{f'; {cause}' if cause else ''}"
        )
    return "\n".join(lines)
