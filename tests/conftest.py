"""Shared fixtures; each lives in the file of the far end that it starts."""

from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing about us.
settings.register_profile("office", settings.default, deadline=None)
settings.load_profile("office")

pytest_plugins = [
    "tests.database",
    "tests.desk",
    "tests.zone",
    "tests.servers",
    "tests.person",  # before whoever imports it
    "tests.belonging",
    "tests.relaying",
    "tests.office",
    "tests.web",
    "tests.browser",
]
