"""The latency farm: compile, measure, learn, predict."""
