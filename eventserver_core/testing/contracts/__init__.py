"""The contracts of the five roles, as tests: a backend that passes its suite keeps its promises.

Each suite is a class. A plugin's whole contract test is a subclass with one fixture,
``backend_factory``, which returns a function that makes backends::

    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from eventserver_core.testing.contracts.storage import StorageContract
    from my_plugin import MyStorage


    class TestMyStorage(StorageContract):
        @pytest.fixture
        def backend_factory(self, tmp_path: Path) -> Callable[..., MyStorage]:
            def make(*, down: bool = False) -> MyStorage:
                return MyStorage(tmp_path / "gone" if down else tmp_path)

            return make

What the function takes and must return stands in each suite's docstring; within one test, all that
it makes share what they store, as two instances of the server do. Each test's docstring quotes the
sentence of the Protocol that it checks.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{role}"
        for role in ("auth", "auth_devices", "chain", "provisioning", "ratelimit", "storage")
    )
)
