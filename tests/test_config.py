"""The configuration file: what is read, and what is said about what can't be."""

from __future__ import annotations

import os
import tomllib
from contextlib import suppress
from dataclasses import fields
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice import config
from sortingoffice.config import Endpoint
from sortingoffice.errors import OfficeError
from sortingoffice.flows import passkeys

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"


def _load(folder: Path, text: str) -> config.Config:
    path = folder / "office.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def _complaint(folder: Path, text: str) -> str:
    with pytest.raises(OfficeError) as raised:
        _load(folder, text)
    return str(raised.value)


def test_the_example_holds_exactly_every_key_and_its_default() -> None:
    assert tomllib.loads(EXAMPLE.read_text("utf-8")) == config.defaults()


def test_the_example_gives_a_reason_above_every_key_or_its_neighbour() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    for section in config.defaults().values():
        if isinstance(section, dict) and section:
            first = next(iter(section))
            at = next(i for i, line in enumerate(lines) if line.startswith(f"{first} = "))
            assert lines[at - 1].startswith("# "), first


def test_an_empty_file_is_a_config_of_defaults(tmp_path: Path) -> None:
    read = _load(tmp_path, "")
    assert read.smtp.listen == (Endpoint("127.0.0.1", 2525),)
    assert read.delivery.retry[-1] == timedelta(hours=4)
    assert read.delivery.port == 25
    assert read.delivery.smarthost is None
    assert read.limits.account_messages_per_hour == 500
    assert read.hostname


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    read = _load(tmp_path, 'data_dir = "mail"\n[smtp]\ntls_certificate = "c.pem"\ntls_key = "/etc/k.pem"')
    assert read.data_dir == tmp_path / "mail"
    assert read.database == f"sqlite:///{tmp_path / 'mail' / 'office.db'}"
    assert read.smtp.tls_certificate == tmp_path / "c.pem"
    assert read.smtp.tls_key == Path("/etc/k.pem")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("postgresql://h/office", "postgresql+psycopg://h/office"),
        ("postgres://u@h:5/office", "postgresql+psycopg://u@h:5/office"),
        ("sqlite:////srv/o.db", "sqlite:////srv/o.db"),
    ],
)
def test_a_database_url_gets_our_driver(tmp_path: Path, written: str, meant: str) -> None:
    assert _load(tmp_path, f'database = "{written}"').database == meant


@pytest.mark.parametrize(
    "written", ["https://sort.example", "https://sort.example/", "HTTPS://sort.example//"]
)
def test_links_begin_at_the_host(tmp_path: Path, written: str) -> None:
    assert _load(tmp_path, f'[http]\nbase_url = "{written}"').http.base_url == "https://sort.example"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://Sort.Example:443", "https://sort.example"),
        ("http://LOCALHOST:80/", "http://localhost"),
        ("https://sort.example:8443", "https://sort.example:8443"),
        ("https://b\u00fcro.example", "https://xn--bro-hoa.example"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
    ],
)
def test_the_address_on_the_web_is_as_browsers_tell_it_whatever_its_spelling(
    tmp_path: Path, written: str, meant: str
) -> None:
    found = _load(tmp_path, f'[http]\nbase_url = "{written}"').http.base_url
    assert found == meant
    here = passkeys.party(found)
    assert here is None or (here.origin, here.id) == (meant, meant.split("/")[2].partition(":")[0])


def test_addresses_of_both_families_are_read(tmp_path: Path) -> None:
    read = _load(
        tmp_path,
        '[smtp]\nlisten = ["[::]:25", "0.0.0.0:0"]\nxclient_from = ["10.0.0.0/8", "::1"]\n'
        '[dns]\nnameservers = ["127.0.0.1:5353", "2001:db8::53", "9.9.9.9"]',
    )
    assert read.smtp.listen == (Endpoint("::", 25), Endpoint("0.0.0.0", 0))
    assert str(read.smtp.listen[0]) == "[::]:25"
    assert read.smtp.xclient_from == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert read.dns.nameservers == (
        Endpoint("127.0.0.1", 5353),
        Endpoint("2001:db8::53", 53),
        Endpoint("9.9.9.9", 53),
    )


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("listn = 1", "listn", "did you mean smtp.listen?"),
        ("[smtp]\nlistn = []", "smtp.listn", "did you mean smtp.listen?"),
        ("[smtp]\nhostname = 'a'", "smtp.hostname", "did you mean hostname?"),
        ("[delivery]\nsmarthost_password = 'x'", "delivery.smarthost_password", "smarthost_password_file"),
        ("[smtpd]\nlisten = []", "smtpd", "did you mean smtp?"),
        ("[zzzzzz]\na = 1", "zzzzzz", "config.example.toml lists them all"),
        ("smtp = 3", "smtp", "write [smtp] on a line"),
        ("hostname = 3", "hostname", "must be a host name"),
        ('hostname = "a b"', "hostname", "must be a host name"),
        ('data_dir = ""', "data_dir", "must be a path"),
        ('data_dir = "~no.such.account/x"', "data_dir", "home of an account"),
        ('database = "mysql://h/x"', "database", "postgresql://host/name"),
        ('[smtp]\nlisten = "127.0.0.1:25"', "smtp.listen", "must be a list"),
        ('[smtp]\nlisten = ["25"]', "smtp.listen", "host:port"),
        ('[smtp]\nlisten = ["127.0.0.1:65536"]', "smtp.listen", "host:port"),
        ('[smtp]\nmax_message_bytes = "35M"', "smtp.max_message_bytes", "whole number without quotes"),
        ("[smtp]\nmax_message_bytes = true", "smtp.max_message_bytes", "whole number"),
        ('[smtp]\nproxy_protocol_from = ["10.0.0.1/8"]', "smtp.proxy_protocol_from", "must be a network"),
        ('[smtp]\ntls_key = "k.pem"', "smtp.tls_certificate", "set both or neither"),
        ('[submission]\ntls = "yes"', "submission.tls", "true or false, without quotes"),
        ('[http]\nbase_url = "sort.example"', "http.base_url", "https://sort.example"),
        ('[http]\nbase_url = "http://["', "http.base_url", "https://sort.example"),
        ('[http]\nbase_url = "https://sort.example/office"', "http.base_url", "ends with its host"),
        ('[http]\nbase_url = "https://sort.example?a=b"', "http.base_url", "ends with its host"),
        ('[http]\nbase_url = "https://sort.example#top"', "http.base_url", "ends with its host"),
        ('[http]\nbase_url = "https://anna:pass@sort.example"', "http.base_url", "ends with its host"),
        (f'[http]\nbase_url = "https://{"a" * 64}.example"', "http.base_url", "that the DNS can have"),
        ('[http]\nbase_url = "https://sort.example:99999"', "http.base_url", "ends with its host"),
        ('[http]\nbase_url = "https://sort.example\\nX: y"', "http.base_url", "ends with its host"),
        ('[scanner]\nrspamd_url = "http://127.0.0.1:x"', "scanner.rspamd_url", "http://127.0.0.1:11333"),
        ('[delivery]\nsmarthost = "relay.example"', "delivery.smarthost", "host:port"),
        ('[delivery]\nsmarthost = "relay.example:0"', "delivery.smarthost", "needs a port"),
        ('[delivery]\nsmarthost_username = "a"', "delivery.smarthost_username", "smarthost_password_file"),
        (
            '[delivery]\nsmarthost_tls = "on"',
            "delivery.smarthost_tls",
            '"none", "opportunistic" or "required"',
        ),
        ("[delivery]\nretry = []", "delivery.retry", "at least one"),
        ('[delivery]\nretry = ["1 minute"]', "delivery.retry", '"15m"'),
        ('[delivery]\ngive_up_after = "0d"', "delivery.give_up_after", "above zero"),
        ('[delivery]\ngive_up_after = "999999w"', "delivery.give_up_after", "at most a year"),
        ('[dns]\nnameservers = ["ns.example:53"]', "dns.nameservers", "IP address"),
        ("[dns]\ntimeout = 0", "dns.timeout", "above 0"),
        ("[limits]\nhops = 0", "limits.hops", "at least 1"),
        ("a = = 1", "not TOML", "quotes"),
        ("a = " + "[" * 5000, "not TOML", "quotes"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_the_remedy(
    tmp_path: Path, text: str, key: str, remedy: str
) -> None:
    complaint = _complaint(tmp_path, text)
    assert str(tmp_path / "office.toml") in complaint
    assert key in complaint
    assert remedy in complaint


def test_a_missing_file_says_who_writes_one(tmp_path: Path) -> None:
    with pytest.raises(OfficeError, match="`sortingoffice init` writes one"):
        config.load(tmp_path / "none.toml")


def test_a_folder_and_binary_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(OfficeError, match="can't be read"):
        config.load(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OfficeError, match="UTF-8"):
        config.load(tmp_path / "x.toml")


def test_a_file_without_end_is_no_config() -> None:
    with pytest.raises(OfficeError, match="larger than 1024 KiB"):
        config.load(Path("/dev/zero"))


def test_a_secret_file_that_cannot_be_read_is_named_with_its_key(tmp_path: Path) -> None:
    read = _load(tmp_path, '[smtp]\ntls_certificate = "c.pem"\ntls_key = "k.pem"')
    (tmp_path / "c.pem").write_text("x")
    with pytest.raises(OfficeError, match=r"smtp\.tls_key: .*k\.pem can't be read"):
        config.check_files(read)
    (tmp_path / "k.pem").write_text("x")
    config.check_files(read)


def test_a_password_file_that_is_no_text_or_gone_is_named_and_nothing_of_it_is_told(tmp_path: Path) -> None:
    named = _load(tmp_path, '[delivery]\nsmarthost_username = "u"\nsmarthost_password_file = "p"')
    for octets, said in ((None, "p can't be read"), (b"p\xe4ssw0rd\n", "p is not UTF-8 text: save it as")):
        if octets is not None:
            (tmp_path / "p").write_bytes(octets)
        for asked in (config.check_files, config.smarthost_password):
            with pytest.raises(OfficeError, match=r"delivery\.smarthost_password_file: .*" + said) as refused:
                asked(named)
            assert "ssw0rd" not in str(refused.value)
            assert refused.value.__suppress_context__  # the error below it holds the octets
    (tmp_path / "p").write_text("pässword\r\n", encoding="utf-8")
    config.check_files(named)
    assert config.smarthost_password(named) == "pässword"


def test_the_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv(config.ENVIRONMENT, raising=False)
    user = tmp_path / "xdg" / "sortingoffice" / "config.toml"
    if not Path("/etc/sortingoffice/config.toml").exists():
        assert config.find(None) is None
    user.parent.mkdir(parents=True)
    user.touch()
    assert config.find(None) == user
    Path(config.FILE_NAME).touch()
    assert config.find(None) == Path(config.FILE_NAME)
    monkeypatch.setenv(config.ENVIRONMENT, "/named/by/environment.toml")
    assert config.find(None) == Path("/named/by/environment.toml")
    assert config.find(Path("x.toml")) == Path("x.toml")


def test_every_section_of_the_config_is_one_of_the_file() -> None:
    sections = {name for name, value in config.defaults().items() if isinstance(value, dict)}
    top = {name for name, value in config.defaults().items() if not isinstance(value, dict)}
    assert {each.name for each in fields(config.Config)} == sections | top | {"path"}


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_an_endpoint(text: str) -> None:
    found = config.endpoint(text)
    assert found is None or config.endpoint(str(found)) == found


@given(st.dictionaries(st.sampled_from(["hostname", "data_dir", "database", "smtp", "x"]), st.one_of(
    st.text(max_size=20), st.integers(), st.booleans(), st.lists(st.text(max_size=5), max_size=2),
    st.dictionaries(st.sampled_from(["listen", "tls_key", "max_message_bytes", "y"]), st.text(max_size=9)),
)))  # fmt: skip
def test_whatever_the_file_holds_it_is_a_config_or_a_sentence(tables: dict[str, object]) -> None:
    with suppress(OfficeError):
        config.from_tables(tables, Path("/srv/office.toml"))


def test_a_home_is_understood(tmp_path: Path) -> None:
    assert _load(tmp_path, 'data_dir = "~/office"').data_dir == Path(os.path.expanduser("~/office"))
