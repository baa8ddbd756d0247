"""Who this process is: KerasTuner's chief, one of its workers, or neither.

==========================  ======================================================================
variable                    what it says
==========================  ======================================================================
`KERASTUNER_ORACLE_IP`      where the chief listens; without it there is no chief
`KERASTUNER_ORACLE_PORT`    on which port
`KERASTUNER_TUNER_ID`       the name of this process; the one that contains "chief" is the chief
`KERATUNE_TOKEN`            a secret that all processes share; needed off loopback
==========================  ======================================================================

The environment is read at each call: one process may hold several roles in several threads.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import socket

from keratune.errors import FatalRuntimeError

HOST, PORT = "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
NAME, TOKEN = "KERASTUNER_TUNER_ID", "KERATUNE_TOKEN"


def has_chief_oracle() -> bool:
    """Tell whether the environment names a chief, as KerasTuner's distributed tuning has it.

    Raises:
        RuntimeError: It names a chief, and lacks the port or this worker's name.
    """
    if HOST not in os.environ:
        return False
    for name in (PORT, NAME):
        if name not in os.environ:
            raise RuntimeError(f"With {HOST}, {name} must be set in the environment as well.")
    return True


def is_chief_oracle() -> bool:
    """Tell whether the environment names this process as the chief."""
    return has_chief_oracle() and "chief" in os.environ[NAME]


@dataclasses.dataclass(frozen=True)
class Role:
    """What a process is in a search with a chief.

    Attributes:
        leads: Whether it is the chief; otherwise it is a worker.
        name: The name of this process.
        host: Where the chief listens.
        port: On which port.
        token: The shared secret; None where there is none. It is never shown.
    """

    leads: bool
    name: str
    host: str
    port: int
    token: str | None = dataclasses.field(default=None, repr=False)

    @property
    def place(self) -> str:
        """The chief's address as URLs have it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Where the chief is asked."""
        return f"http://{self.place}"


def current_role() -> Role | None:
    """Return what the environment says that this process is; None where it names no chief.

    Raises:
        RuntimeError: A variable is missing or wrong; or the chief is not on loopback, and there is
            no token.
    """
    if not has_chief_oracle():
        return None
    host, port = os.environ[HOST], os.environ[PORT]
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise FatalRuntimeError(f"{PORT} must be a port from 1 to 65535. Received: {port!r}.")
    token = os.environ.get(TOKEN) or None
    if token is None and not is_loopback(host):
        raise FatalRuntimeError(
            f"{HOST}={host} can be reached from other machines, and {TOKEN} is not set. Set it to "
            "the same secret for the chief and all workers; make one with: python -c "
            '"import secrets; print(secrets.token_urlsafe(32))"'
        )
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise FatalRuntimeError(f"{TOKEN} must consist of printable ASCII without spaces.")
    return Role(is_chief_oracle(), os.environ[NAME], host, int(port), token)


def says_loopback(host: str) -> bool:
    """Tell whether a host is loopback by what it says; a name of somebody's is not looked up."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address leads to this machine and nowhere else, for now.

    Whoever owns a name may have it lead elsewhere: this is for names of the user's own.
    """
    if says_loopback(host):
        return True
    try:
        found = {str(address[4][0]) for address in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(each.split("%")[0]).is_loopback for each in found)
