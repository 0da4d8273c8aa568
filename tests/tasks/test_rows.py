"""Readers of data files: every format, where they stop, and what they say of a wrong file."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.tasks.rows import Layout, has_rows, read_rows

ROWS = [{"text": "one\u2028line", "number": 1}, {"text": "été", "number": 2}]
JSON_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
COLUMNS = {"text": "text", "number": "number"}


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", parquet()),
        ("a.jsonl", JSON_LINES),
        ("a.ndjson", JSON_LINES + b"\n\n"),
        ("a.jsonl.gz", gzip.compress(JSON_LINES)),
        ("a.jsonl.zst", pa.compress(JSON_LINES, codec="zstd", asbytes=True)),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.mark.json", codecs.BOM_UTF8 + json.dumps(ROWS).encode()),
        ("a.mark.jsonl", codecs.BOM_UTF8 + JSON_LINES),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode())),
    ],
    # The bytes themselves would be names that differ from process to process: gzip writes the time.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_formats(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(read_rows(tmp_path, [Layout(pattern="a.*", columns=COLUMNS)])) == ROWS


def test_csv_with_quotes_and_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'text,other\r\n"He said ""no"",\nand left",1\r\nplain,2\r\n')
    rows = list(read_rows(tmp_path, [Layout(pattern="*.csv", columns={"said": "text"})]))
    assert rows == [{"said": 'He said "no",\nand left'}, {"said": "plain"}]


def test_csv_behind_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(codecs.BOM_UTF8 + b"text,other\r\none,1\r\n")
    assert list(read_rows(tmp_path, [Layout(pattern="*.csv", columns={"said": "text"})])) == [{"said": "one"}]


def test_tsv_has_no_header_and_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b'1.25\t"Hello\tBonjour\n1.2\tYes\tOui\n'))
    rows = list(read_rows(tmp_path, [Layout(pattern="*.tsv.gz", columns={"en": "1", "fr": "2"})]))
    assert rows == [{"en": '"Hello', "fr": "Bonjour"}, {"en": "Yes", "fr": "Oui"}]


def test_a_column_inside_of_another(tmp_path: Path) -> None:
    table = [{"translation": {"eng_Latn": "Yes", "fra_Latn": "Oui"}, "score": 1.0}]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet")
    layout = Layout(pattern="*.parquet", columns={"fr": "translation.fra_Latn"})
    assert list(read_rows(tmp_path, [layout])) == [{"fr": "Oui"}]


def test_the_first_layout_that_is_there_counts(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(JSON_LINES)
    layouts = [Layout(pattern=f"{name}.jsonl", columns=COLUMNS) for name in "abc"]
    assert has_rows(tmp_path, layouts) and not has_rows(tmp_path, layouts[:1])
    (tmp_path / "c.jsonl").write_text("{")
    assert list(read_rows(tmp_path, layouts)) == ROWS


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        (tmp_path / f"part-{number}.jsonl").write_text(json.dumps({"number": number}))
    rows = read_rows(tmp_path, [Layout(pattern="part-*", columns={"number": "number"})])
    assert [row["number"] for row in rows] == [0, 1, 2]


class TestLimit:
    """What lies after the limit is damaged: whoever reads it fails."""

    LAYOUT = Layout(pattern="part-*", columns={"text": "text"})

    def test_no_file_after_it_is_opened(self, tmp_path: Path) -> None:
        (tmp_path / "part-0.jsonl").write_bytes(JSON_LINES)
        (tmp_path / "part-1.parquet").write_bytes(b"damaged")
        assert len(list(read_rows(tmp_path, [self.LAYOUT], limit=2))) == 2
        with pytest.raises(UserError, match=r"part-1\.parquet cannot be read"):
            list(read_rows(tmp_path, [self.LAYOUT], limit=3))

    def test_no_row_group_after_it_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "part-0.parquet"
        pq.write_table(pa.table({"text": [f"{n} " * 50 for n in range(3000)]}), path, row_group_size=1000)
        second = pq.ParquetFile(path).metadata.row_group(1).column(0)
        start = min(second.dictionary_page_offset or second.data_page_offset, second.data_page_offset)
        content = bytearray(path.read_bytes())
        content[start : start + second.total_compressed_size] = b"\xff" * second.total_compressed_size
        path.write_bytes(bytes(content))
        assert len(list(read_rows(tmp_path, [self.LAYOUT], limit=1000))) == 1000
        with pytest.raises(UserError, match="cannot be read"):
            list(read_rows(tmp_path, [self.LAYOUT], limit=1001))

    def test_the_rest_of_a_compressed_file_is_not_read(self, tmp_path: Path) -> None:
        lines = "".join(json.dumps({"text": hashlib.sha256(str(n).encode()).hexdigest()}) + "\n" for n in range(20_000))
        content = gzip.compress(lines.encode())
        (tmp_path / "part-0.jsonl.gz").write_bytes(content[: len(content) // 2])
        assert len(list(read_rows(tmp_path, [self.LAYOUT], limit=5000))) == 5000
        with pytest.raises(UserError, match="cannot be read"):
            list(read_rows(tmp_path, [self.LAYOUT], limit=15_000))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x", "number": 1}\n{', "line 2 of a.jsonl is not JSON"),
        ("a.jsonl", b"[1]", "line 1 of a.jsonl is no JSON object"),
        ("a.json", b'{"text": "x"}', "a list of JSON objects is expected"),
        ("a.jsonl", b'{"text": "x"}', "has no column 'number'; a.* is expected to hold text, number, it holds text"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl", b"\xff\xfe", "cannot be read"),
        ("a.csv", b"text,other\nx,1,2,3\n", "expected to hold text, number, it holds text, other"),
        ("a.csv", b"text,number\nx," + b"1" * 200_000, "cannot be read: field larger than field limit"),
        ("a.xlsx", b"", "is of no known format; known: .parquet"),
    ],
)
def test_wrong_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(read_rows(tmp_path, [Layout(pattern="a.*", columns=COLUMNS)]))
    assert said in str(caught.value)


def test_no_files_names_all_layouts(tmp_path: Path) -> None:
    layouts: list[Any] = [
        Layout(pattern="main/train-*.parquet", columns={"question": "question"}),
        Layout(pattern="train.jsonl", columns={"question": "query"}),
    ]
    with pytest.raises(UserError) as caught:
        list(read_rows(tmp_path, layouts))
    for words in (str(tmp_path), "main/train-*.parquet with question", "train.jsonl with query"):
        assert words in str(caught.value)
