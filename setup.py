"""Packages: `migrations/` stands at the top of the repository and is installed inside `moderation`.

An installed top-level package called `migrations` would clash with other applications'.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["moderation", "moderation.*", "workers", "workers.*"]),
        "moderation.migrations",
        "moderation.migrations.versions",
    ],
    package_dir={"moderation.migrations": "migrations", "moderation.migrations.versions": "migrations/versions"},
)
