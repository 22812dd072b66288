"""The uncased BERT tokenizer over a vocabulary file: enough of it that its ids equal the reference's."""

import hashlib
import unicodedata
from functools import cache
from importlib.resources import files

from knowledge.errors import SettingsError

VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_LONGEST_WORD = 100


@cache
def vocabulary() -> dict[str, int]:
    raw = files("knowledge.embedding").joinpath("data/vocab.txt").read_bytes()
    if hashlib.sha256(raw).hexdigest() != VOCABULARY_SHA256:
        raise SettingsError("knowledge/embedding/data/vocab.txt was changed; reinstall CodeHealer.")
    return {token: number for number, token in enumerate(raw.decode("utf-8").split("\n")) if token}


def token_ids(text: str, limit: int = 256) -> list[int]:
    """Ids of [CLS] text [SEP], at most `limit`; what is longer loses its end."""
    table = vocabulary()
    ids = [table["[CLS]"]]
    # No token is made of less than one character, so more text than this can never matter.
    for word in _words(text[: limit * 64]):
        ids.extend(_pieces(word, table))
        if len(ids) >= limit - 1:
            break
    return [*ids[: limit - 1], table["[SEP]"]]


def _words(text: str) -> list[str]:
    characters: list[str] = []
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            characters.append(" ")
        elif category in {"Cc", "Cf", "Mn"} or character == "\ufffd":
            continue
        elif _punctuation(character, category) or _ideograph(ord(character)):
            characters.append(f" {character} ")
        else:
            characters.append(character)
    return "".join(characters).split()


def _punctuation(character: str, category: str) -> bool:
    return category.startswith("P") or (character < "\x7f" and not character.isalnum() and character > " ")


def _ideograph(code: int) -> bool:
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2CEAF
        or 0x2F800 <= code <= 0x2FA1F
    )


def _pieces(word: str, table: dict[str, int]) -> list[int]:
    if len(word) > _LONGEST_WORD:
        return [table["[UNK]"]]
    ids: list[int] = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else f"##{word[start:end]}"
            number = table.get(piece)
            if number is not None:
                ids.append(number)
                start = end
                break
        else:
            return [table["[UNK]"]]
    return ids
