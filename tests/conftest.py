"""Shared fixtures; each lives in the file of the far end that it starts."""

pytest_plugins = [
    "tests.database",
    "tests.desk",
    "tests.zone",
    "tests.servers",
    "tests.person",  # before whoever imports it
    "tests.relaying",
    "tests.office",
    "tests.web",
    "tests.browser",
]
