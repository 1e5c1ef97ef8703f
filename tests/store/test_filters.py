import subprocess
import sys

import pytest
from support.rows_on_hand import settings, video

from vidtldr.store.exact_search import ExactSearch
from vidtldr.store.filters import MAX_WORDS, condition_of, count_where
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.lance import DamagedIndexError
from vidtldr.store.video_index import VideoIndex


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    directory = tmp_path_factory.mktemp("filters") / "my.index"
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a", 3), video("/it's; -- $5 (?)")])
    return VideoIndex(directory)


@pytest.mark.parametrize(
    ("where", "num_rows"),
    [
        ("start_seconds > 5", 2),
        ("path = '/it''s; -- $5 (?)'", 1),
        ("start_seconds > 5 OR (path <> '/a' AND codec = 'h264')", 3),
        ("NOT start_seconds IN (10, 20)", 2),
        ('"seconds" > 5 AND `width` = 64', 4),
        ("indexed_at > timestamp '2020-01-01'", 4),
        (f"path IN ({', '.join(map(repr, map(str, range(5000))))}, '/a')", 3),
        (" AND ".join(["start_seconds > 5"] * (MAX_WORDS // 3)), 2),
    ],
)
def test_a_condition_is_taken(index, where, num_rows):
    assert count_where(index, where) == ExactSearch(index, where).num_rows == num_rows


@pytest.mark.parametrize(
    "where",
    [
        "seconds > 5; DROP TABLE clips",
        "seconds > 5 LIMIT 1",
        "seconds > 5 ORDER BY path",
        "seconds > 5 -- and no more",
        "seconds > 5 /* or less */",
        "seconds > 5) LIMIT 1 OR (1 = 1",
        "(seconds > 5",
        "seconds > $1",
        "seconds > ?",
        "path = N'a'",
        "path = $$a$$",
        "path = 'a",
        "seconds > 5\0",
        "(SELECT 1)",
        "cast(path as int) = 1",
        "",
    ],
)
def test_what_is_more_or_less_than_a_condition_is_refused(index, where):
    with pytest.raises(ValueError, match="filter must be a condition on the columns"):
        ExactSearch(index, where)


LONG = {
    "sum": "seconds > " + "+".join(["1"] * 20000),
    "text": "path = " + "||".join(["'a'"] * 20000),
    "and": " AND ".join(["seconds > 5"] * 100_000),
    "array": "[" * 5000 + "1" + "]" * 5000 + " = [1]",
    "call": "seconds > " + "abs(" * 5000 + "1" + ")" * 5000,
    "case": "CASE WHEN true THEN true ELSE " * 5000 + "false" + " END" * 5000,
    "cast": "seconds" + "::double" * 5000 + " > 5",
    "characters": "path = '" + "a" * 1_000_001 + "'",
}


@pytest.mark.parametrize("name", LONG)
def test_a_filter_that_would_end_the_process_is_refused(name):
    with pytest.raises(ValueError, match=r"got .{100,130}\(.* at most [\d,]+ are taken"):
        condition_of(LONG[name])


def test_the_longest_filters_do_not_end_the_process(index):
    """In a process of its own: an overflow of the stack is no exception."""
    code = (
        "import sys; from vidtldr.store.filters import *; "
        "from vidtldr.store.video_index import VideoIndex; index = VideoIndex(sys.argv[1])\n"
        "for text in ('+'.join(['1'] * 400), '||'.join([\"'a'\"] * 400), '- ' * 399 + '1', "
        "'NOT ' * 398 + 'true', ' AND '.join(['path'] * 200), '(' * 199 + '1' + ')' * 199, "
        "'abs(' * 130 + '1' + ')' * 130, 'CASE WHEN true THEN 1 ELSE ' * 66 + '0' + ' END' * 66, "
        "'1' + '::int' * 130, 'path' + ' IS NULL' * 199, '[' * 199 + '1' + ']' * 199):\n"
        "    try: count_where(index, text if 'NOT' in text else text + ' = 1')\n"
        "    except ValueError as error: assert 'are taken' not in str(error), error\n"
    )
    command = [sys.executable, "-c", code, str(index.directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_damaged_index_is_not_blamed_on_the_filter(tmp_path):
    with IndexWriter(tmp_path / "i", settings()) as writer:
        writer.commit([video("/a", 3)])
    [data] = (tmp_path / "i" / "clips.lance" / "data").iterdir()
    data.write_bytes(data.read_bytes()[:50])
    with pytest.raises(DamagedIndexError, match="an index must be whole"):
        count_where(VideoIndex(tmp_path / "i"), "seconds > 5")
