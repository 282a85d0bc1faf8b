"""What tests of EventServer and of its plugins are made of; shipped, and needed by nothing else.

Install it with the extra ``eventserver-core[testing]``, which brings pytest.
"""
