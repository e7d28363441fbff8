"""Oracle tests: strings by row number."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.arrays import strings
from tests.oracles import gather as oracle
from windrow.kernels import gather


@given(st.lists(st.binary(max_size=90), min_size=1, max_size=12), st.data())
def test_take_strings(texts, data):
    """oracle: take_offsets and take_bytes"""
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=20))
    offsets, source = strings(texts, np.int32)
    taken = np.empty(len(rows) + 1, np.int32)
    total = gather.take_offsets(offsets, np.array(rows, np.int64), taken)
    assert taken.tolist() == oracle.take_offsets(texts, rows)
    assert total == taken[-1]
    out = np.empty(total, np.uint8)
    gather.take_bytes(offsets, source, np.array(rows, np.int64), taken, out)
    assert out.tobytes() == oracle.take_bytes(texts, rows)
