"""Runbooks: what a file is for, which one is the best, and a folder that changes."""

import os
from pathlib import Path

import pytest

from knowledge.model import FailureKind
from knowledge.runbooks import Runbook, Shelf, best_runbook, parse_runbook

K = FailureKind

FRONT = """---
title: Out of memory
kinds: [OOMKilled, crash loop]
services: checkout, Orders
keywords: [KubePodCrashLooping, heap]
url: https://wiki.example/oom
---
# Ignored heading about probe_failure
"""


def test_front_matter_says_what_a_runbook_is_for() -> None:
    book = parse_runbook(FRONT, "memory.md", base_url="https://git.example/books")
    assert book == Runbook(
        "memory.md",
        "Out of memory",
        frozenset({K.OOMKILLED, K.CRASHLOOP}),
        frozenset({"checkout", "orders"}),
        frozenset({"kubepodcrashlooping", "heap"}),
        "https://wiki.example/oom",
    )


def test_without_front_matter_title_and_headings_say_it() -> None:
    book = parse_runbook(
        "# ImagePullBackOff\n\n## When KubeContainerWaiting fires\ntext",
        "a b/pull.md",
        base_url="https://git.example/x/",
    )
    assert book.title == "ImagePullBackOff"
    assert book.kinds == {K.IMAGEPULLBACKOFF}
    assert "kubecontainerwaiting" in book.keywords
    assert book.url == "https://git.example/x/a%20b/pull.md"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---\n- a\n- list\n---\nx",
        "---\nkinds: [",
        "---\n{a: &a [*a, *a]}\n---\n# t",
        "\x00\xff",
        "---\nurl: javascript:x\n---\n",
    ],
)
def test_any_file_is_a_runbook_and_none_is_refused(text: str) -> None:
    book = parse_runbook(text, "odd.md")
    assert book.title
    assert book.url == ""


def test_a_secret_in_a_title_is_cut_out() -> None:
    token = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"
    assert token not in parse_runbook(f"# Use {token}", "x.md").title


def best(*books: Runbook, kind: FailureKind | None = None, service: str = "checkout", text: str = "") -> str:
    found = best_runbook(books, kind=kind, service=service, text=text)
    return found.path if found else ""


def test_the_best_one_is_of_the_kind_and_the_service_and_never_of_other_services() -> None:
    general = Runbook("general.md", "g", kinds=frozenset({K.OOMKILLED}))
    own = Runbook("own.md", "o", kinds=frozenset({K.OOMKILLED}), services=frozenset({"checkout"}))
    other = Runbook("other.md", "x", kinds=frozenset({K.OOMKILLED}), services=frozenset({"orders"}))
    house = Runbook("house.md", "h", services=frozenset({"checkout"}))
    alert = Runbook("alert.md", "a", keywords=frozenset({"kubepodcrashlooping", "heap"}))
    assert best(general, own, other, house, alert, kind=K.OOMKILLED) == "own.md"
    assert best(general, other, kind=K.OOMKILLED) == "general.md"
    assert best(general, own, house, kind=K.NETWORK) == "house.md"
    assert best(general, alert, text="KubePodCrashLooping: heap is full") == "alert.md"
    assert best(general, alert, other, kind=K.NETWORK, text="shrinking heaps") == ""


def test_a_folder_is_read_again_where_it_changed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "hidden.md").write_text("# crashloop")
    (tmp_path / "deep" / "one.md").write_text("# crashloop")
    (tmp_path / "notes.txt").write_text("# crashloop")
    (tmp_path / "elsewhere.md").symlink_to("/etc/hostname")
    shelf = Shelf(tmp_path)
    assert shelf.refresh() == 1
    before = shelf.runbooks[0]
    assert (before.path, before.link.title) == ("deep/one.md", "crashloop (deep/one.md)")
    shelf.refresh()
    assert shelf.runbooks[0] is before
    (tmp_path / "deep" / "one.md").write_text("# network trouble")
    os.utime(tmp_path / "deep" / "one.md", (1, 1))
    (tmp_path / "two.md").write_text("# oomkilled")
    assert shelf.refresh() == 2
    assert {book.title for book in shelf.runbooks} == {"network trouble", "oomkilled"}
    (tmp_path / "two.md").unlink()
    assert shelf.refresh() == 1
    assert Shelf().refresh() == 0
