"""The parsers of what comes from outside, each for a while under inputs that are led by the code that they reach.

The properties that have to hold are those of the parsers' own tests, which try each with a hundred inputs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

SECONDS = 15
MAX_BYTES = 2000  # of what hypothesis makes an input of
SEEDS = 20  # inputs to begin with: of a short one hypothesis makes none
PROPERTIES: Mapping[str, str] = {
    "Authorization, Basic": "api.test_auth test_any_basic",
    "X-Forwarded-For": "api.test_auth test_any_hops",
    "Content-Disposition": "api.test_multipart test_any_header",
    "JSON bodies and queries": "api.test_routing test_any_document",
    "mail addresses": "gateway.test_address test_any_text_is_a_mailbox_or_refused",
    "identifiers": "gateway.test_address test_normalising_twice_changes_nothing",
    "host and port": "gateway.test_address test_any_text_is_a_server_or_refused",
    "file names": "gateway.test_attach test_any_file_name",
    "media types": "gateway.test_attach test_any_media_type",
    "HTML bodies": "gateway.test_body test_any_text_can_be_read",
    "configuration, file": "gateway.test_config test_any_file_is_read_or_refused",
    "configuration, values": "gateway.test_config test_any_document_is_read_or_refused",
    "domain names": "gateway.test_domain test_any_text",
    "contexts": "gateway.test_domain test_any_context",
    "settings of servers": "gateway.test_identity test_any_settings_are_a_server_or_refused",
    "local parts": "gateway.test_mailbox test_any_local_part",
    "MIME, written and read": "gateway.test_mime test_form",
    "merge patches": "gateway.test_patch test_everything_can_be_reached",
    "dimail, checks": "protocols.backends.test_dimail test_any_checks",
    "dimail, records": "protocols.backends.test_dimail test_any_records",
    "dimail, reasons": "protocols.backends.test_dimail_server test_any_reason",
    "dimail, tokens": "protocols.backends.test_dimail_server test_any_token",
    "autoconfig": "protocols.test_autoconfig test_all_bytes_are_judged",
    "DKIM records": "protocols.test_domain_probe test_any_bytes",
    "SPF records": "protocols.test_spf test_any_bytes",
    "IMAP LIST": "protocols.test_folder test_any_bytes_as_list",
    "IMAP folder names": "protocols.test_folder test_any_text_as_modified_utf7",
    "IMAP CAPABILITY": "protocols.test_imap_client test_any_bytes_as_capabilities",
    "IMAP STATUS": "protocols.test_imap_client test_any_bytes_as_status",
    "SMTP replies": "protocols.test_sessions test_any_bytes_as_replies",
    "texts of servers": "protocols.test_replies test_any_bytes_of_a_server_are_printable",
}


@pytest.mark.torture
@pytest.mark.skipif(find_spec("atheris") is None, reason="there is no atheris for this machine")
@pytest.mark.parametrize("parser", PROPERTIES)
def test_guided(parser: str, tmp_path: Path, figures: Callable[[str, object], None]) -> None:
    """No input that is led by the code breaks what a parser promises."""
    module, test = PROPERTIES[parser].split()
    for number in range(SEEDS):
        tmp_path.joinpath(f"{number}").write_bytes(os.urandom(MAX_BYTES))
    # Without -len_control inputs would be short for minutes.
    options = [f"-max_total_time={SECONDS}", f"-max_len={MAX_BYTES}", "-len_control=0", "-print_final_stats=1"]
    child = subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-m", "tests.security.guided", f"tests.{module}", test, *options, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert child.returncode == 0, child.stdout.decode(errors="replace")[-5000:]
    tried = re.findall(rb"stat::number_of_executed_units: *([0-9]+)", child.stdout)
    figures(f"inputs led by coverage, {parser}", int(tried[-1]))
