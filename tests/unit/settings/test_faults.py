"""What is wrong with the settings: all of it at once, each with its name and where it was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventserver_core.errors import ConfigurationError
from eventserver_core.sections import CORE_SECTIONS, ServerSettings
from eventserver_core.settings import Section, Sources, option
from eventserver_core.wiring import load_configuration

from .conftest import Faults, Load, Write


def test_five_faults_in_a_file_are_five_lines(faults: Faults, write: Write) -> None:
    path = write(
        "default.toml",
        """
        [server]
        port = 70000
        hots = "127.0.0.1"
        [logging]
        level = "loud"
        [anchoring]
        batch_max_age = -1
        [storag]
        bucket = "b"
        """,
    )
    assert faults() == [
        f"{path}: there is no setting server.hots; did you mean host?",
        f"{path}: there is no section storag; did you mean storage?",
        f"server.port (from {path}): expected a port from 0 to 65535 (not from 0 to 65535)",
        f"anchoring.batch_max_age (from {path}): expected a positive number of seconds "
        "(not a positive number of seconds)",
        f"logging.level (from {path}): expected debug, info, warning or error (not one of these)",
    ]


def test_faults_of_all_layers_and_a_missing_plugin_are_told_together(
    config: Path, write: Write
) -> None:
    default = write("default.toml", "[server]\nport = 'x'\nhots = 'y'\n")
    own = write("development.toml", "[server\n")
    environ = {
        "EVENTSERVER__PLUGINS__CHAIN": "nonesuch",
        "EVENTSERVER__PLUGINS__TIME_LIMIT": "soon",
        "EVENTSERVER__SECURITY__POW_DIFICULTY": "5",
    }
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(config, environ)
    assert len(caught.value.faults) == 6
    missing, broken, *_ = caught.value.faults
    assert missing.startswith("plugins.chain = nonesuch: no such plugin. Installed for chain: ")
    assert broken.startswith(f"{own}: cannot be read: ")
    assert set(caught.value.faults[2:]) == {
        f"{default}: there is no setting server.hots; did you mean host?",
        "EVENTSERVER__SECURITY__POW_DIFICULTY: there is no setting security.pow_dificulty; "
        "did you mean pow_difficulty?",
        f"server.port (from {default}): expected a port from 0 to 65535 "
        "(invalid literal for int() with base 10: 'x')",
        "plugins.time_limit (from EVENTSERVER__PLUGINS__TIME_LIMIT): expected a positive number "
        "of seconds (could not convert string to float: 'soon')",
    }


def test_with_a_plugin_missing_its_own_section_is_not_called_unknown(
    config: Path, write: Write
) -> None:
    write("default.toml", "[plugins]\nchain = 'nonesuch'\n[nonesuch]\nkey = 1\n")
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(config, {"EVENTSERVER__NONESUCH__OTHER": "2"})
    assert len(caught.value.faults) == 1


def test_a_plugins_section_is_checked_with_the_cores(config: Path, write: Write) -> None:
    write("default.toml", "[auth]\nisuer = 'me'\n[server]\nport = 'x'\n")
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(config, {})
    assert len(caught.value.faults) == 2
    assert "there is no setting auth.isuer; did you mean issuer?" in caught.value.faults[0]


@pytest.mark.parametrize("pair", [("toml", "yaml"), ("toml", "yml"), ("yaml", "yml")])
@pytest.mark.parametrize("stem", ["default", "development"])
def test_two_files_for_one_layer_are_refused(
    config: Path, write: Write, faults: Faults, stem: str, pair: tuple[str, str]
) -> None:
    for suffix in pair:
        write(f"{stem}.{suffix}", "")
    first, second = (f"{stem}.{suffix}" for suffix in pair)
    assert faults() == [f"{config}: {first} and {second} are both there; keep one"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("default.toml", "[server\n", "(at line 1, column 8)"),
        ("default.toml", "[server]\nport = 1\nport = 2\n", "Cannot overwrite a value"),
        ("default.yaml", "server: [\n", "not YAML at line 2, column 1"),
        ("default.yaml", "server:\n  port: 1\n bad: 2\n", "not YAML at line 3, column 2"),
        ("default.yaml", "server: \x00\n", "special characters are not allowed"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_told_with_the_place(
    faults: Faults, write: Write, name: str, text: str, said: str
) -> None:
    path = write(name, text)
    (fault,) = faults()
    assert fault.startswith(f"{path}: cannot be read: ")
    assert said in fault


def test_a_file_that_is_no_text_is_told(config: Path, faults: Faults) -> None:
    (config / "default.toml").write_bytes(b"\xff\xfe[server]")
    (fault,) = faults()
    assert "can't decode byte 0xff" in fault


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("default.yaml", "- a\n- b\n", "expected sections with keys"),
        ("default.yaml", "just text", "expected sections with keys"),
        ("default.toml", "port = 1\n", "port: expected a section with keys"),
        ("default.yaml", "server: 1\n", "server: expected a section with keys"),
    ],
)
def test_a_file_of_another_shape_is_told(
    faults: Faults, write: Write, name: str, text: str, said: str
) -> None:
    path = write(name, text)
    assert faults() == [f"{path}: {said}"]


@pytest.mark.parametrize(
    "toml",
    [
        "[server.host]\nname = 'x'\n",
        "[server]\nhost = {a = 1}\n",
        "[server]\nhost = [1, 2]\n",
        "[server]\nhost = ['a', ['b']]\n",
        "[server]\nhost = ['a,b', 'c']\n",
    ],
)
def test_a_value_of_no_simple_type_is_refused(faults: Faults, write: Write, toml: str) -> None:
    path = write("default.toml", toml)
    said = "expected one value, or a list of texts without commas"
    assert faults() == [f"{path}: server.host: {said}"]


@pytest.mark.parametrize(
    ("toml", "setting"),
    [
        ("[server]\nport = true\n", "server.port"),
        ("[server]\nport = 3000.5\n", "server.port"),
        ("[server]\nport = -1\n", "server.port"),
        ("[server]\nworkers = 0\n", "server.workers"),
        ("[server]\nread_timeout = nan\n", "server.read_timeout"),
        ("[server]\nread_timeout = inf\n", "server.read_timeout"),
        ("[server]\nread_timeout = 0\n", "server.read_timeout"),
        ("[security]\npow_difficulty = 17\n", "security.pow_difficulty"),
        ("[security]\npow_difficulty = 0\n", "security.pow_difficulty"),
        ("[security]\nevent_max_age = -1\n", "security.event_max_age"),
        ("[blockchain]\nchain_id = 0\n", "blockchain.chain_id"),
        ("[logging]\nformat = 'xml'\n", "logging.format"),
    ],
)
def test_a_bad_value_is_told_with_its_name_and_file(
    faults: Faults, write: Write, toml: str, setting: str
) -> None:
    path = write("default.toml", toml)
    (fault,) = faults()
    assert fault.startswith(f"{setting} (from {path}): expected ")


def test_a_bad_value_in_a_variable_is_told_with_the_variable(faults: Faults) -> None:
    (fault,) = faults(EVENTSERVER__SERVER__PORT="http")
    assert fault.startswith("server.port (from EVENTSERVER__SERVER__PORT): expected a port")


def test_a_value_that_is_overridden_is_not_looked_at(load: Load, write: Write) -> None:
    write("default.toml", "[server]\nport = 'x'\n")
    assert load(EVENTSERVER__SERVER__PORT="1")[ServerSettings].port == 1


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("EVENTSERVER__SERVER__PROT", "there is no setting server.prot; did you mean port?"),
        ("EVENTSERVER__SEVER__PORT", "there is no section sever; did you mean server?"),
        (
            "EVENTSERVER__STORAGE__PORT",
            "there is no setting storage.port; did you mean server.port?",
        ),
        ("EVENTSERVER__QQQ__PORT", "there is no section qqq"),
        ("EVENTSERVER__SERVER__QQQ", "there is no setting server.qqq"),
        ("EVENTSERVER__SERVER", "there is no setting server."),
        ("EVENTSERVER__", "there is no section "),
        ("EVENTSERVER__server__port", "nobody reads this; did you mean EVENTSERVER__SERVER__PORT?"),
        ("eventserver__server__port", "nobody reads this; did you mean EVENTSERVER__SERVER__PORT?"),
        ("EVENTSERVER_SERVER__PORT", "nobody reads this; did you mean EVENTSERVER__SERVER__PORT?"),
        ("EVENTSERVER_ENVIROMENT", "nobody reads this; did you mean EVENTSERVER_ENVIRONMENT?"),
        ("EVENTSERVER_ENV", "nobody reads this; did you mean EVENTSERVER_ENVIRONMENT?"),
        ("EVENTSERVER_CONFIGDIR", "nobody reads this; did you mean EVENTSERVER_CONFIG_DIR?"),
    ],
)
def test_a_misspelt_variable_is_told_with_the_nearest_name(
    faults: Faults, variable: str, said: str
) -> None:
    assert faults(**{variable: "1"}) == [f"{variable}: {said}"]


def test_variables_of_others_are_let_through(load: Load) -> None:
    # Kubernetes sets these for a service with the name eventserver
    load(
        EVENTSERVER_PORT="tcp://10.0.0.1:3000",
        EVENTSERVER_SERVICE_HOST="10.0.0.1",
        EVENTSERVER_SERVICE_PORT="3000",
        EVENTSERVER_PORT_3000_TCP_ADDR="10.0.0.1",
        EVENTSERVERS="many",
        PATH="/bin",
    )


@pytest.mark.parametrize("name", ["Production", "../production", "a b", "1st", "x" * 33])
def test_an_environment_with_an_odd_name_is_told_with_all_else(
    faults: Faults, write: Write, name: str
) -> None:
    write("default.toml", "[server]\nport = 'x'\n")
    first, second = faults(EVENTSERVER_ENVIRONMENT=name)
    assert first.startswith("EVENTSERVER_ENVIRONMENT: expected a short lower-case name")
    assert second.startswith("server.port")


def test_a_folder_that_is_named_must_be_there(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    environ = {"EVENTSERVER_CONFIG_DIR": str(gone), "EVENTSERVER__SERVER__PORT": "x"}
    for directory, variables in ((None, environ), (gone, {"EVENTSERVER__SERVER__PORT": "x"})):
        with pytest.raises(ConfigurationError) as caught:
            Sources(directory, variables).load(CORE_SECTIONS)
        first, second = caught.value.faults
        assert first == f"{gone}: there is no such directory to read settings from"
        assert second.startswith("server.port")


class Needed(Section, name="needed"):
    """A section with a key that has no default."""

    key: str = option(None, doc="A key.", environment_variable="NEEDED_KEY")


def test_a_missing_value_is_told_with_the_names_that_set_it(config: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sources(config, {"NEEDED_KEY": ""}).load([Needed])
    assert caught.value.faults == [
        "needed.key: missing; expected text: A key. Set it in a file, or in "
        "EVENTSERVER__NEEDED__KEY or NEEDED_KEY."
    ]
    assert Sources(config, {"NEEDED_KEY": "x"}).load([Needed])[Needed].key == "x"


class OtherServer(Section, name="server"):
    """A section whose name is taken."""


def test_two_sections_of_one_name_are_refused(config: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sources(config, {}).load([*CORE_SECTIONS, OtherServer])
    assert caught.value.faults == [
        f"{__name__} brings the section server, which eventserver_core.sections.server has already"
    ]


def test_one_section_that_two_plugins_bring_is_read_once(config: Path) -> None:
    settings = Sources(config, {"NEEDED_KEY": "x"}).load([Needed, Needed])
    assert len(settings.origins) == 1


class Picky(Section, name="picky"):
    """A section whose parser raises what parsers should not."""

    key: str = option("", parser=lambda text: {}[text], doc="A key.")


def test_a_parser_that_raises_anything_is_a_fault_like_any_other(config: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sources(config, {"EVENTSERVER__PICKY__KEY": "x"}).load([Picky])
    assert caught.value.faults[0].startswith("picky.key (from EVENTSERVER__PICKY__KEY): expected")
