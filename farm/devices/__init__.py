"""A device's life: added, certified, watched over, tuned."""
