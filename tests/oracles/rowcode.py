"""Plain-Python twins of kernels.rowcode: a row at a time with struct."""

import struct


def encode_int64(values):
    """The field of each row."""
    return [b"\0" * 9 if value is None else b"\1" + struct.pack("<q", value) for value in values]


def encode_bytes(texts):
    return [b"\0" if text is None else b"\1" + struct.pack("<I", len(text)) + text for text in texts]


def decode_int64(fields):
    return [struct.unpack("<q", field[1:9])[0] if field[0] else None for field in fields]


def decode_offsets(fields):
    offsets = [0]
    for field in fields:
        offsets.append(offsets[-1] + (struct.unpack("<I", field[1:5])[0] if field[0] else 0))
    return offsets


def decode_bytes(fields):
    return b"".join(field[5:] if field[0] else b"" for field in fields)
