"""The events of the Nexmark benchmark: an auction site's persons, auctions and bids, generated."""

from windrow.io.nexmark.documents import nexmark_json
from windrow.io.nexmark.generator import AUCTION, BID, PERSON, Nexmark, nexmark_batches
from windrow.io.nexmark.source import ALL, NexmarkSource

__all__ = ["ALL", "AUCTION", "BID", "PERSON", "Nexmark", "NexmarkSource", "nexmark_batches", "nexmark_json"]
