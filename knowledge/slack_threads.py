"""Which of a team's Slack threads are worth remembering, and what of them is kept. Pure.

Kept is a thread in which something technical fails and somebody adds to it or says what helped; ordinary talk is not.
Of a kept thread only its telling lines stay, redacted and without people's names.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from knowledge.injection import injection_suspected
from knowledge.language_models.rules import Marks, agreement, mark
from knowledge.model import FailureKind, KnowledgeItem, Precedent
from knowledge.redaction import clean, redact
from knowledge.reduction import reduce_log

SOURCE = "slack"
SENTENCE_CHARS, EXCERPT_CHARS = 200, 2_000
# Of the first message, of each later one, and of the beginning and the end of a thread together.
FIRST_CHARS, MESSAGE_CHARS, BEGIN_CHARS, END_CHARS = 12_000, 4_000, 30_000, 70_000
GLANCE_CHARS = 2_000
# A rule of this weight names a symptom or a cause; a lighter one only a hint.
SURE = 2

# People's own words. An error line (knowledge/language_models/data/rules.toml) counts as much.
_FAILS = re.compile(
    r"(?i)\b(?:fail\w*|broke|broken|breaks|crash\w*|outage|down|stuck|hang(?:s|ing)?|hung|flaky|red|unhealthy|degraded"
    r"|not (?:start|work|deploy|respond|com)\w*|(?:does|do|did|wo|ca)n[’']t (?:\w+ )?(?:start|work|deploy|build|connect"
    r"|reach|pull|push|sync|come up)|(?:5\d\d|4\d\d)s?|restarting|evicted|throttl\w*|spik(?:e|es|ed|ing)|slow)\b"
)
_SUBJECT = re.compile(
    r"(?i)\b(?:pods?|deploy\w*|builds?|pipelines?|ci|workflows?|runners?|releases?|rollouts?|clusters?|nodes?|namespaces?"
    r"|containers?|images?|registry|services?|api|endpoints?|databases?|db|postgres\w*|redis|kafka|queues?|replicas?"
    r"|helm|kubectl|kubernetes|k8s|argo\w*|terraform|docker\w*|ingress|dns|tls|certs?|certificates?|secrets?|configmaps?"
    r"|migrations?|prod\w*|staging|servers?|requests?|latency|memory|cpu|disk|volumes?|pvc|probes?|jobs?|cronjobs?"
    r"|webhooks?|tokens?|quota|branch|commits?|checkout|tests?|lint\w*|npm|pip|maven|gradle|artifacts?|logs?|alerts?)\b"
)
# What somebody did, and that it is well again.
_DID = re.compile(
    r"(?i)\b(?:fixed|resolved|solved|rolled (?:it |this |that )?back|rollback|reverted|restarted|redeployed|re-?ran"
    r"|re-?run|scaled|bumped|raised|increased|lowered|upgraded|downgraded|pinned|rotated|renewed|re-?issued|cleared"
    r"|deleted|recreated|restored|drained|cordoned|reapplied|re-?synced|added the|removed the|set it to|merged the fix"
    r"|did the trick|helped)\b"
)
_WELL = re.compile(
    r"(?i)\b(?:works|working again|worked|recovered|fixed|resolved|(?:is|are|it[’']s) back|back (?:up|to normal)"
    r"|green again|healthy again)\b"
)
_CAUSE = re.compile(
    r"(?i)\b(?:because|root cause|caused by|turn(?:ed|s) out|culprit|due to|(?:issue|problem|reason|cause) (?:was|is)"
    r"|was missing|had expired|ran out of|(?:some|no)body (?:had )?(?:changed|deleted|removed))\b"
)
# What programs say when something fails, for a glance at a message.
_ERROR = re.compile(
    r"(?i)errors?\b|exception\b|back-?off\b|\b(?:panic|fatal|traceback|oom\w*|timed? ?out|denied|refused|forbidden"
    r"|unauthorized|unreachable|no such|not found|exit (?:code|status) [1-9]|firing)\b"
)
# A plan, a wish, a doubt or a denial is no fix.
_NOT_DONE = re.compile(
    r"(?i)\?|\b(?:should|could|can|may|might|will|would|let[’']?s|try(?:ing)?|going to|want to|need to|needs to|please"
    r"|maybe|perhaps|if|not|never|no|isn[’']t|wasn[’']t|didn[’']t|doesn[’']t|hasn[’']t|haven[’']t)\b"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_PERSON = re.compile(r"@[UW][A-Z0-9]{5,}\b")
_WORD = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ThreadRules:
    """Which threads are remembered. No `channels`: those of every channel that the bot is in.

    `retention_days` 0 remembers none. `since_days` is how far back a channel is read that the bot has just joined;
    `pace_s` the least time between two of its calls.
    """

    retention_days: int = 365
    channels: frozenset[str] = frozenset()
    since_days: int = 90
    pace_s: float = 1.5

    def wants(self, channel: str) -> bool:
        return self.retention_days > 0 and (not self.channels or channel in self.channels)

    def oldest(self, now: datetime) -> datetime:
        """Nothing from before this is kept."""
        return now - timedelta(days=self.retention_days)


@dataclass(frozen=True, slots=True)
class Said:
    """One message: its decoded text, and whether a person wrote it (an app else)."""

    ts: str
    text: str
    by_person: bool


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread without the bot's own messages; `ts` is its parent's, `said` oldest first."""

    channel: str
    ts: str
    said: tuple[Said, ...]


def item_id(channel: str, thread_ts: str) -> str:
    return f"{SOURCE}-{channel}-{thread_ts}"


def moment(ts: str) -> datetime:
    """When a message was written: its ts is seconds with six decimals. ValueError for what is no ts."""
    return datetime.fromtimestamp(float(ts), UTC)


def as_ts(at: datetime) -> str:
    return f"{at.timestamp():017.6f}"


# --- what a message tells ----------------------------------------------------------------------------------------


def tells_of_failure(text: str) -> bool:
    """A known symptom, or words of failure about something technical."""
    marks = mark(text + "\n")
    return _sure(marks) or bool((marks.error_lines or _FAILS.search(text)) and _SUBJECT.search(text))


def _sure(marks: Marks) -> bool:
    return any(hit.rule.weight >= SURE for hit in marks.hits)


def tells(text: str) -> bool:
    """Whether a message seems to tell of a failure or a fix, so that its thread is worth a look: a glance.

    It is cast while Slack waits, so it is quicker than what decides later, and lets more pass.
    """
    seen = text[:GLANCE_CHARS]
    told = _FAILS.search(seen) or _DID.search(seen) or _WELL.search(seen)
    return bool(_ERROR.search(seen) or (told and _SUBJECT.search(seen)))


def adds(text: str) -> bool:
    """Whether a reply says something that may matter, more than "on it" or "thanks": a glance too."""
    seen = text[:GLANCE_CHARS]
    return any(words.search(seen) for words in (_SUBJECT, _ERROR, _FAILS, _DID, _WELL, _CAUSE))


def about_something(text: str) -> bool:
    """Whether a first message may begin a thread worth reading: it names something technical, or an error."""
    seen = text[:GLANCE_CHARS]
    return bool(_SUBJECT.search(seen) or _ERROR.search(seen))


def _sentences(text: str) -> Iterator[str]:
    return (part.strip() for part in _SENTENCE_END.split(text) if len(part.strip()) > 3)


def _fixes(text: str) -> Iterator[str]:
    """The sentences that say what was done, or that it is well again."""
    said = (one for one in _sentences(text) if _DID.search(one) or _WELL.search(one))
    return (one for one in said if not _NOT_DONE.search(one))


def _best_fix(fixes: Sequence[str]) -> str:
    """The last that says what was done, in more than a word or two; else the last that says it is well."""
    telling = [fix for fix in fixes if _DID.search(fix) and len(fix.split()) > 2]
    return next(iter([*telling[-1:], *fixes[-1:]]), "")


def _causes(text: str) -> Iterator[str]:
    return (one for one in _sentences(text) if _CAUSE.search(one) and "?" not in one)


# --- what of a thread is kept ------------------------------------------------------------------------------------


def lesson_of(thread: Thread, *, services: Collection[str] = (), link: str = "") -> KnowledgeItem | None:
    """The thread as it is remembered, redacted; None when it is not worth it.

    Where what would be kept is addressed to the bot, nothing is: models read it.

    Args:
        services: the names that the policy knows; one that is named alone becomes the item's service.
    """
    said = [replace(one, text=_without_names(redact(clean(one.text)))) for one in _bounded(thread.said)]
    begin = next((place for place, one in enumerate(said) if tells_of_failure(one.text)), None)
    if begin is None:
        return None
    failing, people = said[begin], [one.text for one in said[begin:] if one.by_person]
    fixes = [fix for text in people for fix in _fixes(text)]
    answered = any(one.by_person and adds(one.text) for one in said[begin + 1 :])
    if not fixes and not answered:
        return None
    causes = [cause for text in people for cause in _causes(text)]
    symptom = [text.strip() for _, text in reduce_log(failing.text, max_lines=12, max_chars=1_200).lines]
    cause = causes[-1] if causes else next(iter(symptom), failing.text)
    opening = next((one for one in _sentences(said[0].text) if not any(one in line for line in symptom)), "")
    excerpt = "\n".join(dict.fromkeys(part for part in (opening, *symptom, *causes, *fixes) if part))
    if injection_suspected(excerpt):
        return None
    return KnowledgeItem(
        id=item_id(thread.channel, thread.ts),
        source=SOURCE,
        kind=_kind("\n".join([failing.text, *causes])),
        service=_service_named("\n".join(one.text for one in said), services),
        environment="",
        cause=cause[:SENTENCE_CHARS],
        fix=_best_fix(fixes)[:SENTENCE_CHARS],
        # A thread proves nothing: what people say worked counts less than what was verified here.
        outcome="resolved" if fixes else "",
        excerpt=excerpt[:EXCERPT_CHARS],
        link=link,
        occurred_at=moment(thread.ts),
        channel=thread.channel,
    )


def _bounded(said: Sequence[Said]) -> list[Said]:
    """A long thread's beginning and end, and of each message its first characters."""
    cut = [replace(one, text=one.text[: MESSAGE_CHARS if place else FIRST_CHARS]) for place, one in enumerate(said)]
    lengths = list(accumulate(len(one.text) for one in cut))
    total = lengths[-1] if lengths else 0
    return [
        one
        for one, until in zip(cut, lengths, strict=True)
        if until <= BEGIN_CHARS or total - until + len(one.text) <= END_CHARS
    ]


def _without_names(text: str) -> str:
    return _PERSON.sub("@someone", text)


def _kind(text: str) -> FailureKind | None:
    """The one kind that the rules are sure of; None where none or several are."""
    sure = [kind for kind, share in agreement(mark(text + "\n")).items() if share >= SURE / 3]
    return sure[0] if len(sure) == 1 else None


def _service_named(text: str, services: Collection[str]) -> str:
    words = set(_WORD.findall(text.lower()))
    named = [service for service in services if service.lower() in words]
    return named[0] if len(named) == 1 else ""


def same_lesson(one: KnowledgeItem, other: KnowledgeItem) -> bool:
    """Whether nothing that was said has changed; a link is not said."""
    return replace(one, link="") == replace(other, link="")


def without_text(precedent: Precedent) -> Precedent:
    """A thread's precedent as it is stored beside a diagnosis: a reference, so that a deleted thread is gone there."""
    if precedent.item.source != SOURCE:
        return precedent
    return replace(precedent, item=replace(precedent.item, cause="", fix="", excerpt=""))
