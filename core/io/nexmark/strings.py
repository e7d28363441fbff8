"""The texts of Nexmark events: fixed lists, tables of random strings made once for a seed, and a pool of padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Bytes, Int64s, UInt64s
from windrow.kernels.json_encode import gather_runs

STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
CITIES = (
    "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne",
)  # fmt: skip
FIRST_NAMES = ("Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter")
LAST_NAMES = ("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris")
HOT_CHANNELS = ("Google", "Facebook", "Baidu", "Apple")
CHANNELS = 10_000

POOL_BYTES = 1 << 20
#: Strings in each table of names, descriptions and parts of addresses. (The original makes each string anew.)
TABLE_STRINGS = 10_000

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(words: UInt64s) -> UInt64s:
    """The output function of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def words(seed: int, table: int, numbers: npt.NDArray[np.integer]) -> UInt64s:
    """64 random bits for each number, different for every seed and table."""
    start = mix(np.array([(seed * 64 + table) & 0xFFFF_FFFF_FFFF_FFFF], np.uint64))
    return mix(start + numbers.astype(np.uint64) * _GOLDEN)


def below(bits: UInt64s, bound: Int64s | int) -> Int64s:
    """A number from 0 to `bound` - 1 out of the lower 32 bits."""
    scaled = (bits & np.uint64(0xFFFF_FFFF)) * np.asarray(bound).astype(np.uint64)
    return (scaled >> np.uint64(32)).astype(np.int64)


@dataclass(frozen=True)
class Strings:
    """A table of strings as one run of bytes."""

    data: Bytes
    starts: Int64s
    ends: Int64s

    @staticmethod
    def of(texts: list[bytes]) -> Strings:
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        return Strings(np.frombuffer(b"".join(texts), np.uint8), np.concatenate(([0], ends[:-1])), ends)

    def take(self, indices: Int64s) -> pa.Array:
        return runs(self.data, self.starts[indices], self.ends[indices])


def runs(data: Bytes, starts: Int64s, ends: Int64s) -> pa.Array:
    """The strings ``data[starts[i]:ends[i]]``."""
    offsets = np.zeros(starts.size + 1, np.int32)
    np.cumsum(ends - starts, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    gather_runs(data, starts, ends, out)
    return pa.Array.from_buffers(
        pa.string(), starts.size, [None, pa.py_buffer(offsets), pa.py_buffer(out)], null_count=0
    )


@dataclass(frozen=True)
class Tables:
    """Everything random that is made once for a seed."""

    pool: Bytes
    channels: Strings  # the four hot ones last
    urls: Strings
    first_names: Strings
    last_names: Strings
    cities: Strings
    states: Strings
    card_groups: Strings
    mail_users: Strings
    mail_hosts: Strings
    item_names: Strings
    descriptions: Strings


@lru_cache(maxsize=4)
def tables(seed: int) -> Tables:
    """The tables of one seed; the last few seeds are kept."""
    channels = [b"channel-%d" % i for i in range(CHANNELS)]
    return Tables(
        pool=_pool(seed),
        channels=Strings.of([*channels, *(name.encode() for name in HOT_CHANNELS)]),
        urls=Strings.of(_urls(seed)),
        first_names=_fixed(FIRST_NAMES),
        last_names=_fixed(LAST_NAMES),
        cities=_fixed(CITIES),
        states=_fixed(STATES),
        card_groups=Strings.of([b"%04d" % i for i in range(10_000)]),
        mail_users=Strings.of(_random_strings(seed, 1, 7)),
        mail_hosts=Strings.of([text + b".com" for text in _random_strings(seed, 2, 5)]),
        item_names=Strings.of(_random_strings(seed, 3, 20)),
        descriptions=Strings.of(_random_strings(seed, 4, 100)),
    )


def _fixed(texts: tuple[str, ...]) -> Strings:
    return Strings.of([text.encode() for text in texts])


def _random_strings(
    seed: int, table: int, max_length: int, special: bytes = b" ", count: int = TABLE_STRINGS
) -> list[bytes]:
    """3 to `max_length` - 1 letters a to z, one in 13 of them `special` instead; spaces at the ends cut off."""
    lengths = 3 + below(words(seed, table * 2, np.arange(count)), max_length - 3)
    bits = words(seed, table * 2 + 1, np.arange(count * max_length))
    letters = np.where(below(bits, 13) == 0, special[0], 97 + below(bits >> np.uint64(32), 26)).astype(np.uint8)
    rows = letters.reshape(count, max_length)
    return [rows[i, :length].tobytes().strip() for i, length in enumerate(lengths.tolist())]


def _pool(seed: int) -> Bytes:
    """1 MiB of padding, six characters from each random int32 `r`: ``'a' + r % 26``, then ``r /= 26``, as Java counts.

    A negative `r` gives negative remainders and so the characters ``H`` to ``Z``, ``[``, ``\\``, ``]``, ``^``, ``_``
    and backquote as well: one backslash in 52 characters, which is an escape in JSON.
    """
    left = words(seed, 60, np.arange(POOL_BYTES // 6 + 1)).astype(np.uint32).view(np.int32).astype(np.int64)
    letters = np.empty((left.size, 6), np.uint8)
    for i in range(6):
        rest = np.fmod(left, 26)
        letters[:, i] = 97 + rest
        left = (left - rest) // 26
    return letters.reshape(-1)[:POOL_BYTES].copy()


def _urls(seed: int) -> list[bytes]:
    """A web address for each channel; nine in ten of the ordinary ones carry the channel's id."""
    count = CHANNELS + len(HOT_CHANNELS)
    parts = [_random_strings(seed, 10 + i, 5, b"_", count) for i in range(3)]
    with_id = below(words(seed, 61, np.arange(CHANNELS)), 10) > 0
    urls = [b"https://www.nexmark.com/%s/%s/%s/item.htm?query=1" % words_ for words_ in zip(*parts, strict=True)]
    return [
        url + b"&channel_id=%d" % _channel_id(i) if i < CHANNELS and with_id[i] else url for i, url in enumerate(urls)
    ]


def _channel_id(channel: int) -> int:
    """The bits of an int32 in reverse order, its sign dropped the way Java's abs does (which keeps the smallest)."""
    reverse = int(f"{channel:032b}"[::-1], 2)
    signed = reverse - 2**32 if reverse >= 2**31 else reverse
    return signed if signed == -(2**31) else abs(signed)
