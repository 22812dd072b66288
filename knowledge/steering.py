"""What a person tells the diagnosis of an incident: a cause that it is not, and evidence to look at first. Pure.

Words are mapped to closed vocabularies by code. They exclude kinds and order evidence; they name no kind, target or
action to take, and an answer that they led to never runs by itself (handlers/facts.py).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from knowledge.case import Case
from knowledge.diagnosis import Answer, Answerer
from knowledge.errors import Refused
from knowledge.model import KIND_NAMES, Evidence, EvidenceKind, FailureKind

K, E = FailureKind, EvidenceKind
# Words that people call a cause by. Of several that a phrase has, all are meant.
CAUSES: tuple[tuple[str, tuple[FailureKind, ...]], ...] = (
    (r"networks?|networking|dns|tls|certificates?|firewall|connectivity", (K.NETWORK,)),
    (r"memory|oom\w*|out of memory|heap", (K.OOMKILLED,)),
    (r"images?|pull\w*|registry", (K.IMAGEPULLBACKOFF,)),
    (r"crash\w*|panic\w*", (K.CRASHLOOP,)),
    (r"probes?|liveness|readiness|health ?checks?", (K.PROBE_FAILURE,)),
    (r"scheduling|scheduler|affinity|taints?", (K.SCHEDULING,)),
    (r"config\w*|settings?|env(?:ironment)? var\w*", (K.CONFIG_ERROR,)),
    (r"credentials?|secrets?|passwords?|tokens?|auth\w*", (K.CREDENTIALS,)),
    (r"rbac|permissions?", (K.RBAC_DENIED,)),
    (r"quotas?", (K.QUOTA_EXCEEDED,)),
    (r"disks?|disk pressure", (K.DISK_PRESSURE,)),
    (r"volumes?|storage|pvcs?", (K.STORAGE_VOLUME,)),
    (r"upstream|dependency is down|provider|third part\w+", (K.UPSTREAM_UNAVAILABLE,)),
    (r"load|overload\w*|latency|performance|traffic|slow\w*", (K.PERFORMANCE,)),
    (r"argo ?cd|argo|sync", (K.ARGOCD_SYNC, K.ARGOCD_DEGRADED)),
    (r"migrations?|database|schema", (K.DB_MIGRATION,)),
    (r"builds?", (K.BUILDFAILURE,)),
    (r"caches?", (K.BUILDCACHEERROR,)),
    (r"tests?", (K.TEST_FAILURE,)),
    (r"dependencies|packages?|versions? conflict\w*", (K.DEPENDENCY_RESOLUTION,)),
    (r"compil\w*|lint\w*", (K.COMPILE_LINT,)),
    (r"flak\w*|transient|runner", (K.GITHUBACTION_TRANSIENT,)),
)
# Words that people call a kind of evidence by, and how we call it back.
SOURCES: tuple[tuple[str, str, tuple[EvidenceKind, ...]], ...] = (
    (
        r"deploy\w*|releases?|changes?|changed|commits?|rollouts?|diff\w*|merged?",
        "what changed",
        (E.CHANGES, E.ROLLOUT),
    ),
    (r"logs?|output|stack ?traces?", "the logs", (E.LOGS, E.PREVIOUS_LOGS, E.JOB_LOG)),
    (r"events?", "the events", (E.EVENTS,)),
    (r"metrics?|graphs?|dashboards?|prometheus", "the metrics", (E.METRICS,)),
    (r"nodes?", "the nodes", (E.NODE,)),
    (r"pods?|containers?|restarts?", "the pods", (E.POD_STATUS,)),
    (r"autoscal\w*|hpa|scaling", "the autoscaler", (E.AUTOSCALER,)),
    (r"volumes?|storage|pvcs?", "the volumes", (E.VOLUMES,)),
    (r"quotas?", "the quota", (E.QUOTA,)),
    (r"argo ?cd|argo", "Argo CD", (E.ARGOCD,)),
    (r"workflows?|pipelines?|ci|jobs?", "the workflow", (E.WORKFLOW_RUN, E.JOB_LOG)),
    (r"status ?pages?|providers?", "the providers' status", (E.STATUS_PAGE,)),
)
_CLAUSE = re.compile(r"[,;.!]|\b(?:and|but|then|instead)\b")
_NOT = re.compile(
    r"\b(?:ignore|forget(?: about)?|disregard|rule out|drop|skip|exclude|(?:its|it is|this is|thats|that is) not"
    r"|(?:it |this )?(?:isnt|is not|cannot be|cant be)|not (?:the|a|an))\b"
)
_AT = re.compile(
    r"\b(?:look (?:again )?(?:more closely |closer )?(?:at|into)|check|focus on|consider|think about|start with"
    r"|concentrate on|rather look at|have a look at)\b"
)
SURE_AT_MOST = 0.6
WORTH_SAYING = 0.5


@dataclass(frozen=True, slots=True)
class Steer:
    """Kinds that a person has ruled out, and the names in SOURCES of what is to be looked at first."""

    excluded: tuple[FailureKind, ...] = ()
    first: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.excluded or self.first)

    @property
    def words(self) -> str:
        """ "not Network (DNS, TLS, policy); first what changed"."""
        without = ", ".join(KIND_NAMES[kind] for kind in self.excluded)
        return "; ".join(
            part
            for part in (f"not {without}" if without else "", f"first {', '.join(self.first)}" if self.first else "")
            if part
        )


def steer_of(said: str) -> Steer:
    """What a sentence tells the diagnosis; an empty one where it tells nothing that is known: pure."""
    words = said.lower().replace("\u2019", "'").replace("'", "")
    excluded: list[FailureKind] = []
    first: list[str] = []
    for clause in _CLAUSE.split(words):
        if (found := _NOT.search(clause)) is not None:
            rest = clause[found.end() :]
            excluded += [kind for pattern, kinds in CAUSES if _has(rest, pattern) for kind in kinds]
        elif (found := _AT.search(clause)) is not None:
            rest = clause[found.end() :]
            first += [name for pattern, name, _ in SOURCES if _has(rest, pattern)]
    return Steer(tuple(dict.fromkeys(excluded)), tuple(dict.fromkeys(first)))


def _has(text: str, pattern: str) -> bool:
    return re.search(rf"\b(?:{pattern})\b", text) is not None


def together(earlier: Steer, later: Steer) -> Steer:
    """What was ruled out stays so; what is looked at first is the newest word's."""
    excluded = tuple(dict.fromkeys((*earlier.excluded, *later.excluded)))
    return Steer(excluded, later.first or earlier.first)


def ordered(evidence: Sequence[Evidence], steer: Steer) -> list[Evidence]:
    """The evidence with what a person pointed at first; else as it was."""
    wanted = {kind for _, name, kinds in SOURCES if name in steer.first for kind in kinds}
    return sorted(evidence, key=lambda item: item.kind not in wanted)


def without(answerers: Sequence[Answerer], steer: Steer) -> list[Answerer]:
    """The same answerers, none of whose answers is a kind that was ruled out."""
    return [_Steered(one, steer.excluded) for one in answerers] if steer else list(answerers)


@dataclass(frozen=True, slots=True)
class _Steered:
    inner: Answerer
    excluded: tuple[FailureKind, ...]

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def deadline_s(self) -> float:
        return self.inner.deadline_s

    @property
    def outside(self) -> bool:
        return self.inner.outside

    async def answer(self, case: Case) -> Answer:
        """Raises Refused where an outside model names what was ruled out: the next is asked."""
        answer = await self.inner.answer(case)
        left = _renormalised(answer.candidates, self.excluded)
        if answer.kind not in self.excluded:
            confidence = min(SURE_AT_MOST, answer.confidence)
            return replace(answer, candidates=left, confidence=confidence, sure_at_most=SURE_AT_MOST)
        if self.outside:
            raise Refused(f"says {KIND_NAMES[answer.kind]}, which a person has ruled out")
        ruled_out = f"{KIND_NAMES[answer.kind]}: a person has ruled it out"
        if not left or left[0][1] < WORTH_SAYING or left[0][0] is FailureKind.HEALTHY:
            why = f"It looks like “{KIND_NAMES[answer.kind]}”, which a person has ruled out; nothing else stands out."
            return replace(answer, candidates=left, unsure_because=why, found=(), ruled_out=(ruled_out,))
        kind, share = left[0]
        # No line was quoted for it, so nothing more can be claimed.
        cause = f"Without “{KIND_NAMES[answer.kind]}”, the next likely is “{KIND_NAMES[kind]}”."
        return replace(
            answer, kind=kind, confidence=min(SURE_AT_MOST, share), sure_at_most=SURE_AT_MOST, candidates=left,
            found=(), unsure_because="", cause=cause, summary=cause, fixability=None, preferred_action="", samples=0,
            ruled_out=(ruled_out,),
        )  # fmt: skip


def _renormalised(
    candidates: Sequence[tuple[FailureKind, float]], excluded: Sequence[FailureKind]
) -> tuple[tuple[FailureKind, float], ...]:
    left = [(kind, value) for kind, value in candidates if kind not in excluded]
    total = sum(value for _, value in left)
    return tuple((kind, round(value / total, 4)) for kind, value in left) if total else ()


def read(payload: Mapping[str, Sequence[str]]) -> Steer:
    """A stored steer; names that this version does not know are left out."""
    known = {name for _, name, _ in SOURCES}
    kinds = {str(kind): kind for kind in FailureKind}
    return Steer(
        tuple(kinds[kind] for kind in payload.get("excluded", ()) if kind in kinds),
        tuple(name for name in payload.get("first", ()) if name in known),
    )


def kept(steer: Steer) -> dict[str, list[str]]:
    """A steer as it is stored."""
    return {"excluded": [str(kind) for kind in steer.excluded], "first": list(steer.first)}
