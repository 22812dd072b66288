# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""What structured evidence states outright: a container's reason, an event, a health field. Facts rather than wording."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from knowledge.metrics import says, trends_in
from knowledge.model import EvidenceKind, FailureKind
from knowledge.scanning import Scanner, candidate_lines
from knowledge.signs import Says, Seen, Sign, log_says, names_passing_fault, signs_in, signs_of

K = FailureKind


@dataclass(frozen=True, slots=True)
class Fact:
    """`evidence` is a 0-based index, `line` 1-based in its text; `strength` 1 to 6, for comparing facts.

    Above 4 are those that two observations of different origin agree on.
    """

    kind: FailureKind
    strength: float
    evidence: int
    line: int


# [kind, strength, expression]. The strength says how surely this is the cause and not a symptom of another.
_FACTS: tuple[tuple[FailureKind, float, re.Pattern[str]], ...] = tuple(
    (kind, strength, re.compile(pattern))
    for kind, strength, pattern in (
        (K.OOMKILLED, 4.0, r"(?:[Rr]eason\"?:\s*\"?|\s)OOMKilled\b"),
        (K.OOMKILLED, 3.0, r"java\.lang\.OutOfMemoryError|Memory cgroup out of memory|JavaScript heap out of memory"),
        (K.IMAGEPULLBACKOFF, 4.0, r"\b(?:ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull)\b"),
        (K.IMAGEPULLBACKOFF, 3.5, r"Back-off pulling image|Failed to pull (?:and unpack )?image"),
        (K.CONFIG_ERROR, 4.0, r"CreateContainerConfigError|(?i:(?:secret|configmap)s?) \\?\"[^\"]{1,200}\\?\" not found"),
        (K.CONFIG_ERROR, 4.0, r"couldn't find key \S+ in (?:Secret|ConfigMap)|references non-existent (?:config|secret) key"),
        (K.CONFIG_ERROR, 4.0, r"exec: .{1,120}: executable file not found in \$PATH|runAsNonRoot and image will run as root"),
        (K.CONFIG_ERROR, 4.0, r"<error: (?:services|endpoints) \\?\"[^\"]+\\?\" not found"),
        (K.CONFIG_ERROR, 4.0, r"^Endpoints:\s*(?:<none>)?\s*$"),
        (K.UPSTREAM_UNAVAILABLE, 4.0, r"(?i)\"?(?:network_)?partitions?_detected\"?:\s*true"),
        (K.UPSTREAM_UNAVAILABLE, 3.5, r"(?i)\breplica\b.{0,80}\b(?:lag|behind)\b|replication lag (?:has )?exceed|replay is behind"),
        (K.CONFIG_ERROR, 3.5, r"missing request for (?:cpu|memory)|^/?\S*sh: .*syntax error"),
        (K.SCHEDULING, 4.0, r"\d+/\d+ nodes are available(?!.*(?:PersistentVolumeClaim|volume node affinity))"),
        (K.SCHEDULING, 4.0, r"NodeNotReady|Kubelet stopped posting node status|\"ready\":\s*\"Unknown\""),
        (K.STORAGE_VOLUME, 2.0, r"unbound immediate PersistentVolumeClaims|volume node affinity conflict"),
        (K.STORAGE_VOLUME, 4.0, r"storageclass\S* \\?\"[^\"]+\\?\" not found|(?i:(?:has )?r[au]n out of storage|storage[ -]full\b)"),
        (K.STORAGE_VOLUME, 4.0, r"FailedAttachVolume|Multi-Attach error|ProvisioningFailed|persistentvolumeclaim \\?\"[^\"]+\\?\" not found"),
        (K.QUOTA_EXCEEDED, 4.5, r"is forbidden: (?:exceeded|failed) quota"),
        (K.RBAC_DENIED, 4.0, r"is forbidden: User \\?\"[^\"]+\\?\" cannot"),
        (K.DISK_PRESSURE, 4.0, r"[Nn]ode was low on resource|had condition: \[DiskPressure\]|DiskPressure\s+True|disk_pressure\":\s*\"True"),
        (K.PROBE_FAILURE, 3.5, r"(?:Readiness|Liveness|Startup) probe failed|failed (?:liveness|startup) probe"),
        (K.ARGOCD_SYNC, 4.0, r"\b(?:ComparisonError|SyncFailed|SyncError)\b|^Phase:\s+(?:Failed|Error)\b"),
        (K.ARGOCD_DEGRADED, 3.5, r"^Health Status:\s+Degraded"),
        (K.CRASHLOOP, 2.0, r"(?:[Rr]eason\"?:\s*\"?|\s)CrashLoopBackOff\b|Back-off restarting failed container"),
    )
)  # fmt: skip
# Kinds that only describe the symptom when one of the others is there as well.
SYMPTOMS = {K.CRASHLOOP: 2.0, K.PROBE_FAILURE: 3.5}

_ALL_READY = (
    re.compile(r"^\S+\s+([1-9]\d*)/\1\s", re.MULTILINE),
    re.compile(r"\"desired\":\s*([1-9]\d*),\s*\"ready\":\s*\1,\s*\"available\":\s*\1"),
    re.compile(r"([1-9]\d*) desired \| \1 updated \| \1 total \| \1 available \| 0 unavailable"),
    re.compile(r"^Health Status:\s+Healthy", re.MULTILINE),
    re.compile(r"successfully rolled out"),
    re.compile(r"^\s*Ready:\s+True[\s\S]{0,400}?Restart Count:\s+0\s", re.MULTILINE),
)
_NOT_READY = re.compile(
    r"^\S+\s+0/[1-9]\d*\s+(?!\d+\s+0\s+\d{1,2}s\b)|\"unavailable\":\s*[1-9]|^Sync Status:\s+(?:OutOfSync|Unknown)|\"ready\":\s*\"(?:False|Unknown)\"",
    re.MULTILINE,
)
# A workload line of the evidence that is collected from a live cluster.
_ALL_UP = re.compile(r"^\w+ \S+: ([1-9]\d*) desired, \1 updated, \1 ready, 0 unavailable", re.MULTILINE)
_RESTARTED = re.compile(r"ready, [1-9]\d* restarts")
_TROUBLE = frozenset({Sign.CAPACITY, Sign.POOL, Sign.LATENCY, Sign.LOCK, Sign.DEPENDENCY})
# A full disk is the volume's where a claim is part of the picture, else the node's.
_CLAIM = re.compile(r"(?m)\bpersistentvolumeclaim|^NAME\s+STATUS\s+VOLUME\s+CAPACITY|ClaimName:", re.IGNORECASE)
_CLAIM_ROW = re.compile(r"(?m)^\s*\S+\s+Bound\s+\S+\s+\d+[KMGT]i\b|^\s*storage: +\d+[KMGT]i|^Capacity:\s+\d+[KMGT]i")
_DISK_FULL = re.compile(r"(?i)no space left on device")
_RECOVERED = re.compile(
    r"(?i)\brolled back|rollback (?:suc|completed|finished)|roll-?out (?:has )?completed|back to normal|\brecovered\b|status: resolved"
    r"|scaled to 0\b|has all \d+ replicas ready"
)
_BY_DESIGN = re.compile(
    r"(?i)always (?:be )?firing|dead ?man'?s ?s(?:witch|nitch)|meant to (?:fire|ensure that the entire alerting)"
)
_NO_FAULT = re.compile(
    r"(?i)no errors? (?:were )?reported|health check passed|within normal|sync succeeded|all checks passed"
)


@dataclass(frozen=True, slots=True)
class LiveState:
    """`facts` strongest first. `healthy_because` names what speaks for "nothing is wrong" ("" if nothing does).

    `ci` is what a CI job's log says about a rerun, `signs` the (evidence, 1-based line) where each sign was seen first.
    """

    facts: tuple[Fact, ...]
    healthy_because: str
    healthy_lines: tuple[tuple[int, int], ...]
    ci: Says = "unclear"
    signs: Mapping[Sign, tuple[int, int]] = field(default_factory=dict)

    def strength(self) -> dict[FailureKind, float]:
        """The strongest fact by kind; a symptom counts little beside a cause."""
        best: dict[FailureKind, float] = {}
        for fact in self.facts:
            best[fact.kind] = max(best.get(fact.kind, 0.0), fact.strength)
        if any(kind not in SYMPTOMS for kind in best):
            for symptom in SYMPTOMS:
                if symptom in best:
                    best[symptom] *= 0.3
        return best


_LONGEST = 400_000


def read_state(
    title: str, texts: Sequence[str], kinds: Sequence[str] = (), steps: Sequence[str | None] = ()
) -> LiveState:
    """Read facts out of `texts` (redacted and cleaned evidence), at most 400,000 characters of each.

    `kinds` are the evidence kinds of `texts`; `steps` the failing step's lines where a text is a CI job's log.
    """
    facts: list[Fact] = []
    ready: list[tuple[int, int]] = []
    recovered: list[tuple[int, int]] = []
    not_ready = False
    for index, text in enumerate(texts):
        head = text[:_LONGEST]
        facts += _facts(index, head)
        ready += [(index, _line(head, match.start())) for pattern in _ALL_READY if (match := pattern.search(head))]
        recovered += [(index, _line(head, match.start())) for match in _first(_RECOVERED.finditer(head), 2)]
        not_ready = not_ready or bool(_NOT_READY.search(head))
    if any(_CLAIM.search(text[:_LONGEST]) for text in texts):
        facts += [
            Fact(K.STORAGE_VOLUME, strength, index, _line(text, match.start()))
            for index, text in enumerate(texts)
            for strength, expression in ((4.0, _DISK_FULL), (2.0, _CLAIM_ROW))
            if any(_DISK_FULL.search(one[:_LONGEST]) for one in texts) and (match := expression.search(text[:_LONGEST]))
        ]
    facts += _across(texts, kinds)
    facts += _refused_facts(texts, kinds, facts)
    signs = _signs(texts, kinds)
    facts += _load_facts(title, signs, facts)
    ci = _ci_says(steps)
    facts += _ci_facts(texts, steps, ci)
    facts.sort(key=lambda fact: -fact.strength)
    because, lines = _health(title, texts, facts, ready, recovered, not_ready=not_ready)
    if not because and (up := _came_up(texts, facts, signs)):
        because, lines = "every pod is ready, and probes failed only while pods started", [up]
    return LiveState(tuple(facts), because, tuple(lines), ci, {sign: seen[0] for sign, seen in signs.items()})


# --- what several lines or texts say together ---------------------------------------------------------------------

_INGRESS_CLASS = re.compile(r"(?m)^Ingress Class:\s+(?!<none>)(\S+)")
_NOTHING_THERE = re.compile(r"^\s*No resources found")
_RELOADED = re.compile(
    r"(?i)\bconfig(?:uration)?\b[^\n]{0,60}\b(?:reload|re-?read|applied|switched|changed)|\breload(?:ed|ing)?\b[^\n]{0,40}\bconfig|\bSIGHUP\b"
)
_ERROR_LINE = re.compile(r"(?i)\b(?:error|fatal|failed|refused|exception)\b")
_POD_CAPACITY = re.compile(r"(?m)^Allocatable:(?:\n\s+\S.*)*?\n\s+pods:\s+(\d+)")
_PODS_THERE = re.compile(r"(?m)^Non-terminated Pods:\s+\((\d+) in total\)")
_AFTER_RELOAD, _CALM_BEFORE = 3, 5


def _across(texts: Sequence[str], kinds: Sequence[str]) -> Iterable[Fact]:
    for index, text in enumerate(texts):
        head = text[:_LONGEST]
        for trend in trends_in(head):
            if kind := says(trend):
                yield Fact(kind, 4.5, index, trend.line)
        if (match := _INGRESS_CLASS.search(head)) and _no_classes(texts, kinds):
            yield Fact(K.CONFIG_ERROR, 4.5, index, _line(head, match.start(1)))
        if _is_log(kinds, index) and (line := _broke_after_reload(head)):
            yield Fact(K.CONFIG_ERROR, 5.0, index, line)
        pods, most = _PODS_THERE.search(head), _POD_CAPACITY.search(head)
        if pods and most and int(pods.group(1)) >= int(most.group(1)) > 0:
            yield Fact(K.DISK_PRESSURE, 4.5, index, _line(head, pods.start()))


def _no_classes(texts: Sequence[str], kinds: Sequence[str]) -> bool:
    return any("ingressclass" in kind and _NOTHING_THERE.search(text) for text, kind in zip(texts, kinds, strict=False))


def _broke_after_reload(text: str) -> int:
    """The line where settings were read anew, when errors begin right after it and there were none before; else 0."""
    lines = text.split("\n")
    reload = next((i for i, line in enumerate(lines) if _RELOADED.search(line[:500])), None)
    if reload is None or reload < _CALM_BEFORE:
        return 0
    if any(_ERROR_LINE.search(line[:500]) for line in lines[:reload]):
        return 0
    after = sum(bool(_ERROR_LINE.search(line[:500])) for line in lines[reload + 1 : reload + 15])
    return reload + 1 if after >= _AFTER_RELOAD else 0


# What databases, queues and clouds say to a wrong or ended credential, as their clients print it.
_CREDENTIAL_REFUSED = re.compile(
    r"password authentication failed for user|no password supplied|\b28P01\b|Access denied for user '[^']*'@"
    r"|\bWRONGPASS\b|\bNOAUTH Authentication required|ACCESS_REFUSED - Login was refused|SASL authentication failed"
    r"|(?i:\bauthentication failed\b[^\n]{0,80}\bcode:? ?18\b|\bLDAP\b[^\n]{0,60}invalid credentials)"
    r"|\b(?:ExpiredToken|InvalidClientTokenId|InvalidAccessKeyId|SignatureDoesNotMatch)\b|ORA-01017|Login failed for user '"
)
_LAST_LINES = 20


def _refused_facts(texts: Sequence[str], kinds: Sequence[str], facts: Sequence[Fact]) -> Iterable[Fact]:
    """A container that does not come up, and whose log ends with a credential that was refused.

    Only together: a server that logs the refused logins of others is not failing for them.
    """
    if not any(fact.kind in SYMPTOMS for fact in facts):
        return
    for index, text in enumerate(texts):
        if _is_log(kinds, index):
            lines = text[:_LONGEST].rstrip().split("\n")
            first = max(0, len(lines) - _LAST_LINES)
            told = [
                n for n, line in enumerate(lines[first:], start=first + 1) if _CREDENTIAL_REFUSED.search(line[:2000])
            ]
            if told:
                yield Fact(K.CREDENTIALS, 5.0, index, told[0])


# --- too much work, a lock, or a dependency that is down: the symptoms are the same --------------------------------

_Places = dict[Sign, list[tuple[int, int]]]


def _signs(texts: Sequence[str], kinds: Sequence[str]) -> _Places:
    """Where each sign stands: (evidence, line), logs first, what the alert itself says last."""
    found: _Places = {}
    order = sorted(range(len(texts)), key=lambda index: (_is_alert(kinds, index), not _is_log(kinds, index), index))
    for index in order:
        seen: Iterable[Seen] = signs_in(texts[index][:_LONGEST])
        for one in seen:
            found.setdefault(one.sign, []).append((index, one.line))
    return found


def _is_alert(kinds: Sequence[str], index: int) -> bool:
    return index < len(kinds) and kinds[index] == EvidenceKind.ALERT


def _is_log(kinds: Sequence[str], index: int) -> bool:
    return index < len(kinds) and "log" in kinds[index]


def _load_facts(title: str, signs: _Places, facts: Sequence[Fact]) -> Iterable[Fact]:
    """Slow, timed out or unready: is it the load, the code's own lock, or what it calls?"""
    slow = Sign.LATENCY in signs or Sign.LATENCY in signs_of(title) or Sign.PROBE_TIMEOUT in signs
    unready = slow or any(fact.kind is K.PROBE_FAILURE for fact in facts)
    crashes = any(fact.kind not in SYMPTOMS or fact.kind is K.CRASHLOOP for fact in facts)
    lock = signs.get(Sign.LOCK, [])
    capacity = signs.get(Sign.CAPACITY, []) if not lock and Sign.IDLE not in signs else []
    dependency = signs.get(Sign.DEPENDENCY, []) if not lock and not capacity else []
    # Only time-outs and slowness are what load looks like; a refused connection or a crash has another cause.
    if capacity and slow and not crashes and Sign.PROBE_REFUSED not in signs:
        yield Fact(K.PERFORMANCE, 6.0, *capacity[0])
    elif dependency and unready and not crashes:
        yield Fact(K.UPSTREAM_UNAVAILABLE, 6.0 if Sign.IDLE in signs else 5.0, *dependency[0])
    elif lock and unready and not crashes:
        yield Fact(K.PROBE_FAILURE, 4.5, *lock[0])


def _ci_says(steps: Sequence[str | None]) -> Says:
    said = {log_says(step) for step in steps if step is not None}
    return "deterministic" if "deterministic" in said else "transient" if "transient" in said else "unclear"


def _ci_facts(texts: Sequence[str], steps: Sequence[str | None], ci: Says) -> Iterable[Fact]:
    """A passing fault in the failing step, and nothing there that a rerun would repeat."""
    if ci != "transient":
        return
    for index, step in enumerate(steps):
        if step is None:
            continue
        telling = {line for line in step.split("\n") if names_passing_fault(line)}
        numbers = [n for n, line in enumerate(texts[index][:_LONGEST].split("\n"), start=1) if line in telling]
        if numbers:
            yield Fact(K.GITHUBACTION_TRANSIENT, 4.0, index, numbers[-1])


def _health(
    title: str,
    texts: Sequence[str],
    facts: Sequence[Fact],
    ready: list[tuple[int, int]],
    recovered: list[tuple[int, int]],
    *,
    not_ready: bool,
) -> tuple[str, list[tuple[int, int]]]:
    if _BY_DESIGN.search(title):
        return "the alert fires by design", [
            (index, _line(text, match.start()))
            for index, text in enumerate(texts)
            if (match := _BY_DESIGN.search(text))
        ]
    passing = [fact for fact in facts if fact.kind not in {K.CRASHLOOP, K.ARGOCD_DEGRADED, K.PROBE_FAILURE}]
    if ready and recovered and not not_ready and not passing:
        return "it recovered: every replica is available again", [*recovered, *ready]
    if ready and not facts and not not_ready:
        return "everything is running and ready", ready
    if _NO_FAULT.search(title) and not facts and not not_ready:
        return "no failure is reported", ready
    return "", []


def _came_up(texts: Sequence[str], facts: Sequence[Fact], signs: Mapping[Sign, object]) -> tuple[int, int] | None:
    """Where it says that all pods are up, when a probe that nobody answered yet is all that was wrong."""
    if not facts or any(fact.kind is not K.PROBE_FAILURE for fact in facts) or _TROUBLE & signs.keys():
        return None
    if Sign.PROBE_REFUSED not in signs or any(_RESTARTED.search(text) for text in texts):
        return None
    found = ((index, match) for index, text in enumerate(texts) if (match := _ALL_UP.search(text[:_LONGEST])))
    return next(((index, _line(texts[index], match.start())) for index, match in found), None)


def _facts(index: int, text: str) -> Iterable[Fact]:
    for number, line, may_match in candidate_lines(_scanner(), text):
        if len(line) < 6:
            continue
        for place in sorted(may_match):
            kind, strength, expression = _FACTS[place]
            if expression.search(line[:4000]):
                yield Fact(kind, strength, index, number)


@cache
def _scanner() -> Scanner:
    return Scanner([expression.pattern for _, _, expression in _FACTS], starts=False, prefilter=True)


def _first(matches: Iterable[re.Match[str]], count: int) -> list[re.Match[str]]:
    return [match for _, match in zip(range(count), matches, strict=False)]


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
