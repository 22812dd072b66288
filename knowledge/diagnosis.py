"""What failed and why: answerers are asked in order, and what they claim is looked up in the evidence by code."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from knowledge import calibration, telemetry
from knowledge.budget import OverBudget
from knowledge.calibration import Calibrated, Outcomes
from knowledge.case import Case, make_case
from knowledge.causes import CAUSE_CHARS, cause_sentence, fixability_of, shortened, summary_of
from knowledge.errors import BadInput, CodeHealerError, Refused
from knowledge.language_models.verdict import Verdict, judge, text_to_classify
from knowledge.model import (
    AnswerSource,
    Diagnosis,
    Evidence,
    FailureKind,
    Fixability,
    Precedent,
    Quote,
    Unsure,
)
from knowledge.ports import Embedder, Vector
from knowledge.scepticism import Doubt, doubts, lowered, ruled_out
from knowledge.signs import Sign, signs_of

SUMMARY_CHARS = 600
MOST_CANDIDATES = 5
MOST_QUOTES = 6
_TEXT_SAMPLE = 64_000
# From here on the built-in diagnosis is not overruled by a model that sees nothing wrong.
SURE_IT_FAILS = 0.9
_NO_OUTCOMES = Outcomes()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answerer says, before anything of it is believed.

    `quotes` are (evidence index or None, text) as claimed. `found` are quotes that the answerer's own code took from
    the evidence. An `unsure_because` makes it an Unsure; `missing` is the evidence that would settle it. Nothing that
    happened here lifts it over `sure_at_most`.
    """

    name: str
    kind: FailureKind
    confidence: float
    cause: str = ""
    summary: str = ""
    fixability: Fixability | None = None
    quotes: tuple[tuple[int | None, str], ...] = ()
    found: tuple[Quote, ...] = ()
    candidates: tuple[tuple[FailureKind, float], ...] = ()
    ruled_out: tuple[str, ...] = ()
    preferred_action: str = ""
    affected: tuple[str, str, str] = ("", "", "")
    unsure_because: str = ""
    missing: tuple[str, ...] = ()
    samples: int = 0  # answers that the confidence was calibrated with
    sure_at_most: float = 1.0
    note: str = ""
    prompt_version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0


class Answerer(Protocol):
    """One who can be asked. `answer` raises a CodeHealerError when it has none: the next is asked then.

    `name` is for people ("NVIDIA", "built-in"); `deadline_s` bounds the call from outside as well. `outside` says that
    the case leaves this machine, which a service may forbid and limits may end.
    """

    @property
    def name(self) -> str: ...

    @property
    def deadline_s(self) -> float: ...

    @property
    def outside(self) -> bool: ...

    async def answer(self, case: Case) -> Answer: ...


async def diagnose(
    alert_title: str,
    evidence: Sequence[Evidence],
    *,
    answerers: Sequence[Answerer],
    precedents: Sequence[Precedent] = (),
    permitted_actions: Sequence[str] = (),
    notes: Sequence[str] = (),
    outcomes: Mapping[FailureKind, Outcomes] | None = None,
) -> Diagnosis | Unsure:
    """Ask `answerers` in order; the first usable answer is checked against the evidence and returned.

    A hop that fails, or does not answer before its deadline, is named in `answered_by.note`, after `notes`. Where the
    evidence holds orders, or once a limit is reached, nobody outside is asked. When nobody answers the result is
    Unsure, never an exception. `outcomes` are what became of answers in this environment. `alert_title` may carry the
    alert's description. Large evidence is read in a thread.
    """
    started = time.monotonic()
    case = await asyncio.to_thread(
        make_case, alert_title, evidence, precedents=precedents, permitted_actions=permitted_actions
    )
    told = list(notes)
    # What obeys the evidence's author would answer for him; the built-in diagnosis does not read orders.
    if case.injection_suspected and any(answerer.outside for answerer in answerers):
        answerers = [answerer for answerer in answerers if not answerer.outside]
        told.append("no outside model was asked: the evidence addresses the bot")
    answer = await _first_answer(case, answerers, told)
    ms = round((time.monotonic() - started) * 1000)
    fell_back = len(told) > len(notes)
    telemetry.ANSWERS.labels(answer.name if answer else "nobody", "yes" if fell_back else "no").inc()
    if answer is not None:
        return await asyncio.to_thread(settle, case, answer, ms=ms, notes=told, outcomes=outcomes)
    return Unsure(
        reason="Nobody could be asked for a diagnosis." if not told else "No answer: " + "; ".join(told)[:300],
        missing=("a working model or the built-in classifier",),
        answered_by=AnswerSource(name="nobody", ms=ms, note="; ".join(told)[:500]),
        injection_suspected=case.injection_suspected,
    )


async def _first_answer(case: Case, answerers: Sequence[Answerer], told: list[str]) -> Answer | None:
    """The first usable answer; why the hops before it gave none is added to `told`."""
    over_budget = False
    for answerer in answerers:
        if over_budget and answerer.outside:
            continue
        try:
            async with asyncio.timeout(answerer.deadline_s):
                answer = await answerer.answer(case)
            if answer.kind is FailureKind.HEALTHY and answerer.outside and await _contradicted(case, answerers):
                raise Refused("says that nothing is wrong, which the evidence contradicts")
        except TimeoutError:
            told.append(f"{answerer.name} did not answer in {answerer.deadline_s:g} s")
        except OverBudget as error:
            over_budget = True
            told.append(str(error))
        except CodeHealerError as error:
            told.append(f"{answerer.name}: {error}")
        else:
            return answer
    return None


async def _contradicted(case: Case, answerers: Sequence[Answerer]) -> bool:
    """Whether one who is asked here is sure that something fails: a wrong "healthy" would silence an incident."""
    for answerer in answerers:
        if answerer.outside:
            continue
        answer = await answerer.answer(case)
        fails = answer.kind not in {FailureKind.HEALTHY, FailureKind.UNKNOWN} and not answer.unsure_because
        if fails and answer.confidence >= SURE_IT_FAILS:
            return True
    return False


def settle(
    case: Case,
    answer: Answer,
    *,
    ms: int = 0,
    notes: Sequence[str] = (),
    outcomes: Mapping[FailureKind, Outcomes] | None = None,
) -> Diagnosis | Unsure:
    """Pure: an answer becomes a Diagnosis as far as the evidence bears it out, else an Unsure."""
    quotes = _borne_out(case, answer)
    note = "; ".join([*notes, *([answer.note] if answer.note else [])])
    source = AnswerSource(
        name=answer.name,
        ms=ms,
        note=note[:500],
        prompt_version=answer.prompt_version,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        usd=answer.usd,
    )
    candidates = answer.candidates[:MOST_CANDIDATES]
    if answer.unsure_because or answer.kind is FailureKind.UNKNOWN:
        return Unsure(
            reason=shortened(answer.unsure_because or "The evidence does not say what failed.", 300),
            missing=answer.missing or missing_evidence(case),
            answered_by=source,
            quotes=quotes,
            candidates=candidates,
            injection_suspected=case.injection_suspected,
        )
    found = doubts(case, answer.kind, quotes)
    here = (outcomes or {}).get(answer.kind, _NO_OUTCOMES)
    claimed = Calibrated(min(1.0, max(0.0, answer.confidence)), answer.samples)
    counted = calibration.with_outcomes(claimed, here)
    # The doubts come last: a kind's good record must not lift an answer that nothing here bears out.
    confidence = round(min(lowered(counted.value, found), answer.sure_at_most), 4)
    kind, namespace, name = answer.affected
    against = answer.ruled_out or ruled_out(case, answer.kind, candidates)
    return Diagnosis(
        kind=answer.kind,
        confidence=confidence,
        cause=shortened(answer.cause, CAUSE_CHARS) or cause_sentence(answer.kind, case, quotes),
        summary=_with_doubts(answer.summary or summary_of(answer.kind, case, quotes), found),
        fixability=answer.fixability or fixability_of(answer.kind),
        quotes=quotes,
        answered_by=source,
        candidates=_shown(candidates, answer.kind, confidence),
        ruled_out=tuple(shortened(item, 200) for item in against[:5]),
        preferred_action=answer.preferred_action if answer.preferred_action in case.permitted_actions else "",
        affected_kind=kind,
        affected_namespace=namespace,
        affected_name=name,
        injection_suspected=case.injection_suspected,
        confidence_samples=counted.samples,
    )


def _with_doubts(summary: str, found: Sequence[Doubt]) -> str:
    because = f" Less sure because {found[0].because}." if found else ""
    return shortened(summary, SUMMARY_CHARS - len(because)) + because


def _shown(
    candidates: Sequence[tuple[FailureKind, float]], kind: FailureKind, confidence: float
) -> tuple[tuple[FailureKind, float], ...]:
    """The candidates with the number that is shown for the answer; the others share what is left, as they stood."""
    others = [(other, value) for other, value in candidates if other is not kind]
    total = sum(value for _, value in others)
    room = min(total, max(0.0, 1 - confidence))
    scaled = ((other, round(value * room / total, 4) if total else 0.0) for other, value in others)
    return ((kind, confidence), *scaled)


def _borne_out(case: Case, answer: Answer) -> tuple[Quote, ...]:
    quotes = list(answer.found)
    for evidence, text in answer.quotes:
        quote = case.find(text, evidence)
        if quote is not None and all((quote.evidence, quote.line) != (seen.evidence, seen.line) for seen in quotes):
            quotes.append(quote)
    return _with_signs(case, answer.kind, quotes)


# What decides between a new pod, more pods and a person: planning reads it from the quotes, whoever answered.
_WEIGHED = {
    FailureKind.CRASHLOOP: (Sign.CAPACITY, Sign.LOCK, Sign.DEPENDENCY),
    FailureKind.PROBE_FAILURE: (Sign.CAPACITY, Sign.LOCK, Sign.DEPENDENCY),
    FailureKind.PERFORMANCE: (Sign.CAPACITY, Sign.IDLE, Sign.DEPENDENCY),
}


def _with_signs(case: Case, kind: FailureKind, quotes: list[Quote]) -> tuple[Quote, ...]:
    """At most six, among them a line for each sign that speaks for or against a fix of this kind."""
    shown = {sign for quote in quotes[:MOST_QUOTES] for sign in signs_of(quote.text)}
    missing = [sign for sign in _WEIGHED.get(kind, ()) if sign in case.state.signs and sign not in shown]
    more = dict.fromkeys(quote for sign in missing if (quote := case.quote(*case.state.signs[sign])))
    return (*quotes[: MOST_QUOTES - len(more)], *more)


def missing_evidence(case: Case) -> tuple[str, ...]:
    """What would help, by what is not there: could-nots first."""
    missing = [f"{item.kind}: {item.could_not}" for item in case.evidence if item.could_not]
    kinds = {item.kind for item, text in zip(case.evidence, case.texts, strict=True) if text.strip()}
    if not kinds & {"logs", "previous_logs", "job_log", "ci_log"}:
        missing.append("the log of the failing container or job")
    if not kinds & {"events", "pod_status", "pod_describe", "job_log", "ci_log", "argocd"}:
        missing.append("the object's status and events")
    return tuple(missing[:5]) or ("a log around the time of the failure",)


# --- the built-in answerer ---------------------------------------------------------------------------------------


class BuiltinAnswerer:
    """The built-in classifier behind the Answerer protocol; works without an embedder, a little less well."""

    name = "built-in"
    outside = False

    def __init__(self, embedder: Embedder | None, *, deadline_s: float = 45.0) -> None:
        self._embedder = embedder
        self.deadline_s = deadline_s

    async def answer(self, case: Case) -> Answer:
        text = await asyncio.to_thread(text_to_classify, case)
        vector: Vector | None = None
        note = ""
        if self._embedder is not None and text:
            try:
                vector = await self._embedder.embed_query(text)
            except CodeHealerError as error:
                note = f"without embedding ({error})"
        verdict = await asyncio.to_thread(judge, case, text, vector)
        return replace(answer_of(case, verdict), note=note)


def diagnose_builtin(
    alert_title: str,
    evidence: Sequence[Evidence],
    *,
    embed: Callable[[str], Vector] | None,
    precedents: Sequence[Precedent] = (),
    permitted_actions: Sequence[str] = (),
) -> Diagnosis | Unsure:
    """The built-in diagnosis without an event loop; `embed` is e.g. `LocalEmbedder().embed` (None: words only)."""
    started = time.monotonic()
    case = make_case(alert_title, evidence, precedents=precedents, permitted_actions=permitted_actions)
    text = text_to_classify(case)
    verdict = judge(case, text, embed(text) if embed and text else None)
    answer = answer_of(case, verdict)
    return replace_ms(settle(case, answer), round((time.monotonic() - started) * 1000))


def replace_ms(result: Diagnosis | Unsure, ms: int) -> Diagnosis | Unsure:
    return replace(result, answered_by=replace(result.answered_by, ms=ms))


def answer_of(case: Case, verdict: Verdict) -> Answer:
    """The verdict as an Answer; Unsure where nothing was given, or neither regression nor rules are sure."""
    best = tuple((kind, round(value, 4)) for kind, value in verdict.probabilities[:MOST_CANDIDATES])
    nothing = not any(text.strip() for text in case.texts)
    unsure = ""
    if nothing and not case.title.strip():
        unsure = "There is no evidence: every text is empty."
    elif not nothing and not any(_is_text(text) for text in case.texts):
        unsure = "The evidence is not text: it looks like a binary file."
    elif not verdict.answers:
        unsure = f"The evidence does not point at one cause; the nearest is “{verdict.kind}” at {best[0][1]:.0%}."
    shown = calibration.shipped().apply(verdict.kind, verdict.confidence)
    return Answer(
        name="built-in",
        kind=verdict.kind,
        confidence=shown.value,
        samples=shown.samples,
        found=verdict.quotes,
        candidates=best,
        affected=_affected(case),
        unsure_because=unsure,
    )


def _is_text(text: str) -> bool:
    """False for what nobody could read: in a log at most a few characters are controls, or bytes that are not UTF-8."""
    beginning = text[:_TEXT_SAMPLE]
    strange = sum(c == "\ufffd" or (c < " " and c not in "\t\n\r\f\x08\x1b") for c in beginning)
    return bool(beginning.strip()) and strange * 10 <= len(beginning)


def _affected(case: Case) -> tuple[str, str, str]:
    namespace = case.entity("namespace")
    for kind, entity in (("Deployment", "deployment"), ("Pod", "pod"), ("Job", "job"), ("Application", "application")):
        for parsed in case.parsed:
            if entity == "application" and parsed.format != "argocd":
                continue
            if name := parsed.first(entity):
                return kind, namespace, name
    return "", namespace, ""


def read_evidence(rows: object) -> tuple[Evidence, ...]:
    """Evidence out of JSON: a list of `{"kind", "text"}`. Raises BadInput naming the field."""
    if not isinstance(rows, list):
        raise BadInput("evidence must be a list of objects with kind and text.")
    evidence = []
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise BadInput(f"evidence[{index}].text must be a string.")
        kind = row.get("kind", "logs")
        if not isinstance(kind, str):
            raise BadInput(f"evidence[{index}].kind must be a string.")
        evidence.append(Evidence(kind=kind, source=str(row.get("source", "")), text=row["text"]))
    return tuple(evidence)
