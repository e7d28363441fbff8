"""Why a JSON document was rejected, in words."""

from __future__ import annotations

from windrow.codec.json_program import WantedField
from windrow.kernels import json_text as codes

_DOCUMENT = {
    codes.NO_VALUE: "no value",
    codes.EMPTY: "empty document",
    codes.NOT_OBJECT: "expected a JSON object at the top",
    codes.CUT_OFF: "malformed JSON: the document ends too early",
    codes.TRAILING: "malformed JSON: more text behind the object",
    codes.WANT_KEY: "malformed JSON: expected a key in double quotes",
    codes.WANT_COLON: "malformed JSON: expected a colon",
    codes.WANT_COMMA: "malformed JSON: expected a comma or a closing bracket",
    codes.WANT_VALUE: "malformed JSON: expected a value",
    codes.BAD_NUMBER: "malformed JSON: not a number as JSON writes it",
    codes.CONTROL: "malformed JSON: control character in a string",
    codes.BAD_ESCAPE: "malformed JSON: no such escape",
    codes.LONE_SURROGATE: "malformed JSON: half of a surrogate pair",
    codes.BAD_UTF8: "malformed JSON: invalid UTF-8",
}
_UNPLACED = (codes.NO_VALUE, codes.EMPTY, codes.TOO_LONG)
_FIELD = {
    codes.WRONG_TYPE: "wrong type",
    codes.NOT_INTEGER: "written with a point or an exponent",
    codes.INT_RANGE: "does not fit int64",
    codes.FLOAT_RANGE: "does not fit float64",
    codes.BAD_TIME: "not an ISO 8601 time",
    codes.TIME_RANGE: "a time out of range",
    codes.BAD_DATE: "not a date written yyyy-mm-dd",
    codes.BAD_BASE64: "not base64",
    codes.BAD_DECIMAL: "a string that holds no number",
    codes.DECIMAL_SCALE: "more digits after the point than the type has",
    codes.DECIMAL_RANGE: "more digits than the type has",
    codes.NOT_PARENT: "expected an object on the way to the field",
}
_STARTS = {'"': "a string", "{": "an object", "[": "a list", "t": "true", "f": "false", "n": "null"}
_SHOWN = 40


def document_reason(code: int, at: int, max_depth: int, max_bytes: int) -> str:
    """Why a whole document was rejected; `at` is the byte where it was seen."""
    if code == codes.TOO_LONG:
        return f"longer than {max_bytes} bytes"
    text = f"nested deeper than {max_depth}" if code == codes.TOO_DEEP else _DOCUMENT[code]
    return text if code in _UNPLACED else f"{text}, at byte {at}"


def field_reason(code: int, field: WantedField, at: int, document: bytes) -> str:
    """Why a field's value was refused; `document` from byte `at` on starts with that value."""
    if code == codes.MISSING:
        return "required, but missing"
    if code == codes.NULL:
        return "required, but null"
    found = _STARTS.get(chr(document[at]), "a number")
    shown = document[at : at + _SHOWN].decode(errors="replace")
    if code == codes.WRONG_TYPE:
        return f"expected {field.field.type}, got {found}, at byte {at}: {shown}"
    return f"expected {field.field.type}, got {found}: {_FIELD[code]}, at byte {at}: {shown}"
