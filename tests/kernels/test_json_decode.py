"""The JSON decoder against its oracle, on documents that Hypothesis builds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.json_fuzz import FIELDS, compare, schema_of
from tests.oracles import json_decode as oracle
from windrow.codec.json import JsonDecoder
from windrow.kernels import json_numbers
from windrow.kernels.json_decode import decode

DECODER = JsonDecoder(schema_of(FIELDS))
_KEYS = st.sampled_from([field.path[-1] for field in FIELDS] + ["n", "o", "other", ""])
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.datetimes().map(lambda time: time.isoformat(" ", "milliseconds"))
    | st.dates().map(str)
)
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4))
_OBJECTS = st.dictionaries(_KEYS, _VALUES, max_size=8)


def _floats(texts: list[str]) -> list[Any]:
    """What the decoder makes of numbers, as float64; None for a rejected one."""
    documents = pa.array([b'{"f":%s}' % text.encode() for text in texts], pa.binary())
    result = JsonDecoder(schema_of([FIELDS[1]])).decode(documents)
    values = iter(result.data.column(0).to_pylist())
    rejected = set(result.rejected.rows.tolist())
    return [None if row in rejected else next(values) for row in range(len(texts))]


@settings(max_examples=100, deadline=None)
@given(st.lists(_OBJECTS, max_size=20), st.booleans(), st.sampled_from([None, 1, (", ", ": "), (",", ":")]))
def test_decode(objects: list[dict[str, Any]], ascii_only: bool, form: Any) -> None:
    """oracle: `decode` gives what the oracle's decode gives, for documents in the forms that json.dumps writes."""
    layout = {"separators": form} if isinstance(form, tuple) else {"indent": form}
    documents = [json.dumps(value, ensure_ascii=ascii_only, **layout).encode() for value in objects]
    compare(list(documents), FIELDS, DECODER)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_decode_of_any_bytes(noise: bytes, at: int) -> None:
    """oracle: bytes that are no JSON, alone and in the middle of a document, are taken as the oracle takes them."""
    whole = b'{"i": 1, "s": "' + b"x" * 60 + b'", "n": {"i": [1, 2.5, {}]}, "t": "2026-01-01 00:00:00.123"}'
    compare([noise, whole[:at] + noise + whole[at:], whole[:at] + noise, b'{"s":"' + noise + b'"}'], FIELDS, DECODER)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_floats_read_back(values: list[float]) -> None:
    """law: a float written by repr, or with 17 digits and an exponent, is read as the same float."""
    for texts in ([repr(value) for value in values], [f"{value:.16e}" for value in values]):
        assert np.array(_floats(texts)).tobytes() == np.array(values).tobytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**40), st.integers(-400, 330)), min_size=1, max_size=50))
def test_floats_of_any_length(numbers: list[tuple[int, int]]) -> None:
    """oracle: numbers with up to 40 digits are rounded as Python's float rounds them; what would be infinite is bad."""
    texts = [f"{digits}e{exponent}" for digits, exponent in numbers]
    wanted = [None if float(text) == float("inf") else float(text) for text in texts]
    assert _floats(texts) == wanted


def test_floats_halfway() -> None:
    """oracle: numbers exactly between two floats, and a last digit to either side, which 19 digits do not tell."""
    rng = np.random.default_rng(3)
    texts = []
    for value in [*np.exp(rng.uniform(-40, 40, 300)).tolist(), 1.0, 2.0**52, 2.0**53 - 1]:
        above = np.nextafter(value, np.inf)
        numerator = (int(value * 2.0**200) + int(above * 2.0**200)) * 5**201
        digits = str(numerator)
        texts += [f"{digits}e-201", f"{digits[:-1]}{(int(digits[-1]) + 1) % 10}e-201", f"{numerator - 1}e-201"]
    texts += [f"{1 + 2**-53}", "2.4703282292062327208e-324", "2.4703282292062328e-324", "1.7976931348623158e308"]
    texts += ["1.797693134862315807e308", "17976931348623158079372897140530341507993413271003782693617377898e244"]
    wanted = [None if float(text) == float("inf") else float(text) for text in texts]
    assert _floats(texts) == wanted


def test_powers_of_five() -> None:
    """oracle: the table of powers has the leading 128 bits of each, found another way."""
    table = json_numbers.powers_of_five().tolist()
    for q in (*range(-342, -300), *range(-40, 60), *range(290, 309)):
        high, low = table[2 * (q + 342) : 2 * (q + 342) + 2]
        got = high << 64 | low
        scaled = 5**q << 2000 if q >= 0 else (1 << 2000) // 5**-q
        exact = scaled >> scaled.bit_length() - 128
        assert got == exact + (-27 <= q < 0), q


def test_the_kernel_has_its_oracle() -> None:
    """law: the kernel and its oracle go by the same name."""
    assert decode.py_func.__name__ == oracle.decode.__name__ == "decode"


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 1000])
def test_decode_in_slices(rows: int) -> None:
    """law: the rows of a slice come out as they come out of the whole column."""
    documents = pa.array([json.dumps({"i": row, "s": "é" * (row % 97), "x": None}).encode() for row in range(1200)])
    whole = DECODER.decode(documents).data
    for start in (0, 1, 199):
        assert DECODER.decode(documents.slice(start, rows)).data.equals(whole.slice(start, rows))
