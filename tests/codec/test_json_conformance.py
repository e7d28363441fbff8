"""The decoder and two conforming parsers agree on which documents are JSON: differential."""

from __future__ import annotations

import json
import re

import orjson
import pyarrow as pa
import pytest

from tests.codec.json_documents import BROKEN, SOUND
from tests.oracles import json_decode as oracle
from windrow.codec.json import Decoded, JsonDecoder
from windrow.datatypes import INT64, STRING, Field, Schema

SCHEMAS = {
    "none of it": Schema((Field("elsewhere", INT64),)),
    "all of it": Schema((Field("a", STRING, format="json"), Field("b", STRING, format="json"))),
    "deep in it": Schema((Field("c", STRING, ("a", "b", "c"), "json"), Field("v", STRING, ("v", "a"), "json"))),
}


def _malformed(result: Decoded) -> set[int]:
    """Rows that were rejected for what they are, not for a field or for being another value than an object."""
    told = zip(result.rejected.rows.tolist(), result.rejected.fields, result.rejected.reasons, strict=True)
    return {
        row for row, field, why in told if field is None and ("malformed" in why or "empty" in why or "nested" in why)
    }


def _is_json(document: bytes) -> bool:
    try:
        oracle.load(document)
    except oracle.Bad:
        return False
    return True


def test_there_are_some_hundred_documents() -> None:
    """law: the tables hold a few hundred different documents of either kind, and Python's json agrees with each."""
    assert len(set(SOUND)) > 500
    assert len(set(BROKEN)) > 700
    for document in SOUND:
        assert _is_json(document), document
    for document in BROKEN:
        assert not _is_json(document), document


def test_orjson_agrees() -> None:
    """differential: orjson takes the same documents, as the tables would be wrong otherwise."""
    for document in SOUND:
        orjson.loads(document)
    for document in BROKEN:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(document)


@pytest.mark.parametrize("wanted", SCHEMAS)
def test_sound_documents_are_taken(wanted: str) -> None:
    """differential: no sound document is called malformed; the ones that are no objects are rejected as such."""
    result = JsonDecoder(SCHEMAS[wanted]).decode(pa.array(SOUND, pa.binary()))
    assert not _malformed(result)
    for row, why in zip(result.rejected.rows.tolist(), result.rejected.reasons, strict=True):
        assert not isinstance(json.loads(SOUND[row]), dict) or "on the way" in why, SOUND[row]


@pytest.mark.parametrize("wanted", SCHEMAS)
def test_broken_documents_are_rejected(wanted: str) -> None:
    """differential: every broken document is rejected, and as malformed."""
    result = JsonDecoder(SCHEMAS[wanted]).decode(pa.array(BROKEN, pa.binary()))
    taken = set(range(len(BROKEN))) - _malformed(result)
    assert not [BROKEN[row] for row in sorted(taken)]
    assert result.data.num_rows == 0


@pytest.mark.parametrize("wanted", SCHEMAS)
@pytest.mark.parametrize(
    "around", [b'{"v":%s}', b'{"a":%s,"b":1}', b'{"a":{"b":{"c":%s}}}', b' {"x":[%s], "a":[{"b":%s}]}']
)
def test_the_same_inside_an_object(wanted: str, around: bytes) -> None:
    """differential: as values inside objects, wanted or not, they are told apart as Python's json tells them."""
    documents = [around.replace(b"%s", document) for document in SOUND + BROKEN]
    result = JsonDecoder(SCHEMAS[wanted]).decode(pa.array(documents, pa.binary()))
    found = _malformed(result)
    assert found == {row for row, document in enumerate(documents) if not _is_json(document)}


def test_every_prefix_of_a_document_is_rejected() -> None:
    """differential: a document that is cut off anywhere is rejected, whatever bytes follow it in memory."""
    whole = (
        rb' {"a" : [1, -2.5e3, {"b": "\u00e9\ud83d\ude00 x\\"}], "v": {"a": "'
        + b"y" * 70
        + b'\xe2\x82\xac"}, "b": true} '
    )
    assert _is_json(whole)
    ends = [*range(len(whole) - 1), len(whole)]
    prefixes = [whole[:end] for end in ends]
    lengths = pa.array([0, *[sum(map(len, prefixes[:n])) for n in range(1, len(prefixes) + 1)]], pa.int32())
    documents = pa.Array.from_buffers(
        pa.binary(), len(prefixes), [None, lengths.buffers()[1], pa.py_buffer(b"".join(prefixes) + whole)]
    )
    for schema in SCHEMAS.values():
        result = JsonDecoder(schema).decode(documents)
        assert _malformed(result) == {row for row, prefix in enumerate(prefixes) if not _is_json(prefix)}
    # the same with each prefix followed by the rest of the document in the next row
    pieces = [piece for end in range(len(whole)) for piece in (whole[:end], whole[end:])]
    for schema in SCHEMAS.values():
        result = JsonDecoder(schema).decode(pa.array(pieces, pa.binary()))
        assert _malformed(result) == {row for row, piece in enumerate(pieces) if not _is_json(piece)}


@pytest.mark.parametrize(("document", "reason"), [
    (b"", "empty document"),
    (b"  ", "empty document"),
    (b"[1]", "expected a JSON object at the top, at byte 0"),
    (b' "x"', "expected a JSON object at the top, at byte 1"),
    (b'{"a":1', "the document ends too early, at byte 6"),
    (b'{"a":1}x', "more text behind the object, at byte 7"),
    (b'{"a" 1}', "expected a colon, at byte 5"),
    (b'{"a":1 "b":2}', "expected a comma or a closing bracket, at byte 7"),
    (b'{"a":1,}', "expected a key in double quotes, at byte 7"),
    (b'{"a":x}', "expected a value, at byte 5"),
    (b'{"z":1.}', "not a number as JSON writes it, at byte 7"),
    (b'{"z":"\n"}', "control character in a string, at byte 6"),
    (b'{"z":"\\x"}', "no such escape, at byte 7"),
    (b'{"z":"\\ud800"}', "half of a surrogate pair, at byte 7"),
    (b'{"z":"\xff"}', "invalid UTF-8, at byte 6"),
    (b'{"z":' + b"[" * 128 + b"]" * 128 + b"}", "nested deeper than 128, at byte 132"),
    (None, "no value"),
])  # fmt: skip
def test_reasons(document: bytes | None, reason: str) -> None:
    """golden: what is said of a document that is rejected as a whole."""
    rejected = JsonDecoder(SCHEMAS["all of it"]).decode(pa.array([document], pa.binary())).rejected
    assert rejected.fields == (None,)
    assert re.sub("^malformed JSON: ", "", rejected.reasons[0]) == reason
