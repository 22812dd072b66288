"""Pure: does a CI log show a passing fault, or a failure that would be the same again?"""

import re
from typing import Literal

Says = Literal["transient", "deterministic", "unclear"]

# A rerun helps against these: the runner, the network or a registry failed, not the code.
_TRANSIENT = re.compile(
    r"could not resolve host|temporary failure in name resolution|connection (?:reset|timed out|refused)"
    r"|i/o timeout|tls handshake timeout|operation timed out|etimedout|econnreset|eai_again|socket hang up"
    r"|network is unreachable|read timed out|context deadline exceeded|unexpected eof"
    r"|\b(?:429|502|503|504)\b.{0,40}(?:too many requests|bad gateway|service unavailable|gateway time-?out)"
    r"|(?:too many requests|bad gateway|service unavailable|gateway time-?out)|toomanyrequests|rate limit exceeded"
    r"|the runner has received a shutdown signal|lost communication with the server|runner .{0,60}was shut ?down"
    r"|the operation was canceled|no space left on device|the hosted runner .{0,80}lost|internal server error"
    r"|returned error: 5\d\d|status(?: code)?:? 5\d\d|returned an error: 5\d\d|http/\S+ 5\d\d",
    re.IGNORECASE,
)

# A rerun repeats these; their presence outweighs a time-out elsewhere in the log.
_DETERMINISTIC = re.compile(
    r"assertionerror|^\s*(?:--- )?fail(?:ed|ures?)?[: ]\s*(?:tests?[/.:]|\S+_test|test)"
    r"|\d+ failed(?:,| in\b)|tests? failed|failing tests?"
    r"|syntaxerror|error ts\d+|error\[E\d+\]|cannot find symbol|undefined (?:reference|:)|compilation failed"
    r"|no matching distribution|could not find a version that satisfies|eresolve|unmet peer|no matching version"
    r"|resource not accessible by integration|bad credentials|permission denied|\b401 unauthorized|\b403 forbidden"
    r"|coverage .{0,40}below|lint(?:ing)? (?:error|failed)|npm err! code e404|manifest unknown",
    re.IGNORECASE | re.MULTILINE,
)

_TAIL_CHARS = 40_000


def log_says(log: str) -> Says:
    """ "deterministic" wins over "transient"; "unclear" when the log's end names neither, or there is none."""
    tail = log[-_TAIL_CHARS:]
    if _DETERMINISTIC.search(tail):
        return "deterministic"
    return "transient" if _TRANSIENT.search(tail) else "unclear"
