"""Diagnosing texts on the command line: the same answerers as the bot's, without a cluster or Slack."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.migrating import migrate
from bot.models import make_answerers
from bot.program import open_database
from bot.settings import Settings
from bot.team_files import read_policy
from knowledge import retrieval
from knowledge.case import make_case
from knowledge.diagnosis import Answerer, BuiltinAnswerer, diagnose, read_evidence
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.errors import BadInput
from knowledge.likeness import excerpt
from knowledge.model import KIND_NAMES, Diagnosis, Evidence, FailureKind, Fixability, Precedent, Unsure
from knowledge.prompts import build_prompt
from knowledge.redaction import clean, redact
from knowledge.store.database import open_engine
from knowledge.store.threads import OPERATOR
from remediation.planning import ESCALATE, action_without_target
from remediation.remediators import REMEDIATORS


@dataclass(frozen=True, slots=True)
class Answered:
    """A diagnosis with the precedents that were found for it (none without --precedents)."""

    result: Diagnosis | Unsure
    precedents: tuple[Precedent, ...]


@dataclass(frozen=True, slots=True)
class OfflineDiagnosis:
    """The answerers, and the database where precedents are wanted."""

    answerers: Sequence[Answerer]
    embedder: LocalEmbedder
    engine: AsyncEngine | None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, http: httpx.AsyncClient, precedents: bool
    ) -> AsyncIterator["OfflineDiagnosis"]:
        async with AsyncExitStack() as stack:
            engine = None
            if precedents:
                url = await stack.enter_async_context(open_database(settings))
                await asyncio.to_thread(migrate, url, only_new=True)
                engine = open_engine(url, pool_size=0)
                stack.push_async_callback(engine.dispose)
            embedder = LocalEmbedder()
            # Texts come one after the other, so a service sets the pace by itself.
            answerers = make_answerers(settings, http, embedder, per_minute=10_000)
            # Of a pasted text it is not known what service it is about: the policy as a whole decides.
            if not read_policy(settings).outside_models:
                answerers = tuple(one for one in answerers if not one.outside)
            offline = cls(answerers, embedder, engine)
            # The model and the patterns are read at first use; `ms` is to be about the text alone.
            await diagnose("", (Evidence("logs", "text", "warm up"),), answerers=(BuiltinAnswerer(embedder),))
            yield offline

    async def answer(self, case: Mapping[str, Any]) -> Answered:
        """Diagnose one case. BadInput names the field that cannot be read."""
        title, evidence = read_case(case)
        found = await self._precedents(title, evidence)
        result = await diagnose(
            title, evidence, answerers=self.answerers, precedents=found, permitted_actions=tuple(REMEDIATORS)
        )
        return Answered(result, found)

    async def precedents_of(self, case: Mapping[str, Any]) -> tuple[Precedent, ...]:
        return await self._precedents(*read_case(case))

    async def _precedents(self, title: str, evidence: Sequence[Evidence]) -> tuple[Precedent, ...]:
        if self.engine is None:
            return ()
        lines = [excerpt(clean(item.text)) for item in evidence]
        async with self.engine.begin() as db:
            text = redact("\n".join(part for part in (clean(title), *lines) if part))
            return await retrieval.search(db, text, embedder=self.embedder, now=datetime.now(UTC), asked=OPERATOR)


def read_case(case: Mapping[str, Any]) -> tuple[str, tuple[Evidence, ...]]:
    """Title and evidence of `{"id","text"}` or `{"id","alert","evidence"}`."""
    if "evidence" not in case:
        text = case.get("text")
        if not isinstance(text, str):
            raise BadInput("the field text must be a string, or give alert and evidence")
        return "", (Evidence("logs", "text", text),)
    alert = {} if case.get("alert") is None else case["alert"]
    if not isinstance(alert, dict):
        raise BadInput("the field alert must be an object")
    words = [str(alert[name]) for name in ("title", "description", "summary") if alert.get(name)]
    return "\n".join(words), read_evidence(case["evidence"])


def prompt_of(case: Mapping[str, Any], precedents: Sequence[Precedent] = ()) -> str:
    """Exactly what a model would be sent for a case."""
    title, evidence = read_case(case)
    made = make_case(title, evidence, precedents=precedents, permitted_actions=tuple(REMEDIATORS))
    prompt = build_prompt(made, nonce=secrets.token_hex(8))
    return f"{prompt.system}\n\n{prompt.user}"


def answer_json(case: Mapping[str, Any], answered: Answered) -> dict[str, Any]:
    """The command line's contract for one answer."""
    result = answered.result
    about = _known(result) if isinstance(result, Diagnosis) else _unknown(result)
    return {
        "id": case["id"],
        **about,
        "quotes": [{"evidence": one.evidence, "line": one.line, "text": one.text} for one in result.quotes],
        "candidates": [str(candidate) for candidate, _ in result.candidates],
        "precedents": [one.item.id for one in answered.precedents],
        "answered_by": result.answered_by.name,
        "ms": result.answered_by.ms,
    }


def _known(result: Diagnosis) -> dict[str, Any]:
    return {
        "kind": result.kind,
        "healthy": result.healthy,
        "confidence": result.confidence,
        "cause": result.cause,
        "summary": result.summary,
        "fixability": result.fixability,
        "action": action_without_target(result.kind, result.preferred_action),
        "affected": {
            "kind": result.affected_kind,
            "namespace": result.affected_namespace,
            "name": result.affected_name,
        },
    }


def _unknown(result: Unsure) -> dict[str, Any]:
    return {
        "kind": FailureKind.UNKNOWN,
        "healthy": False,
        "confidence": 0.0,
        "cause": result.reason,
        "summary": f"Would settle it: {'; '.join(result.missing)}." if result.missing else "",
        "fixability": Fixability.MANUAL,
        "action": ESCALATE,
        "affected": {"kind": "", "namespace": "", "name": ""},
    }


def readable(answer: Mapping[str, Any]) -> str:
    """The same for people."""
    sure = "" if answer["kind"] == FailureKind.UNKNOWN else f" ({answer['confidence']:.0%} sure)"
    lines = [f"{KIND_NAMES[FailureKind(answer['kind'])]}{sure}", answer["cause"]]
    if answer["summary"] != answer["cause"]:
        lines.append(answer["summary"])
    lines += [f"  {quote['line']:>6}  {quote['text']}" for quote in answer["quotes"]]
    lines.append(f"Action: {answer['action'] or 'none'}; answered by {answer['answered_by']} in {answer['ms']} ms")
    return "\n".join(line for line in lines if line)
