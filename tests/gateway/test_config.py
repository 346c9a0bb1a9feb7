"""The configuration, from the file, the environment and the fields' help."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import normalise_identifier
from gateway.config import Config, build, example, load
from gateway.errors import ConfigurationError

EXAMPLE_FILE = Path(__file__).parents[2] / "config.example.toml"
MINIMAL = {"accounts": {"local_domain": "example.org"}}
LOCAL_DOMAIN = {"GATEWAY_ACCOUNTS__LOCAL_DOMAIN": "example.org"}


def configured(section: str, **keys: Any) -> Config:
    return build(with_keys(section, **keys))


def with_keys(section: str, **keys: Any) -> dict[str, dict[str, Any]]:
    return {**MINIMAL, section: {**MINIMAL.get(section, {}), **keys}}


def mistakes(document: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines that tell what is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        build(document) if environment is None else load(None, environment)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def mistake(section: str, **keys: Any) -> str:
    """Return the only line that tells what is wrong with these keys."""
    (line,) = mistakes(with_keys(section, **keys))
    return line


# -- defaults ----------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    """The local domain is all that has to be set; the rest works on one machine, safely."""
    config = build(MINIMAL)
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert config.accounts.local_domain == "example.org"
    assert (config.storage.uri, config.storage.data_dir) == ("", Path("data"))
    assert (config.relay.host, config.relay.port, config.relay.tls) == ("localhost", 25, "starttls")
    assert (config.network.allow, config.network.allow_plaintext) == ((), False)
    assert config.delivery.wait_s == 10


def test_required_key() -> None:
    """A key without a default has to be set, and the mistake says what it is for."""
    (line,) = mistakes({})
    assert line.startswith("accounts.local_domain: must be set. Domain of the users' local identities")


def test_config_cannot_be_changed() -> None:
    """The configuration is frozen."""
    with pytest.raises(AttributeError):
        build(MINIMAL).server.port = 1  # type: ignore[misc]


# -- mistakes ----------------------------------------------------------------------------------------------------


def test_unknown_table() -> None:
    """A table that nobody reads is a mistake, and the known ones are named."""
    (line,) = mistakes({**MINIMAL, "sever": {}})
    assert line.startswith("sever: there is no such table; known are server, log,")


def test_unknown_key() -> None:
    """A key that nobody reads is a mistake, and the known ones are named."""
    assert mistake("server", prot=1).startswith("server.prot: there is no such key; known are host, port")


def test_no_table() -> None:
    """A value where a table belongs is a mistake."""
    assert mistakes({**MINIMAL, "server": 8080}) == ["server: must be a table, written [server]"]


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("server", "port", True, "must be a whole number"),
        ("server", "port", "8080", "must be a whole number"),
        ("server", "port", 8080.0, "must be a whole number"),
        ("server", "host", 1, "must be a string"),
        ("delivery", "wait_s", True, "must be a number"),
        ("delivery", "wait_s", "1", "must be a number"),
        ("network", "allow_plaintext", 1, "must be true or false"),
        ("network", "allow_plaintext", "true", "must be true or false"),
        ("network", "allow", "10.0.0.0/8", "must be a list"),
        ("network", "ports", 25, "must be a list"),
        ("network", "allow[0]", True, "must be a string"),
        ("storage", "data_dir", 1, "must be a string, the path of a directory"),
        ("storage", "data_dir", "", "must be a string, the path of a directory"),
        ("relay", "password", 1, "must be a string"),
        ("relay", "password_file", 1, "must be a string"),
        ("relay", "password_file", [".."], "must be a string"),
        ("accounts", "local_domain", 1, "must be a string"),
    ],
)
def test_wrong_type(section: str, key: str, value: object, expected: str) -> None:
    """A value of another type is refused with the type that is right; a boolean is no number."""
    name, bracket, _ = key.partition("[")
    assert mistake(section, **{name: [value] if bracket else value}) == f"{section}.{key}: {expected}"


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("server", "port", -1, "must be at least 0"),
        ("server", "port", 65536, "must be at most 65535"),
        ("server", "max_body_bytes", 1023, "must be at least 1024"),
        ("delivery", "concurrency", 0, "must be at least 1"),
        ("delivery", "poll_s", 0.001, "must be at least 0.01"),
        ("delivery", "wait_s", float("inf"), "must be at most 60"),
        ("log", "level", "INFO", "must be one of debug, info, warning, error"),
        ("relay", "tls", "ssl", "must be one of implicit, starttls, none"),
    ],
)
def test_out_of_bounds(section: str, key: str, value: object, expected: str) -> None:
    """A value out of its bounds, or none of the choices, is refused with what is right."""
    assert mistake(section, **{key: value}) == f"{section}.{key}: {expected}"


def test_not_a_number() -> None:
    """TOML's nan lies within no bounds."""
    assert "delivery.wait_s: must be at least 0" in mistakes(with_keys("delivery", wait_s=float("nan")))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("server", "port", 0),
        ("server", "port", 65535),
        ("delivery", "wait_s", 0),
        ("delivery", "wait_s", 60.0),
        ("delivery", "wait_s", 7),
        ("network", "allow_plaintext", True),
    ],
)
def test_bounds_themselves_are_in(section: str, key: str, value: object) -> None:
    """The bounds are good values; a whole number will do where a number is expected."""
    assert getattr(getattr(configured(section, **{key: value}), section), key) == value


def test_mistake_in_a_list() -> None:
    """A wrong item of a list is named by its place."""
    assert mistakes(with_keys("network", ports=[25, "587", 0])) == [
        "network.ports[1]: must be a whole number",
        "network.ports[2]: must be at least 1",
    ]


@pytest.mark.parametrize("server", ["", "dns.example.org", "192.0.2.53:0", "192.0.2.53:", "192.0.2", "fe80::1%lo"])
def test_malformed_name_server(server: str) -> None:
    """A name server is an address, with or without a port; a name would have to be looked up first."""
    good = ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:53"]
    assert configured("network", nameservers=good).network.nameservers == tuple(good)
    line = mistake("network", nameservers=[*good, server])
    assert line.startswith("network.nameservers: ")


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0/33", "example.org", ""])
def test_malformed_network(network: str) -> None:
    """A network that is none is refused with what to write instead."""
    line = mistake("network", allow=["fd00::/8", network])
    assert line.startswith("network.allow: ")
    assert line.endswith("write networks like 10.0.0.0/8 or fd00::/8")


def test_lists_become_tuples() -> None:
    """Lists are kept in their order and cannot be changed."""
    config = configured("network", allow=["10.0.0.0/8", "::1"], ports=[587])
    assert (config.network.allow, config.network.ports) == (("10.0.0.0/8", "::1"), (587,))


def test_all_mistakes_together() -> None:
    """Every mistake is told at once: nobody starts the process five times to find five."""
    document = {
        "server": {"port": "x", "prot": 1},
        "log": {"level": "loud"},
        "relay": 1,
        "nonsense": {},
    }
    lines = mistakes(document)
    starts = ("server.port:", "server.prot:", "log.level:", "relay:", "nonsense:", "accounts.local_domain:")
    assert len(lines) == len(starts)
    assert all(any(line.startswith(start) for line in lines) for start in starts)


@pytest.mark.parametrize(
    "domain",
    [
        "example",
        "example..org",
        ".example.org",
        "example.org.",
        "exa mple.org",
        "-a.org",
        "a-.org",
        "x" * 64 + ".org",
        "me@example.org",
        "[127.0.0.1]",
        "a_b.org",
    ],
)
def test_malformed_local_domain(domain: str) -> None:
    """A domain that can stand in no address is refused at the start, not at the first registration."""
    line = mistake("accounts", local_domain=domain)
    assert line == f"accounts.local_domain: {domain!r} is no domain name; write it like example.org"


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a/b", "$a", "ä", "a\n", "x" * 64])
def test_malformed_database_name(name: str) -> None:
    """A name that MongoDB does not take is refused at the start."""
    line = mistake("storage", database=name)
    assert line.startswith(f"storage.database: {name!r} is no database name; write 1 to 63 letters")


@given(st.text(st.sampled_from("aZ0-._ ²ßéİ。\u0661@[\"'\\"), max_size=12).map(lambda text: f"{text}.org"))
def test_local_domain_makes_addresses(domain: str) -> None:
    """Under every domain that is accepted a user can have an address."""
    try:
        config = configured("accounts", local_domain=domain)
    except ConfigurationError:
        return
    assert normalise_identifier(f"someone@{config.accounts.local_domain}")


toml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_any_document_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever stands in the file, the outcome is a configuration or the list of mistakes."""
    known = {section: vars(table) for section, table in vars(build(MINIMAL)).items()}
    section = data.draw(st.sampled_from(sorted(known)))
    key = data.draw(st.sampled_from(sorted(known[section])) | st.text())
    document = {**MINIMAL, section: data.draw(st.just({key: data.draw(toml_values)}) | toml_values)}
    try:
        config = build(document)
    except ConfigurationError:
        return
    assert isinstance(config, Config)


@given(st.binary() | st.text().map(str.encode))
def test_any_file_is_read_or_refused(content: bytes) -> None:
    """Whatever octets the file has, the outcome is a configuration or a mistake that names the file."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "config.toml")
        path.write_bytes(b'accounts.local_domain = "example.org"\n' + content)
        try:
            config = load(path, {})
        except ConfigurationError as error:
            told = str(error)
        else:
            assert config.accounts.local_domain == "example.org"
            return
    assert str(path) in told


@given(st.data(), st.text(st.characters(exclude_characters="\0")))
def test_any_variable_is_read_or_refused(data: st.DataObject, text: str) -> None:
    """Whatever an environment variable says, the outcome is a value of its type or a mistake that names the key."""
    known = {section: vars(table) for section, table in vars(build(MINIMAL)).items()}
    section = data.draw(st.sampled_from(sorted(known)))
    key = data.draw(st.sampled_from(sorted(known[section])))
    try:
        config = load(None, {**LOCAL_DOMAIN, f"GATEWAY_{section}__{key}".upper(): text})
    except ConfigurationError as error:
        told = str(error)
    else:
        assert isinstance(getattr(getattr(config, section), key), type(known[section][key]))
        return
    assert f"{section}.{key}" in told


# -- the file ----------------------------------------------------------------------------------------------------


def test_file(tmp_path: Path) -> None:
    """Keys of the file replace defaults."""
    path = tmp_path / "config.toml"
    path.write_text('[server]\nport = 81\n[accounts]\nlocal_domain = "münchen.example"\n', encoding="utf-8")
    config = load(path, {})
    assert (config.server.port, config.accounts.local_domain) == (81, "münchen.example")


PATHS = [
    ("storage", "data_dir"),
    ("storage", "mongod"),
    ("storage", "key_file"),
    ("storage", "uri_file"),
    ("relay", "password_file"),
    ("network", "ca_file"),
]


@pytest.mark.parametrize(("section", "key"), PATHS)
@pytest.mark.parametrize("written", ["here", "../here", "{absolute}/here"])
def test_paths_count_from_the_file(tmp_path: Path, section: str, key: str, written: str) -> None:
    """A relative path in the file counts from its directory, wherever the gateway is started."""
    written = written.format(absolute=tmp_path)
    path = tmp_path / "etc" / "config.toml"
    path.parent.mkdir()
    for directory in (tmp_path, path.parent):
        (directory / "here").touch()  # keys that hold a secret read it at once
    path.write_text(f'[{section}]\n{key} = "{written}"\n', encoding="utf-8")
    config = load(path, LOCAL_DOMAIN)
    assert Path(getattr(getattr(config, section), key)) == path.parent / written


def test_default_data_directory_lies_beside_the_file(tmp_path: Path) -> None:
    """Without data_dir the data lie beside the file, not in whatever directory is the current one."""
    path = tmp_path / "config.toml"
    path.touch()
    config = load(path, LOCAL_DOMAIN)
    assert config.storage.data_dir == tmp_path / "data"
    assert (config.storage.key_file, config.network.ca_file) == ("", "")


def test_paths_of_variables_count_from_here(tmp_path: Path) -> None:
    """A relative path in a variable is left to count from the current directory."""
    path = tmp_path / "config.toml"
    path.touch()
    config = load(path, {**LOCAL_DOMAIN, "GATEWAY_STORAGE__DATA_DIR": "here"})
    assert config.storage.data_dir == Path("here")


@pytest.mark.parametrize(
    "content", [b"[server\n", b"port == 1", b"a = 1\na = 2", b'host = "\xff"', b"port = " + b"9" * 5000]
)
def test_file_that_is_no_toml(tmp_path: Path, content: bytes) -> None:
    """A file that is not TOML in UTF-8 is refused by its name."""
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"config\.toml is not valid TOML: "):
        load(path, LOCAL_DOMAIN)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named, with the option that names another."""
    with pytest.raises(ConfigurationError, match=r"none\.toml: No such file or directory.*--config"):
        load(tmp_path / "none.toml", LOCAL_DOMAIN)


def test_directory_is_no_file(tmp_path: Path) -> None:
    """A file that cannot be read is refused by its name."""
    with pytest.raises(ConfigurationError, match=r"Cannot read the configuration file .*: Is a directory"):
        load(tmp_path, LOCAL_DOMAIN)


def test_mistakes_name_the_file(tmp_path: Path) -> None:
    """The list of mistakes says which file they stand in."""
    path = tmp_path / "config.toml"
    path.write_text("[server]\nport = -1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"\(.*config\.toml\)"):
        load(path, LOCAL_DOMAIN)


# -- the environment ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("GATEWAY_SERVER__PORT", "8081", "server", "port", 8081),
        ("GATEWAY_SERVER__HOST", "::1", "server", "host", "::1"),
        ("GATEWAY_RELAY__PASSWORD", "12345", "relay", "password", "12345"),
        ("GATEWAY_RELAY__PASSWORD", '"quoted"', "relay", "password", '"quoted"'),
        ("GATEWAY_RELAY__PASSWORD", "", "relay", "password", ""),
        ("GATEWAY_STORAGE__DATA_DIR", "/srv/mail", "storage", "data_dir", Path("/srv/mail")),
        ("GATEWAY_NETWORK__ALLOW_PLAINTEXT", "true", "network", "allow_plaintext", True),
        ("GATEWAY_NETWORK__ALLOW", '["10.0.0.0/8", "::1"]', "network", "allow", ("10.0.0.0/8", "::1")),
        ("GATEWAY_NETWORK__PORTS", "[25, 587]", "network", "ports", (25, 587)),
        ("GATEWAY_DELIVERY__WAIT_S", "0.5", "delivery", "wait_s", 0.5),
        ("GATEWAY_DELIVERY__WAIT_S", "5", "delivery", "wait_s", 5),
    ],
)
def test_environment(variable: str, text: str, section: str, key: str, value: object) -> None:
    """A variable sets a key; its value is written as in TOML, a string without quotes."""
    config = load(None, {**LOCAL_DOMAIN, variable: text})
    assert getattr(getattr(config, section), key) == value


def test_environment_goes_before_the_file(tmp_path: Path) -> None:
    """A variable replaces one key of the file and leaves the others."""
    path = tmp_path / "config.toml"
    path.write_text('[server]\nport = 81\nhost = "::1"\n', encoding="utf-8")
    config = load(path, {**LOCAL_DOMAIN, "GATEWAY_SERVER__PORT": "82"})
    assert (config.server.port, config.server.host) == (82, "::1")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("GATEWAY_X__Y", "1", "GATEWAY_X__Y: there is no key x.y"),
        ("GATEWAY_SERVER__PROT", "1", "GATEWAY_SERVER__PROT: there is no key server.prot"),
        ("GATEWAY_SERVER__PORT", "eighty", "server.port: must be a whole number"),
        ("GATEWAY_SERVER__PORT", "", "server.port: must be a whole number"),
        ("GATEWAY_SERVER__PORT", "9" * 5000, "server.port: must be a whole number"),
        ("GATEWAY_NETWORK__ALLOW_PLAINTEXT", "yes", "network.allow_plaintext: must be true or false"),
        ("GATEWAY_NETWORK__ALLOW", "10.0.0.0/8", "network.allow: must be a list"),
        ("GATEWAY_NETWORK__PORTS", "[0]", "network.ports[0]: must be at least 1"),
    ],
)
def test_mistakes_in_the_environment(variable: str, text: str, expected: str) -> None:
    """A variable that names no key, or a wrong value in one, is a mistake like any other."""
    assert mistakes({}, {**LOCAL_DOMAIN, variable: text}) == [expected]


def test_other_variables_are_left_alone() -> None:
    """Variables of other programs, and those without a key, mean nothing here."""
    others = {"PATH": "/bin", "SERVER__PORT": "1", "GATEWAY_PORT": "1", "MY_GATEWAY_SERVER__PORT": "1"}
    assert load(None, {**LOCAL_DOMAIN, **others}) == build(MINIMAL)


def test_environment_does_not_mend_a_missing_table(tmp_path: Path) -> None:
    """A value where a table belongs stays a mistake, also when a variable sets a key of that table."""
    path = tmp_path / "config.toml"
    path.write_text("server = 1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="server: must be a table"):
        load(path, {**LOCAL_DOMAIN, "GATEWAY_SERVER__PORT": "1"})


# -- secrets in files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "key"), [("relay", "password"), ("storage", "uri")])
class TestSecretFiles:
    """A key that may hold a secret can be read from a file of its own."""

    def test_read(self, tmp_path: Path, section: str, key: str) -> None:
        """The file's content, less the line break at its end, is the value."""
        path = tmp_path / "secret"
        path.write_text("s3cret ü\n", encoding="utf-8")
        config = configured(section, **{f"{key}_file": str(path)})
        assert getattr(getattr(config, section), key) == "s3cret ü"

    def test_both(self, tmp_path: Path, section: str, key: str) -> None:
        """Two sources of one secret are a mistake, which shows neither."""
        path = tmp_path / "secret"
        path.write_text("s3cret", encoding="utf-8")
        line = mistake(section, **{key: "other-s3cret", f"{key}_file": str(path)})
        assert line == f"{section}.{key}_file: {section}.{key} is set too; keep one of them"

    def test_missing(self, tmp_path: Path, section: str, key: str) -> None:
        """A file that is not there is named."""
        path = tmp_path / "none"
        line = mistake(section, **{f"{key}_file": str(path)})
        assert line == f"{section}.{key}_file: cannot read {str(path)!r}: No such file or directory"

    @pytest.mark.parametrize("name", ["binary", "a\0b"])
    def test_unreadable(self, tmp_path: Path, section: str, key: str, name: str) -> None:
        """A file that holds no text, or whose name cannot be one, is a mistake."""
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        line = mistake(section, **{f"{key}_file": str(tmp_path / name)})
        assert line.startswith(f"{section}.{key}_file: cannot read ")

    def test_from_the_environment(self, tmp_path: Path, section: str, key: str) -> None:
        """The file can be named by a variable."""
        path = tmp_path / "secret"
        path.write_text("s3cret", encoding="utf-8")
        config = load(None, {**LOCAL_DOMAIN, f"GATEWAY_{section}__{key}_file".upper(): str(path)})
        assert getattr(getattr(config, section), key) == "s3cret"


def test_nothing_secret_in_the_repr() -> None:
    """What may hold a secret is in no repr, so that no log or traceback can show it."""
    document = {**with_keys("relay", password="s3cret"), "storage": {"uri": "mongodb://user:s3cret@host/"}}
    assert "s3cret" not in repr(build(document))


# -- the example -------------------------------------------------------------------------------------------------


def test_example_file_is_the_field_help() -> None:
    """``config.example.toml`` is what the fields' help makes of it."""
    assert EXAMPLE_FILE.read_text(encoding="utf-8") == example()


def test_example_is_a_configuration() -> None:
    """The example works as it is, and sets nothing but what has no default."""
    assert load(EXAMPLE_FILE, {}) == configured("storage", data_dir=str(EXAMPLE_FILE.parent / "data"))


def test_example_shows_defaults() -> None:
    """What is commented out has its default: uncommented, it changes nothing."""
    text, keys = re.subn(r"^#(?=[a-z_]+ = )", "", example(), flags=re.MULTILINE)
    assert build(tomllib.loads(text)) == build(MINIMAL)
    assert keys == sum(len(vars(table)) for table in vars(build(MINIMAL)).values()) - 1


def test_example_names_every_key() -> None:
    """Every key of every table stands in the example, in the order of the fields."""
    text = re.sub(r"^#(?=[a-z_]+ = )", "", example(), flags=re.MULTILINE)
    assert {section: list(table) for section, table in tomllib.loads(text).items()} == {
        section: list(vars(table)) for section, table in vars(build(MINIMAL)).items()
    }


def test_example_fits_the_screen() -> None:
    """No line of the example is longer than the project's lines."""
    assert max(map(len, example().splitlines())) <= 116
