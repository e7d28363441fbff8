"""How partitions are dealt to the members of a group (law, golden)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

from windrow.io.kafka.assignment import Claim, assign, assignment, claim_of, parts_of, subscription

Claims = dict[str, Claim]


@st.composite
def claims(draw: st.DrawFn) -> tuple[Claims, int]:
    """Members with what they say they hold: two may claim the same, some claim what is not there any more."""
    count = draw(st.integers(1, 12))
    members = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True))
    held = {
        member: Claim(draw(st.frozensets(st.integers(0, count + 2))), draw(st.integers(-1, 4))) for member in members
    }
    return held, count


@given(claims())
def test_nobody_is_given_what_another_one_holds(made: tuple[Claims, int]) -> None:
    held, count = made
    dealt = assign(held, count)
    assert set(dealt) == set(held)
    everything = [part for parts in dealt.values() for part in parts]
    assert len(everything) == len(set(everything)) and set(everything) <= set(range(count))
    for member, parts in dealt.items():
        for part in parts:
            others = [other for other in held if other != member and part in held[other].parts]
            if part not in held[member].parts:
                assert not others
            assert all((held[other].generation, other) < (held[member].generation, member) for other in others)


@given(claims())
def test_it_comes_to_rest_even_and_whole(made: tuple[Claims, int]) -> None:
    """Members give back what is not theirs, and ask again: after two rounds all is dealt, evenly, for good."""
    held, count = made
    for generation in (5, 6):
        held = {member: Claim(frozenset(parts), generation) for member, parts in assign(held, count).items()}
    sizes = [len(claim.parts) for claim in held.values()]
    assert sum(sizes) == count and max(sizes) - min(sizes) <= 1
    again = assign({member: Claim(claim.parts, 7) for member, claim in held.items()}, count)
    assert {member: frozenset(parts) for member, parts in again.items()} == {
        member: claim.parts for member, claim in held.items()
    }


@given(claims())
def test_no_more_moves_than_have_to(made: tuple[Claims, int]) -> None:
    """A member keeps what it holds up to its share."""
    held, count = made
    share = count // len(held)
    dealt = assign(held, count)
    for member, claim in held.items():
        others = frozenset().union(*(other.parts for name, other in held.items() if name != member))
        alone = {part for part in claim.parts - others if part < count}
        assert len(claim.parts & set(dealt[member])) >= min(len(alone), share)


@given(st.frozensets(st.integers(0, 1_000)), st.integers(-1, 1_000), st.lists(st.text(min_size=1), min_size=1))
def test_what_is_said_comes_back(parts: frozenset[int], generation: int, topics: list[str]) -> None:
    names = sorted(set(topics))
    assert claim_of(subscription(names, Claim(parts, generation))) == Claim(parts, generation)
    assert parts_of(assignment(names, parts)) == parts
    assert parts_of(b"") == frozenset()


def test_it_is_written_as_consumers_do() -> None:
    """golden: Kafka's tools show members and partitions from these bytes."""
    said = ConsumerProtocolSubscription.decode(subscription(["bids"], Claim(frozenset([3, 1]), 7)))
    assert list(said.topics) == ["bids"] and said.generation_id == 7
    assert [(one.topic, list(one.partitions)) for one in said.owned_partitions] == [("bids", [1, 3])]
    dealt = ConsumerProtocolAssignment.decode(assignment(["bids", "asks"], [2, 0]))
    assert [(one.topic, list(one.partitions)) for one in dealt.assigned_partitions] == [
        ("asks", [0, 2]),
        ("bids", [0, 2]),
    ]
