"""pytest says at the end which clauses of a contract were kept, broken or left out."""

from __future__ import annotations

import pytest

from eventserver_core import __version__

from .conftest import RunPytest

STORAGE = """
    import pytest
    from eventserver_core.builtin.storage_filesystem import FilesystemStorage
    from eventserver_core.testing.contracts.storage import StorageContract

    class Shelf(FilesystemStorage):
        def list(self, prefix=""):
            return iter(())

        def check(self):
            pass

    class TestShelf(StorageContract):
        @pytest.fixture
        def backend_factory(self, tmp_path):
            def make(*, down=False):
                shelf = Shelf(tmp_path / "data" / "objects")
                if down:
                    (tmp_path / "data").rename(tmp_path / "gone")
                return shelf

            return make

        def test_chunks_are_small(self):
            pass

        @pytest.mark.skip(reason="no ranges on a shelf")
        def test_any_range_can_be_read(self):
            pass

        def test_of_the_plugins_own(self):
            pass

    def test_of_no_suite_at_all():
        pass
"""
RANGE = "test_a_range_is_answered_without_reading_the_whole"


def test_each_clause_is_kept_broken_or_left_out(run_pytest: RunPytest) -> None:
    ran = run_pytest(STORAGE, "--deselect", f"test_it.py::TestShelf::{RANGE}")
    assert ran.status == pytest.ExitCode.TESTS_FAILED
    assert ran.report is not None
    broken = {"test_objects_are_listed_in_order", "test_putting_again_changes_nothing"}
    broken |= {"test_a_store_that_is_down_is_reported"}
    left_out = {"test_chunks_are_small", "test_any_range_can_be_read", RANGE}
    outcomes = ran.outcomes
    assert {test for test, outcome in outcomes.items() if outcome == "failed"} == broken
    assert {test for test, outcome in outcomes.items() if outcome == "left_out"} == left_out
    assert "test_of_the_plugins_own" not in outcomes
    assert ran.clause("test_chunks_are_small")["reason"] == "replaced by the subclass"
    assert ran.clause("test_any_range_can_be_read")["reason"] == "replaced by the subclass"
    assert ran.clause(RANGE)["reason"].startswith("not run: ")


def test_a_broken_clause_is_named_with_the_sentence_and_its_method(run_pytest: RunPytest) -> None:
    ran = run_pytest(STORAGE, "-k", "test_objects_are_listed_in_order")
    sentence = (
        "StorageBackend.list: Return the committed objects whose keys begin with ``prefix``, in "
        "the keys' order."
    )
    beside_the_failure, _, at_the_end = ran.output.partition("contracts of EventServer")
    assert "the clause that is broken" in beside_the_failure
    assert sentence in beside_the_failure
    assert f"failed    {sentence} [test_objects_are_listed_in_order]" in at_the_end
    clause = ran.clause("test_objects_are_listed_in_order")
    assert f"{clause['source']}: {clause['clause']}" == sentence
    assert clause["outcome"] == "failed"
    assert "assert" in clause["reason"].lower()


def test_the_report_has_a_version_and_counts(run_pytest: RunPytest) -> None:
    ran = run_pytest(STORAGE, "-k", "check")
    assert ran.report is not None
    (suite,) = ran.report["suites"]
    total = len(suite["clauses"])
    assert ran.report["format"] == 1
    assert ran.report["core"] == {"version": __version__, "interface": 1}
    for told in (ran.report, suite):
        assert (told["passed"], told["failed"], told["left_out"]) == (1, 0, total - 1)
    assert (suite["class"], suite["suite"]) == ("test_it.py::TestShelf", "StorageContract")
    assert (suite["role"], suite["backend"]) == ("storage", "Shelf")
    assert suite["protocols"] == ["StorageBackend", "Upload"]
    assert f"TestShelf (StorageContract): 1 passed, 0 failed, {total - 1} left out" in ran.output


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("pytest.skip('no room')", "left_out", "skipped: no room"),
        ("pytest.xfail('not yet')", "left_out", "expected to fail: not yet"),
        ("raise RuntimeError('no shelf')", "failed", "RuntimeError: no shelf"),
    ],
)
def test_what_happens_in_the_fixture_counts_for_the_clause(
    run_pytest: RunPytest, body: str, outcome: str, reason: str
) -> None:
    source = STORAGE.replace("def make(*, down=False):", f"{body}\n\n            def make():")
    ran = run_pytest(source, "-k", "test_a_put_is_durable_on_return")
    clause = ran.clause("test_a_put_is_durable_on_return")
    assert (clause["outcome"], clause["reason"]) == (outcome, reason)


def test_the_worst_of_a_clauses_parameters_counts(run_pytest: RunPytest) -> None:
    source = STORAGE.replace(
        "@pytest.fixture\n        def backend_factory(self, tmp_path):",
        "@pytest.fixture(params=['kept', 'broken', 'kept again'])\n"
        "        def backend_factory(self, tmp_path, request):\n"
        "            assert request.param != 'broken'\n",
    )
    ran = run_pytest(source, "-k", "test_it_is_a_storage_backend")
    clause = ran.clause("test_it_is_a_storage_backend")
    assert clause["outcome"] == "failed"
    assert "AssertionError" in clause["reason"]


LIMITERS = """
    import pytest
    from eventserver_core.backends.ratelimit import Dependency
    from eventserver_core.backends.provisioning import SweepsMachines
    from eventserver_core.builtin.provisioning_static import StaticProvisioning
    from eventserver_core.testing.contracts.provisioning import (
        ProvisioningContract, SweepsMachinesContract,
    )
    from eventserver_core.testing.contracts.storage import StorageContract
    from eventserver_core.builtin.storage_filesystem import FilesystemStorage

    class Vault(FilesystemStorage):
        def retained_until(self, key):
            return None

    class TestVault(StorageContract):
        @pytest.fixture
        def backend_factory(self, tmp_path):
            return lambda down=False: Vault(tmp_path / "objects")

    class WithMachines:
        @pytest.fixture
        def backend_factory(self, tmp_path):
            places = [f"relay-{number}.example:8443" for number in range(4)]
            return lambda down=False: StaticProvisioning(tmp_path / "machines.json", places)

        @pytest.fixture
        def another_deployment(self, tmp_path):
            return StaticProvisioning(tmp_path / "other.json", ["relay-9.example:8443"])

    class TestMachines(WithMachines, ProvisioningContract): ...
    class TestSweeping(WithMachines, SweepsMachinesContract): ...
"""


def test_an_ability_that_a_backend_has_and_no_suite_tested_is_told(run_pytest: RunPytest) -> None:
    ran = run_pytest(LIMITERS, "-k", "TestVault or TestMachines")
    assert ran.report is not None
    abilities = {(each["backend"], each["ability"]): each for each in ran.report["abilities"]}
    assert set(abilities) == {("Vault", "RetainsObjects"), ("StaticProvisioning", "SweepsMachines")}
    assert abilities["Vault", "RetainsObjects"]["had"]
    assert abilities["Vault", "RetainsObjects"]["suite"] is None
    sweeping = abilities["StaticProvisioning", "SweepsMachines"]
    assert (sweeping["had"], sweeping["tested"]) == (True, False)
    assert sweeping["suite"] == "SweepsMachinesContract"
    assert (
        "StaticProvisioning: SweepsMachines left out: it has this ability, but no subclass of "
        "SweepsMachinesContract ran" in ran.output
    )


def test_an_ability_whose_suite_ran_is_not_told_as_left_out(run_pytest: RunPytest) -> None:
    ran = run_pytest(LIMITERS, "-k", "TestSweeping or TestMachines")
    assert ran.report is not None
    (ability,) = ran.report["abilities"]
    assert (ability["had"], ability["tested"], ability["reason"]) == (True, True, None)
    assert "SweepsMachines left out" not in ran.output


def test_an_ability_that_a_backend_lacks_is_told(run_pytest: RunPytest) -> None:
    ran = run_pytest(STORAGE, "-k", "test_it_is_a_storage_backend")
    assert "Shelf: RetainsObjects left out: it doesn't have this ability" in ran.output


def test_processes_of_xdist_say_the_same(run_pytest: RunPytest) -> None:
    alone = run_pytest(STORAGE)
    together = run_pytest(STORAGE, "-p", "xdist.plugin", "-n", "2")
    assert together.status == alone.status
    assert together.outcomes == alone.outcomes
    assert "test_it.py::TestShelf (StorageContract): " in together.output


def test_passed_clauses_are_listed_unless_many_suites_ran_or_less_is_asked(
    run_pytest: RunPytest,
) -> None:
    kept = "passed    StorageBackend.put: A put MUST be durable on return."
    assert kept in run_pytest(STORAGE, report=False).output
    quiet = run_pytest(STORAGE, "-q", report=False).output
    assert kept not in quiet
    assert "failed    StorageBackend.list: " in quiet
    many = STORAGE + "".join(f"\n    class Test{n}(TestShelf): ..." for n in range(5))
    assert kept not in run_pytest(many, "-k", "durable", report=False).output
    assert kept in run_pytest(many, "-k", "durable", "-v", report=False).output


OTHER = "def test_anything():\n        assert 1 + 1 == 2\n"


def test_a_run_without_a_suite_looks_as_if_the_plugin_were_not_there(
    run_pytest: RunPytest,
) -> None:
    def shown(output: str) -> list[str]:
        return [line.partition(" in 0.")[0] for line in output.splitlines()]

    source = "\n    import sys\n    " + OTHER
    source += "        assert 'eventserver_core.backends' not in sys.modules\n"
    source += "        assert 'eventserver_core.testing.contracts' not in sys.modules\n"
    with_it = run_pytest(source, report=False)
    assert with_it.status == 0
    assert shown(with_it.output) == shown(run_pytest(source, plugin=False).output)


def test_a_report_of_nothing_is_written_and_told(run_pytest: RunPytest) -> None:
    ran = run_pytest("\n    " + OTHER)
    assert ran.report is not None
    assert (ran.report["suites"], ran.report["passed"]) == ([], 0)
    assert "no contract suite ran" in ran.output


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(
    run_pytest: RunPytest,
) -> None:
    ran = run_pytest(STORAGE, "--eventserver-report=nowhere/report.json")
    assert ran.status == pytest.ExitCode.USAGE_ERROR
    assert "--eventserver-report: " in ran.output
    assert "No such file or directory" in ran.output
