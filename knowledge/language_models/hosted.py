"""A hosted model service, asked for a diagnosis or for free text.

Its models are asked in order, within deadline, pace and limits. What differs between services is a `Wire`. What one
call costs is reserved with the meter before it is made.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import httpx
import structlog

from knowledge import budget, telemetry
from knowledge.budget import Meter, OverBudget
from knowledge.cache import Cache, MemoryCache, OneFlight, key_of
from knowledge.case import Case
from knowledge.diagnosis import Answer, Answerer
from knowledge.errors import Refused, SettingsError, Unavailable
from knowledge.language_models.asking import FieldRefused, Line, SetAside, ask
from knowledge.language_models.breaker import Breaker, after_call, next_slot, on_trial, seconds_left
from knowledge.language_models.free_text import FreeText, read_text
from knowledge.language_models.reply import Reply, UnreadableReply, answer_from, read_reply, reply_schema
from knowledge.language_models.second_look import lowered, read_second_look, second_look_schema
from knowledge.language_models.support import objection
from knowledge.language_models.wire import Question, Said, Wire
from knowledge.prompts import Prompt, build_prompt, second_look_turns
from knowledge.redaction import redact

log = structlog.get_logger(__name__)
T = TypeVar("T")

SET_ASIDE_S = 900.0
# The hop's own deadline comes first; this much later its caller would give up too.
_GRACE_S = 1.0
_WRONG_REPLY_CHARS = 2_000
# Some models are listed and never answer: the ones after the first have to have a chance within the deadline.
_FIRST_MODELS_SHARE = 0.6
# Of the deadline. Whoever waits longer for its turn leaves the service too little, which would count as its failure.
_MOST_WAITED_SHARE = 0.5


class TooFast(Unavailable):
    """The service may not be asked again so soon: nothing is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a service is asked. `deadline_s` bounds one answer over all of its models."""

    temperature: float = 0.2
    max_tokens: int = 512
    deadline_s: float = 30.0
    attempts: int = 3
    per_minute: int = 30
    second_look: bool = False
    prices: Mapping[str, tuple[float, float]] = field(default_factory=lambda: budget.PRICES)


@dataclass
class _Standing:
    """What has been learnt about a service, in this process. `dropped` are fields that a model refuses."""

    breaker: Breaker = field(default_factory=Breaker)
    aside: dict[str, tuple[float, str]] = field(default_factory=dict)
    dropped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))


@dataclass(frozen=True, slots=True)
class _Spent:
    """What one call took, or several; `notes` are for the card."""

    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    notes: tuple[str, ...] = ()

    def __add__(self, other: "_Spent") -> "_Spent":
        return _Spent(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.usd + other.usd,
            tuple(dict.fromkeys((*self.notes, *other.notes))),
        )


@dataclass(frozen=True, slots=True)
class _Heard:
    """A readable reply."""

    reply: Reply
    spent: _Spent


@dataclass(frozen=True)
class HostedAnswerer:
    """One service behind the Answerer protocol. `client` is shared and closed by its owner.

    Copies for a meter (`metered`) share what was learnt about the service, the cache and the calls under way.
    """

    wire: Wire
    client: httpx.AsyncClient
    api_key: str = field(repr=False)
    models: tuple[str, ...]
    base_url: str = ""
    options: Options = field(default_factory=Options)
    cache: Cache = field(default_factory=MemoryCache)
    flights: OneFlight = field(default_factory=OneFlight)
    meter: Meter | None = None
    clock: Callable[[], float] = time.monotonic
    standing: _Standing = field(default_factory=_Standing)
    outside = True

    def __post_init__(self) -> None:
        if not self.models:
            raise SettingsError(f"{self.wire.models_setting} is empty: name at least one chat model.")

    @property
    def name(self) -> str:
        return self.wire.name

    @property
    def deadline_s(self) -> float:
        return self.options.deadline_s + _GRACE_S

    async def answer(self, case: Case) -> Answer:
        """Raises OverBudget, or Unavailable when no model gives a readable answer: the message says why for each."""

        async def answered() -> Answer:
            prompt = await asyncio.to_thread(build_prompt, case, nonce=secrets.token_hex(8))

            async def by(model: str) -> Answer:
                return self._answer(model, prompt, await self._heard(model, prompt, case))

            return await self._first_of_models(by)

        return await self._guarded(answered)

    async def write(self, prompt: Prompt) -> FreeText:
        """What a model writes, as free text and made harmless. Raises as `answer` does."""
        return await self._guarded(lambda: self._first_of_models(lambda model: self._written(model, prompt)))

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T:
        """`work` within the deadline, unless the service is being left alone."""
        wait = seconds_left(self.standing.breaker, self.clock())
        if wait:
            failures = self.standing.breaker.failures
            raise Unavailable(f"left alone for {wait:.0f} s after {failures} failures in a row")
        self.standing.breaker = on_trial(self.standing.breaker, self.clock())
        try:
            async with asyncio.timeout(self.options.deadline_s):
                result = await work()
        except TimeoutError:
            self._failed()
            raise Unavailable(f"no answer in {self.options.deadline_s:g} s") from None
        except TooFast:
            raise
        except Unavailable:
            self._failed()
            raise
        self.standing.breaker = after_call(self.standing.breaker, True, self.clock())
        return result

    def _failed(self) -> None:
        before = self.standing.breaker
        self.standing.breaker = after_call(before, False, self.clock())
        if seconds_left(self.standing.breaker, self.clock()):
            log.warning("model_service_left_alone", service=self.name, failures=self.standing.breaker.failures)

    async def _first_of_models(self, ask_model: Callable[[str], Awaitable[T]]) -> T:
        reasons: list[str] = []
        for model in self.models:
            until, why = self.standing.aside.get(model, (0.0, ""))
            if until > self.clock():
                reasons.append(f"{model}: {why}")
                continue
            try:
                return await ask_model(model)
            except SetAside as error:
                self._set_aside(model, str(error))
                reasons.append(f"{model}: {error}")
            except (OverBudget, TooFast):
                raise
            except (Unavailable, Refused, UnreadableReply) as error:
                reasons.append(f"{model}: {error}")
        raise Unavailable("; ".join(reasons)[:400])

    def _set_aside(self, model: str, why: str) -> None:
        """Told to the operator once: while it is set aside the model is not asked, so there is nothing new to tell."""
        known = model in self.standing.aside and self.standing.aside[model][0] > self.clock()
        self.standing.aside[model] = (self.clock() + SET_ASIDE_S, why)
        if known:
            return
        log.warning("model_set_aside", service=self.name, model=model, reason=why, minutes=SET_ASIDE_S / 60)

    def _answer(self, model: str, prompt: Prompt, heard: _Heard) -> Answer:
        answer = answer_from(
            heard.reply,
            name=f"{self.wire.id}:{model}",
            prompt_version=prompt.version,
            input_tokens=heard.spent.input_tokens,
            output_tokens=heard.spent.output_tokens,
        )
        return replace(answer, usd=heard.spent.usd, note="; ".join(heard.spent.notes))

    # --- one answer for equal questions

    def _key(self, use: str, model: str, prompt: Prompt) -> str:
        options = self.options
        return key_of(
            use, self.wire.id, self._base, model, f"{options.temperature}", f"{options.max_tokens}",
            prompt.system_without_nonce, prompt.user_without_nonce,
        )  # fmt: skip

    async def _heard(self, model: str, prompt: Prompt, case: Case) -> _Heard:
        key = self._key(f"chat {self.options.second_look}", model, prompt)
        heard, mine = await self.flights.run(key, lambda: self._cached_or_asked(key, model, prompt, case))
        return heard if mine else _Heard(heard.reply, _Spent(notes=("shared answer",)))

    async def _cached_or_asked(self, key: str, model: str, prompt: Prompt, case: Case) -> _Heard:
        stored = await self.cache.get(key)
        if stored is not None:
            try:
                reply = await _readable(stored.decode("utf-8", "replace"), case)
                return _Heard(reply, _Spent(notes=("cached answer",)))
            except UnreadableReply:
                log.warning("cached_answer_unreadable", model=model)
        async with asyncio.timeout(self.options.deadline_s):  # others may wait for it, so it ends by itself
            heard = await self._asked(model, prompt, case)
            if self.options.second_look:
                heard = await self._looked_again(model, prompt, heard)
        await self.cache.put(key, heard.reply.model_dump_json().encode())
        return heard

    async def _written(self, model: str, prompt: Prompt) -> FreeText:
        key = self._key("text", model, prompt)
        text, mine = await self.flights.run(key, lambda: self._cached_or_written(key, model, prompt))
        return text if mine else replace(text, input_tokens=0, output_tokens=0, usd=0.0, note="shared answer")

    async def _cached_or_written(self, key: str, model: str, prompt: Prompt) -> FreeText:
        name = f"{self.wire.id}:{model}"
        stored = await self.cache.get(key)
        if stored is not None:
            try:
                text = read_text(stored.decode("utf-8", "replace"), given=prompt.user)
                return FreeText(text, name, prompt.version, note="cached answer")
            except UnreadableReply:
                log.warning("cached_answer_unreadable", model=model)
        async with asyncio.timeout(self.options.deadline_s):  # others may wait for it, so it ends by itself
            turns = [{"role": "user", "content": prompt.user}]
            said, spent = await self._said(model, self._question(prompt.system, turns, None))
            text = read_text(said.content, given=prompt.user, cut_off=said.cut_off)
        await self.cache.put(key, text.encode())
        return FreeText(
            text, name, prompt.version, spent.input_tokens, spent.output_tokens, spent.usd, "; ".join(spent.notes)
        )

    # --- asking

    async def _asked(self, model: str, prompt: Prompt, case: Case) -> _Heard:
        """The reply, with one more try and the error when it cannot be read or believed."""
        turns = [{"role": "user", "content": prompt.user}]
        question = self._question(prompt.system, turns, reply_schema())
        said, spent = await self._said(model, question)
        try:
            return _Heard(await _readable(said.content, case), spent)
        except UnreadableReply as error:
            problem = f"{error}{' (it was cut off: be shorter)' if said.cut_off else ''}"
        turns = [
            *turns,
            {"role": "assistant", "content": redact(said.content[:_WRONG_REPLY_CHARS]) or "(nothing)"},
            {"role": "user", "content": f"That cannot be used: {problem}. Answer again, with the JSON object only."},
        ]
        said, more = await self._said(model, replace(question, turns=turns))
        return _Heard(await _readable(said.content, case), spent + more)

    async def _looked_again(self, model: str, prompt: Prompt, heard: _Heard) -> _Heard:
        """A sceptical second look: it can only lower the confidence, and without a readable one nothing changes."""
        # Its own words are cut like all others: what it made up may be somebody's secret.
        turns = second_look_turns(prompt, redact(heard.reply.model_dump_json()))
        try:
            said, more = await self._said(model, self._question(prompt.system, turns, second_look_schema()))
            doubt = read_second_look(said.content)
        except (Unavailable, Refused, UnreadableReply) as error:
            return _Heard(heard.reply, heard.spent + _Spent(notes=(f"no second look ({error})",)))
        return _Heard(lowered(heard.reply, doubt), heard.spent + more)

    def _question(
        self, system: str, turns: Sequence[Mapping[str, str]], schema: Mapping[str, object] | None
    ) -> Question:
        return Question(system, turns, schema, self.options.temperature, self.options.max_tokens)

    async def _said(self, model: str, question: Question) -> tuple[Said, _Spent]:
        """One metered call."""
        chars = len(question.system) + sum(len(turn["content"]) for turn in question.turns)
        amount = budget.estimate(model, chars, question.max_tokens, self.options.prices)
        await self._turn()
        call, warning = await self.meter.reserve(self.name, model, amount) if self.meter else (0, "")
        started = self.clock()
        try:
            said = await self._on_the_wire(model, question)
        except (Unavailable, Refused) as error:
            # What may have been answered may be billed too; what was refused is not.
            kept = amount if isinstance(error, Unavailable) and error.maybe_done else budget.Amount()
            await self._settle(call, kept, started, str(error))
            self._count(model, "refused" if isinstance(error, Refused) else "unavailable", kept, started)
            raise
        except UnreadableReply as error:
            await self._settle(call, amount, started, str(error))
            self._count(model, "unreadable", amount, started)
            raise
        tokens_in, tokens_out = said.input_tokens, said.output_tokens
        if not tokens_in and not tokens_out:  # a service that does not count: what was estimated stands
            tokens_in = amount.tokens
        usd = budget.cost(model, tokens_in, tokens_out, self.options.prices)
        await self._settle(call, budget.Amount(tokens_in, usd), started, "answered", tokens_out)
        self._count(model, "answered", budget.Amount(tokens_in, usd), started, tokens_out)
        return said, _Spent(tokens_in, tokens_out, usd, (warning,) if warning else ())

    def _count(self, model: str, result: str, amount: budget.Amount, started: float, output_tokens: int = 0) -> None:
        telemetry.MODEL_CALLS.labels(self.wire.id, model, result).inc()
        telemetry.MODEL_SECONDS.labels(self.wire.id).observe(self.clock() - started)
        telemetry.MODEL_TOKENS.labels(self.wire.id, model, "input").inc(amount.tokens)
        telemetry.MODEL_TOKENS.labels(self.wire.id, model, "output").inc(output_tokens)
        telemetry.MODEL_COST.labels(self.wire.id, model).inc(amount.usd)

    async def _settle(
        self, call: int, amount: budget.Amount, started: float, outcome: str, output_tokens: int = 0
    ) -> None:
        if self.meter is not None:
            await self.meter.settle(
                call,
                input_tokens=amount.tokens,
                output_tokens=output_tokens,
                usd=amount.usd,
                ms=round((self.clock() - started) * 1000),
                outcome=outcome[:200],
            )

    async def _on_the_wire(self, model: str, question: Question) -> Said:
        """Ask, without the fields that this model turns out to refuse."""
        body = self.wire.body(model, question)
        while True:
            left_out = self.standing.dropped.get(model, ())
            try:
                reply = await ask(self.client, self._line, {k: v for k, v in body.items() if k not in left_out})
            except FieldRefused as error:
                more = _refused_fields([one for one in self.wire.optional if one in body], left_out, error.said)
                if not more:
                    raise
                self.standing.dropped[model] = (*left_out, *more)
            else:
                return self.wire.read(reply.content, reply.content_type)

    async def _turn(self) -> None:
        now = self.clock()
        start = next_slot(self.standing.starts, self.options.per_minute, now)
        if start - now > self.options.deadline_s * _MOST_WAITED_SHARE:
            raise TooFast(f"the pace of {self.options.per_minute} requests a minute is used up")
        self.standing.starts.append(start)
        if start > now:
            await asyncio.sleep(start - now)

    @property
    def _base(self) -> str:
        base = (self.base_url or self.wire.base_url).rstrip("/")
        # Both forms of a base address are in use, with and without the version.
        return base.removesuffix("/v1") if self.wire.path.startswith("/v1/") else base

    @property
    def _line(self) -> Line:
        return Line(
            url=self._base + self.wire.path,
            headers=self.wire.headers(self.api_key),
            key_setting=self.wire.key_setting,
            timeout_s=self.options.deadline_s * (_FIRST_MODELS_SHARE if len(self.models) > 1 else 1),
            attempts=self.options.attempts,
            status_url=self._base + self.wire.status_path if self.wire.status_path else "",
        )


async def _readable(content: str, case: Case) -> Reply:
    """Raises UnreadableReply for what cannot be read, and for what the evidence gives no reason to believe."""
    reply = read_reply(content)
    if problem := await asyncio.to_thread(objection, reply, case):
        raise UnreadableReply(problem)
    return reply


def _refused_fields(optional: Sequence[str], left_out: Sequence[str], said: str) -> tuple[str, ...]:
    """The optional fields to leave out now: those that the refusal names, else all; empty when nothing is left."""
    present = [name for name in optional if name not in left_out]
    return tuple(name for name in present if name in said) or tuple(present)


def metered(answerers: Sequence[Answerer], meter: Meter) -> list[Answerer]:
    """The same answerers, with what is asked outside counted by `meter`."""
    return [replace(one, meter=meter) if isinstance(one, HostedAnswerer) else one for one in answerers]
