"""What was found, line by line: what was quoted, what could not be looked at, what is remembered of the like."""

import re
from collections.abc import Sequence
from datetime import datetime

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_findings import FLAGGED, percent
from knowledge.model import (
    KIND_NAMES,
    Diagnosis,
    Evidence,
    KnowledgeItem,
    Precedent,
    Quote,
    Unsure,
)
from knowledge.runbooks import Runbook

EVIDENCE_NAMES: dict[str, str] = {
    "alert": "Alert",
    "message": "Message",
    "pod_status": "Pod status",
    "events": "Events",
    "logs": "Log",
    "previous_logs": "Log before the restart",
    "rollout": "Rollout",
    "job_log": "Job log",
    "argocd": "Argo CD",
    "workflow_run": "Workflow run",
    "annotations": "Annotations",
    "node": "Node",
    "autoscaler": "Autoscaler",
    "volumes": "Volumes",
    "quota": "Quota",
    "changes": "What changed",
    "metrics": "Metrics",
    "status_page": "Status page",
    "silence": "Silence",
}

# Evidence whose first line is worth one in the thread, and what it is called there.
SURROUNDINGS: dict[str, str] = {
    "changes": "Since the last healthy state",
    "silence": "Silenced",
    "metrics": "Metrics",
    "status_page": "Providers",
}

OUTCOMES: dict[str, str] = {
    "verified": "worked, verified",
    "not_verified": "not verified",
    "worse": "made things worse",
    "rejected": "rejected by a person",
    "dismissed": "dismissed",
    "resolved": "resolved without the bot",
    "": "outcome not known",
}

# What remembered incidents call a fix, in a person's words; other texts are shown as they are.
FIXES: dict[str, str] = {
    "k8s_restart_pod": "pod restarted",
    "k8s_scale": "scaled",
    "k8s_rollback": "rolled back",
    "k8s_raise_memory": "memory limit raised",
    "k8s_restart_rollout": "all pods restarted",
    "k8s_update_image": "image put back",
    "k8s_update_secret": "credential rotated",
    "github_rerun": "run repeated",
    "noop": "nothing done",
    "escalate": "handed to a person",
}

_MOST_SOURCES, _MOST_QUOTES, _MOST_PRECEDENTS, _MOST_OTHERS = 5, 3, 5, 6
_QUOTE_CHARS = 200
_SURROUNDING_CHARS = 400
_WORTH_NAMING = 0.05  # the share under which a cause that was considered tells nobody anything

# What Kubernetes generates: the ends of pods' names (it leaves out vowels and what looks alike) and uids.
_GENERATED = re.compile(r"(?<![0-9a-z])(?:[bcdfghjklmnpqrstvwxz2-9]{5,10}|[0-9a-f]{8}-[0-9a-f-]{27})(?![0-9a-z])")


def surrounding_lines(evidence: Sequence[Evidence]) -> list[str]:
    """A line each on what changed, silences, metrics and providers: the first lines of that evidence."""
    lines = []
    for kind, title in SURROUNDINGS.items():
        said = [item.text.partition("\n")[0] for item in evidence if item.kind == kind and item.text]
        if said:
            lines.append(f"*{title}:* {m.inline('; '.join(said), _SURROUNDING_CHARS)}")
    return lines


def runbook_lines(runbook: Runbook | None) -> list[str]:
    if runbook is None:
        return []
    link = runbook.link
    return [f"*Runbook:* {m.link(link.url, link.title, 160) if link.url else m.inline(link.title, 240)}"]


def answer_lines(diagnosis: Diagnosis | Unsure, evidence: Sequence[Evidence]) -> list[str]:
    lines = [*_quote_lines(diagnosis.quotes, evidence), *_could_not_lines(evidence)]
    if isinstance(diagnosis, Diagnosis) and diagnosis.ruled_out:
        lines.append("*Ruled out*")
        lines += [f"• {m.inline(cause, 240)}" for cause in diagnosis.ruled_out[:_MOST_OTHERS]]
        lines += m.left_out(len(diagnosis.ruled_out), _MOST_OTHERS, "more ruled out")
    if isinstance(diagnosis, Unsure) and diagnosis.missing:
        lines.append("*Would settle it*")
        lines += [f"• {m.inline(what, 240)}" for what in diagnosis.missing[:_MOST_OTHERS]]
    worth = [(kind, share) for kind, share in diagnosis.candidates[:4] if share >= _WORTH_NAMING]
    others = [f"{KIND_NAMES[kind]} {percent(share)}" for kind, share in worth]
    if len(others) > 1:
        lines.append(f"*Considered:* {', '.join(others)}")
    if diagnosis.injection_suspected:
        lines.append(FLAGGED)
    return lines


def _quote_lines(quotes: Sequence[Quote], evidence: Sequence[Evidence]) -> list[str]:
    if not quotes:
        return ["*Evidence:* no line of it stands out."]
    by_item: dict[int, list[Quote]] = {}
    for quote in quotes:
        by_item.setdefault(quote.evidence, []).append(quote)
    lines = ["*Evidence*"]
    for index, found in list(by_item.items())[:_MOST_SOURCES]:
        item = evidence[index] if 0 <= index < len(evidence) else None
        told = _told_apart(found)
        lines.append(f"{evidence_name(item)}:" if item else f"Evidence {index + 1}:")
        lines.append(m.fence(_numbered(told[:_MOST_QUOTES]), 2000))
        notes = [f"{item.truncated_chars:,} characters of this were not read"] if item and item.truncated_chars else []
        if len(told) > _MOST_QUOTES:
            notes.append(m.counted(len(told) - _MOST_QUOTES, "more line") + " quoted")
        if len(found) > len(told):
            notes.append(m.counted(len(found) - len(told), "similar line") + " left out")
        lines += [f"({', '.join(notes)})"] if notes else []
    return [*lines, *m.left_out(len(by_item), _MOST_SOURCES, "more sources quoted")]


def _told_apart(quotes: Sequence[Quote]) -> list[Quote]:
    """Without lines that differ from an earlier one in generated names only."""
    kept: dict[str, Quote] = {}
    for quote in quotes:
        kept.setdefault(_GENERATED.sub("", quote.text[:1000]), quote)
    return list(kept.values())


def _numbered(quotes: Sequence[Quote]) -> str:
    width = max(len(str(quote.line)) for quote in quotes)
    return "\n".join(f"{quote.line:>{width}}  {m.plain(quote.text, _QUOTE_CHARS)}" for quote in quotes)


def evidence_name(item: Evidence) -> str:
    """Its kind in words, its source, and a link where there is one; escaped."""
    kind = EVIDENCE_NAMES.get(item.kind) or m.inline(item.kind.replace("_", " "), 40, "Evidence")
    source = f" · {m.inline(item.source, 120)}" if item.source else ""
    return f"{kind}{source}{' · ' + m.link(item.link, 'open') if item.link else ''}"


def _could_not_lines(evidence: Sequence[Evidence]) -> list[str]:
    missing = [item for item in evidence if item.could_not]
    if not missing:
        return []
    lines = [f"• {evidence_name(item)}: {m.inline(item.could_not, 200)}" for item in missing[:_MOST_OTHERS]]
    return ["*Could not look at*", *lines, *m.left_out(len(missing), _MOST_OTHERS, "more")]


def precedent_lines(precedents: Sequence[Precedent], now: datetime) -> list[str]:
    if not precedents:
        return ["*Similar incidents:* none known."]
    lines = ["*Similar incidents*"]
    lines += [precedent_line(precedent, now) for precedent in precedents[:_MOST_PRECEDENTS]]
    return [*lines, *m.left_out(len(precedents), _MOST_PRECEDENTS, "more")]


def precedent_line(precedent: Precedent, now: datetime) -> str:
    """One remembered incident: when and where, its cause, what was done, how that ended, what people said; escaped."""
    item = precedent.item
    if item.channel:
        return _thread_line(item)
    place = f"{item.service or item.source} {item.environment}".strip()
    title = f"{item.occurred_at:%Y-%m-%d} {place}"
    done = FIXES.get(item.fix) or m.inline(m.plain_sentences(item.fix, 120), 160).rstrip(".")
    fix = f" · {done}" if item.fix else ""
    outcome = OUTCOMES.get(item.outcome) or m.inline(item.outcome, 40)
    days = max(0, (now - item.occurred_at).days)
    said = ""
    if precedent.thumbs_up or precedent.thumbs_down:
        said = f" · 👍 {precedent.thumbs_up} 👎 {precedent.thumbs_down}"
    why = f" · {m.inline(precedent.why, 160)}" if precedent.why else ""
    cause = m.inline(item.cause, 200, "cause not known")
    ago = f"{m.counted(days, 'day')} ago" if days else "less than a day ago"
    return f"• {m.link(item.link, title, 100)} ({ago}): {cause}{fix} · *{outcome}*{said}{why}"


def _thread_line(item: KnowledgeItem) -> str:
    """A thread of the team's: people's words, so what helped is what they say helped; escaped."""
    when = m.link(item.link, f"{item.occurred_at:%-d %b %Y}", 100)
    place = m.channel(item.channel)
    helped = f" · they say: “{m.inline(item.fix, 200)}”" if item.fix and item.fix != item.cause else ""
    return f"• in {place}, {when}: “{m.inline(item.cause, 200, 'what it was is not said')}”{helped}"
