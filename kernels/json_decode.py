"""The JSON decoder: a column of documents to columns of values, as a description of the wanted fields says.

The description is a tree of the keys on the way to the wanted fields, so that one compiled kernel serves every schema.
Most documents have their keys in the order of the document before, so the text between two values is compared with
what stood there last time, key, colon, comma and spaces at once, and only where that fails is the key looked up.
"""

from __future__ import annotations

from typing import Any

from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, R_I32, R_I64, R_U8, R_U64, W_I32, W_I64, W_U8
from windrow.kernels.json_fields import (
    ABSENT,
    AREA,
    AT_FIXED,
    AT_FULL,
    AT_KEY,
    AT_LAST_DATE,
    AT_LEARNED,
    AT_LIMIT,
    AT_NOTES,
    AT_OFFSETS,
    AT_OPEN,
    AT_POWERS,
    AT_STACK,
    AT_STATES,
    AT_TEXT,
    AT_VALID,
    BASE64,
    BITMAP,
    DECIMAL,
    DEFERRED,
    FIELD_BYTES,
    GOOD,
    INT,
    IS_NULL,
    ISO_TIME,
    NOTE_AT,
    NOTE_BYTES,
    NOTE_CODE,
    NOTE_LENGTH,
    NULLS,
    PLACE,
    RAW,
    REQUIRED,
    ROOM,
    TEXT,
    TYPE,
    WRONG,
    convert,
    note,
)  # fmt: skip
from windrow.kernels.json_numbers import base64_in_place
from windrow.kernels.json_simd import (
    byte_at,
    copy_block,
    digit_count,
    digit_lanes,
    digits_value,
    fail,
    half_at,
    helper,
    hot,
    put_byte,
    put_half,
    put_int,
    same_bytes,
    slot,
    whole,
)  # fmt: skip
from windrow.kernels.json_skip import NULL_TEXT, skip_key, skip_value
from windrow.kernels.json_text import (
    BAD_BASE64,
    CUT_OFF,
    EMPTY,
    GROW,
    MISSING,
    NO_VALUE,
    NOT_OBJECT,
    NOT_PARENT,
    NULL,
    TOO_DEEP,
    TOO_LONG,
    TRAILING,
    WANT_COMMA,
    copy_bytes,
    copy_string,
    skip_space,
    skip_string,
)  # fmt: skip
from windrow.kernels.json_times import fast_time

#: Bytes behind the last document that a kernel may read.
PADDING = 256

#: Slots of a node of the tree (int64): its children's numbers from FIRST up to LAST; its own fields from LEAF up to
#: BELOW, those of its children from there up to OVER; place and length of its key; its number among
#: the nodes with children.
FIRST, LAST, LEAF, BELOW, OVER, KEY, KEY_BYTES, OBJECT = (8 * n for n in range(8))
NODE_BYTES = 64

#: What is learned of an object's members: for each of the first MEMBERS, 64 bytes of text, a mask of the bytes that
#: do not matter, the length of the text and the node it leads to. One more entry stays empty and never fits.
MEMBERS = 64
ENTRY_BYTES = 128
LEARNED_BYTES = ENTRY_BYTES * (MEMBERS + 1)
_IGNORE, _LENGTH, _NODE = 64, 72, 80

#: What `decode` returns: all rows done; a list of rejected or deferred values is full; a text area is full.
DONE, LISTS_FULL, TEXT_FULL = range(3)
#: Slots of `progress`: next row in, rows out, rejected rows, deferred values, the field whose text area is full.
ROW_IN, ROW_OUT, REJECTED, PUT_OFF, FULL_FIELD = range(5)
#: int64 that a rejected row takes: row, what is wrong, field or -1, byte within the document; and a deferred float:
#: row in, row out, field, first byte of its text in `data`, length.
REJECT_SLOTS, DEFER_SLOTS = 4, 5

_SKIP = -1


@helper
def _child(node: int, start: int, size: int, nodes: int, keys: int) -> int:
    """The child of `node` whose key is the `size` bytes at `start`, or _SKIP."""
    child = slot(node, FIRST)
    last = slot(node, LAST)
    while child < last:
        candidate = nodes + child * NODE_BYTES
        if slot(candidate, KEY_BYTES) == size:
            key = keys + slot(candidate, KEY)
            same = 0
            while same < size and byte_at(key, same) == byte_at(start, same):
                same += 1
            if same == size:
                return child
        child += 1
    return _SKIP


@helper
def _look_up(start: int, stop: int, node: int, nodes: int, keys: int, longest: int, at: int) -> int:
    """The child of `node` whose key is spelled between two addresses, with or without escapes."""
    look = start
    while look < stop and byte_at(look, 0) != 92:
        look += 1
    if look == stop:
        return _child(node, start, stop - start, nodes, keys)
    if stop - start > 6 * longest:  # six bytes are the most that one byte of a key can be spelled with
        return _SKIP
    target = slot(at, AT_KEY)
    _, over = copy_string(start, stop + 1, target)
    return _child(node, target, over - target, nodes, keys)


@helper
def _next_member(
    p: int, end: int, first: int, node: int, nodes: int, keys: int, longest: int, at: int
) -> tuple[int, int]:
    """(address, child) of the value of the next member; of the closing bracket, and -2, if there is none."""
    p = skip_space(p, end)
    if p >= end:
        return fail(p, CUT_OFF), 0
    if byte_at(p, 0) == 125:
        return p, -2
    if not first:
        if byte_at(p, 0) != 44:
            return fail(p, WANT_COMMA), 0
        p = skip_space(p + 1, end)
    after = skip_key(p, end)
    if after < 0:
        return after, 0
    # skip_key has found the string well-formed, so this finds its end again
    stop = skip_string(p + 1, end) - 1
    return after, _look_up(p + 1, stop, node, nodes, keys, longest, at)


@helper
def _learn(table: int, position: int, start: int, stop: int, child: int) -> int:
    """Keep the text before a value for the next document; the position that is expected to follow."""
    size = stop - start
    if size > 64:
        return position + 1 if position < MEMBERS else position
    known = 0
    while known < MEMBERS:
        entry = table + known * ENTRY_BYTES
        if slot(entry, _LENGTH) == size and same_bytes(start, entry) | slot(entry, _IGNORE) == -1:
            return known + 1
        if slot(entry, _LENGTH) == 0 and known >= position:
            break
        known += 1
    if position < MEMBERS:
        entry = table + position * ENTRY_BYTES
        copy_block(entry, start)
        put_int(entry + _IGNORE, -1 << size if size < 64 else 0)
        put_int(entry + _LENGTH, size)
        put_int(entry + _NODE, child)
        return position + 1
    return MEMBERS


@helper
def _enter(p: int, end: int, node: int, depth: int, at: int) -> int:
    """A value where fields lie below: behind the opening bracket of an object, or behind anything else."""
    f = slot(node, BELOW)
    parent = byte_at(p, 0) == 123
    while f < slot(node, OVER):
        # what an earlier value of the same key said of the fields no longer counts
        put_byte(slot(at, AT_STATES) + f, ABSENT)
        if not parent and half_at(p, 0) != NULL_TEXT:
            note(p, f, NOT_PARENT, at)
        f += 1
    if not parent:
        return skip_value(p, end, depth, slot(at, AT_LIMIT), slot(at, AT_OPEN))
    return p + 1 if depth < slot(at, AT_LIMIT) else fail(p, TOO_DEEP)


@hot
def _text_value(p: int, end: int, field: int, f: int, row: int, at: int) -> int:
    """A string to its column; 0 if the bytes of this one are no base64."""
    offset = slot(at, AT_OFFSETS) + slot(field, PLACE) + row * 4
    start = half_at(offset, 0)
    if start + (end - p) + 64 > slot(field, ROOM):
        put_int(at + AT_FULL, f)
        return fail(p, GROW)
    area = slot(at, AT_TEXT) + slot(field, AREA)
    after, stop = copy_string(p + 1, end, area + start)
    if after > 0 and slot(field, TYPE) == BASE64:
        stop = base64_in_place(area + start, stop)
    put_half(offset + 4, stop - area)
    put_byte(slot(at, AT_STATES) + f, GOOD)
    if stop == 0:
        note(p, f, BAD_BASE64, at)
    return after


@helper
def _raw_value(p: int, end: int, after: int, field: int, f: int, row: int, at: int) -> int:
    """The JSON text between `p` and `after` to its column."""
    offset = slot(at, AT_OFFSETS) + slot(field, PLACE) + row * 4
    start = half_at(offset, 0)
    if byte_at(p, 0) == 110:
        put_byte(slot(at, AT_STATES) + f, IS_NULL)
        return after
    if start + (end - p) + 64 > slot(field, ROOM):
        put_int(at + AT_FULL, f)
        return fail(p, GROW)
    if after <= end:  # else the document is cut off, which the caller finds
        copy_bytes(slot(at, AT_TEXT) + slot(field, AREA) + start, p, after - p)
    put_half(offset + 4, start + after - p)
    put_byte(slot(at, AT_STATES) + f, GOOD)
    return after


@helper
def _any_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """Whatever value of whatever type to its column."""
    after = skip_value(p, end, depth, slot(at, AT_LIMIT), slot(at, AT_OPEN))
    if after < 0:
        return after
    if slot(field, TYPE) == RAW:
        return _raw_value(p, end, after, field, f, row, at)
    state = convert(p, after, field, row, at)
    put_byte(slot(at, AT_STATES) + f, state & 255)
    if state != GOOD and state != IS_NULL:
        notes = slot(at, AT_NOTES) + f * NOTE_BYTES
        put_int(notes + NOTE_CODE, state >> 8)
        put_int(notes + NOTE_AT, p)
        put_int(notes + NOTE_LENGTH, after - p)
    return after


@helper
def _no_object(p: int, end: int, at: int) -> int:
    """The `fail` of a document that is no object."""
    if p >= end:
        return fail(p, EMPTY)
    after = skip_value(p, end, whole(0), slot(at, AT_LIMIT), slot(at, AT_OPEN))
    if after < 0:
        return after
    after = skip_space(after, end)
    if after > end:
        return fail(end, CUT_OFF)
    return fail(p, NOT_OBJECT) if after == end else fail(after, TRAILING)


@helper
def _document(p: int, end: int, row: int, nodes: int, keys: int, longest: int, fields: int, at: int) -> int:
    """Read the document at `p`: `end`, or a `fail`."""
    p = skip_space(p, end)
    if p >= end or byte_at(p, 0) != 123:
        return _no_object(p, end, at)
    p += 1
    node = nodes
    table = slot(at, AT_LEARNED)
    entry = table
    depth = whole(1)  # whole: a literal would compile another version of what it is given to
    first = whole(1)
    while depth:
        if p >= end:
            return fail(p, CUT_OFF)
        if byte_at(p, 0) == 125:
            p += 1
            depth -= 1
            node = slot(slot(at, AT_STACK), depth * 16)
            entry = slot(slot(at, AT_STACK), depth * 16 + 8)
            table = slot(at, AT_LEARNED) + slot(node, OBJECT) * LEARNED_BYTES
            first = whole(0)
            continue
        if same_bytes(p, entry) | slot(entry, _IGNORE) == -1:
            p += slot(entry, _LENGTH)
            child = slot(entry, _NODE)
            entry += ENTRY_BYTES
            if byte_at(p, 0) <= 32:
                p = skip_space(p, end)
        else:
            after, child = _next_member(p, end, first, node, nodes, keys, longest, at)
            if after < 0:
                return after
            if child == -2:
                p = after
                continue
            entry = table + _learn(table, (entry - table) // ENTRY_BYTES, p, after, child) * ENTRY_BYTES
            p = after
        first = whole(0)
        if child == _SKIP:
            count = digit_count(digit_lanes(p))
            c = byte_at(p, count)
            if (c == 44 or c == 125) and count > 0 and (count == 1 or byte_at(p, 0) != 48):
                p += count
            elif byte_at(p, 0) == 34:
                p = skip_string(p + 1, end)
            else:
                p = skip_value(p, end, depth, slot(at, AT_LIMIT), slot(at, AT_OPEN))
            if p < 0:
                return p
            continue
        below = nodes + child * NODE_BYTES
        f = slot(below, LEAF)
        stop = slot(below, BELOW)
        value = p
        while f < stop:
            field = fields + f * FIELD_BYTES
            kind = slot(field, TYPE)
            p = whole(0)
            # what most values look like is read right here
            if kind == INT:
                # one to eight digits, without a branch for each
                lanes = digit_lanes(value)
                count = digit_count(lanes)
                c = byte_at(value, count)
                if (c == 44 or c == 125) and count > 0 and (count == 1 or byte_at(value, 0) != 48):
                    put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, whole(digits_value(lanes, count)))
                    put_byte(slot(at, AT_STATES) + f, GOOD)
                    p = value + count
            elif byte_at(value, 0) == 34:
                if kind <= BASE64:
                    p = _text_value(value, end, field, f, row, at)
                elif kind == ISO_TIME:
                    us, length = fast_time(value + 1, slot(at, AT_LAST_DATE))
                    if length:
                        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, us)
                        put_byte(slot(at, AT_STATES) + f, GOOD)
                        p = value + 1 + length
            if p == 0:
                p = _any_value(value, end, field, f, row, depth, at)
            if p < 0:
                return p
            f += 1
        if slot(below, FIRST) == slot(below, LAST):
            continue
        p = _enter(value, end, below, depth, at)
        if p < 0:
            return p
        if byte_at(value, 0) == 123:
            put_int(slot(at, AT_STACK) + depth * 16, node)
            put_int(slot(at, AT_STACK) + depth * 16 + 8, entry)
            depth += 1
            node = below
            table = slot(at, AT_LEARNED) + slot(node, OBJECT) * LEARNED_BYTES
            entry = table
            first = whole(1)
    if p < end:
        p = skip_space(p, end)
    if p > end:
        return fail(end, CUT_OFF)
    return p if p == end else fail(p, TRAILING)


@helper
def _verdict(count: int, fields: int, at: int) -> int:
    """What is wrong with the first field that has no good value: code << 32 | field, or 0 if all may stay."""
    f = 0
    while f < count:
        state = byte_at(slot(at, AT_STATES), f)
        required = slot(fields + f * FIELD_BYTES, REQUIRED)
        if state == WRONG:
            return slot(slot(at, AT_NOTES), f * NOTE_BYTES + NOTE_CODE) << 32 | f
        if required and state == ABSENT:
            return MISSING << 32 | f
        if required and state == IS_NULL:
            return NULL << 32 | f
        f += 1
    return 0


@helper
def _put_null(field: int, f: int, row: int, at: int) -> None:
    """Field `f` of this row has no value."""
    kind = slot(field, TYPE)
    if kind == TEXT or kind == RAW or kind == BASE64:
        offset = slot(at, AT_OFFSETS) + slot(field, PLACE) + row * 4
        put_half(offset + 4, half_at(offset, 0))
    elif kind == DECIMAL:
        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 16, 0)
        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 16 + 8, 0)
    else:
        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, 0)
    bits = slot(at, AT_VALID) + slot(field, BITMAP) + (row >> 3)
    put_byte(bits, byte_at(bits, 0) & ~(1 << (row & 7)))
    nulls = slot(at, AT_NOTES) + f * NOTE_BYTES + NULLS
    put_int(nulls, slot(nulls, 0) + 1)


@helper
def _finish(count: int, row_in: int, row: int, base: int, fields: int, at: int, deferred: Any, put_off: int) -> int:
    """Settle a row in which a field has no value or a deferred one; how many values are deferred now."""
    for f in range(count):
        state = byte_at(slot(at, AT_STATES), f)
        if state == ABSENT or state == IS_NULL:
            _put_null(fields + f * FIELD_BYTES, f, row, at)
        elif state == DEFERRED:
            text = slot(at, AT_NOTES) + f * NOTE_BYTES
            first = put_off * DEFER_SLOTS
            deferred[first] = row_in
            deferred[first + 1] = row
            deferred[first + 2] = f
            deferred[first + 3] = slot(text, NOTE_AT) - base
            deferred[first + 4] = slot(text, NOTE_LENGTH)
            put_off += 1
    return put_off


@kernel(
    I64(
        R_U8, R_I32, R_I32, R_U8, R_I64, R_U8, R_I64, R_U64, I64, I64, I64, I64,
        W_I64, W_U8, W_I64, W_I32, W_U8, W_U8, W_I64, W_I64,
    )
)  # fmt: skip
def decode(
    data: Any,
    starts: Any,
    ends: Any,
    present: Any,
    nodes: Any,
    keys: Any,
    fields: Any,
    powers: Any,
    rows: int,
    field_count: int,
    longest_key: int,
    max_bytes: int,
    progress: Any,
    scratch: Any,
    fixed: Any,
    offsets: Any,
    text: Any,
    valid: Any,
    rejects: Any,
    deferred: Any,
) -> int:
    """Decode documents from row ``progress[ROW_IN]`` on until row `rows` or until something is full.

    Document r is ``data[starts[r]:ends[r]]``; PADDING more bytes of `data` behind each are readable. `present` has
    a byte a row, 0 for no document, or is empty. `nodes`, `keys` and `fields` describe what is wanted, see above and
    ``json_fields``. `scratch` starts with the memory map and is kept between the calls for one batch.
    Values go to row ``progress[ROW_OUT]`` of `fixed` (int64), `offsets` and `text`; `valid` are bitmaps of ones.
    """
    at = whole(scratch.ctypes.data)
    base = whole(data.ctypes.data)
    node_at = whole(nodes.ctypes.data)
    key_at = whole(keys.ctypes.data)
    field_at = whole(fields.ctypes.data)
    states = slot(at, AT_STATES)
    put_int(at + AT_FIXED, whole(fixed.ctypes.data))
    put_int(at + AT_OFFSETS, whole(offsets.ctypes.data))
    put_int(at + AT_TEXT, whole(text.ctypes.data))
    put_int(at + AT_VALID, whole(valid.ctypes.data))
    put_int(at + AT_POWERS, whole(powers.ctypes.data))
    put_int(slot(at, AT_STACK), node_at)  # where the end of a document leads
    blocks = (field_count + 63) // 64
    row_in = progress[ROW_IN]
    row = progress[ROW_OUT]
    bad = progress[REJECTED]
    put_off = progress[PUT_OFF]
    status = DONE
    while row_in < rows:
        if (bad + 1) * REJECT_SLOTS > rejects.size or (put_off + field_count) * DEFER_SLOTS > deferred.size:
            status = LISTS_FULL
            break
        start = base + whole(starts[row_in])
        end = base + whole(ends[row_in])
        code = 0
        wrong = -1
        where = 0
        if present.size and present[row_in] == 0:
            code = NO_VALUE
        elif end - start > max_bytes:
            code = TOO_LONG
        else:
            for block in range(blocks):
                copy_block(states + block * 64, states + (blocks + block) * 64)
            result = _document(start, end, row, node_at, key_at, longest_key, field_at, at)
            if result < 0:
                code = -result & 255
                where = (-result >> 8) - start
                if code == GROW:
                    status = TEXT_FULL
                    break
            else:
                all_good = True
                for block in range(blocks):
                    if same_bytes(states + block * 64, states + (2 * blocks) * 64) != -1:
                        all_good = False
                if not all_good:
                    verdict = _verdict(field_count, field_at, at)
                    if verdict:
                        code = verdict >> 32
                        wrong = verdict & 0xFFFFFFFF
                        if code < MISSING:
                            where = slot(slot(at, AT_NOTES), wrong * NOTE_BYTES + NOTE_AT) - start
                    else:
                        put_off = _finish(field_count, row_in, row, base, field_at, at, deferred, put_off)
        if code:
            rejects[bad * REJECT_SLOTS] = row_in
            rejects[bad * REJECT_SLOTS + 1] = code
            rejects[bad * REJECT_SLOTS + 2] = wrong
            rejects[bad * REJECT_SLOTS + 3] = where
            bad += 1
        else:
            row += 1
        row_in += 1
    progress[ROW_IN] = row_in
    progress[ROW_OUT] = row
    progress[REJECTED] = bad
    progress[PUT_OFF] = put_off
    progress[FULL_FIELD] = slot(at, AT_FULL)
    return status
