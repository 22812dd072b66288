"""What a person who mentions @codehealer wants: pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knowledge.model import Alert, AlertStatus, Incident, IncidentState

QUESTION_SOURCE = "question"
CHANNEL = re.compile(r"<#([CG][A-Z0-9]{2,20})(?:\|[^>]*)?>")
MENTION = re.compile(r"<@[UW][A-Z0-9]+(?:\|[^>]*)?>")
FENCE = "```"
MAX_TITLE = 80
# A pasted log is longer than a sentence or has several lines; then its words name nothing that we would act on.
MAX_SENTENCE = 240
WORDS = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Question:
    """A mention as it came: `thread_ts` is empty outside threads, `text` still has the mention in it.

    `outside`: other companies read the channel.
    """

    user: str
    channel: str
    ts: str
    thread_ts: str
    text: str
    outside: bool = False

    @property
    def said(self) -> str:
        """The text without the mention itself."""
        return MENTION.sub("", self.text).strip()

    @property
    def sentence(self) -> bool:
        """A person's own words, not pasted output."""
        said = self.said
        return len(said) <= MAX_SENTENCE and "\n" not in said and FENCE not in said


def channels_named(texts: Iterable[str]) -> frozenset[str]:
    """The channels that a question names (#ops): past threads are then looked for in these alone."""
    return frozenset(channel for text in texts for channel in CHANNEL.findall(text))


def service_named(question: Question, services: Sequence[str]) -> str:
    """The one known service that a sentence names; "" when none or several: text chooses no target by guessing."""
    if not question.sentence:
        return ""
    said = set(WORDS.findall(question.said.lower()))
    named = [service for service in services if service.lower() in said]
    return named[0] if len(named) == 1 else ""


def alert_of(question: Question, service: str) -> Alert:
    """The question as an alert. Only one that names a known service is trusted, so pasted text gets no action."""
    said = question.said
    lines = said.replace(FENCE, " ").replace("`", " ").split("\n")
    title = next((line.strip()[:MAX_TITLE] for line in lines if line.strip()), "This thread")
    return Alert(
        source=QUESTION_SOURCE,
        status=AlertStatus.FIRING,
        title=title if not service else f"Question about {service}",
        identity=f"question:{question.channel}:{question.ts}",
        trusted=bool(service),
        service=service,
        log="" if service else said,
        summary=said if service else "",
        channel=question.channel,
        message_ts=question.ts,
        thread_ts=question.thread_ts or question.ts,
        asked_by=question.user,
    )


def asked_with_text(incident: Incident) -> bool:
    """Whether the incident is a question about pasted text or a thread: it gets an answer, not a card."""
    return incident.source == QUESTION_SOURCE and not incident.trusted and incident.state is not IncidentState.DETECTED
