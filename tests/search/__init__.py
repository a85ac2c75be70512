"""Tests of `farm.search`."""
