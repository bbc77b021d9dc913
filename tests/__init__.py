"""A package, so that tests share helpers as ``tests.servers.…`` whatever else is installed as ``tests``."""
