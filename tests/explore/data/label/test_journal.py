"""The journal of a labelled set."""

from contextlib import closing

import pytest

from arch.errors import InputError
from explore.data.label.journal import Header, Journal, PersonRecord, ShotRecord

HEADER = Header(teacher="fake", fingerprint="a" * 64, skeleton="two", joints=("A", "B"))


def record(key):
    person = PersonRecord(number=1, presence=0.5, joints=[[float(n) for n in range(9)]] * 2)
    return ShotRecord(
        key=key, source="p.jpg", image="p.jpg", unit=1, width=10, height=20, scale=0.5, focal=30, people=[person]
    )


def test_an_incomplete_line_is_dropped_and_the_rest_kept(tmp_path):
    with closing(Journal(tmp_path, HEADER)) as journal:
        journal.add(record("a"))
        journal.add(record("b"))
    data = journal.path.read_bytes()
    journal.path.write_bytes(data[:-20])  # killed while it wrote the last line
    with closing(Journal(tmp_path, HEADER)) as journal:
        assert journal.keys == {"a"}
        journal.add(record("b"))
    assert journal.path.read_bytes() == data
    assert [one.table.shape for one in next(journal.records()).people] == [(2, 9)]


def test_a_journal_killed_at_its_start_begins_again(tmp_path):
    (tmp_path / "labels.jsonl").write_text('{"version":1,"tea')
    with closing(Journal(tmp_path, HEADER)) as journal:
        journal.add(record("a"))
    assert [one.key for one in journal.records()] == ["a"]


def test_another_teacher_is_refused(tmp_path):
    Journal(tmp_path, HEADER).close()
    with pytest.raises(
        InputError, match=r"labels.jsonl: labelled by fake \(aaaaaaaa\), not fake \(bbbbbbbb\); give another --out"
    ):
        Journal(tmp_path, HEADER.model_copy(update={"fingerprint": "b" * 64}))


def test_a_damaged_line_is_named(tmp_path):
    with closing(Journal(tmp_path, HEADER)) as journal:
        journal.add(record("a"))
    journal.path.write_text(journal.path.read_text().replace('"width":10', '"width":"wide"'))
    with pytest.raises(InputError, match=r"labels.jsonl: line 2: width: .*; delete the line"):
        Journal(tmp_path, HEADER)
