"""soc/alone for the tests, and programs to run on it."""

from litepress.soc.alone import GO_LIMIT, WATCHDOG, Bench, BenchError, Run, Status

__all__ = ["GO_LIMIT", "WATCHDOG", "Bench", "BenchError", "Run", "Status"]
