"""The tree of our errors. A message says what happened and the next step; whether to retry is in the type."""

from knowledge.redaction import clean, redact


class CodeHealerError(Exception):
    """Something that a person can act on; `str()` is one sentence fit for Slack and the terminal."""


class BadInput(CodeHealerError):
    """What was given cannot be read: the message names the field or line and the remedy."""


class SettingsError(CodeHealerError):
    """A setting is missing or wrong; the message names it and where to get it."""


class Refused(CodeHealerError):
    """The other side, or our policy, said no; repeating it will not help."""

    def __str__(self) -> str:
        """The message without secrets and control characters: it quotes what the other side said."""
        return redact(clean(super().__str__()))


class WrongDimension(Refused):
    """A model's vector has another length than that model's vectors have; it is neither kept nor searched with."""


class NotFound(Refused):
    """The thing asked for is not there (any more)."""


class Conflict(Refused):
    """The thing changed under our hands; look again before deciding."""


class Unavailable(CodeHealerError):
    """An outside system did not answer in time or answered with a passing fault: worth a retry.

    `maybe_done` is true when the request may have taken effect all the same.
    """

    def __init__(self, message: str, *, maybe_done: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """The message without secrets and control characters: it quotes what the other side said."""
        return redact(clean(super().__str__()))
