"""How a Kafka cluster is reached: logins, TLS, and clusters that are away, each told in bounded time."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from consentry.connectors import kafka_read
from consentry.connectors.kafka import Kafka, KafkaConfig, KafkaStream
from consentry.errors import ConfigError, SourceFailed
from tests.connectors.kafka.broker import Broker, broker
from tests.connectors.kafka.reading import NAMES, ids, read, refusal, source, value

confluent_kafka = pytest.importorskip("confluent_kafka", reason="needs the extra `kafka`")


def test_a_topic_that_the_user_may_not_read_is_told(cluster: Broker, topic: str) -> None:
    cluster.forbidden.add(topic)
    assert refusal(cluster, topic).code == "not_allowed"


def test_a_cluster_that_is_away_or_wants_something_else_is_told_in_bounded_time(cluster: Broker) -> None:
    begun = time.monotonic()
    away = source(cluster, {}, brokers=["127.0.0.1:1"], timeout=0.3).check()
    no_tls_there = source(cluster, {}, tls=True, timeout=0.3).check()
    assert time.monotonic() - begun < 5
    assert not away.ok and "does not answer within 0.3 s" in away.sentence
    assert not no_tls_there.ok and "TLS" in no_tls_there.sentence


def test_a_wrong_password_is_told_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with broker(login=("us", "right")) as made:
        login = {"mechanism": "plain", "username": "us", "password": "canary-wrong"}
        refused = source(made, {}, login=login, timeout=1)
        found = refused.check()
    assert not found.ok and "refuses the login" in found.sentence
    assert "canary" not in f"{found} {refused!r} {vars(refused)} {caplog.text}"


def test_a_cluster_that_falls_silent_ends_the_read_and_what_came_before_is_kept(cluster: Broker) -> None:
    name = next(NAMES)
    cluster.topic(name, 2)
    for number in range(10):
        cluster.put(name, value(id=str(number)), partition=number % 2, at=number)
    made = source(cluster, {"topic": name}, timeout=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_read, "PAGE_ROWS", 1)
        first = next(made.read(made.discover()[0], {}))
        cluster.fail("reset", times=1000)
        with pytest.raises(SourceFailed, match="does not answer"):
            list(made.read(made.discover()[0], first.state))
    cluster.heal()
    rows, _ = read(cluster, name, first.state)
    assert sorted(first.records["id"].to_pylist() + ids(rows)) == sorted(map(str, range(10)))


def test_what_was_read_is_told_under_the_group_and_never_taken_from_it(cluster: Broker, topic: str) -> None:
    cluster.put(topic, value(id="0"))
    for _ in range(2):
        made = source(cluster, {"topic": topic}, group="lag")
        assert sum(page.records.num_rows for page in made.read(made.discover()[0], {})) == 1
    assert cluster.committed == {("lag", topic, 0): 1}


def test_a_user_without_a_right_to_any_group_can_read() -> None:
    with broker() as made:
        made.groups_forbidden = True
        made.topic("people")
        made.put("people", value(id="0"))
        assert ids(read(made, "people")[0]) == ["0"]
        # What is said of the group again and again is no answer.
        made.fail("reset", times=1000)
        silent = source(made, {"topic": "people"}, timeout=1.5)
        with pytest.raises(SourceFailed, match="does not answer"):
            list(silent.read(silent.discover()[0], {}))


def test_tls_is_checked_against_the_authority_that_is_named(tmp_path: Path) -> None:
    ours, others = _certificate(tmp_path / "ours"), _certificate(tmp_path / "others")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours, ours.with_suffix(".key"))
    with broker(tls=context) as made:
        made.topic("people")
        made.put("people", value(id="0"))
        trusted = source(made, {"topic": "people"}, tls=True, ca=str(ours))
        assert sum(page.records.num_rows for page in trusted.read(trusted.discover()[0], {})) == 1
        found = source(made, {"topic": "people"}, tls=True, ca=str(others), timeout=1).check()
    assert not found.ok and "TLS connection" in found.sentence


def _certificate(stem: Path) -> Path:
    """Write a certificate of 127.0.0.1 and its key; return the certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    stem.with_suffix(".key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    stem.with_suffix(".pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return stem.with_suffix(".pem")


@pytest.mark.parametrize(
    ("connection", "told"),
    [
        ({"brokers": ["us:secret@host:9092"]}, "brokers"),
        ({"certificate": "a.pem"}, "come together"),
        ({"tls": False, "ca": "a.pem"}, "are for 'tls: true'"),
        ({"tls": False, "login": {"mechanism": "plain", "username": "u", "password": "p"}}, "sends the password"),
    ],
)
def test_a_connection_that_is_not_safe_or_makes_no_sense_is_refused(connection: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        KafkaConfig.model_validate({"brokers": ["kafka.example.com:9092"], **connection})


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    config = KafkaConfig.model_validate({"brokers": ["127.0.0.1:1"], "ca": "ca.pem"})
    with pytest.raises(ConfigError, match=r"no file ca\.pem"):
        Kafka(config, base=tmp_path).discover()


def test_the_mock_cluster_of_librdkafka_is_read_like_any_other() -> None:
    # Written to and served by code that is not ours, over TCP.
    host = confluent_kafka.Producer({"bootstrap.servers": "none:1", "test.mock.num.brokers": 1, "log_level": 0})
    (node,) = host.list_topics(timeout=5).brokers.values()
    writer = confluent_kafka.Producer({"bootstrap.servers": f"{node.host}:{node.port}", "log_level": 0})
    for number in range(50):
        writer.produce("people", key=str(number), value=value(id=str(number)), headers={"n": str(number)})
    assert writer.flush(10) == 0
    config = KafkaConfig(brokers=(f"{node.host}:{node.port}",), tls=False, timeout=5, group="lag")
    made = Kafka(config, streams={"people": KafkaStream(metadata=("headers", "timestamp"))})
    (page,) = made.read(made.discover()[0], {})
    rows = page.records.to_pylist()
    assert sorted(int(row["id"]) for row in rows) == list(range(50))
    assert all(row["kafka_headers"] == json.dumps({"n": row["id"]}, separators=(",", ":")) for row in rows)
    assert sum(page.state["offsets"].values()) == 50
    assert not list(made.read(made.discover()[0], page.state))
