"""Finding, choosing and checking plugins, with distributions that are really there."""

from __future__ import annotations

import sys

import pytest

from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_core.plugins import InstalledPlugin, Plugins, installed
from eventserver_core.settings import Section, Settings

from .conftest import Install

STORAGE = """
    from eventserver_core.hookspecs import hookimpl

    class Shelf:
        def put(self, key, content): ...
        def upload(self, key=None): ...
        def read(self, key, offset=0, length=None): ...
        def stat(self, key): ...
        def list(self, prefix=""): ...
        def check(self): ...

    @hookimpl
    def eventserver_storage_backend(settings):
        return Shelf()
"""


def entry(name: str, module: str, role: str = "storage") -> str:
    return f"[eventserver.{role}]\n{name} = {module}\n"


def faults_of(chosen: dict[str, str]) -> list[str]:
    """Choose plugins that can't be had, and return what is said of it."""
    with pytest.raises(ConfigurationError) as caught:
        Plugins(chosen)
    return caught.value.faults


def fault_of_backend(role: str, name: str, settings: Settings) -> str:
    """Choose a plugin whose backend can't be used, and return the one thing that is said of it."""
    plugins = Plugins({role: name})
    with pytest.raises(ConfigurationError) as caught:
        plugins.backend(role, settings)
    (fault,) = caught.value.faults
    return fault


def test_a_plugin_is_found_by_its_entry_point(install: Install, settings: Settings) -> None:
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": STORAGE}, "2.5")
    assert InstalledPlugin("storage", "shelf", "shelf-storage", "2.5") in installed("storage")
    backend = Plugins({"storage": "shelf"}).backend("storage", settings)
    assert type(backend).__name__ == "Shelf"


def test_the_entry_point_may_name_an_object(install: Install, settings: Settings) -> None:
    source = """
        from eventserver_core.hookspecs import hookimpl
        from shelf_one import Shelf

        class Plugin:
            @hookimpl
            def eventserver_storage_backend(self, settings):
                return Shelf()

        plugin = Plugin()
    """
    modules = {"shelf_one": STORAGE, "shelf_object": source}
    install("shelf-storage", entry("shelf", "shelf_object:plugin"), modules)
    backend = Plugins({"storage": "shelf"}).backend("storage", settings)
    assert type(backend).__name__ == "Shelf"


def test_only_the_chosen_plugins_are_imported(install: Install, settings: Settings) -> None:
    install("chosen", entry("chosen", "module_chosen"), {"module_chosen": STORAGE})
    install("other", entry("other", "module_other"), {"module_other": "raise SystemExit('no!')"})
    assert {"chosen", "other"} <= {plugin.name for plugin in installed("storage")}
    Plugins({"storage": "chosen"}).backend("storage", settings)
    assert "module_chosen" in sys.modules
    assert "module_other" not in sys.modules


def test_a_plugin_that_is_not_installed_is_told_with_what_is(install: Install) -> None:
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": STORAGE}, "2.5")
    (fault,) = faults_of({"storage": "shelv"})
    assert fault.startswith("plugins.storage = shelv: no such plugin; did you mean shelf? ")
    assert "filesystem (eventserver-core 0.1.0)" in fault
    assert "shelf (shelf-storage 2.5)" in fault


def test_every_plugin_that_is_missing_is_told_at_once() -> None:
    first, second = faults_of({"storage": "tape", "chain": "paper"})
    assert first.startswith("plugins.storage = tape: no such plugin. Installed for storage: ")
    assert second.startswith("plugins.chain = paper: ")


def test_a_name_that_two_distributions_offer_is_refused(install: Install) -> None:
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": STORAGE}, "2.5")
    install("rival-shelf", entry("shelf", "shelf_two"), {"shelf_two": STORAGE}, "0.1")
    (fault,) = faults_of({"storage": "shelf"})
    assert fault.startswith("plugins.storage = shelf: offered by more than one distribution (")
    assert "shelf-storage 2.5" in fault
    assert "rival-shelf 0.1" in fault
    assert "shelf_one" not in sys.modules


def test_a_name_that_one_distribution_offers_twice_is_refused(install: Install) -> None:
    points = entry("shelf", "shelf_one") + "shelf = shelf_two\n"
    install("shelf-storage", points, {"shelf_one": STORAGE, "shelf_two": STORAGE})
    (fault,) = faults_of({"storage": "shelf"})
    assert "offered by more than one" in fault


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("raise ValueError('broken at import')", "broken at import"),
        ("this is no Python", "SyntaxError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_told(install: Install, source: str, said: str) -> None:
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    (fault,) = faults_of({"storage": "shelf"})
    assert fault.startswith("plugins.storage = shelf: cannot be imported: ")
    assert said in fault


def test_an_entry_point_that_leads_nowhere_is_told(install: Install) -> None:
    install("shelf-storage", entry("shelf", "shelf_one:nothing"), {"shelf_one": STORAGE})
    (fault,) = faults_of({"storage": "shelf"})
    assert fault.startswith("plugins.storage = shelf: cannot be imported: AttributeError")


@pytest.mark.parametrize("hook", ["eventserver_storage_backend", "eventserver_settings"])
def test_a_hook_without_its_mark_is_told(install: Install, hook: str) -> None:
    source = STORAGE + f"\n    def {hook}(*arguments):\n        return []\n"
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    assert faults_of({"storage": "shelf"}) == [
        f"plugins.storage = shelf: {hook} is not marked with @hookimpl"
    ]


def test_a_hook_that_does_not_exist_is_told(install: Install) -> None:
    source = STORAGE.replace("eventserver_storage_backend", "eventserver_storage_bakend")
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    (fault,) = faults_of({"storage": "shelf"})
    assert "a plugin implements a hook that does not exist" in fault
    assert "eventserver_storage_bakend" in fault


def test_a_hook_with_other_parameters_is_told(install: Install) -> None:
    source = STORAGE.replace("(settings)", "(config)")
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    (fault,) = faults_of({"storage": "shelf"})
    assert fault.startswith("plugins.storage = shelf: ")
    assert "config" in fault


def test_a_plugin_without_a_backend_for_its_role_is_told(
    install: Install, settings: Settings
) -> None:
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": "x = 1"})
    fault = fault_of_backend("storage", "shelf", settings)
    assert fault.startswith("plugins.storage = shelf: expected one backend, got 0; does the plugin")
    assert "eventserver_storage_backend, marked with @hookimpl" in fault
    assert "shelf (shelf-storage 1.0)" in fault


def test_a_plugin_that_answers_none_has_no_backend(install: Install, settings: Settings) -> None:
    source = STORAGE.replace("return Shelf()", "return None")
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    assert "got 0" in fault_of_backend("storage", "shelf", settings)


def test_two_chosen_plugins_with_a_backend_for_one_role_are_told(
    install: Install, settings: Settings
) -> None:
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": STORAGE})
    install("meddler", entry("meddler", "meddler", "chain"), {"meddler": STORAGE})
    plugins = Plugins({"storage": "shelf", "chain": "meddler"})
    with pytest.raises(ConfigurationError) as caught:
        plugins.backend("storage", settings)
    assert "plugins.storage = shelf: expected one backend, got 2" in str(caught.value)
    assert "storage = shelf, chain = meddler" in str(caught.value)


def test_one_plugin_may_take_two_roles(install: Install, settings: Settings) -> None:
    source = (
        STORAGE
        + """
    class Counter:
        def hit(self, identity, quota, cost=1): ...
        def check(self): ...

    @hookimpl
    def eventserver_ratelimit_backend(settings):
        return Counter()
    """
    )
    points = entry("both", "both_roles") + entry("both", "both_roles", "ratelimit")
    install("both", points, {"both_roles": source})
    plugins = Plugins({"storage": "both", "ratelimit": "both"})
    assert type(plugins.backend("storage", settings)).__name__ == "Shelf"
    assert type(plugins.backend("ratelimit", settings)).__name__ == "Counter"


def test_a_backend_that_lacks_methods_is_told_which(install: Install, settings: Settings) -> None:
    source = STORAGE.replace("def stat(", "def stats(").replace("def check(", "def ping(")
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    fault = fault_of_backend("storage", "shelf", settings)
    assert fault.startswith(
        "plugins.storage = shelf: Shelf is no StorageBackend; it lacks check, stat. Installed for"
    )
    assert "shelf (shelf-storage 1.0)" in fault


def test_a_plugin_that_fails_is_told(install: Install, settings: Settings) -> None:
    source = STORAGE.replace("return Shelf()", "raise KeyError('bucket')")
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    fault = fault_of_backend("storage", "shelf", settings)
    assert fault == "plugins.storage = shelf: the plugin failed: KeyError('bucket')"


@pytest.mark.parametrize("error", [ConfigurationError, BackendUnavailableError])
def test_what_a_plugin_says_itself_is_passed_on(
    install: Install, settings: Settings, error: type[Exception]
) -> None:
    arguments = {ConfigurationError: "['a', 'b']", BackendUnavailableError: "'storage', 'down'"}
    source = STORAGE.replace(
        "return Shelf()",
        f"from eventserver_core import errors; raise errors.{error.__name__}({arguments[error]})",
    )
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    with pytest.raises(error):
        Plugins({"storage": "shelf"}).backend("storage", settings)


def test_a_plugins_sections_are_collected(install: Install) -> None:
    source = (
        STORAGE
        + """
    from eventserver_core.settings import Section, option

    class ShelfSettings(Section, name="shelf"):
        boards: str = option("3", doc="How many boards.")

    @hookimpl
    def eventserver_settings():
        return [ShelfSettings]
    """
    )
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    (section,) = Plugins({"storage": "shelf", "chain": "ledger"}).sections()
    assert issubclass(section, Section)
    assert section.name == "shelf"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('boards')", "eventserver_settings failed: KeyError('boards')"),
        ("return 5", "eventserver_settings failed: TypeError"),
        ("return ['shelf']", "eventserver_settings answers with 'shelf', which is no Section"),
        ("return [dict]", "eventserver_settings answers with <class 'dict'>, which is no Section"),
    ],
)
def test_a_plugin_that_brings_no_sections_is_told(install: Install, body: str, said: str) -> None:
    source = (
        STORAGE
        + f"""
    @hookimpl
    def eventserver_settings():
        {body}
    """
    )
    install("shelf-storage", entry("shelf", "shelf_one"), {"shelf_one": source})
    plugins = Plugins({"storage": "shelf"})
    with pytest.raises(ConfigurationError) as caught:
        plugins.sections()
    assert said in str(caught.value)
    assert "storage = shelf" in str(caught.value)
