"""Where the runtime listens, and who may look: nobody but this machine, or whoever knows a token."""

import argparse
import hmac
import ipaddress
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from bundle.errors import InputError


def check_host(host: str) -> None:
    """UnicodeError where the resolver would raise it: a label that is empty or too long."""
    host.encode("idna")


@dataclass(frozen=True)
class Address:
    """host : name or IP address, without brackets. port : 0 for any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Address from `[HOST:]PORT`; without a host, this machine alone. ArgumentTypeError if it is none."""
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:]+)\]:|([\w.-]+):)?(\d{1,5})", text, re.ASCII)
        if match and int(match[3]) < 65_536:
            host = match[1] or match[2] or "127.0.0.1"
            with suppress(UnicodeError):
                check_host(host)
                return cls(host, int(match[3]))
        raise argparse.ArgumentTypeError(
            f"{text}: expected PORT or HOST:PORT, such as 8080, 0.0.0.0:8080 or [::1]:8080"
        )

    @property
    def is_loopback(self) -> bool:
        return self.host == "localhost" or (_is_ip(self.host) and ipaddress.ip_address(self.host).is_loopback)

    def __str__(self) -> str:
        """As `parse` takes it."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self}"

    def fail(self, flag: str, error: OSError) -> NoReturn:
        """Raise an InputError that says why `flag` cannot have this address."""
        raise InputError(
            f"{flag} cannot listen on {self.host}, port {self.port}: {error.strerror}; expected a free port of this "
            "machine, above 1023 unless you are root. Choose another, or stop what uses it."
        ) from error


@dataclass(frozen=True)
class Access:
    """Judges requests.

    host : the name under which the server was asked to listen. token : None where none is needed.
    """

    host: str
    token: str | None

    def knows_host(self, header: str) -> bool:
        """Whether a request's Host header names this machine.

        An IP address always does. Another name may be an attacker's, which he lets point here so that his page may
        read ours (DNS rebinding).
        """
        with suppress(ValueError):
            name = urlsplit(f"//{header}").hostname or ""
            own = socket.gethostname().lower()
            return _is_ip(name) or name in {"localhost", self.host.lower(), own, f"{own}.local"}
        return False

    def knows_token(self, in_url: str | None, authorization: str | None) -> bool:
        """Whether a request has the token, in its query or as `Authorization: Bearer ...`."""
        scheme, _, sent = (authorization or "").partition(" ")
        given = in_url or (sent if scheme.lower() == "bearer" else "")
        return self.token is None or hmac.compare_digest(given.encode(errors="surrogateescape"), self.token.encode())


def access_for(address: Address, token_file: Path | None) -> Access:
    """A token from the file if there is one, else a new one where other machines can reach us, else none.

    Raises
    ------
    InputError : the file cannot be read or its first line has fewer than 16 characters.
    """
    if token_file is None:
        return Access(address.host, None if address.is_loopback else secrets.token_urlsafe(16))
    try:
        token = token_file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--token-file {token_file} cannot be read: {error}. Make one: {_RECIPE}") from error
    if len(token) < 16:
        raise InputError(
            f"--token-file {token_file} begins with {len(token)} characters; expected 16 or more. Make one: {_RECIPE}"
        )
    return Access(address.host, token)


_RECIPE = "openssl rand -hex 16 > FILE"


def _is_ip(name: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False
