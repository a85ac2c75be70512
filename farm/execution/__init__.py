"""Carries builds and measurements out: in this process, or on Ray."""
