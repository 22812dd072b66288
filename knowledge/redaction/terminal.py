"""Control characters out: a text as a terminal would have left it on the page."""

import re

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]?"
    r"|\][^\x07\x1b\n]{0,2048}(?:\x07|\x1b\\)?"
    r"|[PX^_][^\x1b\n]{0,2048}(?:\x1b\\)?"
    r"|[ -/]{0,4}[0-~]?)"
    r"|\x9b[0-?]{0,64}[ -/]{0,8}[@-~]?"
)
# Control characters, bidi controls, zero-width and tag characters: what changes how a line looks without being seen.
_HIDDEN_RANGES = (
    (0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E),
    (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x2069), (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB), (0xD800, 0xDFFF), (0xE0000, 0xE007F),
)  # fmt: skip
_HIDDEN = {code: None for first, last in _HIDDEN_RANGES for code in range(first, last + 1)}
_CLEAN_ALREADY = re.compile(r"[\t\n\x20-\x7e]*\Z")
CLEAN_LIMIT = 16 * 1024 * 1024


def clean(text: str, *, max_chars: int = CLEAN_LIMIT) -> str:
    """`text` as a terminal would have left it on the page: no ANSI codes, NULs, overwritten parts or hidden marks.

    The number of lines stays, so that line numbers hold. Longer than `max_chars`: the middle is left out and a line of
    its own says so.
    """
    if len(text) > max_chars:
        head, tail = text[: max_chars // 2], text[-(max_chars - max_chars // 2) :]
        text = f"{head}\n[{len(text) - max_chars} characters left out]\n{tail}"
    if _CLEAN_ALREADY.match(text):
        return text
    if "\x1b" in text or "\x9b" in text:
        text = _ANSI.sub("", text)
    if "\r" in text:
        text = "\n".join(_last_overwrite(line) for line in text.replace("\r\n", "\n").split("\n"))
    return text.translate(_HIDDEN)


def _last_overwrite(line: str) -> str:
    if "\r" not in line:
        return line
    stripped = line.rstrip("\r")
    return stripped[stripped.rfind("\r") + 1 :]
