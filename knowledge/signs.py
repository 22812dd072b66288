# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Observations that tell apart what looks alike: too much work, a lock, a dependency that is down, a passing CI fault. Pure.

A single sign proves little; live_state.py and planning.py weigh them together.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Literal

from knowledge.scanning import Scanner, candidate_lines


class Sign(StrEnum):
    CAPACITY = "capacity"  # more work than the instances can do: more of them would help
    POOL = "pool"  # a bounded pool is used up, by load or by something slow behind it
    LATENCY = "latency"
    PROBE_TIMEOUT = "probe_timeout"
    PROBE_REFUSED = "probe_refused"  # nobody listens there, or not on that path
    LOCK = "lock"  # the work waits for itself
    DEPENDENCY = "dependency"  # something else that it calls does not answer
    IDLE = "idle"  # the CPU has nothing to do


@dataclass(frozen=True, slots=True)
class Seen:
    """A sign in a 1-based line."""

    sign: Sign
    line: int


_PROBE = re.compile(r"(?i)\b(?:readiness|liveness|startup) probe (?:failed|errored)")
_PROBE_TIMEOUT = re.compile(r"(?i)deadline exceeded|timed? ?out|timeout")
_PROBE_REFUSED = re.compile(r"(?i)connection refused|statuscode: 40[0-9]\b|no such host|unexpected port")
_EXPRESSIONS: tuple[tuple[Sign, re.Pattern[str]], ...] = tuple(
    (sign, re.compile(pattern, re.IGNORECASE))
    for sign, pattern in (
        (
            Sign.CAPACITY,
            r"too many (?:concurrent |parallel |open )?requests\b|server (?:is )?too busy|over(?:load(?:ed)?\b| capacity|whelmed)",
        ),
        (
            Sign.CAPACITY,
            r"\b(?:above|beyond|exceed(?:s|ed|ing)?|at (?:full|maximum|max|its)) (?:the )?capacity|demand (?:above|exceeds)|capacity (?:is )?(?:exhausted|exceeded|reached)",
        ),
        (Sign.CAPACITY, r"\b(?:load|requests?|traffic)[ _-]shed|\bshed(?:ding)? (?:load|requests?|traffic)"),
        (
            Sign.CAPACITY,
            r"throttl(?:ed|ing)\b[^\n]{0,20}?\b\d+ ?%|\bcpu[ _-]?throttl|throttled (?:in|for) \d|throttled_periods",
        ),
        (
            Sign.CAPACITY,
            r"\bcpu (?:usage |utili[sz]ation |load )?(?:is |was )?(?:at|near|above|over) (?:its |the )?(?:limit|maximum|quota)|\bcpu[- ](?:bound|saturat|starv)|saturated\b",
        ),
        (
            Sign.CAPACITY,
            r"\b(?:all|every)(?: of)?(?: the| our)? ?\d* (?:[a-z]+ )?(?:workers?|processes|threads?|instances|replicas) (?:are |is )?(?:busy|in use|occupied)|\bno (?:idle|free|spare) (?:workers?|threads?|process(?:es)?)\b",
        ),
        (
            Sign.CAPACITY,
            r"\b\d[\d,.]*k? (?:requests?|jobs?|tasks?|messages?|queries)(?: are)? (?:waiting|queued|pending|queue up|in the queue)|\b(?:requests?|jobs?|tasks?|queries) (?:pile|queue|stack) up|backlog (?:is )?(?:grow|of \d)",
        ),
        (
            Sign.CAPACITY,
            r"\b(?:request|query|queries|accept|listen|work|task|job)s?[ _-]queue (?:is )?(?:full|overflow|filling|growing)|\bin the queue\b|listen queue of the socket|queue[ _]depth\"?[ :=]+\d{3,}",
        ),
        (
            Sign.CAPACITY,
            r"event loop (?:lag|delay|blocked|stall)|max_children|MaxRequestWorkers|worker_connections are not enough|RejectedExecution|run queue",
        ),
        (
            Sign.POOL,
            r"(?:connection|thread|worker|session|db) ?pool\b[^\n]{0,40}(?:exhaust|time-?out|timed out|full|used up|limit)|connection is not available, request timed out|too many connections|remaining connection slots",
        ),
        (
            Sign.LATENCY,
            r"latency|\bp9[0-9]+\b|\b9\d(?:th|st|nd|rd)? percentile|response times?\b|slow (?:quer|request|response)|\btook \d{4,} ?ms",
        ),
        (
            Sign.LOCK,
            r"\bdead-?lock|livelock|waiting to lock|\bwait(?:s|ing)? (?:for|on) (?:the )?(?:a )?(?:lock|mutex|monitor|semaphore|latch)\b|lock contention|mutex contention|\b(?:goroutines?|threads?|fibers?|workers?|handlers?)\b[^\n]{0,50}\b(?:blocked|stuck|hung)\b|\bstuck (?:thread|worker|in)",
        ),
        (
            Sign.DEPENDENCY,
            r"no healthy upstream|upstream connect error|upstream (?:is |service )?(?:down|unavailable|timed out|unreachable)|circuit[ -]?breaker\b[^\n]{0,40}\bopen\b",
        ),
        (
            Sign.DEPENDENCY,
            r"\b(?:GET|POST|PUT|PATCH|DELETE|HEAD|calling|fetching|request to|call to) \"?(?:https?|grpc)://[^\n]{1,200}?(?:\b50[0234]\b|refused|timed? ?out|unavailable|no route|reset by peer)",
        ),
        (
            Sign.DEPENDENCY,
            r"\b(?:workers?|threads?|requests?|handlers?|calls?)\b[^\n]{0,20}\bwait(?:s|ing)? (?:for|on) (?!the |a |lock|mutex|monitor|semaphore|latch|cpu|work|free|idle)[a-z][\w-]{2,}",
        ),
        (
            Sign.DEPENDENCY,
            r"\b(?:dependency|backend|downstream|remote|third.party|provider)\b[^\n]{0,60}\b(?:is down|unavailable|unreachable|does not answer|not responding|503|outage)",
        ),
    )
)
# A share of a CPU, or millicores of a limit.
_CPU_SHARE = re.compile(
    r"(?i)\bcpu\w*[\"']?\s*(?:usage|utili[sz]ation|load)?\s*(?:is|at|of|[:=])*\s*[\"']?(\d{1,3}(?:\.\d+)?) ?(%|\b)"
)
_CPU_MILLI = re.compile(r"(?i)\bcpu\w*[\"']?\s*(?:is|at|[:=])*\s*[\"']?(\d{1,6})m (?:of|/) ?(\d{1,6})m")
_BUSY_SHARE, _IDLE_SHARE = 0.9, 0.35
_LONGEST_LINE = 2_000


def signs_in(text: str) -> Iterator[Seen]:
    """Every sign of every line of `text`; a failing probe's line is only that."""
    for number, line, _ in candidate_lines(_scanner(), text):
        if len(line) >= 6:
            for sign in signs_of(line[:_LONGEST_LINE]):
                yield Seen(sign, number)


@cache
def _scanner() -> Scanner:
    """Lines without any of these show no sign; most lines of a log."""
    shown = [*(expression for _, expression in _EXPRESSIONS), _PROBE, _CPU_SHARE, _CPU_MILLI]
    return Scanner([f"(?i){one.pattern.removeprefix('(?i)')}" for one in shown], starts=False, prefilter=True)


def signs_of(line: str) -> set[Sign]:
    if _PROBE.search(line):
        if _PROBE_TIMEOUT.search(line):
            return {Sign.PROBE_TIMEOUT}
        return {Sign.PROBE_REFUSED} if _PROBE_REFUSED.search(line) else set()
    found = {sign for sign, expression in _EXPRESSIONS if expression.search(line)}
    share = _cpu_share(line)
    if share is not None and share >= _BUSY_SHARE:
        found.add(Sign.CAPACITY)
    elif share is not None and share <= _IDLE_SHARE:
        found.add(Sign.IDLE)
    return found


def _cpu_share(line: str) -> float | None:
    """How much of its CPU is used, 0 to 1 and beyond; None where the line does not say."""
    if (match := _CPU_MILLI.search(line)) and int(match.group(2)):
        return int(match.group(1)) / int(match.group(2))
    if match := _CPU_SHARE.search(line):
        number = float(match.group(1))
        if match.group(2) == "%":
            return number / 100
        return number if "." in match.group(1) and number <= 1.5 else None
    return None


# --- CI: would the same run fail again? ---------------------------------------------------------------------------

Says = Literal["transient", "deterministic", "unclear"]

# A rerun helps against these: the runner, the network or a registry failed, not the code.
_TRANSIENT = re.compile(
    r"could not resolve host|temporary failure in name resolution|connection (?:was )?(?:reset|timed out|refused|closed|aborted|broken)"
    r"|i/o timeout|tls handshake timeout|operation timed out|etimedout|econnreset|eai_again|socket hang up"
    r"|network is unreachable|read timed out|context deadline exceeded|unexpected eof|unexpected end of file|early eof"
    r"|connecttimeout|readtimeout|incompleteread|connect timed out|request timed out|remote end closed connection|network timeout"
    r"|\b(?:429|502|503|504)\b.{0,40}(?:too many requests|bad gateway|service (?:temporarily )?unavailable|gateway time-?out)"
    r"|(?:too many requests|bad gateway|service (?:temporarily )?unavailable|gateway time-?out)|toomanyrequests|rate limit exceeded"
    r"|the runner has received a shutdown signal|lost communication with the server|runner .{0,60}was shut ?down"
    r"|the operation was canceled|no space left on device|the hosted runner .{0,80}lost|internal server error"
    r"|returned error: 5\d\d|status(?: code)?:? 5\d\d|returned an error: 5\d\d|http/\S+ 5\d\d|spurious network error",
    re.IGNORECASE,
)

# A rerun repeats these; their presence outweighs a time-out elsewhere in the log.
_DETERMINISTIC = re.compile(
    r"assertionerror|^\s*(?:--- )?fail(?:ed|ures?)?[: ]\s*(?:tests?[/.:]|\S+_test|test)"
    r"|\d+ failed(?:,| in\b)|tests? failed|failing tests?"
    r"|syntaxerror|error ts\d+|error\[E\d+\]|cannot find symbol|undefined (?:reference|:)|compilation failed"
    r"|no matching distribution|could not find a version that satisfies|eresolve|unmet peer|no matching version"
    r"|unknown revision|version solving failed|resolutionimpossible|failed to select a version|lock ?file .{0,40}(?:out of date|needs to be updated)"
    r"|resource not accessible by integration|bad credentials|permission denied|\b401 unauthorized|\b403 forbidden"
    r"|coverage .{0,40}below|lint(?:ing)? (?:error|failed)|npm err! code e404|manifest unknown",
    re.IGNORECASE | re.MULTILINE,
)

_TAIL_CHARS = 40_000
# The runner stamps each line; an expression for a line's beginning must not stumble over it.
_STAMP = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT[\d:.]+Z ?", re.MULTILINE)


def log_says(log: str) -> Says:
    """ "deterministic" wins over "transient"; "unclear" when the log's end names neither, or there is none."""
    tail = _STAMP.sub("", log[-_TAIL_CHARS:])
    if _DETERMINISTIC.search(tail):
        return "deterministic"
    return "transient" if _TRANSIENT.search(tail) else "unclear"


def names_passing_fault(line: str) -> bool:
    return bool(_TRANSIENT.search(line[:_LONGEST_LINE]))
