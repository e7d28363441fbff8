"""Record ends, one character at a time."""

from __future__ import annotations


def record_ends(data: bytes, quote: int, delimiter: int, state: int, most: int) -> tuple[list[int], int]:
    """The ends, and the state at the end: 0 before a field, 1 in one, 2 inside quotes, 3 behind a quote in quotes."""
    ends: list[int] = []
    for position, byte in enumerate(data):
        if quote < 0:
            new_record = byte == 0x0A
        else:
            if state == 2:
                state = 3 if byte == quote else 2
            elif byte == quote and state in (0, 3):
                state = 2
            elif byte in (delimiter, 0x0A):
                state = 0
            else:
                state = 1
            new_record = byte == 0x0A and state == 0
        if new_record and len(ends) < most:
            ends.append(position + 1)
    return ends, state
