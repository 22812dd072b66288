"""Kubernetes' amounts of memory as numbers and back: pure."""

import re
from decimal import Decimal

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d{1,3})|(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?")
_FACTORS = {
    "": Decimal(1), "m": Decimal("0.001"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
MI, GI = 2**20, 2**30


def amount_of(text: object) -> int | None:
    """Bytes (or whatever the unit is), rounded up; None where it is no quantity."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None or len(str(text)) > 40:
        return None
    number, exponent, suffix = found.groups()
    exact = Decimal(number + (exponent or "")) * _FACTORS[suffix or ""]
    return int(exact.to_integral_value(rounding="ROUND_CEILING"))


def memory_text(size: int) -> str:
    """A whole number of Mi, or of Gi from 4 Gi on where that is exact: "768Mi", "4Gi"."""
    if size >= 4 * GI and size % GI == 0:
        return f"{size // GI}Gi"
    return f"{-(-size // MI)}Mi"
