"""Pure: alerts that other apps post in Slack, read out of the message object.

Wording belongs to the apps and changes; what is relied upon are brackets, colours, links and `name: value` pairs. The
post is untrusted text: `trusted` is false here, and whoever knows the allow-list of apps sets it.
"""

import re
from collections.abc import Mapping

from handlers.sources import fields, slack_text
from handlers.sources.fields import Json
from knowledge.correlation import SUBJECT, subject_key
from knowledge.errors import BadInput
from knowledge.fingerprint import (
    identifying_marks,
    identity,
    normal_severity,
    parse_time,
    workload_of,
)
from knowledge.model import Alert, AlertStatus

_BRACKET = re.compile(
    r"\[\s*(FIRING|RESOLVED|ALERTING|OK|NO ?DATA)(?=\s{0,9}(?:[:,\]]|x?\s{0,9}\d))"
    r"(?:\s{0,9}[:\]]\s{0,9}\d*)?\s{0,9}\]?",
    re.IGNORECASE,
)
_RESOLVED_WORDS = re.compile(
    r"\b(succeeded|successful(?:ly)?|passed|completed)\b"
    r"|:(?:white_check_mark|large_green_circle|heavy_check_mark):|✅|🟢",
    re.IGNORECASE,
)
_LINE_BRACKET = re.compile(r"^\W{0,6}\[\s*(FIRING|RESOLVED)(?:\s*:\s*\d+)?\s*[\],]", re.MULTILINE)
# What is said of a failure that is over. Beside it a headline names that failure (`Resolved: CPU critical`); beside the
# words above, something failed for all that (`completed with 3 errors`). A name that cannot be resolved is no recovery,
# nor is one that was resolved to something, what was to be backed up, or the plan for a disaster's recovery.
_OVER_WORDS = re.compile(
    r"(?<!not )(?<!not been )(?<!n't )(?<!never )(?<!yet )(?<!\bbe )(?<!\bto )"
    r"\b(?:resolved(?! to\b)|recovered|back to normal|back online|back up(?! \w))\b"
    r"|^\W{0,4}recovery\s*[:|]|\bis up:|^\W{0,4}ok\s*:",
    re.IGNORECASE,
)
_WELL_WORDS = re.compile(r"\bis (?:healthy|ok)\b", re.IGNORECASE)
# Of some that is said where the others are not (`only 1 of 3 replicas is healthy`).
_FEW_WORDS = re.compile(r"\b(?:(?:no|none|nothing|only)\b|(\d{1,6}) ?(?:/|of|out of) ?(?!\1\b)\d)", re.IGNORECASE)
_FIRING_WORDS = re.compile(
    r"\b(firing|triggered|fail(?:ed|ure|ing|s)?|degraded|crash\w*|error(?:s|ed)?|critical|down|unhealthy|out of ?sync"
    r"|oomkilled|alert(?:ing)?|timed out|cannot|could not|unavailable|(?:no data|problem|warn(?:ing)?)(?=\s*:))\b"
    r"|:(?:fire|rotating_light|x|red_circle|warning|no_entry|exclamation):|🔥|🚨|❌|🔴",
    re.IGNORECASE,
)
# GitHub and GitLab tell of pushes, requests and issues as well; their colours and titles speak of no failure.
_CODE_NEWS = re.compile(
    r"\W{0,4}(?:\d{1,4} (?:new )?commits? pushed\b|(?:draft )?(?:pull request|merge request|issue) "
    r"(?:opened|closed|reopened|merged|created)\b)",
    re.IGNORECASE,
)
_RED, _GREEN = frozenset({"danger", "warning"}), "good"
_HEX = re.compile(r"^#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$", re.IGNORECASE)
_LABEL_NAMES = (
    "alertname", "namespace", "pod", "deployment", "statefulset", "daemonset", "job_name", "node", "cluster",
    "severity", "service", "container", "environment", "env", "persistentvolumeclaim", "instance", "reason",
    "depends_on",
)  # fmt: skip
_PAIR = re.compile(
    r"(?<![\w.-])("
    + "|".join(_LABEL_NAMES)
    + r")[*_`]{0,3}\s{0,9}[:=]\s{0,9}[*_`\"']{0,3}[ \t]{0,9}[`\"']{0,3}([A-Za-z0-9][\w./:-]{0,200})",
    re.IGNORECASE,
)
_NAME_LINE = re.compile(
    r"^[ \t•*–-]{0,6}alertname[*_`]{0,3}[ \t]*[:=][*_`\"' \t]{0,6}([^=:\n*_`\"']{1,200})", re.IGNORECASE | re.MULTILINE
)
# The rules of kubernetes-mixin say "Pod shop/web-66b7c9d5f4-m4znd (web) is …".
_NAMED = re.compile(r"\b(Pod|Deployment|StatefulSet|DaemonSet|Job)\s+([a-z0-9-]{1,63})/([a-z0-9.-]{1,200}[a-z0-9])")
_PLACES = ("node", "instance", "service", "persistentvolumeclaim")
_NAMED_LABEL = {
    "Pod": "pod",
    "Deployment": "deployment",
    "StatefulSet": "statefulset",
    "DaemonSet": "daemonset",
    "Job": "job_name",
}
_CAMEL = re.compile(r"^[A-Z][a-z0-9]+(?:[A-Z]+[a-z0-9]*)+\b")
_EMOJI = re.compile(r":[a-z0-9_+-]{1,60}:\s*")
_RUN = re.compile(r"^https?://[^/]+/([\w.-]+/[\w.-]+)/actions/runs/(\d{1,20})")
_COMMIT = re.compile(r"^https?://[^/]+/([\w.-]+/[\w.-]+)/commit/([0-9a-f]{40})")
_ARGO = re.compile(r"^https?://[^/]+(?:/[^/]+)?/applications/(?:[\w.-]+/)?([a-z0-9.-]+)")
# Alerts that have an address: of Opsgenie, and issues of Sentry.
_NUMBERED = re.compile(
    r"^https?://[\w.-]{1,100}\b(opsgenie\.com/alert/detail|sentry\.io/(?:organizations/[\w-]{1,60}/)?issues)/([\w-]{1,80})"
)
_STATE_WORDS = re.compile(
    r"^\W{0,4}(?:re-?)?(?:triggered|firing|recovered|resolved|acknowledged|closed|opened|warn(?:ing)?|critical|no data"
    r"|problem|recovery|ok|up|down)\s*[:|-]\s*",
    re.IGNORECASE,
)
# Flux names its object in small letters, and its namespace behind it.
_FLUX_KINDS = {
    kind.lower(): kind
    for kind in (
        "Kustomization", "HelmRelease", "GitRepository", "OCIRepository", "Bucket", "HelmChart", "HelmRepository",
    )
}  # fmt: skip
_FLUX = re.compile(rf"^({'|'.join(_FLUX_KINDS)})/([a-z0-9.-]{{1,253}})\.([a-z0-9-]{{1,63}})$")
_PAGER = re.compile(r"^https?://[\w.-]*pagerduty\.com/incidents/([A-Z0-9]{4,40})")


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    """One alert: firing, resolved, or information where the post is neither."""
    message = fields.child(body, "message") if body.get("subtype") == "message_changed" else body
    text = slack_text.message_text(message, quoted=False)
    if not text:
        raise BadInput("The Slack message has no text, blocks or attachments.")
    headline = _headline(message, text)
    status = _status(message, headline, text)
    found = slack_text.urls(message)
    labels = _labels(message, text)
    word = _CAMEL.match(headline)
    title = labels.get("alertname") or (word[0] if word else headline)
    kind, workload, owner = workload_of(labels)
    linked, flux = _linked(found), _flux(message)
    owner = owner or linked.get("argocd_application", "") or flux.get("name", "")
    namespace, cluster = labels.get("namespace", "") or flux.get("namespace", ""), labels.get("cluster", "")
    subject = fields.hints(**{SUBJECT: subject_key(headline)}) if _BRACKET.search(text) and not owner else {}
    marks = [*identifying_marks(labels, owned=bool(owner)), *linked.values()]
    # Where no label is named, the rest of the line tells one thing's alert from another's; its state does not.
    placed = owner or linked or any(labels.get(name) for name in _PLACES)
    named = title
    if not placed and title != labels.get("alertname"):
        named = _STATE_WORDS.sub("", headline)
        marks.append(subject_key(named))
    # What has one state, or a number of its own, is the same whatever its messages say of it.
    if linked.get("argocd_application") and "alertname" not in labels:
        named, marks = "argocd", []
    elif flux:
        named, marks = "flux", [flux["kind"]]
    elif found and (numbered := _NUMBERED.match(found[0])):
        named, marks = numbered[1].lower(), [numbered[2]]
    return (
        Alert(
            source="slack",
            status=status,
            title=title,
            identity=identity(named, cluster=cluster, namespace=namespace, owner=owner, marks=marks),
            actionable=status is AlertStatus.FIRING,
            trusted=False,
            severity=normal_severity(labels.get("severity")),
            summary=text[: fields.MAX_TEXT],
            namespace=namespace,
            workload=workload,
            owner=owner,
            service=labels.get("service", "") or owner,
            environment=labels.get("environment") or labels.get("env", ""),
            cluster=cluster,
            repository=linked.get("repository", ""),
            commit=linked.get("commit", ""),
            run_id=linked.get("run_id", ""),
            started_at=parse_time(_seconds(message.get("ts"))),
            target=_target(kind, workload, owner, labels, linked),
            labels={
                **labels,
                **fields.hints(app=_app(message), **subject, **_only(linked, "argocd_application", "incident_id")),
            },
            links=fields.links([("Source", url) for url in found[:5]]),
            channel=fields.name(message.get("channel") or body.get("channel")),
            message_ts=fields.name(message.get("ts")),
            thread_ts=fields.name(message.get("thread_ts")),
        ),
    )


def delivery_id(_headers: Mapping[str, str], body: Json) -> str | None:
    """Channel, time and, for an edited post, the time of the edit."""
    message = fields.child(body, "message") if body.get("subtype") == "message_changed" else body
    channel, ts = fields.name(message.get("channel") or body.get("channel")), fields.name(message.get("ts"))
    edited = (
        fields.name(fields.child(message, "edited").get("ts") or body.get("event_ts")) if message is not body else ""
    )
    return ":".join(part for part in (channel, ts, edited) if part) if channel and ts else None


def _headline(message: Json, text: str) -> str:
    """The post's first words, without emoji and brackets."""
    raw = _raw_headline(message, text)
    plain = _EMOJI.sub("", slack_text.decode(raw)).replace("*", "").replace("`", "")
    bare = _BRACKET.sub("", plain).strip(" |-–:")
    return " ".join(bare.split())[: fields.MAX_TITLE] or plain.strip()[: fields.MAX_TITLE]


def _raw_headline(message: Json, text: str) -> str:
    titles = [fields.title(item.get("title")) for item in slack_text.attachments(message)]
    headers = [
        fields.title(fields.child(block, "text").get("text"))
        for block in fields.children(message.get("blocks"))
        if block.get("type") == "header"
    ]
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    return next((item for item in [*headers, *titles] if item), "") or first_line


def _status(message: Json, headline: str, text: str) -> AlertStatus:
    if _CODE_NEWS.match(text):
        return AlertStatus.INFO
    # Further down, words in brackets may be those of a log.
    if bracket := _BRACKET.search(_raw_headline(message, text)) or _LINE_BRACKET.search(text):
        return AlertStatus.RESOLVED if bracket[1].upper() in ("RESOLVED", "OK") else AlertStatus.FIRING
    colours = [_colour(item.get("color")) for item in slack_text.attachments(message)]
    by_colour = next((colour for colour in colours if colour), None)
    if by_colour:
        return by_colour
    # The headline decides before the body: a recovery's text still tells what had failed.
    if _is_over(headline):
        return AlertStatus.RESOLVED
    for words in (headline, text[:2_000]):
        if _FIRING_WORDS.search(words):
            return AlertStatus.FIRING
        if _RESOLVED_WORDS.search(words) or _is_over(words):
            return AlertStatus.RESOLVED
    return AlertStatus.INFO


def _is_over(words: str) -> bool:
    return bool(_OVER_WORDS.search(words) or (_WELL_WORDS.search(words) and not _FEW_WORDS.search(words)))


def _colour(value: object) -> AlertStatus | None:
    word = fields.name(value).lower()
    if word in _RED:
        return AlertStatus.FIRING
    if word == _GREEN:
        return AlertStatus.RESOLVED
    if not (found := _HEX.match(word)):
        return None
    red, green, blue = (int(part, 16) for part in found.groups())
    if red > green + 40 and red > blue + 40:
        return AlertStatus.FIRING
    return AlertStatus.RESOLVED if green > red + 40 and green > blue else None


def _labels(message: Json, text: str) -> dict[str, str]:
    """`name: value` pairs of the text and of the attachments' fields, and what the rules' wording names."""
    found: dict[str, str] = {}
    for name, value in _PAIR.findall(text[:20_000]):
        found.setdefault(name.lower(), value.rstrip(".:"))
    for item in slack_text.attachments(message):
        for field in fields.children(item.get("fields"), 50):
            name = fields.name(field.get("title")).lower().replace(" ", "_")
            if name in _LABEL_NAMES:
                found.setdefault(name, slack_text.decode(fields.name(field.get("value"))).strip("`*"))
    if named := _NAMED.search(text[:20_000]):
        found.setdefault("namespace", named[2])
        if found["namespace"] == named[2] and not any(found.get(label) for label in _NAMED_LABEL.values()):
            found[_NAMED_LABEL[named[1]]] = named[3]
    # A rule's name may have spaces; a line of its own has it whole.
    if line := _NAME_LINE.search(text[:20_000]):
        found["alertname"] = line[1].strip()
    return found


def _linked(urls: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for url in urls:
        if run := _RUN.match(url):
            found |= {"repository": run[1], "run_id": run[2]}
        elif commit := _COMMIT.match(url):
            found.setdefault("repository", commit[1])
            found["commit"] = commit[2]
        elif argo := _ARGO.match(url):
            found["argocd_application"] = argo[1]
        elif pager := _PAGER.match(url):
            found["incident_id"] = pager[1]
    return found


def _flux(message: Json) -> dict[str, str]:
    """kind, name and namespace of the object that a post of Flux is about, {} of any other post."""
    for item in slack_text.attachments(message):
        if found := _FLUX.match(fields.name(item.get("author_name"))):
            return {"kind": _FLUX_KINDS[found[1]], "name": found[2], "namespace": found[3]}
    return {}


def _target(
    kind: str, workload: str, owner: str, labels: Mapping[str, str], linked: Mapping[str, str]
) -> dict[str, str]:
    if not workload and "run_id" in linked:
        return fields.hints(kind="WorkflowRun", repository=linked["repository"], name=linked["run_id"])
    where = _only(labels, "namespace", "cluster")
    return fields.hints(kind=fields.KINDS.get(kind, ""), name=workload, owner=owner, **where)


def _only(values: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: values[name] for name in names if name in values}


def _app(message: Json) -> str:
    profile = fields.child(message, "bot_profile")
    return (
        fields.name(profile.get("name")) or fields.name(message.get("username")) or fields.name(message.get("app_id"))
    )


def _seconds(ts: object) -> float | None:
    try:
        return float(fields.name(ts))
    except ValueError:
        return None
