"""A private Dovecot: a real IMAP server of the kind that most providers run.

It has every user, with one password; a user's folders come into being with the first sign-in. Its Sent folder is
called Ausgang, and only its special use (RFC 6154) tells what it is. For an MTA it checks passwords, and takes mail
by LMTP (RFC 2033).
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tests.ports import free_ports

_PATIENCE_S = 20.0
_NOBODY = 65534
_LMTP = Path("/usr/lib/dovecot/lmtp")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

# Started as root Dovecot insists on its own users for its inner processes; started as anybody else it has but one.
_CONFIGURATION = """
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
protocols = imap {lmtp}
listen = 127.0.0.1, 127.0.0.2
ssl = required
ssl_cert = <{directory}/certificate.pem
ssl_key = <{directory}/key.pem
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail/%u allow_all_users=yes
}}
mail_location = maildir:~/Maildir
mail_max_userip_connections = 100
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Ausgang {{
    special_use = \\Sent
    auto = create
  }}
  mailbox "Entwürfe & mehr" {{
    auto = create
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
  {anywhere}
}}
service anvil {{
  # No waiting because others at this address had a wrong password.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
  {anywhere}
}}
service stats {{
  {anywhere}
}}
{for_an_mta}
{users}
"""
_FOR_AN_MTA = """
postmaster_address = postmaster@localhost
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {auth_port}
  }}
}}
"""
_USERS = """
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
"""


class Dovecot:
    """Runs inside a ``with`` block. ``port`` wants STARTTLS before a sign-in, ``tls_port`` is TLS throughout.

    ``for_an_mta``: and it serves one, at ``lmtp_port`` and ``auth_port``.
    """

    host = "127.0.0.1"
    other_host = "127.0.0.2"
    """Dovecot takes a connection between one and the same address for secure; to this one we come from another."""
    password = "dovecot-pässwort"
    sent = "Ausgang"

    def __init__(self, authority: trustme.CA, *, for_an_mta: bool = False) -> None:
        self.port, self.tls_port, self.lmtp_port, self.auth_port = free_ports(4)
        self._authority = authority
        self._for_an_mta = for_an_mta

    @staticmethod
    def is_installed(*, for_an_mta: bool = False) -> bool:
        """True when there is a Dovecot to run, with LMTP where that is wanted."""
        return shutil.which("dovecot", path=_PATH) is not None and (not for_an_mta or _LMTP.exists())

    def __enter__(self) -> Self:
        # Not below pytest's directory, which is closed to the user that Dovecot's mail processes run as.
        self._directory = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self._configure()
        command = [shutil.which("dovecot", path=_PATH) or "dovecot", "-F", "-c", str(self._directory / "conf")]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE)  # noqa: S603 - our own words
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _configure(self) -> None:
        root = os.geteuid() == 0
        self._directory.chmod(0o755)
        (self._directory / "mail").mkdir()
        (self._directory / "mail").chmod(0o777)
        certificate = self._authority.issue_cert("localhost", self.host, self.other_host)
        certificate.cert_chain_pems[0].write_to_path(self._directory / "certificate.pem")
        certificate.private_key_pem.write_to_path(self._directory / "key.pem")
        configuration = _CONFIGURATION.format(
            directory=self._directory,
            password=self.password,
            uid=_NOBODY if root else os.geteuid(),
            gid=_NOBODY if root else os.getegid(),
            port=self.port,
            tls_port=self.tls_port,
            lmtp="lmtp" if self._for_an_mta else "",
            for_an_mta=_FOR_AN_MTA.format(**vars(self)) if self._for_an_mta else "",
            anywhere="" if root else "chroot =",
            users="" if root else _USERS.format(**_me()),
        )
        (self._directory / "conf").write_text(configuration)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Dovecot does not start: {self._told()}") from error
                time.sleep(0.02)
            else:
                return

    @property
    def log(self) -> str:
        """What it has logged."""
        log = self._directory / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def _told(self) -> str:
        self._process.terminate()
        return self._process.communicate()[1].decode(errors="replace") + self.log


def _me() -> dict[str, str]:
    return {"user": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}
