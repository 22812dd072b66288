# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""A kind and what the evidence names, put into one plain sentence and a summary for people."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knowledge.case import Case
from knowledge.model import KIND_NAMES, EvidenceKind, FailureKind, Fixability, Quote
from knowledge.reduction import without_timestamp
from knowledge.signs import Sign, names_passing_fault, signs_of

K = FailureKind
CAUSE_CHARS = 160
# Kinds that one of our actions can mend; the others are a person's work.
_AUTO = frozenset(
    {
        K.IMAGEPULLBACKOFF,
        K.OOMKILLED,
        K.CRASHLOOP,
        K.PROBE_FAILURE,
        K.PERFORMANCE,
        K.ARGOCD_SYNC,
        K.ARGOCD_DEGRADED,
        K.BUILDCACHEERROR,
        K.GITHUBACTION_TRANSIENT,
    }
)


def fixability_of(kind: FailureKind) -> Fixability:
    return Fixability.AUTO if kind in _AUTO else Fixability.MANUAL


def cause_sentence(kind: FailureKind, case: Case, quotes: Sequence[Quote]) -> str:
    """One plain sentence of at most 160 characters that names the concrete thing; `quotes` the most telling first."""
    told = _Told(case, tuple(quotes))
    sentence = _CAUSES[kind](told) if kind in _CAUSES else f"{KIND_NAMES[kind]}: {told.said or 'see the evidence'}"
    return shortened(_plain(sentence), CAUSE_CHARS)


def summary_of(kind: FailureKind, case: Case, quotes: Sequence[Quote]) -> str:
    """One to three sentences: where it fails, what the evidence says, whose work the fix is."""
    if kind is K.HEALTHY:
        because = case.state.healthy_because or "no line of the evidence reports a failure"
        return f"No active failure: {because}. Nothing needs to be done."
    parts = []
    title = _plain(case.title.split("\n")[0])
    if place := _place(case):
        parts.append(f"It happens in {place}.")
    elif title:
        parts.append(f"The alert is “{shortened(title, 140)}”.")
    if quotes and (said := _plain(_said(quotes[0].text))):
        parts.append(f"The evidence says: {shortened(said, 240)}{'' if said.endswith('.') else '.'}")
    if fixability_of(kind) is Fixability.MANUAL:
        parts.append("A person has to fix this.")
    return " ".join(parts) or f"{KIND_NAMES[kind]}."


def shortened(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


# What stands before the message: levels, loggers, threads, kubectl's columns.
_PREFIX = re.compile(
    r"^(?:##\[\w+\]|\[?(?:ERROR|FATAL|CRITICAL|WARN(?:ING)?|INFO|E)\]?(?::\s*|\s+)(?:\d+ --- \[[^\]]*\]\s*)?|(?:Error|error): (?=\S+:)"
    r"|(?:\d+[smhd]\S*\s+)+(?:\(x\d+ over \w+\)\s+)?"
    r"|(?:Warning|Normal)\s+\w+\s+(?:\d+\w+(?: \(x\d+ over \w+\))?\s+)?"
    r"(?:kubelet|default-scheduler|[\w-]+-controller)?\s+"
    r"|(?:pod|replicaset|deployment|job|node)/\S+\s+x\d+\s+|[a-z]+(?:\.[A-Za-z_]+)+\s*(?::\s+|\s+)(?=\S)|Condition \w+: \w+ \w+: )",
)
_JSON_MESSAGE = re.compile(r"\"(?:message|msg|error)\":\s*\"((?:[^\"\\]|\\.){4,400})\"")
_LOGFMT = re.compile(r"\b(?:msg|message)=\"((?:[^\"\\]|\\.)+)\"")
_LOGFMT_WHY = re.compile(r"\b(?:reason|err|error|cause)=\"((?:[^\"\\]|\\.)+)\"")
# Identifiers that tell a person nothing, and characters that a chat takes for markup.
_UIDS = re.compile(
    r"\s?\b(?:container|pod)=\S+|_[\w-]+\([0-9a-f-]{36}\)|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"
)
_MARKUP = str.maketrans({"*": "", "`": "", "<": "", ">": "", "|": "/"})


def _plain(text: str) -> str:
    return " ".join(_UIDS.sub("", text).translate(_MARKUP).split())


def _said(line: str) -> str:
    """The line's message: without timestamp, level, logger and table columns; of a structured line its message."""
    text = without_timestamp(line).strip()
    if text.startswith(("{", '"')) and (match := _JSON_MESSAGE.search(text)):
        return match.group(1).replace('\\"', '"')
    if match := _LOGFMT.search(text):
        why = _LOGFMT_WHY.search(text)
        return match.group(1) + (f": {why.group(1)}" if why else "")
    for _ in range(4):
        text = _PREFIX.sub("", text).strip()
    return text.rstrip(",")


_WORKLOAD = re.compile(
    r"(?m)^(?:Deployment|StatefulSet|DaemonSet) ([a-z0-9][\w.-]*): \d+ desired|[Rr]ollout history of \w+/([a-z0-9][\w.-]*)"
)
_POD_HASH = re.compile(r"-[a-z0-9]{5,10}-[a-z0-9]{5}$")


@dataclass(frozen=True)
class _Told:
    """What the sentences are made of."""

    case: Case
    quotes: tuple[Quote, ...]

    @property
    def said(self) -> str:
        return _said(self.quotes[0].text) if self.quotes else ""

    @property
    def who(self) -> str:
        """The workload's name as people use it, "" if nothing names one."""
        for text in self.case.symptoms:
            if match := _WORKLOAD.search(text):
                return match.group(1) or match.group(2)
        return self.case.entity("container") or _POD_HASH.sub("", self.case.entity("pod"))

    def from_log(self) -> Quote | None:
        """The first quote out of a log."""
        return next((q for q in self.quotes if "log" in self.case.evidence[q.evidence].kind), None)

    def showing(self, *signs: Sign) -> str:
        """What the first quoted line with one of these signs says, logs before the alert's own words."""
        alert = EvidenceKind.ALERT
        ordered = sorted(self.quotes, key=lambda q: self.case.evidence[q.evidence].kind == alert)
        return next((_said(q.text) for q in ordered if signs_of(q.text) & set(signs)), "")


def _place(case: Case) -> str:
    namespace, pod = case.entity("namespace"), case.entity("pod")
    if step := next((p.step for p in case.parsed if p.format == "github_actions" and p.step), ""):
        return f"the step “{shortened(step, 80)}”"
    if pod:
        return f"pod {pod}" + (f" (namespace {namespace})" if namespace else "")
    if application := next((p.first("application") for p in case.parsed if p.format == "argocd"), ""):
        return f"the Argo CD application {application}"
    return f"namespace {namespace}" if namespace else ""


def _contains(case: Case, *words: str) -> bool:
    body = "\n".join(text for reduction in case.reductions for _, text in reduction.lines).lower()
    return any(word in body for word in words)


def _image(told: _Told) -> str:
    case = told.case
    image = case.entity("image")
    name = f"Image {image}" if image else "An image"
    if _contains(case, "toomanyrequests", "rate limit", "429"):
        return f"{name} cannot be pulled: the registry's rate limit is reached"
    for words in ("manifest unknown", "not found", "does not exist"):
        if _contains(case, words):
            return f"{name} does not exist ({words})"
    if _contains(case, "denied", "unauthorized", "forbidden", "authentication"):
        return f"{name} cannot be pulled: the registry refuses access"
    if _contains(case, "no such host", "timeout", "connection refused", "x509"):
        return f"{name} cannot be pulled: the registry cannot be reached"
    return f"{name} cannot be pulled" if image else f"An image cannot be pulled: {told.said}"


_LIMIT = re.compile(
    r"(?im)^\s*limits:[^\n]*?\bmemory:? ?(\d+(?:\.\d+)?[KMG]i?)|limits:\s+(?:cpu:\s+\S+\s+)?memory:\s+(\S+)"
)


def _memory(told: _Told) -> str:
    case = told.case
    who = told.who or "The container"
    if case.state.strength().get(K.OOMKILLED, 0) >= 4:
        limit = next((m.group(1) or m.group(2) for text in case.symptoms if (m := _LIMIT.search(text))), "")
        of = f" of {limit}" if limit else ""
        return f"{who} needs more memory than its limit{of} and is OOMKilled (exit code {case.exit_code() or 137})"
    return f"{who} ran out of memory: {told.said}"


_CRASH_WORDS = re.compile(
    r"^(?:panic: |fatal error: |fatal: |runtime error: |Unhandled exception\.? |Uncaught |Exception in thread \"[^\"]*\" "
    r"|invalid memory address or (?=nil pointer))+",
    re.IGNORECASE,
)
_FRAMES = (
    re.compile(r"^(?:[\w.-]+/)*([\w-]+\.(?:\(\*?\w+\)\.)?[\w.]+)\((?:0x|\{|\.\.\.|\))"),  # Go
    re.compile(r"^\s+at (?:async )?([A-Za-z_$][\w.$]*) \((?!node:)[^)]*:\d+:\d+\)"),  # JavaScript
    re.compile(r"^\s+at (?:[a-z][\w$]*\.)*([A-Z]\w*\.\w+)\(\w+\.(?:java|kt|scala):\d+\)"),  # JVM
)
_PYTHON_FRAME = re.compile(r"^\s+File \"[^\"]+\", line \d+, in (\w+)")
_AT_START = re.compile(r"\bmain\.main\b|\bbootstrap\b|<module>|\b(?:on)?start-?up\b|\bstarting\b", re.IGNORECASE)
_NOT_OURS = re.compile(r"^(?:runtime|Array|Object|Promise|Function)\b")


def _crash(told: _Told) -> str:
    who = told.who or "The application"
    code = told.case.exit_code()
    ending = f" (exit code {code})" if code else ""
    quote = told.from_log() or (told.quotes[0] if told.quotes else None)
    said = _said(quote.text) if quote else ""
    if quote is None or not said or "back-off" in said.lower() or "crashloopbackoff" in said.lower():
        return f"{who} keeps crashing{ending}; the log does not say why"
    around = [told.case.line(quote.evidence, quote.line + step) for step in range(-15, 25)]
    starting = any(_AT_START.search(line) for line in around[12:])
    place = _frame(around[:15], around[16:])
    return f"{who} {'crashes at start' if starting else 'keeps crashing'}: {_CRASH_WORDS.sub('', said)}{place}{ending}"


def _frame(before: Sequence[str], after: Sequence[str]) -> str:
    """ " in flags.Load": where it broke, out of the stack around the decisive line; "" where none is shown."""
    for line in after:
        for expression in _FRAMES:
            if (match := expression.search(line)) and not _NOT_OURS.match(match.group(1)):
                return f" in {match.group(1).replace('(*', '').replace(').', '.')}"
    python = [match.group(1) for line in before if (match := _PYTHON_FRAME.search(line))]
    return f" in {python[-1]}" if python and python[-1] != "module" else ""


_STATUS_CODE = re.compile(r"statuscode: (\d{3})")


def _probe(told: _Told) -> str:
    case = told.case
    line = next((q.text for q in told.quotes if "probe" in q.text.lower()), "") or _first_with(case, "probe failed")
    port, code = case.entity("port"), _STATUS_CODE.search(line)
    signs = signs_of(line)
    why = told.said
    if code:
        why = f"HTTP {code.group(1)}"
    elif Sign.PROBE_REFUSED in signs:
        why = "connection refused"
    elif Sign.PROBE_TIMEOUT in signs:
        why = "no answer in time"
    why += f" on port {port}" if port and port not in why else ""
    said = told.showing(Sign.LOCK) or (_said(log.text) if (log := told.from_log()) else "")
    probe = (case.entity("probe") or "health").capitalize()
    more = f"; {said}" if said and said not in why else ""
    return f"{probe} probe of {told.who or 'the container'} fails: {why}{more}"


def _first_with(case: Case, words: str) -> str:
    lines = (text for reduction in case.reductions for _, text in reduction.lines)
    return next((line for line in lines if words in line.lower()), "")


_NO_ENDPOINTS = re.compile(r"(?m)^Endpoints:\s*(?:<none>)?\s*$")
_INGRESS_CLASS = re.compile(r"^Ingress Class:\s+(\S+)")


def _config(told: _Told) -> str:
    case, said = told.case, told.said
    if name := case.entity("secret"):
        return f"Secret {name} that {told.who or 'the container'} refers to does not exist (not found) in its namespace"
    if name := case.entity("configmap"):
        return (
            f"ConfigMap {name} that {told.who or 'the container'} refers to does not exist (not found) in its namespace"
        )
    if match := next((m for q in told.quotes if (m := _INGRESS_CLASS.search(q.text))), None):
        return f"Ingress class {match.group(1)} does not exist: no IngressClass of that name was found, so nothing serves it"
    if any(_NO_ENDPOINTS.search(q.text) for q in told.quotes):
        named = (m.group(1) for text in case.cleaned if _NO_ENDPOINTS.search(text) and (m := _NAME.search(text)))
        return f"Service {next(named, '')} has no endpoints: its selector matches no ready pod, so nobody answers"
    if name := case.entity("executable"):
        return f"The command {name} cannot be run in the container: {said}"
    if name := case.entity("variable"):
        return f"The environment variable {name} is not set: {said}"
    return f"The configuration is wrong: {said}"


_NAME = re.compile(r"(?m)^Name:\s+(\S+)")


def _node(case: Case) -> str:
    """The node that the evidence describes, else one that it names."""
    described = (text for item, text in zip(case.evidence, case.cleaned, strict=True) if "node" in item.kind)
    return next((m.group(1) for text in described if (m := _NAME.search(text))), "") or case.entity("node")


def _scheduling(told: _Told) -> str:
    node, said = _node(told.case), told.said.split(" preemption:")[0]
    if re.search(r"(?i)notready|stopped posting|heartbeat", said):
        return f"The node {node} is not ready: {said}" if node else f"A node is not ready: {said}"
    return f"No node can take the pod (unschedulable): {said.removeprefix('Unschedulable: ')}"


_FORBIDDEN = re.compile(
    r"is forbidden: User \\?\"(?:system:serviceaccount:)?([^\"\\]+)\\?\" cannot (\w+) (?:resource )?\\?\"?([\w./-]+)\\?\"?"
)
_NAMESPACE = re.compile(r"in the namespace \\?\"([\w-]+)")


def _rbac(told: _Told) -> str:
    for quote in told.quotes:
        if match := _FORBIDDEN.search(quote.text):
            user, verb, resource = match.groups()
            place = _NAMESPACE.search(quote.text)
            where = f" in namespace {place.group(1)}" if place else " at the cluster scope"
            return f"A permission is missing: {user} cannot {verb} {resource}{where} (forbidden)"
    return f"A permission is missing: {told.said}"


_PODS_THERE = re.compile(r"Non-terminated Pods:\s+\((\d+) in total\)")


def _node_pressure(told: _Told) -> str:
    node = f"The node {name}" if (name := _node(told.case)) else "The node"
    if pods := next((m.group(1) for q in told.quotes if (m := _PODS_THERE.search(q.text))), ""):
        return f"{node} runs {pods} pods and is at its pod capacity: too many pods for its limit"
    return f"{node} has run out of disk: {told.said}"


_QUOTA = re.compile(r"exceeded quota: ([\w.-]+), requested: (\S+), used: (\S+), limited: (\S+)")


def _quota(told: _Told) -> str:
    for quote in told.quotes:
        if match := _QUOTA.search(quote.text):
            name, requested, used, limited = match.groups()
            return f"Quota {name} is exceeded: requested {requested}, used {used}, limited to {limited}".rstrip(",")
    return f"A quota is exceeded: {told.said}"


def _overload(told: _Told) -> str:
    said = told.showing(Sign.CAPACITY) or told.showing(Sign.POOL, Sign.LATENCY) or told.said
    return f"{told.who or 'The service'} is overloaded or too slow: {said}"


_HOST = re.compile(r"https?://([\w.-]+(?::\d{2,5})?)|host='([\w.-]+)'")
_PHRASE = re.compile(
    r"(?i)connection (?:was )?(?:reset(?: by peer)?|refused|timed out|closed|aborted|broken)|read timed out|i/o timeout"
    r"|tls handshake timeout|could not resolve host|temporary failure in name resolution|unexpected eof|early eof"
    r"|socket hang up|etimedout|econnreset|eai_again|(?:429 )?too many requests|50[0-9] [A-Z][a-z]+ ?[A-Z]?[a-z]*"
    r"|bad gateway|service unavailable|gateway time-?out|no healthy upstream|no space left on device"
    r"|network is unreachable|operation timed out|context deadline exceeded|rate limit exceeded"
    r"|received a shutdown signal|lost communication with the server|the operation was canceled"
)


def _upstream(told: _Told) -> str:
    said = told.showing(Sign.DEPENDENCY) or told.said
    host = next((g for m in [_HOST.search(said)] if m for g in m.groups() if g), "") or told.case.entity("host")
    if host and host in said and (phrase := _PHRASE.search(said)) and told.who:
        return f"{told.who} waits for {host}, which is not available: {phrase.group().strip()}"
    return f"A service that it depends on{f' ({host})' if host and host not in said else ''} is not available: {said}"


_CI_TOOLS = {
    "go": "go mod download", "pip": "pip install", "npm": "npm install", "yarn": "yarn install",
    "pnpm": "pnpm install", "poetry": "poetry install", "maven": "maven", "gradle": "gradle",
    "cargo": "cargo", "docker build": "docker build", "git": "git",
}  # fmt: skip
_FAILED_STEP = re.compile(r"(?m)^\s*Failed step \d+: (.+)$")
_TOOL_WORDS = (
    ("go", re.compile(r"^go: |proxy\.golang|/@v/")),
    ("pip", re.compile(r"(?i)could not install packages|/simple/|\bpip\b|pypi")),
    ("npm", re.compile(r"(?i)\bnpm\b")),
    ("git", re.compile(r"(?i)^fatal: |git clone|fetch-pack|RPC failed")),
)


def _passing(told: _Told) -> str:
    line = next((_said(q.text) for q in told.quotes if names_passing_fault(q.text)), told.said)
    parsed = next((p for p in told.case.parsed if p.format == "github_actions"), None)
    tool = next((name for name, expression in _TOOL_WORDS if expression.search(line)), parsed.tool if parsed else "")
    named = next((m.group(1).strip() for text in told.case.symptoms if (m := _FAILED_STEP.search(text))), "")
    step = _CI_TOOLS.get(tool, "") or named or (parsed.step if parsed else "")
    phrase, host = _PHRASE.search(line), _HOST.search(line)
    if phrase is None:
        return f"{step or 'The job'} was stopped by a passing fault, not by the code: {line}"
    where = f" from {host.group(1) or host.group(2)}" if host else ""
    return f"{shortened(step, 50) or 'The job'} failed: {phrase.group().strip().lower()}{where} (a passing fault)"


_COPIED = re.compile(r"calculate checksum of ref \S+ \"([^\"]+)\": not found")
_NESTED = re.compile(r"^(?:(?:ERROR|error): )?(?:failed to (?:build|solve|compute cache key|process): )+")


def _build(told: _Told) -> str:
    for quote in told.quotes:
        if match := _COPIED.search(quote.text):
            return f"The image does not build: {match.group(1)} is copied but not in the build context (not found)"
    return f"The build fails: {_NESTED.sub('', told.said)}"


_ARGO_LABEL = re.compile(
    r"^(?:Sync Status|Health Status|Phase|Operation|Sync Policy|Application \S+):?\s", re.IGNORECASE
)
_SOME_FAILED = "one or more objects failed to apply, reason: "
_INVALID_VALUE = re.compile(r": Invalid value: .{1,400}?(?=: [a-z])")


def _argocd_sync(told: _Told) -> str:
    says = [said for q in told.quotes if (said := _said(q.text)) and not _ARGO_LABEL.match(said)]
    app = next((p.first("application") for p in told.case.parsed if p.format == "argocd"), "")
    said = _INVALID_VALUE.sub("", (says[0] if says else told.said).removeprefix("Message: "))
    return f"Argo CD cannot sync {app or 'the application'}: {said.removeprefix(_SOME_FAILED)}"


def _prefixed(prefix: str) -> Callable[[_Told], str]:
    return lambda told: f"{prefix}: {told.said}" if told.said else prefix


def _named(before: str, entities: tuple[str, ...], after: str) -> Callable[[_Told], str]:
    def sentence(told: _Told) -> str:
        name = told.case.entity(*entities)
        known = f" {name}" if name and name not in told.said else ""
        return f"{before}{known} {after}: {told.said}"

    return sentence


def _tests(told: _Told) -> str:
    tests = [test for parsed in told.case.parsed for test in parsed.entities.get("test", ())]
    if tests:
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        said = told.said.removeprefix(f"FAILED {tests[0]} - ").removeprefix("E ").strip()
        return f"Test {tests[0]}{more} failed: {said}"
    return f"Tests failed: {told.said}"


def _dependency(told: _Told) -> str:
    name = told.case.entity("package", "module")
    said = told.said
    return f"Dependency {name} cannot be resolved: {said}" if name else f"Dependencies cannot be resolved: {said}"


def _healthy(told: _Told) -> str:
    because = told.case.state.healthy_because or "the evidence shows normal operation"
    return f"No issue: {because}; no active failure, nothing to fix"


_CAUSES: dict[FailureKind, Callable[[_Told], str]] = {
    K.IMAGEPULLBACKOFF: _image,
    K.OOMKILLED: _memory,
    K.CRASHLOOP: _crash,
    K.PROBE_FAILURE: _probe,
    K.SCHEDULING: _scheduling,
    K.CONFIG_ERROR: _config,
    K.CREDENTIALS: _prefixed("The credentials are refused"),
    K.RBAC_DENIED: _rbac,
    K.QUOTA_EXCEEDED: _quota,
    K.DISK_PRESSURE: _node_pressure,
    K.STORAGE_VOLUME: _prefixed("The volume is the problem"),
    K.NETWORK: _named("The network path", ("host",), "fails"),
    K.UPSTREAM_UNAVAILABLE: _upstream,
    K.PERFORMANCE: _overload,
    K.ARGOCD_SYNC: _argocd_sync,
    K.ARGOCD_DEGRADED: _prefixed("The rollout does not become healthy"),
    K.DB_MIGRATION: _prefixed("The database migration fails"),
    K.BUILDFAILURE: _build,
    K.BUILDCACHEERROR: _prefixed("The build cache is broken or not reachable"),
    K.TEST_FAILURE: _tests,
    K.DEPENDENCY_RESOLUTION: _dependency,
    K.COMPILE_LINT: _named("The code in", ("file",), "does not pass the compiler or linter"),
    K.GITHUBACTION_TRANSIENT: _passing,
    K.HEALTHY: _healthy,
}
