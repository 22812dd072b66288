"""One failure as it is given to whoever diagnoses it: redacted, cleaned, reduced and parsed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from knowledge.bounding import bounded
from knowledge.injection import injection_suspected
from knowledge.language_models.rules import Marks, mark
from knowledge.live_state import LiveState, read_state
from knowledge.model import CONTEXT_KINDS, Evidence, Precedent, Quote
from knowledge.parsers import Parsed, parse
from knowledge.redaction import clean, redact
from knowledge.reduction import Reduction, reduce_log

_MARKED = 8 << 20
_LONGEST_QUOTE = 400


@dataclass(frozen=True)
class Case:
    """`texts` are the evidence's, redacted, as they are quoted; `cleaned` the same without control characters.

    All lists run in the order of `evidence`; line numbers agree between `texts` and `cleaned`.
    """

    title: str
    evidence: tuple[Evidence, ...]
    texts: tuple[str, ...]
    cleaned: tuple[str, ...]
    injection_suspected: bool
    precedents: tuple[Precedent, ...] = ()
    permitted_actions: tuple[str, ...] = ()

    @cached_property
    def symptoms(self) -> tuple[str, ...]:
        """`cleaned` without what only surrounds the failure: what signs of the cause are looked for in."""
        pairs = zip(self.evidence, self.cleaned, strict=True)
        return tuple("" if item.kind in CONTEXT_KINDS else text for item, text in pairs)

    @cached_property
    def reductions(self) -> tuple[Reduction, ...]:
        return tuple(reduce_log(text) for text in self.symptoms)

    @cached_property
    def marks(self) -> tuple[Marks, ...]:
        return tuple(mark(text[:_MARKED]) for text in self.symptoms)

    @cached_property
    def parsed(self) -> tuple[Parsed, ...]:
        return tuple(parse(text, item.kind) for text, item in zip(self.symptoms, self.evidence, strict=True))

    @cached_property
    def state(self) -> LiveState:
        kinds = [item.kind for item in self.evidence]
        steps = [
            "\n".join(line for _, line in parsed.error_lines) if parsed.format == "github_actions" else None
            for parsed in self.parsed
        ]
        return read_state(self.title, self.symptoms, kinds, steps)

    def entity(self, *names: str) -> str:
        """The first value that any evidence names for the first of these entities, else ""."""
        for name in names:
            for parsed in self.parsed:
                if value := parsed.first(name):
                    return value
        return ""

    def exit_code(self) -> int | None:
        return next((parsed.exit_code for parsed in self.parsed if parsed.exit_code), None)

    def line(self, evidence: int, number: int) -> str:
        """The cleaned 1-based line, "" beyond the end."""
        lines = self._lines[evidence] if 0 <= evidence < len(self.cleaned) else []
        return lines[number - 1] if 1 <= number <= len(lines) else ""

    def quote(self, evidence: int, number: int) -> Quote | None:
        """The line as it verbatim stands in the redacted evidence: its longest part without control characters."""
        if not 0 <= evidence < len(self.texts):
            return None
        lines = self._raw_lines[evidence]
        if not 1 <= number <= len(lines):
            return None
        parts = "".join(c if c == "\t" or c.isprintable() else "\n" for c in lines[number - 1][:20_000]).split("\n")
        text = max((part.strip() for part in parts), key=len, default="")
        if len(text) > _LONGEST_QUOTE:
            shown = next((t for n, t in self.reductions[evidence].lines if n == number and t in text), text)
            text = shown[:_LONGEST_QUOTE].strip()
        return Quote(evidence, number, text) if text else None

    def find(self, quoted: str, evidence: int | None = None) -> Quote | None:
        """Where `quoted` stands, white space aside; None when no evidence has it. At least 4 characters."""
        wanted = " ".join(quoted.split()).strip("…. ")
        if len(wanted) < 4:
            return None
        order = range(len(self.texts)) if evidence is None else [evidence, *range(len(self.texts))]
        for index in order:
            if not 0 <= index < len(self.texts):
                continue
            for number, line in enumerate(self._lines[index], start=1):
                if len(line) >= len(wanted) and wanted in " ".join(line.split()):
                    if quoted.strip() in self._raw_lines[index][number - 1]:
                        return Quote(index, number, quoted.strip()[:_LONGEST_QUOTE])
                    return self.quote(index, number)
        return None

    @cached_property
    def _lines(self) -> tuple[list[str], ...]:
        return tuple(text.split("\n") for text in self.cleaned)

    @cached_property
    def _raw_lines(self) -> tuple[list[str], ...]:
        return tuple(text.split("\n") for text in self.texts)


def make_case(
    title: str,
    evidence: Sequence[Evidence],
    *,
    precedents: Sequence[Precedent] = (),
    permitted_actions: Sequence[str] = (),
) -> Case:
    """Redact, bound and clean what was collected. Empty evidence is kept: its index counts."""
    texts = tuple(redact(bounded(item.text)) for item in evidence)
    cleaned = tuple(redact(clean(text)) for text in texts)
    safe_title = redact(clean(title))[:1000]
    # As it came, where hidden characters show, and cleaned, where they no longer part the words.
    suspected = injection_suspected(title) or any(
        injection_suspected(item.text) or (text != item.text and injection_suspected(text))
        for item, text in zip(evidence, cleaned, strict=True)
    )
    return Case(
        title=safe_title,
        evidence=tuple(evidence),
        texts=texts,
        cleaned=cleaned,
        injection_suspected=suspected,
        precedents=tuple(precedents),
        permitted_actions=tuple(permitted_actions),
    )
