"""What an incident is called and how its state is said: on its card, in lists, in notifications.

The words of a state are in `STATE_WORDS`, what is asked of people in `WANTED`.
"""

import re

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import CardView
from knowledge.model import KIND_NAMES, Diagnosis, Incident, IncidentState, Unsure

S = IncidentState

# A sign, and the words that say the same without it.
STATE_WORDS: dict[IncidentState, tuple[str, str]] = {
    S.DETECTED: ("👀", "Detected"),
    S.DIAGNOSING: ("🔍", "Looking for the cause"),
    S.PROPOSED: ("💡", "Fix suggested"),
    S.WAITING: ("✋", "Waiting for approval"),
    S.BLOCKED: ("⛔", "Fix blocked by policy"),
    S.RUNNING: ("⚙️", "Fix is running"),
    S.VERIFYING: ("🔎", "Checking whether the fix helped"),
    S.HEALED: ("✅", "Healed"),
    S.NOT_VERIFIED: ("❓", "Fix done, effect not verified"),
    S.UNDONE: ("↩️", "Fix undone"),
    S.ESCALATED: ("🙋", "Needs a person"),
    S.DISMISSED: ("➖", "Dismissed"),
    S.RESOLVED: ("☑️", "Resolved"),
}

# What people are wanted to do, in at most 26 characters: it stands in the first 100 of every notification.
WANTED: dict[IncidentState, str] = {
    S.DETECTED: "nothing to decide yet",
    S.DIAGNOSING: "nothing to decide yet",
    S.PROPOSED: "suggestion only",
    S.WAITING: "approve or reject",
    S.BLOCKED: "override or fix by hand",
    S.RUNNING: "nothing to decide",
    S.VERIFYING: "nothing to decide",
    S.HEALED: "healed, nothing to do",
    S.NOT_VERIFIED: "please check the result",
    S.UNDONE: "fix undone, please look",
    S.ESCALATED: "needs a person",
    S.DISMISSED: "dismissed",
    S.RESOLVED: "resolved, nothing to do",
}

# Where a request waits for its hour instead of for people.
SCHEDULED_WORDS = ("⏰", "Approved for later")
SCHEDULED_WANTED = "nothing to decide"
# Where the alerts belong to another incident since.
MERGED_WORDS = ("🔗", "Merged")
MERGED_WANTED = "see the other card"

# Titles that are identifiers, as the Kubernetes watch makes them; other single words are only taken apart.
TITLES: dict[str, str] = {
    "crashloop": "Crash loop",
    "crashloop-error": "Crash loop",
    "crashloop-completed": "Crash loop, the container ends without an error",
    "oomkilled": "Out of memory",
    "segfault": "Segmentation fault",
    "error": "Container failed",
    "notready": "Container not ready",
    "errimagepull": "Image cannot be pulled",
    "imagepullbackoff": "Image cannot be pulled",
    "invalidimagename": "Invalid image name",
    "createcontainerconfigerror": "Container cannot be configured",
    "createcontainererror": "Container cannot be created",
    "runcontainererror": "Container cannot be started",
    "unschedulable": "Pod cannot be scheduled",
    "evicted": "Pod evicted",
}

NO_SERVICE = "unknown service"
CAUSE_UNKNOWN = "Cause not known"


def lead(view: CardView) -> str:
    """Severity, service, cause and wanted decision in at most 100 characters, without markup."""
    incident = view.incident
    service = m.inline(_service(incident), 24, NO_SERVICE)
    cause = CAUSE_UNKNOWN if isinstance(view.diagnosis, Unsure) else m.inline(what_fails(view), 31)
    severity = severity_word(incident).upper()
    wanted = SCHEDULED_WANTED if view.scheduled else WANTED[incident.state]
    wanted = MERGED_WANTED if incident.merged_into else wanted
    return f"{f'[{severity}] ' if severity else ''}{service}: {cause} - {wanted}"


def severity_word(incident: Incident) -> str:
    """The sender's severity in lower case, escaped, at most 11 characters; "" where it sends none."""
    return m.inline(incident.severity[:80].lower(), 11, "")


def what_fails(view: CardView) -> str:
    """The kind's display name once the cause is known, else the alert's title (foreign text)."""
    if isinstance(view.diagnosis, Diagnosis):
        return KIND_NAMES[view.diagnosis.kind]
    return title_words(view.incident.title)


def title_words(title: str) -> str:
    """An alert's title as people say it: "crashloop-error" is an identifier, "KubePodCrashLooping" a rule's name."""
    known = TITLES.get(title.lower())
    if known is None and re.fullmatch(r"[a-z0-9]+(?:[-_][a-z0-9]+)+", title):
        return re.sub("[-_]", " ", title).capitalize()
    return known or title


def place(incident: Incident, limit: int = 60) -> str:
    """Service and environment, escaped, e.g. "checkout · prod"."""
    service = m.inline(_service(incident), limit, NO_SERVICE)
    return f"{service} · {m.inline(incident.environment, 20, 'unknown environment')}"


def _service(incident: Incident) -> str:
    return incident.service or incident.workload or incident.repository


def state_words(view: CardView) -> tuple[str, str]:
    """A sign, and the words that say the same."""
    if view.incident.merged_into:
        return MERGED_WORDS
    return SCHEDULED_WORDS if view.scheduled else STATE_WORDS[view.incident.state]
