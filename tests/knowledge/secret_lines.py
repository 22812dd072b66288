r"""Lines that hold a secret and lines that only look like it, written before the rules were tuned on them.

In tests/payloads/redaction: formats.txt (tokens that give themselves away), places.txt (secrets by where they stand)
and look_alikes.txt; the later_ ones were written after the first tuning, to see how it holds for what it had not seen.
After a tab a recipe says what stands at {S}; random parts are made in memory, so that no scanner finds a token in the
files: <a20> letters and digits, <h32> hex, <H8> upper hex, <u16> capitals and digits, <l30> small letters and digits,
<d12> digits, <w20> letters, digits, _ and -, <b40> base64, <p14> a typed password, <uuid>. `\n` is a line end.
"""

import random
import re
import string
from pathlib import Path

_PLACE = Path(__file__).resolve().parents[1] / "payloads" / "redaction"
_ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "h": "0123456789abcdef",
    "H": "0123456789ABCDEF",
    "u": string.ascii_uppercase + "234567",
    "l": string.ascii_lowercase + string.digits,
    "d": string.digits,
    "w": string.ascii_letters + string.digits + "_-",
    "b": string.ascii_letters + string.digits + "+/",
    "p": string.ascii_letters + string.digits + "!$*+_-.",
}
_PART = re.compile(r"<(?:([ahHuldwbp])(\d+)|(uuid))>")


def _build(recipe: str, seed: int) -> str:
    """The recipe with its random parts filled in, the same for the same seed."""
    dice = random.Random(seed)

    def part(match: re.Match[str]) -> str:
        if match.group(3):
            return "-".join("".join(dice.choices(_ALPHABETS["h"], k=n)) for n in (8, 4, 4, 4, 12))
        text = dice.choices(_ALPHABETS[match.group(1)], k=int(match.group(2)))
        if len(text) > 2:  # as nearly every real one, with a digit and a letter in it
            text[1], text[2] = dice.choice("23456789"), {"d": "4", "u": "Q", "H": "B"}.get(match.group(1), "b")
        return "".join(text)

    return _PART.sub(part, recipe)


def _rows(name: str) -> list[str]:
    rows = (_PLACE / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [row.replace("\\n", "\n").replace("\\r", "\r") for row in rows if row]


def secret_lines() -> list[tuple[str, str, str]]:
    """(table, template with {S}, secret) of each row."""
    return [
        (name, _build(template, number), _build(recipe, 1000 + number))
        for name in ("formats", "places", "later_places")
        for number, (template, recipe) in enumerate(row.split("\t") for row in _rows(name))
    ]


def clean_lines() -> list[str]:
    return [
        _build(row, number) for name in ("look_alikes", "later_look_alikes") for number, row in enumerate(_rows(name))
    ]


def left_over(template: str, secret: str, redacted: str) -> bool:
    """Whether a piece of the secret is still there, or the text before it is not."""
    pieces = {secret[i : i + 6] for i in range(max(1, len(secret) - 5))}
    head = template.split("{S}", maxsplit=1)[0]
    kept = head.split("-----BEGIN")[0][:4]  # what directly precedes a secret may belong to it: a hook's address
    return any(piece in redacted and piece not in template for piece in pieces) or not redacted.startswith(kept)
