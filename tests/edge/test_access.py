"""Addresses, host names and tokens."""

import argparse
import socket
from pathlib import Path

import pytest

from bundle.errors import InputError
from edge.access import Access, Address, access_for


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        ("0", "127.0.0.1", 0),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("car.local:65535", "car.local", 65535),
        ("[::1]:8080", "::1", 8080),
    ],
)
def test_address_is_an_optional_host_and_a_port(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eighty",
        "-1",
        "65536",
        ":80",
        "host:",
        "1.2.3.4",
        "::1:80",
        "a:1/path",
        "user@host:1",
        "http://a:1",
        "192.168.1..5:80",
        f"{'b' * 64}:80",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected PORT or HOST:PORT"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.2", False), ("localhost.evil.example", False)],
)  # fmt: skip
def test_only_loopback_needs_no_token(host: str, loopback: bool) -> None:
    access = access_for(Address(host, 1), None)
    assert access.knows_token(None, None) is loopback


def test_origin_can_be_put_into_a_browser() -> None:
    assert Address("::1", 80).origin == "http://[::1]:80"
    assert Address("car.local", 80).origin == "http://car.local:80"


@pytest.mark.parametrize(
    "header", ["localhost", "127.0.0.1:8080", "[::1]:8080", "192.168.1.7", "car.example:80", socket.gethostname()]
)
def test_own_names_and_any_ip_address_are_known(header: str) -> None:
    assert Access("car.example", None).knows_host(header)


@pytest.mark.parametrize("header", ["", "evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "[::1"])
def test_names_that_others_may_own_are_not(header: str) -> None:
    assert not Access("0.0.0.0", None).knows_host(header)


def test_token_is_taken_from_the_query_or_from_the_header() -> None:
    access = Access("0.0.0.0", "secret")
    assert access.knows_token("secret", None)
    assert access.knows_token(None, "Bearer secret")
    assert not access.knows_token("Secret", None)
    assert not access.knows_token("sécret", None)
    assert not access.knows_token("", "")
    assert not access.knows_token(None, None)


def test_token_of_other_bytes_than_text_is_wrong_and_no_failure() -> None:
    assert not Access("car", "0123456789abcdef").knows_token(None, "Bearer \udcff")


def test_new_tokens_are_long_and_differ() -> None:
    tokens = {access_for(Address("0.0.0.0", 1), None).token for _ in range(20)}
    assert len(tokens) == 20
    assert all(token is not None and len(token) >= 20 for token in tokens)


def test_token_file_counts_on_loopback_too(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\nnot this\n")
    assert access_for(Address("127.0.0.1", 1), file).token == "0123456789abcdef"


@pytest.mark.parametrize(
    ("content", "tells"), [(b"short\n", "5 characters"), (b"\xff" * 20, "cannot be read"), (None, "no such")]
)
def test_token_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None, tells: str) -> None:
    file = tmp_path / "no such"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=tells):
        access_for(Address("127.0.0.1", 1), file)
