"""Secrets out, control characters out: the one choke point before database, model, Slack and log.

`redact` replaces each secret by `[redacted:KIND]` and changes nothing else; the number of lines stays. A scanner finds
anchors (a token's prefix, a telling key, `://`), then a rule looks at that spot for the secret's extent: time grows
with the length only. Applying it twice changes nothing more.
"""

from knowledge.redaction.engine import redact
from knowledge.redaction.streaming import redact_stream
from knowledge.redaction.terminal import clean
from knowledge.redaction.values import redact_value

__all__ = ["clean", "redact", "redact_stream", "redact_value"]
