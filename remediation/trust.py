"""When a fix has earned to run by itself: a lower bound on how often it works, from what it did here. Pure."""

from math import sqrt

# Two-sided 95 %.
Z = 1.96


def lower_bound(worked: int, tried: int) -> float:
    """Wilson's lower bound of the share that works, 0 to 1: 4 of 4 gives 0.51, 12 of 12 gives 0.76.

    A plain share would call one lucky success certain.
    """
    if tried <= 0:
        return 0.0
    share, z2 = worked / tried, Z * Z
    middle = share + z2 / (2 * tried)
    spread = Z * sqrt((share * (1 - share) + z2 / (4 * tried)) / tried)
    return max(0.0, (middle - spread) / (1 + z2 / tried))


def evidence(verified: int, failed: int) -> str:
    """What a person is shown before granting trust."""
    tried = verified + failed
    return f"worked {verified} of {tried} times here, at least {lower_bound(verified, tried):.0%} of the time (95 %)"
