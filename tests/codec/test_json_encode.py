"""The JSON encoder: every Arrow type, read back by a conforming parser (differential)."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windrow.codec.json import JsonDecoder
from windrow.codec.json_encode import JsonEncoder, json_values
from windrow.datatypes import BINARY, BOOL, DATE, FLOAT64, INT64, STRING, TIMESTAMP, Field, Schema, decimal
from windrow.errors import PlanError, RecordError


def one_column(values: list[Any], type_: pa.DataType) -> list[bytes]:
    """The JSON text of each value; also checks that a slice and a batch give the same."""
    array = pa.array(values, type_)
    texts = json_values(array).to_pylist()
    assert json_values(pa.concat_arrays([array[:0], array, array])[len(array) :]).to_pylist() == texts
    documents = JsonEncoder(pa.schema({"k": type_})).encode(pa.record_batch({"k": array})).to_pylist()
    assert documents == [b'{"k":' + text + b"}" for text in texts]
    return texts


def test_documents_have_keys_in_order_and_are_valid() -> None:
    """golden: a batch of the usual types."""
    batch = pa.record_batch(
        {
            "id": pa.array([1, None], pa.int64()),
            'na"me': pa.array(["a\n€", None]),
            "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            "ok": pa.array([True, None]),
        }
    )
    documents = JsonEncoder(batch.schema).encode(batch)
    assert documents.type == pa.binary()
    assert documents.to_pylist() == [
        '{"id":1,"na\\"me":"a\\n€","at":"2026-01-01T00:00:00Z","ok":true}'.encode(),
        b'{"id":null,"na\\"me":null,"at":null,"ok":null}',
    ]


def test_prefix_suffix_and_sql_time() -> None:
    """golden: the layout around a document, and times as SQL writes them."""
    batch = pa.record_batch({"at": pa.array([1_700_000_000_123], pa.timestamp("ms", "UTC"))})
    encoder = JsonEncoder(batch.schema, timestamps="sql", prefix=b'{"bid":', suffix=b"}")
    assert encoder.encode(batch).to_pylist() == [b'{"bid":{"at":"2023-11-14 22:13:20.123"}}']
    nothing = pa.record_batch([pa.array([], pa.int64())], ["x"])
    assert JsonEncoder(nothing.schema).encode(nothing).to_pylist() == []
    assert JsonEncoder(pa.schema([]), prefix=b"<", suffix=b">").encode(nothing.select([])).to_pylist() == []


INTEGERS = [(pa.int8(), 7), (pa.int16(), 15), (pa.int32(), 31), (pa.int64(), 63)]


@pytest.mark.parametrize(("type_", "bits"), INTEGERS)
def test_signed_integers(type_: pa.DataType, bits: int) -> None:
    """law: the ends of every width."""
    values = [-(2**bits), 2**bits - 1, 0, -1, None]
    assert one_column(values, type_) == [b"null" if v is None else str(v).encode() for v in values]


@pytest.mark.parametrize("type_", [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()])
def test_unsigned_integers(type_: pa.DataType) -> None:
    """law: the ends of every width; uint64 does not wrap."""
    values = [0, 2**type_.bit_width - 1, None]
    assert one_column(values, type_) == [b"null" if v is None else str(v).encode() for v in values]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(), st.floats(-1e6, 1e6).map(lambda x: round(x, 2))), max_size=20))
def test_floats_read_back_equal(values: list[float | None]) -> None:
    """law: the text reads back as the same bits; what JSON cannot say is null."""
    for value, text in zip(values, one_column(values, pa.float64()), strict=True):
        if value is None or not math.isfinite(value):
            assert text == b"null"
        else:
            back = json.loads(text)
            assert back == value and math.copysign(1, back) == math.copysign(1, value)
            assert float(orjson.loads(text)) == value


def test_narrow_floats() -> None:
    """law: a float32 gets the shortest text that gives that float32 back."""
    assert one_column([0.1, float("nan"), None], pa.float32()) == [b"0.1", b"null", b"null"]
    assert one_column([np.float16(1.5)], pa.float16()) == [b"1.5"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text()), max_size=20))
def test_strings(values: list[str | None]) -> None:
    """differential: strings come back from the standard library and from orjson."""
    for type_ in (pa.string(), pa.large_string(), pa.string_view()):
        texts = one_column(values, type_)
        assert [json.loads(text) for text in texts] == values
        assert [orjson.loads(text) for text in texts] == values


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=20))
def test_binary(values: list[bytes | None]) -> None:
    """law: base64 with padding."""
    expected = [b"null" if v is None else b'"' + base64.b64encode(v) + b'"' for v in values]
    for type_ in (pa.binary(), pa.large_binary(), pa.binary_view()):
        assert one_column(values, type_) == expected
    assert one_column([b"abc", None], pa.binary(3)) == [b'"YWJj"', b"null"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.decimals(-(10**20), 10**20, places=4)), max_size=20))
def test_decimals(values: list[Decimal | None]) -> None:
    """law: numbers with all their digits."""
    for text, value in zip(one_column(values, pa.decimal128(30, 4)), values, strict=True):
        assert json.loads(text, parse_float=Decimal, parse_int=Decimal) == value
    assert one_column([Decimal("1E-10")], pa.decimal256(50, 12)) == [b"1.00E-10"]


def test_times() -> None:
    """golden: units, zones, trimmed fractions; nanoseconds are kept when there are any."""
    moment = datetime(2026, 1, 31, 23, 59, 59, 120_000)
    whole = moment.replace(microsecond=0)
    assert one_column([whole, None], pa.timestamp("s")) == [b'"2026-01-31T23:59:59"', b"null"]
    assert one_column([moment], pa.timestamp("ms", "UTC")) == [b'"2026-01-31T23:59:59.120Z"']
    assert one_column([moment.replace(microsecond=1)], pa.timestamp("us")) == [b'"2026-01-31T23:59:59.000001"']
    berlin = pa.array([1_767_225_600_000_000], pa.int64()).cast(pa.timestamp("us", "Europe/Berlin"))
    assert json_values(berlin).to_pylist() == [b'"2026-01-01T00:00:00Z"']  # an instant, whatever its zone
    assert one_column([-1_000], pa.timestamp("ns", "UTC")) == [b'"1969-12-31T23:59:59.999999Z"']
    assert one_column([-1_001, 1, None], pa.timestamp("ns", "UTC")) == [
        b'"1969-12-31T23:59:59.999998999Z"',
        b'"1970-01-01T00:00:00.000000001Z"',
        b"null",
    ]
    assert json_values(pa.array([-1], pa.timestamp("ns")), timestamps="sql")[0].as_py() == b'"1969-12-31 23:59:59.999"'
    assert one_column([date(2024, 2, 29), None], pa.date32()) == [b'"2024-02-29"', b"null"]
    assert one_column([date(1, 1, 1)], pa.date64()) == [b'"0001-01-01"']
    assert one_column([time(1, 2, 3), None], pa.time32("s")) == [b'"01:02:03"', b"null"]
    assert one_column([timedelta(seconds=-2)], pa.duration("ms")) == [b"-2000"]


def test_years_that_iso_does_not_write() -> None:
    """law: a clear error instead of a text that nobody reads."""
    for values, type_ in (
        ([2**62], pa.timestamp("us", "UTC")),
        ([-(10**8)], pa.date32()),
        ([2**61], pa.timestamp("s")),
    ):
        with pytest.raises(RecordError, match=r"column 'value': .* outside the years 0 to 9999"):
            json_values(
                pa.array(values, pa.int64()).cast(pa.int32() if type_ == pa.date32() else pa.int64()).cast(type_)
            )


def test_rare_types() -> None:
    """golden: encodings of values, null columns, dictionaries, runs."""
    assert one_column([None, None], pa.null()) == [b"null", b"null"]
    assert one_column(["a", None, "a"], pa.dictionary(pa.int32(), pa.string())) == [b'"a"', b"null", b'"a"']
    assert json_values(pa.RunEndEncodedArray.from_arrays([2, 3], [1, 2])).to_pylist() == [b"1", b"1", b"2"]


NESTED = st.recursive(
    st.sampled_from([pa.int64(), pa.string(), pa.bool_()]),
    lambda inner: st.one_of(
        st.builds(pa.list_, inner),
        st.builds(pa.large_list, inner),
        st.builds(lambda a, b: pa.struct({"a": a, 'b"': b}), inner, inner),
        st.builds(lambda value: pa.map_(pa.string(), value), inner),
    ),
    max_leaves=4,
)


def values_of(type_: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_int64(type_):
        some: st.SearchStrategy[Any] = st.integers(-(2**63), 2**63 - 1)
    elif pa.types.is_string(type_):
        some = st.text(max_size=5)
    elif pa.types.is_boolean(type_):
        some = st.booleans()
    elif pa.types.is_struct(type_):
        some = st.fixed_dictionaries({field.name: values_of(field.type) for field in type_})
    elif pa.types.is_map(type_):
        some = st.dictionaries(st.text(max_size=3), values_of(type_.item_type), max_size=3).map(
            lambda d: list(d.items())
        )
    else:
        some = st.lists(values_of(type_.value_type), max_size=3)
    return st.one_of(st.none(), some)


def plain(value: Any, type_: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_map(type_):
        return {key: plain(item, type_.item_type) for key, item in value}
    if pa.types.is_struct(type_):
        return {field.name: plain(value[field.name], field.type) for field in type_}
    if pa.types.is_nested(type_):
        return [plain(item, type_.value_type) for item in value]
    return value


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nested_columns(draw: st.DataObject) -> None:
    """law: lists, structs and maps of anything come back from a conforming parser."""
    type_ = draw.draw(NESTED)
    values = draw.draw(st.lists(values_of(type_), max_size=6))
    assert [json.loads(text) for text in one_column(values, type_)] == [plain(value, type_) for value in values]


def test_other_nested_columns() -> None:
    """golden: fixed-size lists, list views, a struct without fields, maps with keys that are numbers."""
    assert one_column([[1, 2], None], pa.list_(pa.int64(), 2)) == [b"[1,2]", b"null"]
    assert json_values(pa.array([[1, 2], None, []], pa.list_view(pa.int64()))).to_pylist() == [b"[1,2]", b"null", b"[]"]
    assert one_column([{}, None], pa.struct([])) == [b"{}", b"null"]
    assert one_column([[(1, "a")]], pa.map_(pa.int64(), pa.string())) == [b'{"1":"a"}']


def test_what_cannot_be_written_is_refused() -> None:
    """law: a type without JSON form is a plan error that names the column; so is another batch than announced."""
    union = pa.sparse_union([pa.field("x", pa.int64())])
    with pytest.raises(PlanError, match=r"column 'a.b\[\]' of type sparse_union"):
        JsonEncoder(pa.schema({"a": pa.struct({"b": pa.list_(union)})}))
    with pytest.raises(PlanError, match="made for the columns"):
        JsonEncoder(pa.schema({"a": pa.int64()})).encode(pa.record_batch({"a": ["x"]}))


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """law: what does not fit 32-bit offsets is an error, not a wrapped offset (the bound made small for the test)."""
    batch = pa.record_batch({"x": ["abc"] * 10})
    monkeypatch.setattr("windrow.codec.json_encode.MAX_BYTES", 110)
    assert len(JsonEncoder(batch.schema).encode(batch)) == 10
    monkeypatch.setattr("windrow.codec.json_encode.MAX_BYTES", 109)
    with pytest.raises(RecordError, match="10 rows are 110 bytes of JSON, at most 109"):
        JsonEncoder(batch.schema).encode(batch)


ROUND_TRIP = {
    "i": (pa.int64(), INT64, st.integers(-(2**63), 2**63 - 1)),
    "f": (pa.float64(), FLOAT64, st.floats(allow_nan=False, allow_infinity=False)),
    "b": (pa.bool_(), BOOL, st.booleans()),
    "s": (pa.string(), STRING, st.text(max_size=40)),
    "y": (pa.binary(), BINARY, st.binary(max_size=20)),
    "d": (pa.date32(), DATE, st.dates()),
    "t": (pa.timestamp("us", "UTC"), TIMESTAMP, st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC))),
    "n": (pa.decimal128(20, 3), decimal(20, 3), st.decimals(-(10**16), 10**16, places=3)),
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_decoder_reads_it_back(draw: st.DataObject) -> None:
    """law: decoding what was encoded gives the same batch."""
    rows = draw.draw(st.integers(0, 6))
    columns = {
        name: pa.array(draw.draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows)), type_)
        for name, (type_, _, values) in ROUND_TRIP.items()
    }
    batch = pa.record_batch(columns)
    schema = Schema(tuple(Field(name, type_) for name, (_, type_, _) in ROUND_TRIP.items()))
    decoded = JsonDecoder(schema).decode(JsonEncoder(batch.schema).encode(batch))
    assert len(decoded.rejected) == 0
    assert decoded.data.equals(batch)
