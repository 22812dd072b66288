"""Reads what the program reads at first use, in the process that the tests' programs are forked from."""

import gc

import kubernetes.aio.client
import kubernetes.aio.config  # noqa: F401  imported at first use, as above

from knowledge.diagnosis import diagnose_builtin
from knowledge.model import Evidence

diagnose_builtin("", [Evidence("logs", "warm-up", "error: none")], embed=None)

# A child's collector would touch, and so copy, every page of what it was born with.
gc.collect()
gc.freeze()
