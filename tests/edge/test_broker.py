"""Addresses of brokers."""

import argparse

import pytest

from edge.broker import Broker


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("mqtt://localhost/car", Broker("localhost", 1883, False, None, "car")),
        (
            "mqtts://fleet@broker.example:8884/fleet/7/driver/",
            Broker("broker.example", 8884, True, "fleet", "fleet/7/driver"),
        ),
        ("mqtt://broker:1883/a@b", Broker("broker", 1883, False, None, "a@b")),
        ("mqtts://[::1]/a%20b", Broker("::1", 8883, True, None, "a b")),
    ],
)
def test_address_is_a_broker_and_a_topic(text: str, broker: Broker) -> None:
    assert Broker.parse(text) == broker


@pytest.mark.parametrize(
    "text", ["", "broker/topic", "http://broker/topic", "mqtt://broker", "mqtt://broker/", "mqtt:///topic",
             "mqtt://broker:99999/t", "mqtt://broker/a/#", "mqtt://broker/+/b", "mqtt://broker/a%2Bb", "mqtt://broker/a%00b",
             "mqtt://bro..ker/t", f"mqtt://{'b' * 64}/t", "mqtt://broker/t?qos=1", "mqtt://broker/\udcff"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected mqtt"):
        Broker.parse(text)


@pytest.mark.parametrize("password", ["s3cret", "s3?cret", "s3#cret", "s3/cret", "s3:cret"])
def test_password_on_the_command_line_is_refused_with_the_reason(password: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="--mqtt-password-file") as refused:
        Broker.parse(f"mqtt://car:{password}@broker/topic")
    assert "s3" not in str(refused.value)
