"""A kind and what the evidence names, put into one plain sentence and a summary for people."""

import re
from collections.abc import Callable

from knowledge.case import Case
from knowledge.model import KIND_NAMES, FailureKind, Fixability
from knowledge.reduction import without_timestamp

K = FailureKind
_CAUSE_CHARS = 200
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


def cause_sentence(kind: FailureKind, case: Case, line: str) -> str:
    """At most 200 characters; names the concrete thing. `line` is the decisive line of the evidence ("" if none)."""
    said = _said(line)
    sentence = _CAUSES[kind](case, said) if kind in _CAUSES else f"{KIND_NAMES[kind]}: {said or 'see the evidence'}"
    return shortened(sentence, _CAUSE_CHARS)


def summary_of(kind: FailureKind, case: Case, line: str) -> str:
    """One to three sentences: where it fails, what the evidence says, whose work the fix is."""
    if kind is K.HEALTHY:
        because = case.state.healthy_because or "no line of the evidence reports a failure"
        return f"No active failure: {because}. Nothing needs to be done."
    parts = []
    if place := _place(case):
        parts.append(f"It happens in {place}.")
    if said := _said(line):
        parts.append(f"The evidence says: {shortened(said, 240)}{'' if said.endswith('.') else '.'}")
    if fixability_of(kind) is Fixability.MANUAL:
        parts.append("A person has to fix this.")
    return " ".join(parts) or f"{KIND_NAMES[kind]}."


def shortened(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


_PREFIX = re.compile(
    r"^(?:##\[\w+\]|\[?(?:ERROR|FATAL|WARN(?:ING)?|INFO|E)\]?:?\s+|(?:Error|error): (?=\S+:)"
    r"|(?:\d+[smhd]\S*\s+)+(?:\(x\d+ over \w+\)\s+)?"
    r"|(?:Warning|Normal)\s+\w+\s+(?:\d+\w+(?: \(x\d+ over \w+\))?\s+)?"
    r"(?:kubelet|default-scheduler|[\w-]+-controller)?\s+)",
)
_JSON_MESSAGE = re.compile(r"\"(?:message|msg|error)\":\s*\"((?:[^\"\\]|\\.){4,400})\"")


def _said(line: str) -> str:
    """The line's message: without timestamp, level and table columns; of a JSON line its message field."""
    text = without_timestamp(line).strip()
    if text.startswith(("{", '"')) and (match := _JSON_MESSAGE.search(text)):
        return match.group(1).replace('\\"', '"')
    for _ in range(3):
        text = _PREFIX.sub("", text).strip()
    return text.rstrip(",")


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


def _image(case: Case, said: str) -> str:
    image = case.entity("image") or "the container's image"
    why = ""
    if _contains(case, "toomanyrequests", "rate limit", "429"):
        why = ": the registry's rate limit is reached"
    elif _contains(case, "manifest unknown", "not found", "does not exist"):
        why = ": the repository or tag does not exist, or needs credentials"
    elif _contains(case, "denied", "unauthorized", "forbidden", "authentication"):
        why = ": the registry refuses access"
    elif _contains(case, "no such host", "timeout", "connection refused", "x509"):
        why = ": the registry cannot be reached"
    return (
        f"The image {image} cannot be pulled{why}."
        if case.entity("image") or why
        else f"An image cannot be pulled: {said}"
    )


def _memory(case: Case, said: str) -> str:
    who = case.entity("container", "pod") or "The container"
    code = case.exit_code()
    if case.state.strength().get(K.OOMKILLED, 0) >= 4:
        return f"{who} needs more memory than its limit and is OOMKilled (exit code {code or 137})."
    return f"{who} ran out of memory: {said}"


def _crash(case: Case, said: str) -> str:
    who = case.entity("container", "pod") or "The application"
    code = case.exit_code()
    return f"{who} exits again and again{f' with code {code}' if code else ''}: {said or 'the log does not say why'}"


def _probe(case: Case, said: str) -> str:
    probe = case.entity("probe").lower() or "health"
    port = case.entity("port")
    tail = f" on port {port}" if port else ""
    who = case.entity("container", "pod")
    return f"The {probe} probe{tail} of {who or 'the container'} fails: {said}"


def _config(case: Case, said: str) -> str:
    if name := case.entity("secret"):
        return f"The Secret {name} that the container refers to does not exist (not found) in its namespace."
    if name := case.entity("configmap"):
        return f"The ConfigMap {name} that the container refers to does not exist (not found) in its namespace."
    if name := case.entity("executable"):
        return f"The command {name} cannot be run in the container: {said}"
    if name := case.entity("variable"):
        return f"The environment variable {name} is not set: {said}"
    return f"The configuration is wrong: {said}"


def _scheduling(case: Case, said: str) -> str:
    node = case.entity("node")
    if re.search(r"(?i)notready|stopped posting|heartbeat", said):
        return f"The node {node} is not ready: {said}" if node else f"A node is not ready: {said}"
    return f"No node can take the pod (unschedulable): {said}"


def _prefixed(prefix: str) -> Callable[[Case, str], str]:
    return lambda _case, said: f"{prefix}: {said}" if said else f"{prefix}."


def _named(before: str, entities: tuple[str, ...], after: str) -> Callable[[Case, str], str]:
    def sentence(case: Case, said: str) -> str:
        name = case.entity(*entities)
        return f"{before} {name} {after}: {said}" if name and name not in said else f"{before} {after}: {said}"

    return sentence


def _tests(case: Case, said: str) -> str:
    tests = [test for parsed in case.parsed for test in parsed.entities.get("test", ())]
    if tests:
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        return f"The test {tests[0]}{more} failed: {said}"
    return f"Tests failed: {said}"


def _dependency(case: Case, said: str) -> str:
    name = case.entity("package", "module")
    return f"The dependency {name} cannot be resolved: {said}" if name else f"Dependencies cannot be resolved: {said}"


def _healthy(case: Case, _said: str) -> str:
    because = case.state.healthy_because or "the evidence shows normal operation"
    return f"No issue: {because}; no active failure, nothing to fix."


_CAUSES: dict[FailureKind, Callable[[Case, str], str]] = {
    K.IMAGEPULLBACKOFF: _image,
    K.OOMKILLED: _memory,
    K.CRASHLOOP: _crash,
    K.PROBE_FAILURE: _probe,
    K.SCHEDULING: _scheduling,
    K.CONFIG_ERROR: _config,
    K.CREDENTIALS: _prefixed("The credentials are refused"),
    K.RBAC_DENIED: _prefixed("A permission is missing"),
    K.QUOTA_EXCEEDED: _prefixed("A quota is exceeded"),
    K.DISK_PRESSURE: _prefixed("The node has run out of disk"),
    K.STORAGE_VOLUME: _prefixed("The volume is the problem"),
    K.NETWORK: _named("The network path", ("host",), "fails"),
    K.UPSTREAM_UNAVAILABLE: _named("A service that it depends on", ("host",), "is not available"),
    K.PERFORMANCE: _prefixed("It is overloaded or too slow"),
    K.ARGOCD_SYNC: _prefixed("Argo CD cannot sync the application"),
    K.ARGOCD_DEGRADED: _prefixed("The rollout does not become healthy"),
    K.DB_MIGRATION: _prefixed("The database migration fails"),
    K.BUILDFAILURE: _prefixed("The build fails"),
    K.BUILDCACHEERROR: _prefixed("The build cache is broken or not reachable"),
    K.TEST_FAILURE: _tests,
    K.DEPENDENCY_RESOLUTION: _dependency,
    K.COMPILE_LINT: _named("The code in", ("file",), "does not pass the compiler or linter"),
    K.GITHUBACTION_TRANSIENT: _prefixed("The job was stopped by a passing fault, not by the code"),
    K.HEALTHY: _healthy,
}
