"""Where messages are sent over MQTT."""

import argparse
import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from edge.access import check_host

_PASSWORD = re.compile(r"://[^@/?#\[]*:(?!\d+/)[^@]*@")
"""Also one with / ? or # in it, which is no part of a host for urlsplit."""


@dataclass(frozen=True)
class Broker:
    """tls : the server must show a certificate. topic : without a slash at its ends; ours lie under it."""

    host: str
    port: int
    tls: bool
    user: str | None
    topic: str

    def __str__(self) -> str:
        """As `parse` takes it."""
        scheme, user = "mqtts" if self.tls else "mqtt", f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{user}{host}:{self.port}/{quote(self.topic)}"

    @classmethod
    def parse(cls, text: str) -> "Broker":
        """Broker from `mqtt[s]://[USER@]HOST[:PORT]/TOPIC`; ArgumentTypeError if it is none."""
        with suppress(ValueError):  # a UnicodeError is one
            url = urlsplit(text)
            topic = unquote(url.path).strip("/")
            topic.encode()
            if url.password is not None or _PASSWORD.search(text):
                raise argparse.ArgumentTypeError(
                    "a password on the command line can be read by everybody on this machine; "
                    "write it to a file and give --mqtt-password-file FILE"
                )
            odd = set("?#") & set(text) or set("+#\0") & set(topic)
            if url.scheme in ("mqtt", "mqtts") and url.hostname and topic and not odd:
                check_host(url.hostname)
                tls = url.scheme == "mqtts"
                user = unquote(url.username) if url.username else None
                return cls(url.hostname, url.port or (8883 if tls else 1883), tls, user, topic)
        raise argparse.ArgumentTypeError(f"{text}: expected mqtt[s]://[USER@]HOST[:PORT]/TOPIC without + and # in it")
