"""The kernel that finds record ends against its oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import text_lines as oracle
from windrow.kernels import text_lines as kernels

TEXTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b'"', b",", b"\n", b"\r\n", b'""', b"a", b"x" * 31, b"y" * 64]), max_size=40).map(
        b"".join
    ),
)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.booleans(), st.integers(0, 3), st.integers(0, 200))
def test_record_ends(data: bytes, quoted: bool, state: int, most: int) -> None:
    """oracle: the ends are those of a reader that looks at one byte after the other."""
    quote = ord('"') if quoted else -1
    expected, expected_state = oracle.record_ends(data, quote, ord(","), state, most)
    ends, after = np.zeros(most, np.int64), np.array([state], np.int64)
    count = kernels.record_ends(np.frombuffer(data, np.uint8), quote, ord(","), after, ends)
    assert ends[:count].tolist() == expected
    if count < most and quoted:
        assert after[0] == expected_state


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 100), max_size=4))
def test_pieces_one_after_another_are_the_whole(data: bytes, sizes: list[int]) -> None:
    """law: the state carries over, so that a text can be read in pieces."""
    whole = np.zeros(len(data) + 1, np.int64)
    count = kernels.record_ends(np.frombuffer(data, np.uint8), 34, 44, np.zeros(1, np.int64), whole)
    found: list[int] = []
    state, at = np.zeros(1, np.int64), 0
    for size in [*sizes, len(data)]:
        ends = np.zeros(size + 1, np.int64)
        piece = data[at : at + size]
        of_piece = kernels.record_ends(np.frombuffer(piece, np.uint8), 34, 44, state, ends)
        found += [at + int(end) for end in ends[:of_piece]]
        at += len(piece)
    assert found == whole[:count].tolist()
