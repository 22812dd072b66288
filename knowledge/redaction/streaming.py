"""Redaction of a text that does not fit in memory."""

import re
from collections.abc import Iterable, Iterator

from knowledge.redaction.blocks import KEY_BLOCK
from knowledge.redaction.engine import redact

_DOCUMENT_HOLD = 4 * 1024 * 1024
_STREAM_BLOCK = 256 * 1024


def redact_stream(lines: Iterable[str]) -> Iterator[str]:
    """The same for a text that does not fit in memory: yields pieces whose concatenation is `redact` of the whole.

    Lines are held back while a private key or a Secret manifest may still be open, at most 4 MB of them.
    """
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _STREAM_BLOCK:
            block = "".join(held)
            cut = _safe_cut(block) if size < _DOCUMENT_HOLD else len(block)
            if cut:
                yield redact(block[:cut])
                held = [block[cut:]] if cut < len(block) else []
                size = len(block) - cut
            else:
                held = [block]
    if held:
        yield redact("".join(held))


_DOCUMENT_START = re.compile(r"^(?:---(?!-)|[ \t]*-?[ \t]*(?:apiVersion|data|stringData)[ \t]*:)", re.MULTILINE)


def _safe_cut(block: str) -> int:
    """Where the block may be cut without parting a key or a manifest from what tells that it is one; 0 for nowhere."""
    cut = block.rfind("\n") + 1
    begin = block.rfind("-----BEGIN ", 0, cut)
    if begin >= 0 and block.find("-----END ", begin, cut) < 0:
        cut = block.rfind("\n", 0, begin) + 1
    documents = list(_DOCUMENT_START.finditer(block, max(0, cut - KEY_BLOCK), cut))
    if not documents:
        return cut
    last = documents[-1]
    start = block.rfind("apiVersion", 0, last.end())
    separator = max(block.rfind("\n---\n", 0, last.end() + 1), block.rfind("\n--- ", 0, last.end() + 1))
    return block.rfind("\n", 0, max(start, separator + 1, 1)) + 1
