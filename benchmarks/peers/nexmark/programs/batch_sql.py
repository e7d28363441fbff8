"""The queries as one SQL query over all events, for DuckDB and DataFusion: what differs between the two is a parameter.

Windows are computed as whole milliseconds or by the engine's own functions; hops are counted from panes of 2 s, which
is five times less than giving each event to five windows.
"""

from __future__ import annotations

from dataclasses import dataclass

_RANKS = "price < 10000", "price >= 10000 AND price < 1000000", "price >= 1000000"


@dataclass(frozen=True)
class Dialect:
    """`ms`: a time as whole milliseconds since 1970; `time`: back; both with {} for the value. `divide`: of integers,
    whole. `hops`: a relation with the column `step`, 0 to 4. `day`: a time's date as text."""

    ms: str
    time: str
    divide: str
    hops: str
    day: str


def queries(d: Dialect) -> dict[str, str]:
    t = d.ms.format('"dateTime"')
    start = f"{t} - {t} % 10000"
    counts = ", ".join(f"count(*) FILTER (WHERE {rank}) AS rank{n}_bids" for n, rank in enumerate(_RANKS, 1))
    average = d.divide.format("CAST(sum(price) AS BIGINT)", "count(*)")
    return {
        "q0": 'SELECT auction, bidder, price, "dateTime", extra FROM bid',
        "q1": """SELECT auction, bidder, CAST(price AS DECIMAL(19, 0)) * CAST(0.908 AS DECIMAL(4, 3)) AS price,
            "dateTime", extra FROM bid""",
        "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
        "q5": f"""WITH panes AS (
                SELECT auction, {t} - {t} % 2000 AS pane, count(*) AS n FROM bid GROUP BY 1, 2),
            counts AS (SELECT auction, pane - step * 2000 AS start, CAST(sum(n) AS BIGINT) AS num
                FROM panes CROSS JOIN {d.hops} GROUP BY 1, 2),
            best AS (SELECT start AS best_start, max(num) AS most FROM counts GROUP BY 1)
            SELECT auction, num FROM counts JOIN best ON start = best_start AND num = most""",
        "q7": f"""SELECT b.auction, b.price, b.bidder, b."dateTime", b.extra FROM bid b JOIN (
                SELECT {start} AS start, max(price) AS most FROM bid GROUP BY 1) m
            ON b.price = m.most WHERE {d.ms.format('b."dateTime"')} BETWEEN m.start AND m.start + 10000""",
        "q8": f"""SELECT p.id, p.name, {d.time.format("p.start")} AS window_start FROM
                (SELECT DISTINCT id, name, {start} AS start FROM person) p
            JOIN (SELECT DISTINCT seller, {start} AS start FROM auction) a ON p.id = a.seller AND p.start = a.start""",
        "q11": f"""WITH marked AS (
                SELECT bidder, {t} AS t, CASE WHEN {t} - lag({t}) OVER (PARTITION BY bidder ORDER BY "dateTime") < 10000
                    THEN 0 ELSE 1 END AS first FROM bid),
            numbered AS (SELECT bidder, t, sum(first) OVER (PARTITION BY bidder ORDER BY t) AS session FROM marked)
            SELECT bidder, count(*) AS bid_count, {d.time.format("min(t)")} AS starttime,
                {d.time.format("max(t) + 10000")} AS endtime FROM numbered GROUP BY bidder, session""",
        "q17": f"""SELECT auction, {d.day.format('"dateTime"')} AS day, count(*) AS total_bids, {counts},
                min(price) AS min_price, max(price) AS max_price, {average} AS avg_price,
                CAST(sum(price) AS BIGINT) AS sum_price FROM bid GROUP BY 1, 2""",
        "q18": """SELECT auction, bidder, price, channel, url, "dateTime", extra FROM (
                SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY "dateTime" DESC) AS place FROM bid)
            WHERE place = 1""",
        "q20": """SELECT b.auction, b.bidder, b.price, b.channel, b.url, b."dateTime", b.extra, a."itemName",
                a.description, a."initialBid", a.reserve, a."dateTime" AS "auction_dateTime", a.expires, a.seller,
                a.category, a.extra AS auction_extra
            FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10""",
        "ysb": f"""SELECT campaign, {d.time.format("start")} AS window_start, count(*) AS views FROM (
                SELECT ad_id, {start} AS start FROM view WHERE event_type = 'view') v
            JOIN campaigns c ON v.ad_id = c.ad GROUP BY campaign, start""",
    }
