"""A private Postfix: a real MTA of the kind that most providers run.

It takes mail by submission (RFC 6409), after STARTTLS and a sign-in with a user and password of Dovecot's, for
recipients at one domain only, and hands it to Dovecot by LMTP. It needs to be started by root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tests.ports import free_port
from tests.protocols.dovecot import Dovecot

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_PATIENCE_S = 30

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
myhostname = mail.{domain}
mydestination =
mynetworks =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = {domain}
virtual_transport = lmtp:inet:127.0.0.1:{lmtp_port}
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {directory}/key-and-certificate.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{auth_port}
smtpd_tls_auth_only = yes
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_peername_lookup = no
"""

# service, type, private, unprivileged, chroot, wakeup, processes, command
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup  unix  n - n - 0 cleanup
qmgr     unix  n - n 300 1 qmgr
rewrite  unix  - - n - - trivial-rewrite
bounce   unix  - - n - 0 bounce
defer    unix  - - n - 0 bounce
trace    unix  - - n - 0 bounce
proxymap unix  - - n - - proxymap
tlsmgr   unix  - - n 1000? 1 tlsmgr
anvil    unix  - - n - 1 anvil
error    unix  - - n - - error
retry    unix  - - n - - error
lmtp     unix  - - n - - lmtp
postlog  unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Runs inside a ``with`` block and listens at ``port`` of 127.0.0.1."""

    host = "127.0.0.1"
    domain = "elsewhere.example"

    def __init__(self, authority: trustme.CA, dovecot: Dovecot) -> None:
        self.port = free_port()
        self._authority = authority
        self._dovecot = dovecot

    @staticmethod
    def is_installed() -> bool:
        """True when there is a Postfix to run."""
        return shutil.which("postfix", path=_PATH) is not None

    def __enter__(self) -> Self:
        # Not below pytest's directory, whose path is too long for Postfix's sockets.
        self._directory = Path(tempfile.mkdtemp(prefix="postfix-"))
        try:
            self._configure()
            self._postfix("start")
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._postfix("stop")
        shutil.rmtree(self._directory, ignore_errors=True)

    def _configure(self) -> None:
        self._directory.chmod(0o755)
        (self._directory / "queue").mkdir()
        (self._directory / "data").mkdir()
        shutil.chown(self._directory / "data", "postfix")
        certificate = self._authority.issue_cert("localhost", self.host)
        certificate.private_key_and_cert_chain_pem.write_to_path(self._directory / "key-and-certificate.pem")
        main = _MAIN.format(
            directory=self._directory,
            domain=self.domain,
            lmtp_port=self._dovecot.lmtp_port,
            auth_port=self._dovecot.auth_port,
        )
        (self._directory / "main.cf").write_text(main)
        (self._directory / "master.cf").write_text(_MASTER.format(port=self.port))

    def _postfix(self, action: str) -> None:
        """Start or stop it; when that returns it listens, or has gone."""
        command = [shutil.which("postfix", path=_PATH) or "postfix", "-c", str(self._directory), action]
        done = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False, env={"PATH": _PATH}
        )
        log = self._directory / "log"
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
