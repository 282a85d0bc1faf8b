"""A backend that was written for another version of its Protocol is refused at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventserver_core import __version__
from eventserver_core.errors import ConfigurationError
from eventserver_core.hookspecs import INTERFACE
from eventserver_core.plugins import ABILITIES, PROTOCOLS, Plugins
from eventserver_core.settings import Settings

from .conftest import Install

LIMITER = """
    from eventserver_core.hookspecs import hookimpl

    class Counter:
        {hit}

        def check(self): ...

    @hookimpl
    def eventserver_ratelimit_backend(settings):
        return Counter()
"""

AUTH = """
    from eventserver_core.hookspecs import hookimpl

    class Doorman:
        def authenticate(self, token): ...
        def check(self): ...
        {more}

    @hookimpl
    def eventserver_auth_backend(settings):
        return Doorman()
"""


def install_limiter(install: Install, hit: str) -> Plugins:
    modules = {"counter_module": LIMITER.format(hit=hit)}
    install("counter", "[eventserver.ratelimit]\ncounter = counter_module\n", modules)
    return Plugins({"ratelimit": "counter"})


def install_auth(install: Install, more: str) -> Plugins:
    modules = {"door_module": AUTH.format(more=more)}
    install("door", "[eventserver.auth]\ndoor = door_module\n", modules)
    return Plugins({"auth": "door"})


@pytest.mark.parametrize(
    "hit",
    [
        "def hit(self, identity, quota, cost=1): ...",
        "def hit(self, identity, quota, cost=1, burst=None): ...",
        "def hit(self, *args, **kwargs): ...",
        "def hit(self, identity, *args, quota=None, cost=1, **kwargs): ...",
        "hit = staticmethod(lambda identity, quota, cost=1: None)",
        "@classmethod\n        def hit(cls, identity, quota, cost=1): ...",
    ],
    ids=["the same", "one more, optional", "anything", "mixed", "static", "of the class"],
)
def test_a_method_that_takes_the_protocols_parameters_is_taken(
    install: Install, settings: Settings, hit: str
) -> None:
    assert install_limiter(install, hit).backend("ratelimit", settings) is not None


@pytest.mark.parametrize(
    ("hit", "why"),
    [
        ("def hit(self, identity, quota): ...", "too many positional arguments"),
        ("def hit(self, identity, quota, cost=1, *, now): ...", "argument: 'now'"),
        (
            "def hit(self, identity, quota, burst, cost=1): ...",
            "missing a required argument: 'burst'",
        ),
        ("def hit(self, identity, limit, cost=1): ...", "missing a required argument: 'limit'"),
        (
            "def hit(self, identity, quota, cost): ...",
            "missing a required argument: 'cost'",
        ),
        (
            "def hit(self, identity, quota, cost=1, /): ...",
            "'identity' parameter is positional only, but was passed as a keyword",
        ),
        ("def hit(self, *, identity, quota, cost=1): ...", "too many positional arguments"),
        ("def hit(identity, quota): ...", "too many positional arguments"),
    ],
)
def test_a_method_with_other_parameters_is_refused_at_start(
    install: Install, settings: Settings, hit: str, why: str
) -> None:
    plugins = install_limiter(install, hit)
    with pytest.raises(ConfigurationError) as caught:
        plugins.backend("ratelimit", settings)
    (fault,) = caught.value.faults
    assert fault.startswith(
        "plugins.ratelimit = counter: Counter.hit cannot be called as RateLimiter.hit is ("
    )
    assert why in fault
    assert "the plugin was written for another version of the interface" in fault
    assert "counter (counter 1.0)" in fault


@pytest.mark.parametrize("hit", ["hit = 5", "hit = None"])
def test_a_member_that_is_no_method_counts_as_absent(
    install: Install, settings: Settings, hit: str
) -> None:
    plugins = install_limiter(install, hit)
    with pytest.raises(ConfigurationError, match="Counter is no RateLimiter; it lacks hit"):
        plugins.backend("ratelimit", settings)


def test_a_class_in_place_of_a_backend_is_refused(install: Install, settings: Settings) -> None:
    source = LIMITER.format(hit="def hit(self, identity, quota, cost=1): ...")
    source = source.replace("return Counter()", "return Counter")
    install(
        "counter", "[eventserver.ratelimit]\ncounter = counter_module\n", {"counter_module": source}
    )
    with pytest.raises(ConfigurationError, match="cannot be called"):
        Plugins({"ratelimit": "counter"}).backend("ratelimit", settings)


def test_every_method_that_does_not_fit_is_told_at_once(
    install: Install, settings: Settings
) -> None:
    source = LIMITER.format(hit="def hit(self): ...").replace("check(self)", "check(self, deep)")
    install(
        "counter", "[eventserver.ratelimit]\ncounter = counter_module\n", {"counter_module": source}
    )
    with pytest.raises(ConfigurationError) as caught:
        Plugins({"ratelimit": "counter"}).backend("ratelimit", settings)
    first, second = caught.value.faults
    assert "Counter.check" in first
    assert "Counter.hit" in second


def test_an_ability_that_a_backend_has_is_checked_too(install: Install, settings: Settings) -> None:
    older = "def issue(self, subject, role, hours): ...\n        def public_keys(self): ..."
    plugins = install_auth(install, older)
    with pytest.raises(ConfigurationError) as caught:
        plugins.backend("auth", settings)
    (fault,) = caught.value.faults
    assert "Doorman.issue cannot be called as IssuesCertificates.issue is (" in fault


def test_an_ability_that_a_backend_lacks_is_not_asked_for(
    install: Install, settings: Settings
) -> None:
    assert install_auth(install, "").backend("auth", settings) is not None


def test_a_method_that_tells_no_signature_is_taken(install: Install, settings: Settings) -> None:
    # functions in C need not tell what they take
    plugins = install_limiter(install, "hit = min")
    assert plugins.backend("ratelimit", settings) is not None


@pytest.mark.parametrize("role", PROTOCOLS)
def test_what_is_installed_for_a_role_fits(role: str, settings: Settings, tmp_path: object) -> None:
    from eventserver_core.wiring import load_configuration

    environ = {"EVENTSERVER__SERVER__DATA_DIR": f"{tmp_path}/data"}
    configuration = load_configuration(None, environ)
    backend = configuration.plugins.backend(role, configuration.settings)
    assert isinstance(backend, PROTOCOLS[role])
    if role == "auth":
        assert all(isinstance(backend, ability) for ability in ABILITIES[role])


STATED = """
    from eventserver_core.hookspecs import hookimpl

    EVENTSERVER_INTERFACE = {stated}

    class Counter:
        def hit(self, identity, quota, cost=1): ...
        def check(self): ...

    @hookimpl
    def eventserver_ratelimit_backend(settings{more}):
        return Counter()
"""


def install_stated(install: Install, stated: object, more: str = "", requires: str = "") -> None:
    modules = {"counter_module": STATED.format(stated=stated, more=more)}
    points = "[eventserver.ratelimit]\ncounter = counter_module\n"
    site = install("counter-plugin", points, modules, "3.0")
    if requires:
        metadata = site / "counter_plugin-3.0.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text() + f"Requires-Dist: {requires}\n")


def fault_of_interface() -> str:
    with pytest.raises(ConfigurationError) as caught:
        Plugins({"ratelimit": "counter"})
    (fault,) = caught.value.faults
    return fault


def test_a_plugin_that_states_our_interface_is_taken(install: Install, settings: Settings) -> None:
    install_stated(install, INTERFACE)
    assert Plugins({"ratelimit": "counter"}).backend("ratelimit", settings) is not None


def test_a_plugin_that_states_none_was_made_for_the_first(
    install: Install, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install_limiter(install, "def hit(self, identity, quota, cost=1): ...") is not None
    monkeypatch.setattr("eventserver_core.hookspecs.INTERFACE", 2)
    assert "was made for version 1 of the plugin interface" in fault_of_interface()


def test_a_plugin_for_a_later_interface_is_refused_with_what_to_do(install: Install) -> None:
    # what it asks of the hook doesn't exist here, which must not be what is told
    install_stated(install, 2, more=", metrics", requires="eventserver-core>=7,<8 ; python_version")
    assert fault_of_interface() == (
        "plugins.ratelimit = counter: counter-plugin 3.0 was made for version 2 of the plugin "
        f"interface, and eventserver-core {__version__} has version 1; install a newer "
        "eventserver-core with version 2, or a release of counter-plugin for version 1 "
        "(it asks for eventserver-core>=7,<8)"
    )


def test_the_page_on_compatibility_shows_what_is_said(install: Install) -> None:
    name = "eventserver-storage-tape"
    points = "[eventserver.storage]\ntape = tape_module\n"
    site = install(name, points, {"tape_module": "EVENTSERVER_INTERFACE = 2"}, "3.0")
    metadata = site / "eventserver_storage_tape-3.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: eventserver-core>=2,<3\n")
    with pytest.raises(ConfigurationError) as caught:
        Plugins({"storage": "tape"})
    page = Path(__file__).parents[2] / "docs" / "compatibility.md"
    assert str(caught.value).replace(__version__, "0.1.0") in page.read_text("utf-8")


def test_a_plugin_for_an_earlier_interface_is_refused_with_what_to_do(install: Install) -> None:
    install_stated(install, 0)
    assert fault_of_interface() == (
        "plugins.ratelimit = counter: counter-plugin 3.0 was made for version 0 of the plugin "
        f"interface, and eventserver-core {__version__} has version 1; install a release of "
        "counter-plugin for version 1"
    )


@pytest.mark.parametrize("stated", ["'1'", "1.0", "True", "None"])
def test_an_interface_that_is_no_whole_number_is_told(install: Install, stated: str) -> None:
    install_stated(install, stated)
    assert fault_of_interface() == (
        f"plugins.ratelimit = counter: its EVENTSERVER_INTERFACE is {stated}; "
        "expected a whole number"
    )


@pytest.mark.parametrize(
    ("requires", "hint"),
    [
        ("Eventserver_Core>=7", f"; it asks for Eventserver_Core>=7, and this is {__version__}"),
        ("eventserver-core", f"; it asks for eventserver-core, and this is {__version__}"),
        ("eventserver-core-extras>=7", ""),
        ("", ""),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_told_with_the_core_that_it_asks_for(
    install: Install, requires: str, hint: str
) -> None:
    install_stated(install, "1\n    from eventserver_core.hookspecs import later", "", requires)
    fault = fault_of_interface()
    assert fault.startswith("plugins.ratelimit = counter: cannot be imported: ImportError(")
    assert fault.partition(")")[2].endswith(hint)
    assert ("it asks for" in fault) == bool(hint)
