"""Cases as Markdown: what is written is read back, whatever stands in it, and mistakes are named by line."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from knowledge.casebook import (
    Unreadable,
    digest,
    fields_of,
    file_name,
    indexed,
    read_case_file,
    render,
    render_index,
    title,
)
from knowledge.model import FailureKind, TrackRecord
from tests.rows import item

WORDS = st.text(st.sampled_from("ab #\\`-:'\"\n\tü☃[]()<>&*"), max_size=40)
CASE = """---
id: own-1
kind: oomkilled
environment: no
---

# Anything

## Signs

```
# not a heading
## Fix
```

## Cause

The heap grows.
\\## it says

## Fix
"""


@settings(max_examples=60, deadline=None)
@given(excerpt=WORDS, cause=WORDS, fix=WORDS, service=WORDS.map(lambda words: words.replace("\n", " ")))
def test_what_is_written_is_read_back_and_not_taken_for_an_edit(
    excerpt: str, cause: str, fix: str, service: str
) -> None:
    one = item(excerpt=f"boom{excerpt}", cause=cause, fix=fix, service=service)
    text = render(one, None)
    case = read_case_file(text.encode())
    assert case.fields == fields_of(one)
    assert not case.edited
    assert text == render(one, None)


def test_a_person_can_write_a_case_by_hand() -> None:
    case = read_case_file(CASE.replace("\n", "\r\n").encode("utf-8-sig"))
    assert (case.id, case.edited) == ("own-1", True)
    assert case.fields["environment"] == "no", "words stay words, whatever YAML makes of them"
    assert case.fields["excerpt"] == "# not a heading\n## Fix"
    assert case.fields["cause"] == "The heap grows.\n## it says"
    assert case.fields["fix"] == ""


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("---\nid", "id"), 1, "no front matter"),
        (("kind: oomkilled", "kind: oomkiled"), 3, "did you mean oomkilled"),
        (("kind: oomkilled", "knid: oomkilled"), 3, "did you mean kind"),
        (("kind: oomkilled", "kind: [oomkilled"), 4, "write one `name: value`"),
        (("kind: oomkilled", "kind: {a: 1}"), 3, "must be one value"),
        (("kind: oomkilled", "id: again"), 3, "written twice"),
        (("id: own-1", "id:"), 2, "the field id"),
        (("environment: no", "status: bad"), 4, "known are old, wrong"),
        (("environment: no", "link: ftp://x"), 4, "no web address"),
        (("## Cause", "## Because"), 16, "known are Signs, Cause and Fix"),
        (("## Cause", "## Fix"), 21, "there twice"),
        (("# not a heading\n## Fix\n", ""), 9, "Signs is empty"),
        (("## Fix\n```", "## Fix"), 9, "not closed"),
        (("The heap", "The \udcff heap"), 18, "not UTF-8"),
        (("The heap", "x" * 10_001), 16, "longer than 10,000"),
    ],
)
def test_a_mistake_is_named_by_its_line(change: tuple[str, str], line: int, says: str) -> None:
    with pytest.raises(Unreadable, match=says) as told:
        read_case_file(CASE.replace(*change, 1).encode("utf-8", "surrogateescape"))
    assert told.value.line == line


def test_file_names_are_safe_and_never_shared() -> None:
    assert file_name("incident-12") == "incident-12.md"
    ids = ["../../etc/passwd", "A/b", "a/b", "a-b", "INDEX", "readme", "ü", "", "x" * 300, "x" * 301, ".hidden", "-"]
    names = [file_name(one) for one in ids]
    assert len({name.lower() for name in names}) == len(ids)
    assert all(name.strip(".")[0].isalnum() and "/" not in name and len(name) < 100 for name in names)


def test_the_index_lists_what_was_exported() -> None:
    names = {file_name(one): title(item(one, service="a] (b)[c")) for one in ("b", "a", "A/b")}
    assert indexed(render_index(names)) == set(names)


def test_a_track_record_is_shown_and_is_no_edit() -> None:
    record = TrackRecord(FailureKind.CRASHLOOP, "k8s_rollback", "prod", verified=3, failed=1, rejected=0)
    text = render(item(), record)
    assert "track_record: 3 of 4\n" in text
    case = read_case_file(text.encode())
    assert (case.version, case.edited) == (digest(fields_of(item())), False)
