"""From raw samples to a latency with an interval and a verdict."""
