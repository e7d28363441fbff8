"""Nexmark events by the rules of github.com/nexmark/nexmark (nexmark-flink, package generator), in numpy.

Event number n is a function of the seed and n alone, so that any range can be made by itself, twice, or in another
process. Of every 50 events in a row the first is a person, three are auctions, 46 are bids. Everything that is chosen
at random there is chosen here with the same probabilities, but not with the same random numbers (the original's depend
on the order in which events are made), and with two differences: names, descriptions and mail addresses come from
tables of 10,000 strings, and a bidder's id is a person's id (the original adds the first id, 1000, twice).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from windrow.batch import Int64s, UInt64s
from windrow.errors import PlanError
from windrow.io.nexmark.strings import CHANNELS, HOT_CHANNELS, POOL_BYTES, Strings, Tables, below, runs, tables, words

TIME_TYPE = pa.timestamp("us", "UTC")
PERSON = pa.schema(
    [
        ("id", pa.int64()),
        *((name, pa.string()) for name in ("name", "emailAddress", "creditCard", "city", "state")),
        ("dateTime", TIME_TYPE),
        ("extra", pa.string()),
    ]
)
AUCTION = pa.schema(
    [
        ("id", pa.int64()),
        ("itemName", pa.string()),
        ("description", pa.string()),
        ("initialBid", pa.int64()),
        ("reserve", pa.int64()),
        ("dateTime", TIME_TYPE),
        ("expires", TIME_TYPE),
        ("seller", pa.int64()),
        ("category", pa.int64()),
        ("extra", pa.string()),
    ]
)
BID = pa.schema(
    [
        ("auction", pa.int64()),
        ("bidder", pa.int64()),
        ("price", pa.int64()),
        ("channel", pa.string()),
        ("url", pa.string()),
        ("dateTime", TIME_TYPE),
        ("extra", pa.string()),
    ]
)
SCHEMAS = {"person": PERSON, "auction": AUCTION, "bid": BID}

PERSONS, AUCTIONS, BIDS = 1, 3, 46
CYCLE = PERSONS + AUCTIONS + BIDS
#: 2026-01-01 00:00:00 UTC, the time of the first event.
BASE_TIME_US = 1_767_225_600_000_000

_FIRST_ID = 1_000
_FIRST_CATEGORY, _CATEGORIES = 10, 5
_HOT_GROUP = 100  # one of as many auctions, sellers, bidders in a row is the hot one
_LEAD = 10  # ids that are not there yet, but may be named
_ACTIVE_PEOPLE = 1_000
_AUCTIONS_IN_FLIGHT = 100
_PERSON_BYTES, _AUCTION_BYTES, _BID_BYTES = 200, 500, 100
_OUT_OF_ORDER_STEP = 953
_DRAWS = 16  # random words an event may use


@dataclass(frozen=True, slots=True)
class Nexmark:
    """How events are made.

    `rate` is in events of event time a second. In groups of `out_of_order` events (1: none) the order is shuffled:
    the numbers in a group are run through in steps of 953, so it must not be a multiple of that. The `hot_*` ratios:
    all but one in so many bids are for the hot auction or by the hot bidder, auctions by the hot seller.
    """

    seed: int = 0
    rate: float = 10_000.0
    base_time_us: int = BASE_TIME_US
    out_of_order: int = 1
    hot_auctions: int = 2
    hot_sellers: int = 4
    hot_bidders: int = 4

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise PlanError(f"nexmark: rate must be more than 0 events a second, got {self.rate}")
        if self.out_of_order < 1 or self.out_of_order % _OUT_OF_ORDER_STEP == 0:
            raise PlanError(
                f"nexmark: out_of_order must be at least 1 and no multiple of {_OUT_OF_ORDER_STEP}, "
                f"got {self.out_of_order}"
            )
        if min(self.hot_auctions, self.hot_sellers, self.hot_bidders) < 1:
            raise PlanError("nexmark: hot ratios must be at least 1")

    def shuffled(self, numbers: Int64s) -> Int64s:
        """The event numbers at these places of the stream."""
        group = self.out_of_order
        return numbers if group == 1 else numbers // group * group + numbers * _OUT_OF_ORDER_STEP % group

    def time_us(self, numbers: Int64s) -> Int64s:
        """Event times: whole milliseconds."""
        since_us = (numbers * (1_000_000.0 / self.rate)).astype(np.int64)
        return self.base_time_us + since_us // 1_000 * 1_000

    def batch(self, kind: str, numbers: Int64s, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Events of one kind by their numbers, which must be numbers of that kind; only the named columns are made."""
        schema = SCHEMAS[kind]
        wanted = schema.names if columns is None else list(columns)
        maker = {"person": _Persons, "auction": _Auctions, "bid": _Bids}[kind](self, numbers)
        arrays = [maker.column(name) for name in wanted]
        if not arrays:
            return pa.record_batch({"x": pa.nulls(numbers.size)}).select([])
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([schema.field(name) for name in wanted]))


def nexmark_batches(
    first: int,
    last: int,
    *,
    seed: int = 0,
    rate: float = 10_000.0,
    base_time_us: int = BASE_TIME_US,
    out_of_order: int = 1,
    step: int = 1,
) -> dict[str, pa.RecordBatch]:
    """The events at the places ``range(first, last, step)``, in order: batches ``person``, ``auction``, ``bid``."""
    config = Nexmark(seed, rate, base_time_us, out_of_order)
    return {kind: config.batch(kind, numbers) for kind, (numbers, _) in split_kinds(config, first, last, step).items()}


def split_kinds(config: Nexmark, first: int, last: int, step: int = 1) -> dict[str, tuple[Int64s, Int64s]]:
    """For each kind: the numbers of its events, and their places counted from 0."""
    numbers = config.shuffled(np.arange(first, last, step, dtype=np.int64))
    rest = numbers % CYCLE
    places = {
        "person": np.flatnonzero(rest < PERSONS),
        "auction": np.flatnonzero((rest >= PERSONS) & (rest < PERSONS + AUCTIONS)),
        "bid": np.flatnonzero(rest >= PERSONS + AUCTIONS),
    }
    return {kind: (numbers[place], place.astype(np.int64)) for kind, place in places.items()}


class _Events:
    """What the three kinds share; each column is made when asked for."""

    bytes_wanted = 0

    def __init__(self, config: Nexmark, numbers: Int64s) -> None:
        self.config = config
        self.numbers = numbers
        self.tables: Tables = tables(config.seed)
        self._made: dict[str, pa.Array] = {}
        self._words: dict[int, UInt64s] = {}

    def column(self, name: str) -> pa.Array:
        if name not in self._made:
            made = getattr(self, f"make_{name}")()
            self._made[name] = pa.array(made) if isinstance(made, np.ndarray) else made
        return self._made[name]

    def draw(self, number: int) -> UInt64s:
        """64 random bits for every event; used up to twice, lower and upper half."""
        if number not in self._words:
            self._words[number] = words(self.config.seed, 62, self.numbers * _DRAWS + number)
        return self._words[number]

    def pick(self, number: int, bound: Int64s | int) -> Int64s:
        return below(self.draw(number), bound)

    def pick_upper(self, number: int, bound: Int64s | int) -> Int64s:
        return below(self.draw(number) >> np.uint64(32), bound)

    def price(self, number: int) -> Int64s:
        """Prices in cents, 100 to 100 million: their logarithm is spread evenly."""
        unit = (self.draw(number) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return np.floor(np.power(10.0, unit * 6.0) * 100.0 + 0.5).astype(np.int64)

    def make_dateTime(self) -> pa.Array:
        return pa.array(self.config.time_us(self.numbers)).view(TIME_TYPE)

    def size_without_extra(self) -> npt.NDArray[np.int64]:
        raise NotImplementedError

    def make_extra(self) -> pa.Array:
        """Padding up to the average size of the kind, give or take a fifth; nothing when the rest is larger already."""
        missing = self.bytes_wanted - self.size_without_extra()
        spread = np.floor(missing * 0.2 + 0.5).astype(np.int64)
        size = np.where(missing < 0, 0, missing - spread + self.pick(14, np.maximum(2 * spread, 0)))
        starts = self.pick_upper(14, POOL_BYTES - size)
        return runs(self.tables.pool, starts, starts + size)

    def last_person(self) -> Int64s:
        """Number of the last person before or at each event, from 0."""
        return self.numbers // CYCLE

    def last_auction(self) -> Int64s:
        rest = self.numbers % CYCLE
        return self.numbers // CYCLE * AUCTIONS + np.minimum(rest, PERSONS + AUCTIONS - 1) - PERSONS

    def any_person(self, bits: UInt64s) -> Int64s:
        """One of the last 1000 persons, or one of the ten to come."""
        people = self.last_person() + 1
        active = np.minimum(people, _ACTIVE_PEOPLE)
        return people - active + below(bits, active + _LEAD)


def _lengths(*columns: pa.Array) -> Int64s:
    total = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        total += pc.binary_length(column).to_numpy()
    return total


class _Persons(_Events):
    bytes_wanted = _PERSON_BYTES

    def make_id(self) -> Int64s:
        return self.last_person() + _FIRST_ID

    def make_name(self) -> pa.Array:
        first = self._any(self.tables.first_names, self.draw(0))
        return pc.binary_join_element_wise(first, self._any(self.tables.last_names, self.draw(0) >> np.uint64(32)), " ")

    def make_emailAddress(self) -> pa.Array:
        user = self._any(self.tables.mail_users, self.draw(1))
        return pc.binary_join_element_wise(user, self._any(self.tables.mail_hosts, self.draw(1) >> np.uint64(32)), "@")

    def make_creditCard(self) -> pa.Array:
        groups = [self.draw(2), self.draw(2) >> np.uint64(32), self.draw(3), self.draw(3) >> np.uint64(32)]
        return pc.binary_join_element_wise(*(self._any(self.tables.card_groups, bits) for bits in groups), " ")

    def make_city(self) -> pa.Array:
        return self._any(self.tables.cities, self.draw(4))

    def make_state(self) -> pa.Array:
        return self._any(self.tables.states, self.draw(4) >> np.uint64(32))

    def size_without_extra(self) -> Int64s:
        return 8 + _lengths(*(self.column(name) for name in ("name", "emailAddress", "creditCard", "city", "state")))

    def _any(self, strings: Strings, bits: UInt64s) -> pa.Array:
        return strings.take(below(bits, strings.ends.size))


class _Auctions(_Events):
    bytes_wanted = _AUCTION_BYTES

    def make_id(self) -> Int64s:
        return self.last_auction() + _FIRST_ID

    def make_itemName(self) -> pa.Array:
        return self.tables.item_names.take(self.pick(0, self.tables.item_names.ends.size))

    def make_description(self) -> pa.Array:
        return self.tables.descriptions.take(self.pick_upper(0, self.tables.descriptions.ends.size))

    def make_initialBid(self) -> Int64s:
        return self.price(1)

    def make_reserve(self) -> Int64s:
        return self.price(1) + self.price(2)

    def make_expires(self) -> pa.Array:
        """On average when a hundred more auctions will have been opened."""
        now = self.config.time_us(self.numbers)
        ahead = self.numbers + _AUCTIONS_IN_FLIGHT * CYCLE // AUCTIONS
        horizon_ms = (self.config.time_us(ahead) - now) // 1_000
        return pa.array(now + (1 + self.pick(3, np.maximum(horizon_ms * 2, 1))) * 1_000).view(TIME_TYPE)

    def make_seller(self) -> Int64s:
        hot = self.pick(4, self.config.hot_sellers) > 0
        hot_seller = self.last_person() // _HOT_GROUP * _HOT_GROUP
        return np.where(hot, hot_seller, self.any_person(self.draw(4) >> np.uint64(32))) + _FIRST_ID

    def make_category(self) -> Int64s:
        return self.pick_upper(3, _CATEGORIES) + _FIRST_CATEGORY

    def size_without_extra(self) -> Int64s:
        return 48 + _lengths(self.column("itemName"), self.column("description"))


class _Bids(_Events):
    bytes_wanted = _BID_BYTES

    def make_auction(self) -> Int64s:
        """The first of the last hundred auctions, or one of those in flight, or one of the ten to come."""
        newest = self.last_auction()
        hot = self.pick(0, self.config.hot_auctions) > 0
        oldest = np.maximum(newest - _AUCTIONS_IN_FLIGHT, 0)
        other = oldest + self.pick_upper(0, newest - oldest + 1 + _LEAD)
        return np.where(hot, newest // _HOT_GROUP * _HOT_GROUP, other) + _FIRST_ID

    def make_bidder(self) -> Int64s:
        hot = self.pick(1, self.config.hot_bidders) > 0
        hot_bidder = self.last_person() // _HOT_GROUP * _HOT_GROUP + 1  # not the hot seller
        return np.where(hot, hot_bidder, self.any_person(self.draw(1) >> np.uint64(32))) + _FIRST_ID

    def make_price(self) -> Int64s:
        return self.price(2)

    def _channel(self) -> Int64s:
        """Half of the bids come from the four hot channels."""
        bits = self.draw(3)
        hot = bits >> np.uint64(63) == 1
        return np.where(hot, CHANNELS + below(bits, len(HOT_CHANNELS)), below(bits, CHANNELS))

    def make_channel(self) -> pa.Array:
        return self.tables.channels.take(self._channel())

    def make_url(self) -> pa.Array:
        return self.tables.urls.take(self._channel())

    def size_without_extra(self) -> Int64s:
        return np.full(self.numbers.size, 32, np.int64)
