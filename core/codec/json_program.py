"""A schema as the JSON kernel reads it: a tree of keys and a table of fields."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from windrow.batch import Bytes, Int64s
from windrow.datatypes import BINARY, BOOL, DATE, FLOAT64, INT64, STRING, TIMESTAMP, Field, Schema
from windrow.errors import PlanError
from windrow.kernels import json_decode as decoder
from windrow.kernels import json_fields as kinds
from windrow.kernels.json_times import LAST_DAY

_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")
_UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_PLAIN = {INT64: kinds.INT, FLOAT64: kinds.FLOAT, BOOL: kinds.BOOL, STRING: kinds.TEXT, BINARY: kinds.BASE64}
_TEXTS = (kinds.TEXT, kinds.RAW, kinds.BASE64)


@dataclass(frozen=True, slots=True)
class WantedField:
    """A field, with what the kernel has to know of it: its kind, scale or unit, and precision."""

    field: Field
    column: int
    kind: int
    unit: int = 0
    precision: int = 0

    @property
    def is_text(self) -> bool:
        return self.kind in _TEXTS

    @property
    def words(self) -> int:
        """int64 that a value of fixed width takes."""
        return 0 if self.is_text else 2 if self.kind == kinds.DECIMAL else 1


@dataclass(frozen=True, slots=True)
class Program:
    """`fields` in the order of the tree; `nodes` and `keys` as ``json_decode`` describes them."""

    fields: tuple[WantedField, ...]
    nodes: Int64s
    keys: Bytes
    objects: int
    longest_key: int


class _Node:
    """A key on the way to fields; the root has none."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.children: dict[str, _Node] = {}
        self.fields: list[WantedField] = []


def program(schema: Schema) -> Program:
    """What the kernel interprets for `schema`; raises `PlanError` for a type or format that JSON cannot give."""
    root = _Node(b"")
    for column, field in enumerate(schema):
        node = root
        for key in field.where:
            node = node.children.setdefault(key, _Node(_utf8(key, field)))
        node.fields.append(_wanted(field, column))
    return _flatten(root)


def _utf8(key: str, field: Field) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise PlanError(f"field {field.name!r}: the key {key!r} has a lone surrogate and cannot be in JSON") from None


def _wanted(field: Field, column: int) -> WantedField:
    known = _PLAIN.get(field.type)
    if field.type == STRING and field.format == "json":
        return WantedField(field, column, kinds.RAW)
    if field.type == TIMESTAMP:
        if field.format in ("", "iso"):
            return WantedField(field, column, kinds.ISO_TIME)
        if field.format in _UNIT_US:
            return WantedField(field, column, kinds.EPOCH_TIME, _UNIT_US[field.format])
        raise PlanError(f"field {field.name!r}: no timestamp format {field.format!r}; there are iso, s, ms, us")
    if field.format:
        raise PlanError(f"field {field.name!r}: {field.type} has no format {field.format!r}")
    if known is not None:
        return WantedField(field, column, known)
    if field.type == DATE:
        return WantedField(field, column, kinds.DATE)
    match = _DECIMAL.fullmatch(field.type.name)
    if match:
        return WantedField(field, column, kinds.DECIMAL, int(match[2]), int(match[1]))
    raise PlanError(
        f"field {field.name!r}: JSON cannot be decoded to {field.type}; there are int64, double, bool, string, binary, "
        "date32[day], timestamp[us, tz=UTC], decimal128, and string with format 'json' for any value"
    )


def _flatten(root: _Node) -> Program:
    """Nodes breadth first, so that children lie side by side; fields depth first, so that subtrees do."""
    order = [root]
    first_child: dict[int, int] = {}
    for node in order:
        first_child[id(node)] = len(order)
        order += node.children.values()
    fields: list[WantedField] = []
    spans: dict[int, tuple[int, int, int]] = {}
    pending: list[tuple[_Node, bool]] = [(root, False)]
    begun: dict[int, tuple[int, int]] = {}
    while pending:
        node, done = pending.pop()
        if done:
            spans[id(node)] = (*begun[id(node)], len(fields))
            continue
        begun[id(node)] = (len(fields), len(fields) + len(node.fields))
        fields += node.fields
        pending.append((node, True))
        pending += [(child, False) for child in reversed(node.children.values())]
    keys = b""
    objects = 0
    rows = []
    for node in order:
        first = first_child[id(node)]
        rows.append((first, first + len(node.children), *spans[id(node)], len(keys), len(node.key), objects))
        objects += bool(node.children)
        keys += node.key
    padded = np.frombuffer(keys + bytes(64), np.uint8)
    longest = max(len(node.key) for node in order)
    return Program(tuple(fields), np.array(rows, np.int64).ravel(), padded, max(objects, 1), longest)


def field_table(wanted: Program, rows: int, areas: Int64s, rooms: Int64s) -> Int64s:
    """The kernel's field descriptions for a batch of `rows`; text fields have their area and its size in bytes."""
    table = np.zeros((len(wanted.fields), kinds.FIELD_BYTES // 8), np.int64)
    fixed = texts = 0
    for f, field in enumerate(wanted.fields):
        place = texts * (rows + 1) * 4 if field.is_text else fixed * rows * 8
        area, room = (areas[texts], rooms[texts]) if field.is_text else (0, 0)
        bitmap = f * ((rows + 7) // 8)
        table[f] = (field.kind, field.unit, field.precision, place, area, room, bitmap, field.field.required)
        texts += field.is_text
        fixed += field.words
    return table.ravel()


class Scratch:
    """The kernel's working memory for one batch: `memory` starts with the map of where the rest lies."""

    def __init__(self, wanted: Program, max_depth: int) -> None:
        count = len(wanted.fields)
        states = -(-count // 64) * 64
        sizes = {
            # the states of the current document, those of a fresh one, and a block in which all is good
            kinds.AT_STATES: 2 * states + 64,
            kinds.AT_NOTES: count * kinds.NOTE_BYTES,
            kinds.AT_NUMBER: 64,
            kinds.AT_LAST_DATE: 64,
            kinds.AT_STACK: (max_depth + 2) * 16,
            kinds.AT_OPEN: max_depth + 2,
            kinds.AT_LEARNED: wanted.objects * decoder.LEARNED_BYTES,
            kinds.AT_KEY: max(6 * wanted.longest_key, kinds.ESCAPED_BYTES) + 256,
        }
        at = 8 * kinds.MAP_SLOTS
        places = {}
        for slot, size in sizes.items():
            places[slot] = at
            at += -(-size // 64) * 64
        self.memory = np.zeros(at, np.uint8)
        words = self.memory.view(np.int64)
        for slot, place in places.items():
            words[slot // 8] = self.memory.ctypes.data + place
        words[kinds.AT_LIMIT // 8] = max_depth
        # fits no text: only three bytes of it are compared
        words[(places[kinds.AT_LAST_DATE] + LAST_DAY) // 8] = -1
        fresh = self.memory[places[kinds.AT_STATES] + states :]
        fresh[count : states + 64] = kinds.GOOD
        self._notes = words[places[kinds.AT_NOTES] // 8 :]

    def nulls(self, f: int) -> int:
        """How many values of field `f` are null so far."""
        return int(self._notes[(f * kinds.NOTE_BYTES + kinds.NULLS) // 8])
