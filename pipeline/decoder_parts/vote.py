"""Samples that give the same answer: the vote of self-consistency (arXiv 2203.11171)."""

from __future__ import annotations


def alike(text: str, other: str) -> bool:
    """Whether both end in the same word, which is where an answer stands behind its reasons."""
    return text.split()[-1:] == other.split()[-1:]
