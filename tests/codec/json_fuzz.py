"""Random JSON documents, sound and broken, decoded and compared with Python's json: run as a program, so that a crash
of the decoder shows as an exit code.

    python -m tests.codec.json_fuzz SEED DOCUMENTS
"""

from __future__ import annotations

import ctypes
import json
import mmap
import random
import struct
import sys
from typing import Any

import pyarrow as pa

from tests.oracles import json_decode as oracle
from tests.oracles.json_decode import Wanted
from windrow.arrow_types import named_type
from windrow.codec.json import JsonDecoder
from windrow.datatypes import Field, Schema

FIELDS = [
    Wanted("i", "int64", ("i",)),
    Wanted("f", "double", ("f",)),
    Wanted("b", "bool", ("b",)),
    Wanted("s", "string", ("s",)),
    Wanted("x", "binary", ("x",)),
    Wanted("d", "date", ("d",)),
    Wanted("t", "timestamp", ("t",)),
    Wanted("ts", "timestamp", ("ts",), "s"),
    Wanted("tm", "timestamp", ("tm",), "ms"),
    Wanted("tu", "timestamp", ("tu",), "us"),
    Wanted("m", "decimal", ("m",), precision=38, scale=6),
    Wanted("m9", "decimal", ("m",), precision=9, scale=2),
    Wanted("n_i", "int64", ("n", "i")),
    Wanted("n_s", "string", ("n", "s")),
    Wanted("n_o_f", "double", ("n", "o", "f")),
    Wanted("n", "json", ("n",)),
    Wanted("r", "json", ("r",)),
    Wanted("long", "string", ("a key that is longer than any block of sixty-four bytes, as keys seldom are",)),
    Wanted("é", "int64", ("é\n",)),
]
#: Pages with a guard stay mapped: the interpreter would touch them when it frees them.
_GUARDED: list[mmap.mmap] = []
FEW = [FIELDS[0], FIELDS[6], FIELDS[12]]
NEED = [Wanted("i", "int64", ("i",), required=True), Wanted("n_s", "string", ("n", "s"), required=True)]


def schema_of(wanted: list[Wanted]) -> Schema:
    """The same fields as the decoder takes them."""
    fields = []
    for want in wanted:
        type_ = {"json": "string", "decimal": f"decimal({want.precision}, {want.scale})"}.get(want.type, want.type)
        form = want.format if want.type == "timestamp" else "json" if want.type == "json" else ""
        fields.append(Field(want.name, named_type(type_), want.path, form, want.required))
    return Schema(tuple(fields))


def plain(column: pa.Array, want: Wanted) -> list[Any]:
    """The values of a column as the oracle gives them."""
    if want.type == "timestamp":
        return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    return column.to_pylist()  # type: ignore[no-any-return]


def same(got: Any, want: Any, field: Wanted) -> bool:
    """Equal, to the bit for floats; raw JSON text must mean the same."""
    if got is None or want is None:
        return got is want
    if field.type == "double":
        return struct.pack("<d", got) == struct.pack("<d", want)
    if field.type == "json":
        return oracle.load(got.encode()) == want
    return type(got) is type(want) and got == want  # type: ignore[no-any-return]


def guarded(documents: list[bytes | None]) -> pa.Array:
    """The documents as a binary array whose last byte lies before a page that must not be touched."""
    plain_array = pa.array(documents, pa.binary())
    valid, ends, data = plain_array.buffers()
    size = data.size if data is not None else 0
    used = int(memoryview(ends).cast("i")[len(documents)])
    page = mmap.PAGESIZE
    pages = -(-max(size, 1) // page) * page
    memory = mmap.mmap(-1, pages + page)
    memory[pages - used : pages] = data.to_pybytes()[:used] if data is not None else b""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address + pages), ctypes.c_size_t(page), 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    _GUARDED.append(memory)
    buffer = pa.foreign_buffer(address + pages - used, used, base=memory)
    return pa.Array.from_buffers(pa.binary(), len(documents), [valid, ends, buffer])


def compare(documents: list[bytes | None], wanted: list[Wanted], decoder: JsonDecoder) -> None:
    """Decode the documents and raise AssertionError at the first that comes out otherwise than from Python."""
    rows, rejected = oracle.decode(documents, wanted, decoder.max_depth, decoder.max_bytes)
    result = decoder.decode(guarded(documents))
    result.data.validate(full=True)
    told = dict(zip(result.rejected.rows.tolist(), result.rejected.fields, strict=True))
    for number in told.keys() ^ rejected.keys():
        raise AssertionError(
            f"{documents[number]!r}: decoder {told.get(number, 'good')}, oracle {rejected.get(number)}"
        )
    for number, field in told.items():
        assert (field is None) == (rejected[number] == "document"), (documents[number], field, rejected[number])
    good = [document for number, document in enumerate(documents) if number not in told]
    for want in wanted:
        column = plain(result.data.column(want.name), want)
        for document, got, row in zip(good, column, rows, strict=True):
            assert same(got, row[want.name], want), (document, want, got, row[want.name])


# -- documents

_TEXTS = [
    "",
    "a",
    "\\",
    '"',
    "/",
    "\n",
    "\x00",
    "\x7f",
    "é",
    "€",
    "😀",
    "\u2028",
    "\ud7ff",
    "\ue000",
    "\U0010ffff",
    "x" * 63,
]
_NUMBERS = [
    "0",
    "-0",
    "1",
    "-1",
    "7",
    "12",
    "123",
    "12345678",
    "123456789",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "1.0",
    "1e3",
    "1E+2",
    "1e-2",
    "0.1",
    "-0.5",
    "1.5e300",
    "1e308",
    "1.8e308",
    "1e999",
    "-1e999",
    "1e-400",
    "5e-324",
    "2.5e-324",
    "2.4703282292062327e-324",
    "2.2250738585072011e-308",
    "179769313486231580793e289",
    "0.30000000000000004",
    "9007199254740993",
    "9007199254740992.5",
    "123456789012345678901234567890",
    "0.000001",
    "1.234567",
    "99999999999999999999999999.999999",
    "1700000000",
    "1700000000.123456789",
    "1700000000123",
    "1700000000123456",
    "0e999999999999",
    "1e00000000000001",
    "0.00000000000000000000000000000000000000000000000000000000001",
    "100000000000000000000000000000000000000000000000",
]
_TIMES = [
    "2026-01-01 00:00:00.123", "2026-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999+01:00", "2024-02-29 12:34:56",
    "2023-02-29 12:34:56", "0001-01-01 00:00:00", "9999-12-31T23:59:59.999999-2359", "2026-01-01 24:00:00",
    "2026-13-01", "2026-01-01", "2024-02-29", "2026-01-01 00:00:00.", "2026-01-01 00:00:00.1234567890",
    "2026-01-01x00:00:00",
    "2026-01-01 00:00:00+0100", "2026-01-01 00:00:60", "2026-01-01 00:00:00.5Z", "2026-01-01 00:00:00 Z", "0000-01-01",
]  # fmt: skip
_CODED = [
    "",
    "QQ==",
    "QUI=",
    "QUJD",
    "QQ=",
    "Q===",
    "QU=D",
    "QR==",
    "a+/9",
    "a-_9",
    "QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD",
]


def _text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.15:
        return rng.choice(_TIMES)
    if kind < 0.25:
        return rng.choice(_CODED)
    if kind < 0.35:
        return rng.choice(_NUMBERS)
    return "".join(rng.choice(_TEXTS) for _ in range(rng.choice((0, 1, 2, 5, 20, 80))))


def _spell(text: str, rng: random.Random) -> str:
    """A JSON string with some characters escaped though they need not be."""
    out = []
    for char in text:
        code = ord(char)
        if rng.random() < 0.1:
            units = char.encode("utf-16-be")
            for at in range(0, len(units), 2):
                form = f"{units[at]:02x}{units[at + 1]:02x}"
                out.append("\\u" + (form.upper() if rng.random() < 0.5 else form))
        elif char in '"\\' or code < 32:
            out.append(json.dumps(char)[1:-1])
        else:
            out.append("\\/" if char == "/" and rng.random() < 0.5 else char)
    return '"' + "".join(out) + '"'


def _number(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(_NUMBERS)
    if kind < 0.6:
        return str(rng.randrange(10 ** rng.randrange(1, 22)))
    if kind < 0.8:
        return repr(struct.unpack("<d", rng.randbytes(8))[0]).replace("nan", "1").replace("inf", "2")
    return f"{rng.randrange(10 ** rng.randrange(1, 22))}.{rng.randrange(10**6):06d}"


def _space(rng: random.Random) -> str:
    return rng.choice(("", "", "", "", "", " ", "\n", "\t \r\n", " " * 70))


def _value(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if kind < 0.3:
        return _spell(_text(rng), rng)
    if kind < 0.6:
        return _number(rng)
    if kind < 0.8 or depth > 4:
        return rng.choice(("true", "false", "null"))
    if kind < 0.9:
        return "[" + ",".join(_space(rng) + _value(rng, depth + 1) + _space(rng) for _ in range(rng.randrange(4))) + "]"
    return document(rng, depth + 1)


_BY_TYPE = {
    "int64": lambda rng: str(rng.randrange(-(10**5), 10 ** rng.randrange(1, 12))),
    "double": lambda rng: repr(rng.uniform(-1, 1) * 10.0 ** rng.randrange(-30, 30)),
    "bool": lambda rng: rng.choice(("true", "false")),
    "string": lambda rng: _spell(_text(rng), rng),
    "binary": lambda rng: _spell(rng.choice(_CODED), rng),
    "date": lambda rng: _spell(rng.choice(("2026-01-01", "2024-02-29", "1969-12-31")), rng),
    "timestamp": lambda rng: _spell(rng.choice(_TIMES[:4]), rng),
    "decimal": lambda rng: f"{rng.randrange(10**7)}.{rng.randrange(100):02d}",
    "json": lambda rng: document(rng, 2),
}


def document(rng: random.Random, depth: int = 0) -> str:
    """An object with some of the wanted keys and some others, in any order, some twice."""
    keys = [field.path[-1] for field in FIELDS] + ["n", "o", "zz", "", "I", "ii", "i" * 70]
    members = []
    fitting = rng.random() < 0.7
    for _ in range(rng.randrange(12)):
        key = rng.choice(keys)
        fits = [field for field in FIELDS if field.path[-1] == key]
        if fits and fitting and rng.random() < 0.95 and fits[0].format == "iso":
            value = _BY_TYPE[fits[0].type](rng)
        else:
            value = _value(rng, depth + 1)
        if key in ("n", "o") and rng.random() < 0.7 and depth < 3:
            value = document(rng, depth + 1)
        members.append(_space(rng) + _spell(key, rng) + _space(rng) + ":" + _space(rng) + value + _space(rng))
    return "{" + ",".join(members) + "}"


def broken(text: bytes, rng: random.Random) -> bytes:
    """The document with something done to it."""
    data = bytearray(text)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        kind = rng.random()
        if kind < 0.25:
            data[at : at + 1] = b""
        elif kind < 0.5:
            data[at:at] = rng.choice(
                b'{}[]:,"\\0123456789-+.eEtfnu \n\x00\x1f\x7f\x80\xbf\xc0\xc3\xe2\xed\xf0\xf4\xff'
            ).to_bytes(1, "little")
        elif kind < 0.7:
            data[at : at + 1] = rng.randbytes(1)
        elif kind < 0.8:
            del data[at:]
        elif kind < 0.9:
            end = min(len(data), at + rng.randrange(20))
            data[at:at] = data[at:end]
        else:
            data[at:at] = rng.choice(
                (b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\u00", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80",
                 b"NaN", b"Infinity", b"[" * 130, b'{"i":' * 70, b"01", b"1.", b"//", b"\xef\xbb\xbf", b"tru", b"nul")
            )  # fmt: skip
    return bytes(data)


def main(seed: int, documents: int) -> None:
    """Compare `documents` documents, half of them broken, in batches under three schemas."""
    rng = random.Random(seed)
    decoders = [(wanted, JsonDecoder(schema_of(wanted))) for wanted in (FIELDS, FEW, NEED)]
    done = 0
    while done < documents:
        batch: list[bytes | None] = []
        template = document(rng).encode()
        for _ in range(rng.choice((1, 3, 30, 200))):
            text = template if rng.random() < 0.3 else document(rng).encode()
            batch.append(broken(text, rng) if rng.random() < 0.5 else text)
        if rng.random() < 0.2:
            batch.append(None)
        wanted, decoder = decoders[rng.randrange(3)] if rng.random() < 0.4 else decoders[0]
        compare(batch, wanted, decoder)
        done += len(batch)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
