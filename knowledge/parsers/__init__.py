"""Texts of tools to their failing step, error lines and the things that they name.

A chain: the first parser that recognises the text wins; the fallback recognises everything, and says so.
"""

from collections.abc import Callable

from knowledge.parsers.argocd import parse_argocd
from knowledge.parsers.docker_build import parse_docker_build
from knowledge.parsers.fallback import parse_anything
from knowledge.parsers.github_actions import parse_github_actions
from knowledge.parsers.kubernetes import parse_kubernetes
from knowledge.parsers.parsed import Parsed

PARSERS: tuple[Callable[[str, str], Parsed | None], ...] = (
    parse_github_actions,
    parse_argocd,
    parse_docker_build,
    parse_kubernetes,
)


def parse(text: str, hint: str = "") -> Parsed:
    """`text` (redacted, cleaned) as the first parser reads it that knows its form; `hint` is the evidence's kind.

    Only the first and last megabyte of a longer text are looked at; line numbers hold for the first.
    """
    if len(text) > 2 * _HALF:
        text = text[:_HALF] + "\n" + text[-_HALF:]
    for parser in PARSERS:
        if parsed := parser(text, hint):
            return parsed
    return parse_anything(text, hint)


_HALF = 1 << 20

__all__ = ["PARSERS", "Parsed", "parse"]
