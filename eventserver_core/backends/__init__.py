"""The five roles: a Protocol each, and the value types that cross it.

The words MUST, MAY and so on are RFC 2119's. Each sentence with a MUST is a clause that the
contract suites in ``eventserver_core.testing.contracts`` check.
"""
