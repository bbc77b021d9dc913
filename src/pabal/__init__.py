"""Asynchronous messaging in which no message is lost in silence."""
