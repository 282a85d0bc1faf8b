"""Backends that each break a promise, under the suites that must notice.

Each class here names the tests that must fail for it, in ``catches``; all others must pass. They
are run by ``test_suites_catch_broken_backends.py`` and never collected otherwise.
"""
