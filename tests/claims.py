"""Proves the claims of docs/claims.md, a line each: `make claims`, or `make claims ONLY=once`.

A row of its tables is a claim, its proof and what was seen. The tests that a proof names are run together; its
commands (`make …`, `codehealer …`) are printed beside, as each takes minutes and prints its figure by itself.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "claims.md"


@dataclass(frozen=True, slots=True)
class Claim:
    """One row: `name` is its first, bold word; `tests` are functions, `commands` as they are typed."""

    name: str
    tests: tuple[str, ...]
    commands: tuple[str, ...]


def claims(page: str) -> list[Claim]:
    """The rows whose claim begins with a name in bold, in the order of the page."""
    found = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        named = re.match(r"\*\*([a-z-]+)\*\*", cells[0])
        if named and line.startswith("| "):
            proofs = re.findall(r"`([^`]+)`", cells[1])
            tests = tuple(proof for proof in proofs if proof.startswith("test_"))
            found.append(Claim(named[1], tests, tuple(proof for proof in proofs if not proof.startswith("test_"))))
    return found


def places() -> dict[str, list[str]]:
    """Where each test is, as pytest takes it; a name may stand in several files."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE):
            found.setdefault(name, []).append(f"{path.relative_to(ROOT)}::{name}")
    return found


class Results:
    """A plug-in of pytest: by function, whether each call passed (skipped is not), and its seconds."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[bool, float]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's call, or what kept it from being called."""
        if report.when == "call" or not report.passed:
            name = report.nodeid.rpartition("::")[2].partition("[")[0]
            self.calls.setdefault(name, []).append((report.passed, report.duration))

    def hold(self, claim: Claim) -> bool:
        """Whether each of its tests ran, and passed with all of its parameters."""
        return all(all(ok for ok, _ in self.calls.get(test, [(False, 0)])) for test in claim.tests)


def main() -> int:
    """Runs what is asked for. 1 where a claim does not hold, 2 where there is no such claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", metavar="CLAIM")
    only = parser.parse_args().only
    chosen = [claim for claim in claims(PAGE.read_text()) if not only or claim.name in only]
    if unknown := set(only) - {claim.name for claim in chosen}:
        sys.stderr.write(f"No such claim: {', '.join(sorted(unknown))}. docs/claims.md has their names in bold.\n")
        return 2
    where = places()
    wanted = sorted({place for claim in chosen for test in claim.tests for place in where[test]})
    results = Results()
    if wanted:
        pytest.main(["-q", "-n", "2", *wanted], plugins=[results])
    for claim in chosen:
        cases = [case for test in claim.tests for case in results.calls.get(test, [])]
        passed, seconds = sum(ok for ok, _ in cases), sum(taken for _, taken in cases)
        if claim.tests:
            word = "holds" if results.hold(claim) else "FAILS"
            sys.stdout.write(f"{word}  {claim.name:<14} {passed} of {len(cases)} tests in {seconds:.0f} s\n")
        for command in claim.commands:
            sys.stdout.write(f"to run {claim.name:<14} {command}\n")
    return 0 if all(results.hold(claim) for claim in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
