"""What the JSON decoder promises beyond agreeing with a parser: types, paths, limits, reasons, threads."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from windrow.arrow_types import from_arrow_type, named_type, to_arrow_schema
from windrow.codec.json import Decoded, JsonDecoder
from windrow.datatypes import BINARY, BOOL, DATE, FLOAT64, INT64, STRING, TIMESTAMP, DataType, Field, Schema, decimal
from windrow.errors import PlanError


def decode(documents: list[Any], *fields: Field, **limits: int) -> Decoded:
    encoded = [text.encode() if isinstance(text, str) else text for text in documents]
    return JsonDecoder(Schema(fields), **limits).decode(pa.array(encoded, pa.binary()))


def one(text: str, field: Field) -> Any:
    """The value of one document's field, or the reason why there is none."""
    result = decode([text], field)
    if len(result.rejected):
        assert result.rejected.fields == (field.name,)
        return result.rejected.reasons[0]
    return result.data.column(0).to_pylist()[0]


def us(text: str, form: str = "iso") -> Any:
    result = decode([f'{{"t":{text}}}'], Field("t", TIMESTAMP, format=form))
    return result.rejected.reasons[0] if len(result.rejected) else result.data.column(0).cast(pa.int64())[0].as_py()


def test_types() -> None:
    """golden: a value of every type, and the Arrow schema it comes out with."""
    fields = (
        Field("i", INT64), Field("f", FLOAT64), Field("b", BOOL), Field("s", STRING), Field("x", BINARY),
        Field("d", DATE), Field("t", TIMESTAMP), Field("m", decimal(38, 2)), Field("r", STRING, format="json"),
    )  # fmt: skip
    text = (
        '{"i":-5,"f":0.1,"b":true,"s":"a\\u00e9\\n","x":"AP8=","d":"2026-02-03","t":"1969-12-31T23:59:59.5Z",'
        '"m":"-123456789012345678901234567890123456.78","r":[1, {"a" : null}]}'
    )
    result = decode([text], *fields)
    assert result.data.schema.equals(to_arrow_schema(Schema(fields)))
    row = result.data.to_pylist()[0]
    assert (row["i"], row["f"], row["b"], row["s"], row["x"]) == (-5, 0.1, True, "aé\n", b"\x00\xff")
    assert str(row["d"]) == "2026-02-03"
    assert row["t"].timestamp() == -0.5
    assert str(row["m"]) == "-123456789012345678901234567890123456.78"
    assert row["r"] == '[1, {"a" : null}]'


def test_times() -> None:
    """golden: ISO texts and epoch numbers to microseconds; finer ones are rounded down, also before 1970."""
    assert us('"1970-01-01 00:00:01"') == 1_000_000
    assert us('"1970-01-01T00:00:00.000001999Z"') == 1
    assert us('"1970-01-01T01:30:00+01:30"') == us('"1969-12-31T23:00:00-0100"') == 0
    assert us('"1970-01-01\\u002000:00:02"') == 2_000_000
    assert us("1.5", "s") == 1_500_000
    assert us("1e-7", "s") == 0
    assert us("-1e-7", "s") == -1
    assert us("1700000000123.4567", "ms") == 1_700_000_000_123_456
    assert us("-7", "us") == -7
    assert "not an ISO 8601 time" in us('"1970-01-01"')
    assert "not an ISO 8601 time" in us('"1970-02-29 00:00:00"')
    assert "a time out of range" in us("1e13", "s")
    assert "expected timestamp[us, tz=UTC], got a string" in us('"5"', "s")


def test_decimals() -> None:
    """golden: decimals are exact, or an error; zeros at the end do not count."""
    field = Field("m", decimal(5, 2))
    assert str(one('{"m":1.50}', field)) == "1.50"
    assert str(one('{"m":1.50000}', field)) == "1.50"
    assert str(one('{"m":"-999.99"}', field)) == "-999.99"
    assert str(one('{"m":1.2e2}', field)) == "120.00"
    assert "more digits after the point" in one('{"m":1.005}', field)
    assert "more digits than the type has" in one('{"m":1000}', field)
    assert "more digits than the type has" in one('{"m":1e999999999}', field)
    assert "holds no number" in one('{"m":"1,5"}', field)
    assert str(one('{"m":0e5}', field)) == "0.00"


@pytest.mark.parametrize(("text", "reason"), [
    ('{"i":1.0}', "expected int64, got a number: written with a point or an exponent, at byte 5: 1.0}"),
    ('{"i":1e3}', "expected int64, got a number: written with a point or an exponent, at byte 5: 1e3}"),
    ('{"i":9223372036854775808}', "expected int64, got a number: does not fit int64, at byte 5: 9223372036854775808}"),
    ('{"i":"1"}', 'expected int64, got a string, at byte 5: "1"}'),
    ('{"i": [1]}', "expected int64, got a list, at byte 6: [1]}"),
    ('{"i":false}', "expected int64, got false, at byte 5: false}"),
    ('{"i":null}', "required, but null"),
    ('{"j":1}', "required, but missing"),
])  # fmt: skip
def test_reasons_for_fields(text: str, reason: str) -> None:
    """golden: what is said of a value that does not fit; missing and null are told apart where a value is required."""
    assert one(text, Field("i", INT64, required=True)) == reason


def test_the_last_value_of_a_key_counts() -> None:
    """law: a later value replaces an earlier one whole, also one that would not fit, also an object's fields."""
    fields = (Field("a", INT64), Field("b", INT64, ("o", "b")), Field("c", STRING, ("o", "c")))
    texts = [
        '{"a":1,"a":2}', '{"a":"x","\\u0061":2}', '{"a":1,"a":null}', '{"a":1,"a":"x"}',
        '{"o":{"b":1,"c":"x"},"o":{"b":2}}',
        '{"o":{"b":1},"o":null}', '{"o":5,"o":{"b":1}}', '{"o":{"b":1},"o":5}', '{"o":{"b":1,"b":2}}',
    ]  # fmt: skip
    result = decode(texts, *fields)
    assert result.rejected.rows.tolist() == [3, 7]
    assert result.rejected.fields == ("a", "b")
    assert "expected an object on the way to the field" in result.rejected.reasons[1]
    assert result.data.column("a").to_pylist() == [2, 2, None, None, None, None, None]
    assert result.data.column("b").to_pylist() == [None, None, None, 2, None, 1, 2]
    assert result.data.column("c").null_count == 7


def test_one_value_for_several_fields() -> None:
    """law: fields may share a path, and lie above one another."""
    fields = (
        Field("time", TIMESTAMP, ("t",)),
        Field("text", STRING, ("t",)),
        Field("raw", STRING, ("o",), "json"),
        Field("inner", INT64, ("o", "i")),
    )
    row = decode(['{"t":"2026-01-01 00:00:00","o":{"i":1, "j":[2]}}'], *fields).data.to_pylist()[0]
    assert row["text"] == "2026-01-01 00:00:00"
    assert row["time"].year == 2026
    assert (row["raw"], row["inner"]) == ('{"i":1, "j":[2]}', 1)


def test_limits() -> None:
    """law: nesting and length are bounded, exactly; the deepest allowed value on the way to a field is read."""
    nested = '{"a":' * 5 + "1" + "}" * 5
    deep = Field("x", INT64, ("a",) * 5)
    assert decode([nested], deep, max_depth=5).data.to_pylist() == [{"x": 1}]
    for limit in (1, 2, 4):
        for field in (deep, Field("y", INT64), Field("r", STRING, ("a",), "json")):
            rejected = decode([nested], field, max_depth=limit).rejected
            assert rejected.reasons[0].startswith(f"nested deeper than {limit}, at byte")
    bomb = decode([b"[" * 5_000_000, b'{"a":' * 1_000_000], Field("y", INT64))
    assert all("nested deeper than 128" in reason for reason in bomb.rejected.reasons)
    assert decode(['{"y":1}'], Field("y", INT64), max_bytes=6).rejected.reasons == ("longer than 6 bytes",)
    assert decode(['{"y":1}'], Field("y", INT64), max_bytes=7).data.num_rows == 1


def test_nulls_strings_and_large_offsets() -> None:
    """law: string, large and view columns work like binary; a null row is rejected; offsets may begin anywhere."""
    texts = ['{"s":"a"}', None, '{"s":"bc"}', '{"s":null}']
    for type_ in (pa.string(), pa.binary(), pa.large_string(), pa.large_binary(), pa.string_view(), pa.binary_view()):
        values = [text if text is None or "string" in str(type_) else text.encode() for text in texts]
        documents = pa.array(values, type_)
        result = JsonDecoder(Schema((Field("s", STRING),))).decode(documents)
        assert result.data.column(0).to_pylist() == ["a", "bc", None]
        assert (result.rejected.rows.tolist(), result.rejected.reasons) == ([1], ("no value",))
        part = JsonDecoder(Schema((Field("s", STRING),))).decode(documents.slice(2))
        assert part.data.column(0).to_pylist() == ["bc", None]
    empty = JsonDecoder(Schema((Field("s", STRING),))).decode(pa.array([], pa.binary()))
    assert (empty.data.num_rows, len(empty.rejected)) == (0, 0)
    with pytest.raises(PlanError, match="must be a binary or string column, got list"):
        JsonDecoder(Schema((Field("s", STRING),))).decode(pa.array([[1]]))


def test_text_that_grows() -> None:
    """law: text columns hold what comes, also when the first rows told nothing of it."""
    documents = [json.dumps({"s": "", "t": "x"}).encode()] * 1000
    documents += [json.dumps({"s": "y" * size, "t": "x" * (size % 7)}).encode() for size in range(2000)]
    documents += [json.dumps({"s": "z" * 3_000_000}).encode(), b'{"s":"end"}']
    result = decode(documents, Field("s", STRING), Field("t", STRING))
    wanted = [json.loads(document) for document in documents]
    assert result.data.column("s").to_pylist() == [row["s"] for row in wanted]
    assert result.data.column("t").to_pylist() == [row.get("t") for row in wanted]


def test_many_fields_and_long_keys() -> None:
    """law: more fields than bits in a word and keys longer than a block, in any order, absent ones null."""
    names = [f"{'k' * (n % 130)}{n}" for n in range(150)]
    fields = [Field(name, INT64) for name in names]
    rows = [{name: n * 1000 + row for n, name in enumerate(names) if (n + row) % 5} for row in range(20)]
    rows += [dict(reversed(row.items())) for row in rows]
    result = decode([json.dumps(row) for row in rows], *fields)
    assert result.data.to_pylist() == [{name: row.get(name) for name in names} for row in rows]


def test_many_rejected_and_deferred() -> None:
    """law: more bad rows and more floats in doubt than the kernel keeps at a time; rows stay in order."""
    halfway = "9007199254740993" + "0" * 40 + "1e-41"  # 2**53 + 1 and a bit: 19 digits do not decide
    too_much = str(2**1024 - 2**970)  # halfway between the largest float and what would follow it
    documents = [f'{{"f":{halfway},"g":1}}', "{", f'{{"f":{too_much},"g":{too_much}}}', '{"f":2}'] * 700
    result = decode(documents, Field("f", FLOAT64), Field("g", FLOAT64))
    assert result.data.column("f").to_pylist() == [float(halfway), 2.0] * 700
    assert result.rejected.rows.tolist() == [row for row in range(2800) if row % 4 in (1, 2)]
    assert set(result.rejected.fields) == {None, "f"}


def test_no_columns() -> None:
    """law: a schema without fields still checks and counts the documents."""
    result = decode(["{}", '{"a":1}', "[", '{"a":[1,2]}'])
    assert (result.data.num_rows, result.data.num_columns, result.rejected.rows.tolist()) == (3, 0, [2])


def test_threads() -> None:
    """law: one decoder used by several threads at once gives each what it would have got alone."""
    decoder = JsonDecoder(Schema((Field("i", INT64), Field("s", STRING), Field("f", FLOAT64))))
    batches = [
        pa.array([json.dumps({"s": f"é\\{row}" * (n % 5), "i": row * n, "f": row / 7}).encode() for row in range(3000)])
        for n in range(16)
    ]
    alone = [decoder.decode(batch).data for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert all(map(pa.RecordBatch.equals, [r.data for r in pool.map(decoder.decode, batches)], alone))


def test_what_cannot_be_decoded() -> None:
    """golden: types and formats that JSON cannot give are errors of the plan, which name the field."""
    for field, message in (
        (Field("a", DataType("int32")), "field 'a': JSON cannot be decoded to int32"),
        (Field("a", from_arrow_type(pa.list_(pa.int64()))), "field 'a': JSON cannot be decoded to list"),
        (Field("a", TIMESTAMP, format="rfc"), "no timestamp format 'rfc'; there are iso, s, ms, us"),
        (Field("a", INT64, format="json"), "int64 has no format 'json'"),
        (Field("a", named_type("timestamp[ns]")), "cannot be decoded to"),
        (Field("a", INT64, ("\ud800",)), "has a lone surrogate"),
    ):
        with pytest.raises(PlanError, match=r".*" + re.escape(message)):
            JsonDecoder(Schema((field,)))
    with pytest.raises(PlanError, match="must be at least 1"):
        JsonDecoder(Schema((Field("a", INT64),)), max_depth=0)
