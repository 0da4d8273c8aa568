"""Numbers as text."""

from __future__ import annotations

from pipeline.reduce.rounding import format_interval, format_score, round_length, round_ratio


def test_format_score() -> None:
    values = {None: "none", 0.0: "0.0", 31.24: "31.2", 0.31: "0.31", -0.31: "-0.31", 0.004: "0.004"}
    assert {value: format_score(value) for value in values} == values


def test_round_length() -> None:
    values = {1672: "209 B", 1301: "163 B", 8000: "1000 B", 9912: "1.21 KiB", 8192 * 1000: "0.977 MiB"}
    values |= {7992: "999 B", 8 * 2**30: "1 GiB", 8 * 5000 * 2**30: "5,000 GiB"}
    assert {bits: round_length(bits) for bits in values} == values


def test_round_ratio() -> None:
    values = {0.4: "0.40", 0.00123: "0.0012", 1: "1.0", 9.94: "9.9", 9.96: "10", 12.3: "12", 16_741_234: "17,000,000"}
    assert {ratio: round_ratio(ratio) for ratio in values} == values


def test_format_interval() -> None:
    assert format_interval(20.34, 42.2) == "[20.3, 42.2]"
    assert format_interval(1.0, None, round_ratio) == "[1.0, ?]"
    assert format_interval(None, None) == ""
