"""Dead letters of a Kafka topic looked at and sent again: exactly once, whatever happens (law, crash)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import windrow as wr
from tests.kafka.test_dead_letters import MIXED, SCHEMA, copy, fresh, make, produce, records
from tests.kafka.test_exactly_once import Died, die
from windrow.cli.dlq.command import app
from windrow.io.kafka.replay import KafkaReplay
from windrow.testing import At, installed


def ran(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def as_json(*arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran(*arguments, "--json").splitlines()]


@pytest.fixture
def letters(broker: str) -> tuple[str, str]:
    """(a topic, the topic with the dead letters of it)."""
    source, dead = make(broker, fresh("in")), fresh("dead")
    produce(broker, source, MIXED)
    copy(broker, source, fresh("out"), dead).run()
    return source, dead


def seen(broker: str, topic: str) -> list[tuple[Any, ...]]:
    return [(one.key(), one.value(), one.headers(), one.timestamp()[1]) for one in records(broker, topic)]


def test_ls_and_show(broker: str, letters: tuple[str, str], tmp_path: Path) -> None:
    """law: where they came from, why and when; also through options from a file."""
    source, dead = letters
    (one,) = as_json("ls", dead, "--kafka", broker, "--by", "topic,partition")
    assert (one["topic"], one["partition"], one["count"], one["replayed"]) == (source, 0, 4, 0)
    assert (one["first_offset"], one["last_offset"]) == (1, 5)
    assert (one["first_timestamp"], one["last_timestamp"]) == (
        "1970-01-01T00:00:00.002000+00:00", "1970-01-01T00:00:00.006000+00:00",
    )  # fmt: skip
    text = ran("show", dead, "0:0", "--kafka", broker)
    assert f"{source}[0] offset 1" in text and 'value      {"n": "many"} (13 bytes)' in text
    assert r"trace = \x00\xff" in text and "trace = null" in text
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"client_id": "me", "security_protocol": "PLAINTEXT"}))
    assert ran("show", dead, "0:0", "--kafka", broker, "--options", options) == text
    with pytest.raises(wr.RecordError, match=r"no dead letter at .*\[0\] offset 99"):
        ran("show", dead, "0:99", "--kafka", broker)
    with pytest.raises(wr.BrokerError, match="there is no topic 'nowhere'"):
        ran("ls", "nowhere", "--kafka", broker)
    foreign = make(broker, fresh("foreign"))
    produce(broker, foreign, [(b"x", [("__connect.errors.topic", b"t")])])
    assert [one["topic"] for one in as_json("ls", foreign, "--kafka", broker)] == [None]
    (said,) = as_json("replay", foreign, "--kafka", broker, "--all")
    assert (said["sent"], said["no_origin"]) == (0, 1)


def test_replay_sends_once_and_whole(broker: str, letters: tuple[str, str]) -> None:
    """law: key, value, headers and time as they were, to the partition they came from; repeated, nothing more."""
    source, dead = letters
    before = seen(broker, source)
    assert "3 dead letters would be sent" in ran("replay", dead, "--kafka", broker, "--offsets", "2..", "--dry-run")
    assert seen(broker, source) == before
    assert "3 dead letters sent" in ran("replay", dead, "--kafka", broker, "--offsets", "2..")
    assert seen(broker, source)[6:] == [before[number] for number in (2, 4, 5)]
    assert "1 dead letters sent; 3 were sent before" in ran("replay", dead, "--kafka", broker, "--all")
    assert "0 dead letters sent; 4 were sent before" in ran("replay", dead, "--kafka", broker, "--all")
    assert seen(broker, source)[9:] == [before[1]]
    assert [one["replayed"] for one in as_json("ls", dead, "--kafka", broker, "--by", "topic")] == [4]
    other = make(broker, fresh("other"), partitions=1)
    (said,) = as_json("replay", dead, "--kafka", broker, "--all", "--to", other)
    assert (said["sent"], said["sent_before"]) == (4, 0)
    assert seen(broker, other) == [before[number] for number in (1, 2, 4, 5)]


@pytest.mark.parametrize("point", ["kafka.begin", "kafka.partly_produced", "kafka.produced", "kafka.ended"])
def test_a_death_sends_nothing_twice(broker: str, letters: tuple[str, str], point: str) -> None:
    """crash: the letters and the memory of them are in one transaction; the first says that the replay is opened."""
    source, dead = letters
    with pytest.raises(Died), installed(At(point, die, 2)):
        ran("replay", dead, "--kafka", broker, "--all")
    ran("replay", dead, "--kafka", broker, "--all")
    assert len(seen(broker, source)) == 6 + 4


def test_another_replay_fences_the_first(broker: str, letters: tuple[str, str]) -> None:
    """law: two at once send every letter once."""
    source, dead = letters
    first, second = KafkaReplay(broker, dead), KafkaReplay(broker, dead)
    found = list(first.letters())
    assert sum(one.num_rows for one in found) == 4
    first.send(found[0].slice(0, 1), None)
    assert sum(second.send(found[0], None).values()) == 3
    with pytest.raises(wr.FencedError):
        first.send(found[0], None)
    first.close()
    second.close()
    assert len(seen(broker, source)) == 6 + 4


def test_what_a_topic_of_the_same_name_remembers_is_not_taken_for_ours(broker: str, letters: tuple[str, str]) -> None:
    """law: letters of a topic that was made again are sent, though others had their offsets before."""
    from confluent_kafka.admin import AdminClient

    source, dead = letters
    ran("replay", dead, "--kafka", broker, "--all")
    admin = AdminClient({"bootstrap.servers": broker})
    admin.delete_topics([dead])[dead].result(30)
    stream = wr.read_kafka(broker, source, schema=SCHEMA, end="latest", dead_letter=dead, create_dead_letter=True)
    wr.job(stream.write_kafka(broker, fresh("out"), create=True), name=fresh("again")).run()
    (said,) = as_json("replay", dead, "--kafka", broker, "--offsets", "..6")
    assert (said["sent"], said["sent_before"]) == (4, 0)
