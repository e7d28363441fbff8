"""What the JSON decoder must give, by Python's own json, int, Decimal and datetime: one document after the other."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

MISSING = object()
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Wanted:
    """A field by plain words: type is int64, double, bool, string, binary, date, timestamp, decimal or json."""

    name: str
    type: str
    path: tuple[str, ...]
    format: str = "iso"
    required: bool = False
    precision: int = 38
    scale: int = 0


class Bad(Exception):
    """The document is not what JSON allows."""


class BadField(Exception):
    """A value does not fit its field."""


class Number(str):
    """A number as it is written."""


class _Level(dict[str, Any]):
    """An object that knows how deep it is nested, shadowed members included."""

    depth = 1


def _depth(value: Any) -> int:
    if isinstance(value, _Level):
        return value.depth
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, list):
        for item in value:
            _check_text(item)


def _object(pairs: list[tuple[str, Any]]) -> _Level:
    for key, value in pairs:
        _check_text(key)
        _check_text(value)
    made = _Level(pairs)
    made.depth = 1 + max((_depth(value) for _, value in pairs), default=0)
    return made


def _constant(text: str) -> None:
    raise Bad(text)


def load(document: bytes, max_depth: int = 128) -> Any:
    """The value of a document, numbers as `Number`; raises `Bad`."""
    try:
        value = json.loads(
            document.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_constant,
        )
        _check_text(value)
    except (ValueError, RecursionError) as error:
        raise Bad(str(error)) from error
    if _depth(value) > max_depth:
        raise Bad("too deep")
    return value


def _find(document: Any, path: tuple[str, ...]) -> Any:
    value = document
    for key in path:
        if value is None or value is MISSING:
            return MISSING
        if not isinstance(value, dict):
            raise BadField("no object on the way")
        value = value.get(key, MISSING)
    return value


def _int(value: Any) -> int:
    if not isinstance(value, Number) or not re.fullmatch("-?[0-9]+", value) or len(value) > 30:
        raise BadField("no integer")
    if not -(2**63) <= int(value) < 2**63:
        raise BadField("range")
    return int(value)


def _float(value: Any) -> float:
    if not isinstance(value, Number):
        raise BadField("no number")
    if math.isinf(float(value)):
        raise BadField("range")
    return float(value)


def _exact(text: str) -> tuple[int, int]:
    """(m, e) with m * 10**e the number as written; zero has exponent 0."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    value = int(whole + fraction)
    power = int(exponent or 0) - len(fraction)
    while value and value % 10 == 0:
        value //= 10
        power += 1
    return (value, power) if value else (0, 0)


def _decimal(value: Any, precision: int, scale: int) -> Decimal:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise BadField("no decimal")
    mantissa, power = _exact(value)
    if not -scale <= power < 100 or abs(mantissa) * 10 ** (power + scale) >= 10**precision:
        raise BadField("does not fit")
    return Decimal(mantissa * 10 ** (power + scale)).scaleb(-scale, Context(prec=60))


def _date(value: Any) -> date:
    match = _DATE.fullmatch(value) if type(value) is str else None
    if not match:
        raise BadField("no date")
    try:
        return date(*map(int, match.groups()))
    except ValueError as error:
        raise BadField("no date") from error


def _iso_us(value: Any) -> int:
    match = _TIME.fullmatch(value) if type(value) is str else None
    if not match:
        raise BadField("no time")
    zone = UTC
    offset = match[8]
    try:
        naive = datetime(*(int(part) for part in match.groups()[:6]))  # type: ignore[arg-type]
        if offset and offset != "Z":
            hours, minutes = int(offset[1:3]), int(offset[-2:])
            if hours > 23 or minutes > 59:
                raise BadField("no zone")
            sign = -1 if offset[0] == "-" else 1
            zone = timezone(sign * timedelta(hours=hours, minutes=minutes))  # type: ignore[assignment]
    except ValueError as error:
        raise BadField("no time") from error
    us = int((match[7] or "0").ljust(9, "0")[:6])
    return (
        (naive.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
        + us
        - int((zone.utcoffset(None) or timedelta()) / timedelta(microseconds=1))
    )


def _epoch_us(value: Any, unit: str) -> int:
    if not isinstance(value, Number):
        raise BadField("no number")
    mantissa, power = _exact(value)
    power += {"s": 6, "ms": 3, "us": 0}[unit]
    if power > 40:
        raise BadField("range")
    if power < -100_000:
        return -1 if mantissa < 0 else 0
    us = mantissa * 10**power if power >= 0 else mantissa // 10**-power
    if abs(us) > 2**63 - 2:
        raise BadField("range")
    return us


def _convert(value: Any, field: Wanted) -> Any:
    if field.type == "int64":
        return _int(value)
    if field.type == "double":
        return _float(value)
    if field.type == "decimal":
        return _decimal(value, field.precision, field.scale)
    if field.type == "date":
        return _date(value)
    if field.type == "timestamp":
        return _iso_us(value) if field.format == "iso" else _epoch_us(value, field.format)
    if field.type == "json":
        return value
    if field.type == "bool":
        if value is not True and value is not False:
            raise BadField("no bool")
        return value
    if type(value) is not str:
        raise BadField("no string")
    if field.type == "binary":
        try:
            return base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadField("no base64") from error
    return value


def decode_one(document: bytes, fields: Iterable[Wanted], max_depth: int = 128) -> dict[str, Any]:
    """The row of a document; raises `Bad` or `BadField`."""
    top = load(document, max_depth)
    if not isinstance(top, dict):
        raise Bad("no object")
    row: dict[str, Any] = {}
    for field in fields:
        value = _find(top, field.path)
        if value is MISSING or value is None:
            if field.required:
                raise BadField("required")
            row[field.name] = None
        else:
            row[field.name] = _convert(value, field)
    return row


def decode(
    documents: list[bytes | None], fields: list[Wanted], max_depth: int = 128, max_bytes: int = 16 << 20
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """(rows of the good documents, for every other one "document" or "field")."""
    rows: list[dict[str, Any]] = []
    rejected: dict[int, str] = {}
    for number, document in enumerate(documents):
        try:
            if document is None or len(document) > max_bytes:
                raise Bad("no document to read")
            rows.append(decode_one(document, fields, max_depth))
        except Bad:
            rejected[number] = "document"
        except BadField:
            rejected[number] = "field"
    return rows, rejected
