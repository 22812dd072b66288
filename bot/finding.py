"""What a check of doctor's found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `remedy` is empty where nothing is to be done."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""
