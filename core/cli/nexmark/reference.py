"""The Nexmark queries as DuckDB computes them over all events at once: what a run is checked against.

Definitions: github.com/nexmark/nexmark, ``nexmark-flink/src/main/resources/queries``. Tables `person`, `auction`, `bid`
have the generator's columns and `seq`, the order of arrival, which decides where the definitions leave ties open.
BIGINT averages are cut off, as Flink does.
"""

from __future__ import annotations

_RANKS = "price < 10000", "price >= 10000 AND price < 1000000", "price >= 1000000"

_DAY = "strftime(dateTime, '%Y-%m-%d')"

_COUNTS = "count(*) AS total_bids, " + ", ".join(
    f"count(*) FILTER ({rank}) AS rank{number}_bids" for number, rank in enumerate(_RANKS, 1)
)


def _distinct(column: str, name: str) -> str:
    parts = [f"count(DISTINCT {column}) AS total_{name}"]
    parts += [f"count(DISTINCT {column}) FILTER ({rank}) AS rank{n}_{name}" for n, rank in enumerate(_RANKS, 1)]
    return ", ".join(parts)


_DISTINCTS = f"{_distinct('bidder', 'bidders')}, {_distinct('auction', 'auctions')}"

_VALID = """SELECT a.*, b.bidder, b.price, b.dateTime AS bid_dateTime, b.extra AS bid_extra, b.seq AS bid_seq
FROM auction a JOIN bid b ON a.id = b.auction WHERE b.dateTime BETWEEN a.dateTime AND a.expires"""

_WINNERS = f"""SELECT * FROM ({_VALID})
QUALIFY row_number() OVER (PARTITION BY id ORDER BY price DESC, bid_dateTime, bid_seq) = 1"""

_WINDOW = "time_bucket(INTERVAL '10 seconds', {}, TIMESTAMPTZ '1970-01-01 00:00:00+00')"

#: Query -> SQL; columns in the order of the query's output. q12 is checked apart: its windows are of processing time.
SQL: dict[str, str] = {
    "q0": "SELECT auction, bidder, price, dateTime, extra FROM bid",
    "q1": "SELECT auction, bidder, CAST(price * 0.908 AS DECIMAL(23, 3)) AS price, dateTime, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q3": """SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
        WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')""",
    "q4": f"""SELECT category, CAST(sum(final) AS BIGINT) // count(*) AS average FROM (
        SELECT id, category, max(price) AS final FROM ({_VALID}) GROUP BY id, category) GROUP BY category""",
    "q5": """WITH starts AS (
            SELECT auction, (epoch_us(dateTime) // 2000000 - step) * 2000000 AS start
            FROM bid, (SELECT unnest(range(5)) AS step)),
        counts AS (SELECT start, auction, count(*) AS num FROM starts GROUP BY ALL)
        SELECT auction, num FROM counts QUALIFY num = max(num) OVER (PARTITION BY start)""",
    "q6": f"""SELECT seller, CAST(sum(price) OVER last AS BIGINT) // count(*) OVER last AS average FROM ({_WINNERS})
        WINDOW last AS (PARTITION BY seller ORDER BY bid_dateTime, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)""",
    "q7": f"""SELECT b.auction, b.price, b.bidder, b.dateTime, b.extra FROM bid b JOIN (
            SELECT max(price) AS price, {_WINDOW.format("dateTime")} + INTERVAL '10 seconds' AS window_end
            FROM bid GROUP BY window_end) m
        ON b.price = m.price AND b.dateTime BETWEEN m.window_end - INTERVAL '10 seconds' AND m.window_end""",
    "q8": f"""SELECT p.id, p.name, p.start AS window_start FROM
            (SELECT DISTINCT id, name, {_WINDOW.format("dateTime")} AS start FROM person) p
        JOIN (SELECT DISTINCT seller, {_WINDOW.format("dateTime")} AS start FROM auction) a
        ON p.id = a.seller AND p.start = a.start""",
    "q9": f"""SELECT id, itemName, description, initialBid, reserve, dateTime, expires, seller, category, extra,
        id AS auction, bidder, price, bid_dateTime, bid_extra FROM ({_WINNERS})""",
    "q10": f"""SELECT auction, bidder, price, dateTime, extra, {_DAY} AS dt, strftime(dateTime, '%H:%M') AS hm
        FROM bid""",
    "q11": """WITH marked AS (
            SELECT bidder, dateTime, coalesce(dateTime - lag(dateTime) OVER of_bidder >= INTERVAL '10 seconds', true)
                AS first FROM bid WINDOW of_bidder AS (PARTITION BY bidder ORDER BY dateTime)),
        numbered AS (SELECT *, sum(first::INT) OVER (PARTITION BY bidder ORDER BY dateTime) AS session FROM marked)
        SELECT bidder, count(*) AS bid_count, min(dateTime) AS starttime,
            max(dateTime) + INTERVAL '10 seconds' AS endtime FROM numbered GROUP BY bidder, session""",
    "q13": """SELECT auction, bidder, price, dateTime, CAST(auction % 10000 AS VARCHAR) AS value FROM bid""",
    "q14": """SELECT auction, bidder, CAST(price * 0.908 AS DECIMAL(23, 3)) AS price,
        CASE WHEN hour(dateTime) BETWEEN 8 AND 18 THEN 'dayTime'
             WHEN hour(dateTime) <= 6 OR hour(dateTime) >= 20 THEN 'nightTime' ELSE 'otherTime' END AS bidTimeType,
        dateTime, extra, CAST(length(extra) - length(replace(extra, 'c', '')) AS BIGINT) AS c_counts
        FROM bid WHERE price * 0.908 > 1000000 AND price * 0.908 < 50000000""",
    "q15": f"SELECT {_DAY} AS day, {_COUNTS}, {_DISTINCTS} FROM bid GROUP BY day",
    "q16": f"""SELECT channel, {_DAY} AS day, max(strftime(dateTime, '%H:%M')) AS minute, {_COUNTS}, {_DISTINCTS}
        FROM bid GROUP BY channel, day""",
    "q17": f"""SELECT auction, {_DAY} AS day, {_COUNTS}, min(price) AS min_price, max(price) AS max_price,
        CAST(sum(price) AS BIGINT) // count(*) AS avg_price, CAST(sum(price) AS BIGINT) AS sum_price
        FROM bid GROUP BY auction, day""",
    "q18": """SELECT auction, bidder, price, channel, url, dateTime, extra FROM bid
        QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC, seq DESC) = 1""",
    "q19": """SELECT auction, bidder, price, channel, url, dateTime, extra,
        row_number() OVER (PARTITION BY auction ORDER BY price DESC, dateTime, seq) AS rank_number FROM bid
        QUALIFY rank_number <= 10""",
    "q20": """SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.dateTime, b.extra, a.itemName, a.description,
        a.initialBid, a.reserve, a.dateTime AS auction_dateTime, a.expires, a.seller, a.category,
        a.extra AS auction_extra FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10""",
    "q21": r"""SELECT * FROM (SELECT auction, bidder, price, channel, CASE lower(channel)
            WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
            ELSE nullif(regexp_extract(url, '(&|^)channel_id=([^&]*)', 2), '') END AS channel_id FROM bid)
        WHERE channel_id IS NOT NULL""",
    "q22": """SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2,
        split_part(url, '/', 6) AS dir3 FROM bid""",
    "q23": """SELECT b.auction, b.bidder, b.price, b.channel, b.dateTime, p.name, p.emailAddress, p.city, p.state,
        a.id, a.itemName, a.category
        FROM bid b JOIN person p ON p.id = b.bidder JOIN auction a ON a.seller = b.bidder""",
}
