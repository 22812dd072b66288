"""The built-in verdict on a case: the regression decides, facts weigh in, rules may only raise agreement."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from knowledge.case import Case
from knowledge.injection import injection_suspected
from knowledge.language_models.builtin import Weights, classify
from knowledge.language_models.rules import agreement
from knowledge.live_state import SYMPTOMS
from knowledge.model import BUILD_KINDS, EvidenceKind, FailureKind, Quote
from knowledge.ports import Vector
from knowledge.reduction import Reduction, said_in, without_timestamp
from knowledge.signs import names_passing_fault

K = FailureKind
# Log-odds that one point of a fact's strength is worth, and what a healthy state is worth.
FACT_WEIGHT = 1.0
HEALTHY_WEIGHT = 6.0
QUIET_WEIGHT = 3.0
# What "nothing is wrong" loses where lines speak of errors and no state says that it is over.
TELLING_WEIGHT = 2.0
# What a crash loop or a failing probe loses where the evidence states its cause, and a rerun that would not help.
EXPLAINED_WEIGHT = 4.0
REPEATS_WEIGHT = 3.0
# What a kind gains that a rule names as the reason of a crash.
CAUSE_WEIGHT = 2.0
# What a kind loses that nothing states while something else is stated.
UNSTATED_WEIGHT = 2.0
# In a CI job's log: what the build kinds gain, and the faults of the runner's surroundings that are passing ones there.
CI_WEIGHT = 1.5
# What a passing CI fault loses where nothing looks like a build: a running service's connection is not a job's.
NOT_CI_WEIGHT = 3.0
_BUILDS = re.compile(
    r"(?i)##\[|\b(?:runner|workflow|pipeline|npm|yarn|pnpm|pip|maven|gradle|cargo|go:|git|clone|fetch\w*|download\w*"
    r"|docker|setup|restore|install\w*|actions?|build\w*|checkout|artifacts?|packages?"
    r"|dependenc\w+|compil\w+|tests?|apt|CI|exit code|cancell?ed)\b"
    r"|\w/[\w-]+@v?\d"
)
_PASSING_IN_CI = (K.NETWORK, K.UPSTREAM_UNAVAILABLE, K.DISK_PRESSURE, K.STORAGE_VOLUME, K.PERFORMANCE)
_KEEP_IN_CI = frozenset(
    {K.CREDENTIALS, K.RBAC_DENIED, K.QUOTA_EXCEEDED, K.DB_MIGRATION, K.ARGOCD_DEGRADED, K.ARGOCD_SYNC}
)
# Under this, and without a rule that agrees, there is no answer (see docs on quality).
ANSWER_FROM = 0.3
HIGHEST = 0.97
NOTHING_SEEN = 0.75
# What a log may name as the reason of a crash loop, and how strongly a rule must say so.
_CAUSES_OF_CRASHES = (K.CONFIG_ERROR, K.CREDENTIALS, K.NETWORK, K.STORAGE_VOLUME, K.DB_MIGRATION, K.RBAC_DENIED)
_CAUSE_AGREED = 0.45
# From this strength a fact names the cause outright.
_STATED = 3.5
# Agreement of a rule that names the cause, without a rival in the same text.
_NAMED_OUTRIGHT = 0.9
_LAST_WORDS = re.compile(
    r"\w(?:Error|Exception)\b|panic:|(?i:\bfatal\b|segmentation fault|exited with|cannot find module)"
)
_TEXT_CHARS = 1400
_QUOTES = 6


@dataclass(frozen=True, slots=True)
class Verdict:
    """`probabilities` best first, summing to 1; `agrees` says that a rule or fact points at the best kind too."""

    probabilities: tuple[tuple[FailureKind, float], ...]
    agrees: float
    quotes: tuple[Quote, ...]

    @property
    def kind(self) -> FailureKind:
        return self.probabilities[0][0]

    @property
    def confidence(self) -> float:
        value = self.probabilities[0][1]
        # That nothing was seen is weaker than that something well was seen.
        most = NOTHING_SEEN if self.kind is K.HEALTHY and not self.agrees else HIGHEST
        return min(most, 1 - (1 - value) * (1 - 0.5 * self.agrees))

    @property
    def answers(self) -> bool:
        return self.kind is not K.UNKNOWN and (self.probabilities[0][1] >= ANSWER_FROM or self.agrees > 0)


def text_to_classify(case: Case) -> str:
    """The telling lines of all evidence, most telling first, at most 1,400 characters.

    Of a flagged case the lines that try to steer are left out: their wording must not move the verdict.
    """
    telling = any(reduction.telling for reduction in case.reductions)
    explained, logged = _log_says_more(case), _log_tells(case)
    # A retry that is reported on the way is noise where the job's end shows a fault that a rerun repeats.
    repeats = case.state.ci == "deterministic"
    weighted: list[tuple[float, int, str]] = []
    for index, (reduction, marks) in enumerate(zip(case.reductions, case.marks, strict=True)):
        if telling and not reduction.telling:
            continue
        weight: dict[int, float] = dict.fromkeys(marks.error_lines, 1.0)
        for hit in marks.hits:
            weight[hit.line] = max(weight.get(hit.line, 0.0), 1.0 + hit.rule.weight)
        weighted += [
            (-weight.get(number, 0.0), index * 10_000_000 + number, without)
            for number, without in _lines(reduction, flagged=case.injection_suspected)
            if not (explained and _SYMPTOM_LINE.search(without))
            and not (logged and _GAVE_UP.search(without))
            and not (repeats and names_passing_fault(without))
        ]
    chosen: list[tuple[int, str]] = []
    size = 0
    for _, order, line in sorted(weighted):
        if size + len(line) > _TEXT_CHARS and chosen:
            continue
        chosen.append((order, line))
        size += len(line) + 1
    return "\n".join(line for _, line in sorted(chosen)) or case.title


# That something restarts or gave up is a symptom: beside a log it tells nothing about the cause.
_SYMPTOM_LINE = re.compile(
    r"CrashLoopBackOff|[Bb]ack-off restarting|"
    r"^\s*(?:Last )?State:\s|^\s*Reason:\s+Error\s*$|^\s*Exit Code:\s"
)


# What a job's controller says once the log has said why.
_GAVE_UP = re.compile(r"BackoffLimitExceeded|specified backoff limit|Pods Statuses:")


def _log_tells(case: Case) -> bool:
    found = zip(case.evidence, case.reductions, strict=True)
    return len(case.evidence) > 1 and any("log" in item.kind and reduction.telling for item, reduction in found)


def _log_says_more(case: Case) -> bool:
    """A container's log has the words of a cause, beside what the cluster says about its pod."""
    logs = (marks for item, marks in zip(case.evidence, case.marks, strict=True) if "log" in item.kind)
    found = [agreement(marks) for marks in logs] if len(case.evidence) > 1 else []
    return any(agreed.get(kind, 0.0) >= _CAUSE_AGREED for agreed in found for kind in _CAUSES_OF_CRASHES)


def _lines(reduction: Reduction, *, flagged: bool) -> list[tuple[int, str]]:
    return [
        (number, said)
        for number, text in reduction.lines
        if (said := said_in(text)) and not (flagged and injection_suspected(text))
    ]


def judge(case: Case, text: str, vector: Vector | None, weights: Weights | None = None) -> Verdict:
    """`text` is text_to_classify(case), `vector` its embedding."""
    odds = {kind: math.log(max(value, 1e-6)) for kind, value in classify(text, vector, weights).items()}
    strengths = case.state.strength()
    if case.state.healthy_because:
        # What ended well: its symptoms are history.
        strengths = {kind: strength for kind, strength in strengths.items() if kind not in SYMPTOMS}
        for symptom in SYMPTOMS:
            odds[symptom] -= EXPLAINED_WEIGHT
    agreed = _agreement(case)
    causes = [kind for kind in _CAUSES_OF_CRASHES if agreed.get(kind, 0.0) >= _CAUSE_AGREED]
    if K.CRASHLOOP in strengths and causes:
        # The log names what makes it crash.
        strengths[K.CRASHLOOP] *= 0.25
        odds[K.CRASHLOOP] -= EXPLAINED_WEIGHT
        for kind in causes:
            odds[kind] += CAUSE_WEIGHT * agreed[kind]
    ci = _weigh_ci(odds, case, text)
    for kind, strength in strengths.items():
        if kind in odds and not (ci and kind in _PASSING_IN_CI):
            odds[kind] += FACT_WEIGHT * strength
    _explain(odds, strengths, agreed)
    if ci and case.state.ci == "deterministic":
        odds[K.GITHUBACTION_TRANSIENT] -= REPEATS_WEIGHT
    if case.state.healthy_because:
        odds[K.HEALTHY] += HEALTHY_WEIGHT
    elif strengths or any(weight >= 1 for kind, weight in agreed.items() if kind is not K.HEALTHY):
        odds[K.HEALTHY] -= HEALTHY_WEIGHT / 2
    elif any(reduction.telling for reduction in case.reductions):
        odds[K.HEALTHY] -= TELLING_WEIGHT
    elif _quiet(case) and not _TROUBLE.search(case.title):
        odds[K.HEALTHY] += QUIET_WEIGHT
    top = max(odds.values())
    total = sum(math.exp(value - top) for value in odds.values())
    ranked = sorted(((kind, math.exp(value - top) / total) for kind, value in odds.items()), key=lambda pair: -pair[1])
    best = ranked[0][0]
    agrees = max(min(1.0, strengths.get(best, 0.0) / 4), agreed.get(best, 0.0))
    if best is K.HEALTHY and case.state.healthy_because:
        agrees = 1.0
    return Verdict(tuple(ranked), agrees, quotes_for(best, case))


def _weigh_ci(odds: dict[FailureKind, float], case: Case, text: str) -> bool:
    """Whether this is a CI job's log; in it other kinds are likely than in a service's."""
    ci = any(parsed.format == "github_actions" for parsed in case.parsed)
    cluster = any(parsed.format == "kubernetes" for parsed in case.parsed)
    if ci:
        _read_as_ci(odds)
    elif cluster or _is_service(case) or not _BUILDS.search(text):
        odds[K.GITHUBACTION_TRANSIENT] -= NOT_CI_WEIGHT
    return ci


# How a running service logs: levels in brackets or fields. A tool in a build prints plain lines.
_SERVICE_LOG = re.compile(
    r"(?m)^\{\"|^\S*\d\d:\d\d:\d\d\S* (?:- )?\[?(?:INFO|WARN|ERROR|DEBUG)\b|^\S+ \S+ \[(?:info|warn|error)\]"
)


def _is_service(case: Case) -> bool:
    heads = [text[:20_000] for text in case.cleaned]
    return sum(len(_SERVICE_LOG.findall(head)) for head in heads) >= 3 and not any("##[" in head for head in heads)


def _explain(
    odds: dict[FailureKind, float], strengths: Mapping[FailureKind, float], agreed: Mapping[FailureKind, float]
) -> None:
    """Where the evidence states its cause, a symptom is not the answer, nor a kind that is only worded alike."""
    if not any(strength >= _STATED for kind, strength in strengths.items() if kind not in SYMPTOMS):
        return
    for kind in odds:
        if kind in SYMPTOMS:
            odds[kind] -= EXPLAINED_WEIGHT
        elif kind not in strengths and agreed.get(kind, 0.0) < _NAMED_OUTRIGHT:
            odds[kind] -= UNSTATED_WEIGHT


def _read_as_ci(odds: dict[FailureKind, float]) -> None:
    passing = math.log(
        sum(math.exp(odds[kind]) for kind in (*_PASSING_IN_CI, K.GITHUBACTION_TRANSIENT) if kind in odds)
    )
    for kind in odds:
        if kind in BUILD_KINDS:
            odds[kind] += CI_WEIGHT
        elif kind not in _KEEP_IN_CI:
            odds[kind] -= CI_WEIGHT
    odds[K.GITHUBACTION_TRANSIENT] = max(odds[K.GITHUBACTION_TRANSIENT], passing + CI_WEIGHT / 2)


def _agreement(case: Case) -> dict[FailureKind, float]:
    best: dict[FailureKind, float] = {}
    for marks in case.marks:
        for kind, value in agreement(marks).items():
            best[kind] = max(best.get(kind, 0.0), value)
    return best


# An alert that names a trouble is not answered by silence alone.
_TROUBLE = re.compile(
    r"(?i)\b(?:down|fail\w*|errors?|broken|stuck|lag\w*|slow|unreachable|exhausted|denied|refused|crash\w*|oom|full|max\w*)\b"
)


def _quiet(case: Case) -> bool:
    """Several lines, none of which speaks of an error."""
    lines = sum(reduction.total_lines for reduction in case.reductions)
    return lines >= 4 and not any(reduction.telling for reduction in case.reductions)


def quotes_for(kind: FailureKind, case: Case) -> tuple[Quote, ...]:
    """The lines that carry the verdict, most telling first, at most 6, none twice."""
    scored: dict[tuple[int, int], float] = {}

    def add(evidence: int, line: int, score: float) -> None:
        scored[evidence, line] = max(scored.get((evidence, line), 0.0), score)

    if kind is K.HEALTHY:
        for order, (evidence, line) in enumerate(case.state.healthy_lines):
            add(evidence, line, 10 - order)
    for fact in case.state.facts:
        # That it crashes is known; what the log says last tells more.
        telling = fact.kind is kind and kind is not K.CRASHLOOP
        add(fact.evidence, fact.line, (5 + fact.strength) if telling else 1 + fact.strength / 4)
    if kind is K.CRASHLOOP:
        for index, item in enumerate(case.evidence):
            for order, line in enumerate(_last_words(case, index) if "log" in item.kind else ()):
                add(index, line, 12.0 - order)
    for index, marks in enumerate(case.marks):
        for hit in marks.hits:
            add(index, hit.line, (4.0 + hit.rule.weight) if hit.rule.kind is kind else 0.5 + hit.rule.weight / 2)
        for line in marks.error_lines:
            add(index, line, 1.5)
    if kind is not K.HEALTHY:
        scored = {place: score + _worth(case, place[0]) for place, score in scored.items()}
    if kind is K.HEALTHY and not case.state.healthy_lines:
        scored = {(index, number): 1.0 for index, r in enumerate(case.reductions) for number, _ in r.lines[-2:]}
    return _distinct(case, sorted(scored.items(), key=lambda item: (-item[1], item[0])))


# A log's line tells more than the state that follows from it; the alert's own words and a run's summary tell least.
_WORTH = {EvidenceKind.ALERT: -4.0, "workflow_run": -4.0, EvidenceKind.POD_STATUS: -1.0, EvidenceKind.ROLLOUT: -1.0}
_LOG_WORTH = 1.0


def _worth(case: Case, evidence: int) -> float:
    kind = case.evidence[evidence].kind
    return _LOG_WORTH if "log" in kind else _WORTH.get(kind, 0.0)


def _last_words(case: Case, evidence: int) -> list[int]:
    """The last lines of a log that name an exception or a fatal error, the very last first, at most 3."""
    lines = [number for number, text in case.reductions[evidence].lines if _LAST_WORDS.search(text)]
    return lines[-3:][::-1]


_VARIABLE = re.compile(
    r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b[a-z][\w-]*?-[a-z0-9]{5,10}-[a-z0-9]{5}(?![a-z0-9])"
    r"|0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\b(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{6,}\b|\d+[smh]?"
)
_WEAK, _ENOUGH = 3.0, 3


def _template(text: str) -> str:
    """What two lines of one kind have in common: the end of the message without names of pods, times and numbers."""
    return " ".join(_VARIABLE.sub("#", without_timestamp(text)).split())[-100:]


def _distinct(case: Case, ranked: list[tuple[tuple[int, int], float]]) -> tuple[Quote, ...]:
    quotes: list[Quote] = []
    seen: set[str] = set()
    for (evidence, line), score in ranked[:200]:
        quote = case.quote(evidence, line)
        if quote is None:
            continue
        template = _template(quote.text)
        if template in seen:
            continue
        # A line that only may be of interest is not worth a place beside those that are.
        if score < _WEAK and len(quotes) >= _ENOUGH:
            break
        seen.add(template)
        quotes.append(quote)
        # A line that only opens a list says nothing without what follows.
        if quote.text.endswith(("[", "{")) and score >= _WEAK and (more := case.quote(evidence, line + 1)):
            quotes.append(more)
        if len(quotes) >= _QUOTES:
            break
    return tuple(dict.fromkeys(quotes[:_QUOTES]))
