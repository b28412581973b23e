"""Shared fixtures; each lives in the file of the far end that it starts."""

pytest_plugins = [
    "tests.database",
    "tests.desk",
    "tests.zone",
    "tests.servers",
    "tests.office",
    "tests.person",
    "tests.web",
    "tests.browser",
]
