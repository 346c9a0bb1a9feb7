"""Configuration: one TOML file, environment variables above it, frozen dataclasses below.

Every key stands once, as a dataclass field with its default, its bounds and the help text from which
``config.example.toml`` is generated (:func:`example`). A variable ``GATEWAY_SECTION__KEY`` overrides a key; its
value is written as in TOML, except that a string needs no quotes. Relative paths in the file count from the file's
directory, so that it does not matter where a gateway is started; those of variables count from the current one. All
mistakes are reported together.
"""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from gateway.address import parse_host_port, parse_mailbox
from gateway.errors import ConfigurationError

ENVIRONMENT_PREFIX = "GATEWAY_"
FAKE_FAULTS = (
    "has_domain",
    "add_domain",
    "records",
    "check",
    "repair",
    "add_mailbox",
    "change_mailbox",
    "delete_mailbox",
    "reset_password",
    "sign_in_code",
    "add_alias",
    "delete_alias",
)
"""What the fake mail backend can be told to refuse: the methods of the port."""


def _host_name(value: str) -> str | None:
    labels = value.split(".")
    well_formed = len(labels) > 1 and all(label and label.replace("-", "").isalnum() for label in labels)
    try:
        parse_mailbox(f"postmaster@{value}")
    except ValueError:
        well_formed = False
    return None if well_formed else "is no domain name; write it like example.org"


def _networks(value: tuple[str, ...]) -> str | None:
    for network in value:
        try:
            ip_network(network)
        except ValueError as error:
            return f"is wrong: {error}; write networks like 10.0.0.0/8 or fd00::/8"
    return None


def _name_servers(value: tuple[str, ...]) -> str | None:
    for server in value:
        try:
            ip_address(parse_host_port(server)[0])
        except ValueError:
            return "is wrong; write addresses of name servers, like 192.0.2.53 or [2001:db8::53]:5353"
    return None


def _host_name_or_nothing(value: str) -> str | None:
    return _host_name(value) if value else None


def _dns_name(value: str) -> str | None:
    good = not value or re.fullmatch(r"([A-Za-z0-9_-]{1,63}\.)+[A-Za-z0-9-]{1,63}", value)
    return None if good else "is no name in the DNS; write it like _spf.example.org"


def _mailbox(value: str) -> str | None:
    try:
        parse_mailbox(value or "postmaster@example.org")
    except ValueError as error:
        return f"is no mail address: {error}"
    return None


def _web_url(value: str) -> str | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:
        return "is no URL"
    good = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    return None if good else "is no URL; write it like https://mail.example.org"


_ORIGIN = re.compile(r"http(s)?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:(?!(?(1)443|80)$)[0-9]{1,5})?")


def _origins(value: tuple[str, ...]) -> str | None:
    if "*" in value:
        return None if value == ("*",) else 'names others beside "*", which is all of them'
    if all(map(_ORIGIN.fullmatch, value)):
        return None
    return (
        "is wrong; write origins as browsers do, in small letters and without the port that goes without saying,"
        " like https://app.example.org or http://localhost:5173"
    )


def _user_ids(value: tuple[str, ...]) -> str | None:
    if all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in value):
        return None
    return "is wrong; write user_ids, like 0b9d5a3e-6c1f-4d8b-9a27-51e0c4f7b812"


def _sign_in_url(value: str) -> str | None:
    if value and "{code}" not in value:
        return "names no {code}; write it like https://webmail.example.org/login/{code}"
    return None


def _database_name(value: str) -> str | None:
    good = re.fullmatch(r"[A-Za-z0-9_-]{1,63}", value)
    return None if good else "is no database name; write 1 to 63 letters a-z, digits, _ or -"


def _key(
    default: Any,
    text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    rule: Callable[[Any], str | None] | None = None,
    sample: Any = None,
    path: bool = False,
    secret: bool = False,
) -> Any:
    """Describe one key. ``default`` None means that it has to be set; ``sample`` then stands in the example.

    ``rule`` returns what is wrong with a value, or None. ``path`` marks the name of a file or directory, ``secret``
    what no repr may show.
    """
    metadata = {
        "help": text,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "rule": rule,
        "sample": default if sample is None else sample,
        "required": default is None,
        "path": path,
    }
    if default is None:
        return dataclasses.field(metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class ServerSection:
    """Where the REST API listens."""

    host: str = _key("127.0.0.1", "Address to listen on; put a TLS-terminating proxy in front of others.")
    port: int = _key(8080, "TCP port to listen on; 0 takes a free one.", minimum=0, maximum=65535)
    max_body_bytes: int = _key(
        1_048_576,
        "Largest request body in bytes, files apart; a larger one is answered 413.",
        minimum=1024,
        maximum=4_194_304,
    )
    trusted_proxies: tuple[str, ...] = _key(
        ("127.0.0.0/8", "::1/128"),
        "Networks of the proxies in front, whose X-Forwarded-For is believed. Failed sign-ins are counted by the"
        " address that a request comes from: with a proxy that is not named here all people share one.",
        rule=_networks,
    )
    public_url: str = _key(
        "",
        "URL at which people reach the gateway, for links in mails, e.g. https://mail.example.org. Empty: mails"
        " name a token without a link.",
        rule=_web_url,
    )
    client_timeout_s: float = _key(
        60.0,
        "Seconds that a client may keep the gateway waiting: one that sends less than 500 bytes a second of a"
        " request in that time is answered 408, one that takes nothing of an answer, or less than 256 KiB of a long"
        " list, is cut off.",
        minimum=0.1,
        maximum=600,
    )
    max_connections: int = _key(
        10_000,
        "Connections of clients at once; a new one then takes the place of the oldest that is idle. The limit on"
        " open files (LimitNOFILE, ulimit -n) has to be a third larger.",
        minimum=10,
        maximum=1_000_000,
    )
    cors_origins: tuple[str, ...] = _key(
        (),
        "Origins whose pages may use the API from a browser, beside the console, e.g."
        ' ["https://app.example.org"]; ["*"] lets in all. Empty: none.',
        rule=_origins,
    )


@dataclass(frozen=True, kw_only=True)
class LogSection:
    """What the process writes to standard error."""

    level: str = _key("info", "Least severity that is written.", choices=("debug", "info", "warning", "error"))
    format: str = _key("console", "One line per event, for people or for machines.", choices=("console", "json"))


@dataclass(frozen=True, kw_only=True)
class StorageSection:
    """MongoDB: your own, or the embedded one."""

    uri: str = _key(
        "",
        "Connection string of a MongoDB replica set or sharded cluster (6.0 or newer). Empty: a private mongod"
        " runs as a child process, reachable through a socket in data_dir only.",
        secret=True,
    )
    uri_file: str = _key("", "File that holds the connection string, where it should not stand here.", path=True)
    database: str = _key(
        "mail_gateway", "Name of the database: 1 to 63 letters a-z, digits, _ or -.", rule=_database_name
    )
    data_dir: Path = _key(
        Path("data"),
        "Directory of the embedded database and of the key file; also this default counts from this file's"
        " directory.",
        path=True,
    )
    mongod: str = _key(
        "", "Path of the mongod binary. Empty: looked for on PATH, then in the extra 'embedded'.", path=True
    )
    cache_gb: float = _key(0.25, "Cache of the embedded mongod in GiB.", minimum=0.25, maximum=1024)
    key_file: str = _key(
        "",
        "File with the master key that encrypts credentials, mode 0600. Empty: credentials.key in data_dir. Made at"
        " first start. Keep a copy apart from the database: without it no credential can be read again. Gateways"
        " that share a database each need the same file. See docs/keys.md.",
        path=True,
    )
    key_provider: str = _key(
        "local",
        "Where the master key is: in key_file, or in a key management service. After a change run: mail-gateway"
        " keys rotate.",
        choices=("local", "aws", "azure", "gcp", "kmip"),
    )
    key_settings_file: str = _key(
        "", "TOML file, mode 0600, with the settings of the key management service. See docs/keys.md.", path=True
    )


@dataclass(frozen=True, kw_only=True)
class AccountsSection:
    """The gateway's own users."""

    local_domain: str = _key(
        None,
        "Domain of the users' local identities: user 'someone' sends as someone@local_domain. Required.",
        rule=_host_name,
        sample="example.org",
    )
    access_token_s: int = _key(86_400, "Life of an access token in seconds.", minimum=60, maximum=31_536_000)
    refresh_token_s: int = _key(2_592_000, "Life of a refresh token in seconds.", minimum=60, maximum=31_536_000)
    sessions: int = _key(
        1_000,
        "Pairs of tokens that a user has at most; signing in once more voids the oldest.",
        minimum=1,
        maximum=100_000,
    )


@dataclass(frozen=True, kw_only=True)
class MessagesSection:
    """The messages that users write."""

    max_bytes: int = _key(
        26_214_400,
        "Largest message in bytes, as it is sent: attachments count a third more than their files. Mail providers"
        " take 10 to 50 MB. A larger file, or order to send, is answered 413.",
        minimum=1_048_576,
        maximum=104_857_600,
    )


@dataclass(frozen=True, kw_only=True)
class LimitsSection:
    """How much one user may take up; what is beyond it is answered 429."""

    messages_per_hour: int = _key(
        1_000,
        "Messages that a user may order to be sent in an hour; so many at once, then as many an hour. An order"
        " counts once, whenever it is sent and however often that is tried.",
        minimum=1,
        maximum=1_000_000,
    )
    recipients_per_day: int = _key(
        10_000,
        "Recipients of them in a day, counted likewise. A message with more is answered 422.",
        minimum=1,
        maximum=10_000_000,
    )
    storage_bytes: int = _key(
        5_368_709_120,
        "Bytes that a user's drafts and messages may take up, with attachments and the copies of what was sent.",
        minimum=1_048_576,
        maximum=1_125_899_906_842_624,
    )
    identities: int = _key(100, "Remote identities of a user.", minimum=0, maximum=100_000)
    domains: int = _key(
        50, "Domains that a user may make. Those that others handed over do not count.", minimum=0, maximum=100_000
    )
    mailboxes: int = _key(1_000, "Mailboxes that a domain's managers may make on it.", minimum=0, maximum=1_000_000)
    aliases: int = _key(1_000, "Aliases that they may make on it.", minimum=0, maximum=1_000_000)
    exempt: tuple[str, ...] = _key(
        (),
        "Users for whom none of these limits holds, by user_id, as mail-gateway users show tells it.",
        rule=_user_ids,
    )


@dataclass(frozen=True, kw_only=True)
class RelaySection:
    """The SMTP server that takes the mail of local identities."""

    host: str = _key("localhost", "Host name of the relay.")
    port: int = _key(25, "TCP port of the relay.", minimum=1, maximum=65535)
    tls: str = _key("starttls", "How the connection is protected.", choices=("implicit", "starttls", "none"))
    username: str = _key("", "Name to sign in with. Empty: no sign-in.")
    password: str = _key("", "Password to sign in with.", secret=True)
    password_file: str = _key("", "File that holds the password, where it should not stand here.", path=True)


@dataclass(frozen=True, kw_only=True)
class NetworkSection:
    """Which servers that users name may be reached, and how."""

    allow: tuple[str, ...] = _key(
        (),
        'Networks that users\' servers may lie in although they are not public, e.g. ["10.1.0.0/16"].',
        rule=_networks,
    )
    ports: tuple[int, ...] = _key(
        (25, 143, 465, 587, 993, 2525), "TCP ports that users' servers may have.", minimum=1, maximum=65535
    )
    allow_plaintext: bool = _key(
        False,
        "Let users choose connections without TLS (intls or outtls = none).",
    )
    ca_file: str = _key("", "PEM file with further certificate authorities to trust.", path=True)
    nameservers: tuple[str, ...] = _key(
        (),
        "Name servers to ask for users' servers, each an address or address:port. Empty: those of"
        " /etc/resolv.conf. Names without a dot are looked up by the system, /etc/hosts included.",
        rule=_name_servers,
    )
    connect_timeout_s: float = _key(15.0, "Seconds to wait for a connection.", minimum=0.1, maximum=300)
    command_timeout_s: float = _key(
        60.0,
        "Seconds to wait for the answer to a command; the end of a message gets ten times that (RFC 5321,"
        " section 4.5.3.2).",
        minimum=0.1,
        maximum=600,
    )


@dataclass(frozen=True, kw_only=True)
class DeliverySection:
    """How drafts are sent."""

    wait_s: float = _key(10.0, "Seconds that the action send waits for the outcome.", minimum=0, maximum=60)
    give_up_after_s: float = _key(
        432_000.0,
        "Seconds after which a message that no server took is given up (RFC 5321, section 4.5.4.1: at least 4"
        " to 5 days).",
        minimum=1,
        maximum=2_592_000,
    )
    concurrency: int = _key(
        100, "Messages that one process sends at once, and its connections for that.", minimum=1, maximum=1000
    )
    per_host: int = _key(
        20,
        "As many of them go to one mail server (host and port) at most, and no more than are left for others.",
        minimum=1,
        maximum=1000,
    )
    poll_s: float = _key(
        1.0,
        "Seconds between looks for work that other processes ordered or that has become due.",
        minimum=0.01,
        maximum=60,
    )


@dataclass(frozen=True, kw_only=True)
class ChecksSection:
    """How accounts are checked in the background."""

    concurrency: int = _key(50, "Identities that one process checks at once.", minimum=1, maximum=1000)
    per_host: int = _key(
        10,
        "Identities of one host that one process checks at once, and no more than are left for others.",
        minimum=1,
        maximum=1000,
    )
    poll_s: float = _key(1.0, "Seconds between looks for checks that are due.", minimum=0.01, maximum=60)


@dataclass(frozen=True, kw_only=True)
class DomainsSection:
    """The domains that are hosted here."""

    backend: str = _key(
        "fake",
        "The mail servers that keep the mailboxes: dimail, see [dimail], or fake, which simulates one and keeps no"
        " mail.",
        choices=("fake", "dimail"),
    )
    mx_host: str = _key(
        "",
        "Host that takes the domains' mail: the owners of domains are told to publish it (backend fake; dimail says"
        " by itself what to publish). Empty: mx.local_domain; and so for the next ones.",
        rule=_host_name_or_nothing,
    )
    imap_host: str = _key("", "Host that people read mail from.", rule=_host_name_or_nothing)
    smtp_host: str = _key("", "Host that people send mail through.", rule=_host_name_or_nothing)
    webmail_host: str = _key("", "Host of the webmail.", rule=_host_name_or_nothing)
    spf_host: str = _key(
        "", "Name whose SPF record lists your sending servers. Empty: _spf.local_domain.", rule=_dns_name
    )
    sender: str = _key(
        "",
        "Address from which invitations and sign-in links come; they go through the relay. Empty:"
        " no-reply@local_domain.",
        rule=_mailbox,
    )
    sign_in_url: str = _key(
        "",
        "Where the sign-in links in mails point; {code} stands for the secret, {email} for the mailbox. Empty:"
        " https://webmail_host/login/{code}.",
        rule=_sign_in_url,
    )
    fake_faults: tuple[str, ...] = _key(
        (),
        "What the fake backend refuses, to try how that looks: any of has_domain, add_domain, records, check,"
        " repair, add_mailbox, change_mailbox, delete_mailbox, reset_password, sign_in_code, add_alias,"
        " delete_alias.",
        choices=FAKE_FAULTS,
    )
    fake_delay_s: float = _key(0.0, "Seconds that the fake backend takes for an answer.", minimum=0, maximum=60)


@dataclass(frozen=True, kw_only=True)
class DimailSection:
    """The dimail server, for domains.backend = "dimail"."""

    url: str = _key("", "Its URL, e.g. https://api.dimail.example.org.", rule=_web_url)
    username: str = _key("", "Name to sign in with.")
    password: str = _key("", "Password to sign in with.", secret=True)
    password_file: str = _key("", "File that holds the password, where it should not stand here.", path=True)
    timeout_s: float = _key(30.0, "Seconds to wait for an answer.", minimum=0.1, maximum=300)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration, one attribute per table of the file."""

    server: ServerSection
    log: LogSection
    storage: StorageSection
    accounts: AccountsSection
    messages: MessagesSection
    limits: LimitsSection
    relay: RelaySection
    network: NetworkSection
    delivery: DeliverySection
    checks: ChecksSection
    domains: DomainsSection
    dimail: DimailSection


_SECTIONS: Mapping[str, type[Any]] = get_type_hints(Config)
_SCALARS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
}


def load(path: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the file (None: defaults only), apply the environment, check everything.

    Raises ConfigurationError, whose text lists every mistake with its key and what to write instead.
    """
    document = _anchored(_read_file(path), path.parent) if path else {}
    problems: list[str] = []
    for key, value in _overrides(environment, problems):
        section, name = key
        table = document.setdefault(section, {})
        if isinstance(table, dict):
            table[name] = value
    return build(document, problems, source=str(path) if path else "the environment")


def build(
    document: Mapping[str, Any], problems: list[str] | None = None, *, source: str = "configuration"
) -> Config:
    """Turn a parsed document into a Config. Raises ConfigurationError."""
    problems = [] if problems is None else problems
    problems += [
        f"{name}: there is no such table; known are {', '.join(_SECTIONS)}"
        for name in document.keys() - _SECTIONS.keys()
    ]
    sections = {name: _section(name, kind, document.get(name, {}), problems) for name, kind in _SECTIONS.items()}
    if problems:
        raise ConfigurationError(
            f"The configuration is wrong ({source}):\n" + "\n".join(f"  - {p}" for p in problems)
        )
    return Config(**sections)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise ConfigurationError(
            f"Cannot read the configuration file {path}: {reason}. Name another with --config."
        ) from error
    except ValueError as error:  # from the TOML, the UTF-8 or a number of thousands of digits
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def _anchored(document: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Let the relative paths of a file, defaults included, count from its directory."""
    for section, kind in _SECTIONS.items():
        table = document.setdefault(section, {})
        for field in dataclasses.fields(kind) if isinstance(table, dict) else ():
            value = table.get(field.name, str(field.default))
            if field.metadata["path"] and value and isinstance(value, str):
                table[field.name] = str(directory / value)
    return document


def _overrides(environment: Mapping[str, str], problems: list[str]) -> list[tuple[tuple[str, str], Any]]:
    """Return ((section, key), value) for each variable ``GATEWAY_SECTION__KEY``."""
    found = []
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" not in variable:
            continue
        section, _, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if section not in _SECTIONS or name not in get_type_hints(_SECTIONS[section]):
            problems.append(f"{variable}: there is no key {section}.{name}")
            continue
        found.append(((section, name), _from_environment(text, get_type_hints(_SECTIONS[section])[name])))
    return found


def _from_environment(text: str, kind: Any) -> Any:
    if kind in (str, Path):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # no TOML, or a number of thousands of digits
        return text  # the type check below tells what was expected


def _section(name: str, kind: type[Any], table: Any, problems: list[str]) -> Any:
    if not isinstance(table, dict):
        problems.append(f"{name}: must be a table, written [{name}]")
        return None
    before = len(problems)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    problems += [
        f"{name}.{key}: there is no such key; known are {', '.join(fields)}" for key in table.keys() - fields.keys()
    ]
    values = {}
    for key, field in fields.items():
        if key in table:
            values[key] = _value(f"{name}.{key}", table[key], hints[key], field.metadata, problems)
        elif field.metadata["required"]:
            problems.append(f"{name}.{key}: must be set. {field.metadata['help']}")
    _read_secret_files(name, values, problems)
    return kind(**values) if len(problems) == before else None


def _read_secret_files(section: str, values: dict[str, Any], problems: list[str]) -> None:
    """Fill ``x`` from the file that ``x_file`` names, for keys that may hold a secret."""
    for key in ("uri", "password"):
        path = values.get(f"{key}_file")
        if not path or not isinstance(path, str):  # of another type: that has been noted already
            continue
        if values.get(key):
            problems.append(f"{section}.{key}_file: {section}.{key} is set too; keep one of them")
            continue
        try:
            values[key] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path, or not UTF-8"
            problems.append(f"{section}.{key}_file: cannot read {path!r}: {reason}")


def _value(key: str, value: Any, kind: Any, metadata: Mapping[str, Any], problems: list[str]) -> Any:
    """Return the value in its type; note what is wrong with it."""
    before = len(problems)
    if kind in (tuple[str, ...], tuple[int, ...]):
        item_kind = kind.__args__[0]
        if not isinstance(value, list):
            problems.append(f"{key}: must be a list")
            return ()
        value = tuple(
            _value(f"{key}[{i}]", item, item_kind, {**metadata, "rule": None}, problems)
            for i, item in enumerate(value)
        )
    elif kind is Path:
        if not value or not isinstance(value, str):
            problems.append(f"{key}: must be a string, the path of a directory")
            return value
        value = Path(value)
    else:
        expected = (int, float) if kind is float else (kind,)
        if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
            problems.append(f"{key}: must be {_SCALARS[kind]}")
            return value
        _check_bounds(key, value, metadata, problems)
    rule = metadata["rule"]
    if rule and len(problems) == before and (wrong := rule(value)):
        problems.append(f"{key}: {value!r} {wrong}")
    return value


def _check_bounds(key: str, value: Any, metadata: Mapping[str, Any], problems: list[str]) -> None:
    if metadata["choices"] and value not in metadata["choices"]:
        problems.append(f"{key}: must be one of {', '.join(metadata['choices'])}")
    if metadata["minimum"] is not None and not value >= metadata["minimum"]:  # so that TOML's nan is refused
        problems.append(f"{key}: must be at least {metadata['minimum']}")
    if metadata["maximum"] is not None and value > metadata["maximum"]:
        problems.append(f"{key}: must be at most {metadata['maximum']}")


def example() -> str:
    """Return the text of ``config.example.toml``: every key with its help and its default."""
    parts = [
        "# The configuration of the mail-identity gateway: every key; those commented out have their default.",
        "# An environment variable GATEWAY_SECTION__KEY (GATEWAY_SERVER__PORT=8081) goes before the file.",
        "# Relative paths count from this file's directory, those in variables from the current directory.",
    ]
    for name, kind in _SECTIONS.items():
        parts += ["", f"# {kind.__doc__}", f"[{name}]"]
        for field in dataclasses.fields(kind):
            parts += ["", *_example_key(field)]
    return "\n".join(parts) + "\n"


def _example_key(field: dataclasses.Field[Any]) -> list[str]:
    metadata = field.metadata
    bounds = ""
    if metadata["choices"]:
        bounds = f" One of: {', '.join(metadata['choices'])}."
    elif metadata["minimum"] is not None:
        bounds = f" From {metadata['minimum']} to {metadata['maximum']}."
    comment = textwrap.wrap(
        metadata["help"] + bounds, 108, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    line = f"{field.name} = {_toml(metadata['sample'])}"
    return [*comment, line if metadata["required"] else f"#{line}"]


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)
