"""Oracle tests: masks to row numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import select as oracle
from windrow.kernels import select


@given(st.lists(st.booleans(), max_size=100))
def test_rows_where(mask):
    """oracle"""
    rows = np.empty(len(mask), np.int64)
    found = select.rows_where(np.array(mask, np.uint8), rows)
    assert rows[:found].tolist() == oracle.rows_where(mask)
