"""Loads web3 and its libraries, and undoes what one of them does to the whole process.

``py_ecc`` raises the limit of nested calls to 100,000 when it is imported. With that, Python's own
JSON reader no longer stops at text that is nested very deep, as an attacker or a node may send it:
it overflows the stack, and the process dies. So this module comes before all others that know the
libraries, and puts the limit back.
"""

from __future__ import annotations

import sys

_before = sys.getrecursionlimit()

import eth_account  # noqa: E402, F401
import web3  # noqa: E402, F401

sys.setrecursionlimit(_before)
