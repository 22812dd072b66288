"""Does a CI log show a passing fault, or a failure that would be the same again? The diagnosis asks the same."""

from knowledge.signs import Says, log_says

__all__ = ["Says", "log_says"]
