"""The slim runtime that a device needs, and how it gets there."""
