"""System programs that a test needs beside our Python packages.

A test that lacks one skips, and the last line of the run names it. With CODEHEALER_REQUIRE_TOOLS=1 it fails instead.
"""

import shutil

import pytest

MISSING = "missing program: "


def need_program(*names: str) -> str:
    """The path of the first of these commands that is installed; else the test skips."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip(MISSING + names[0])
