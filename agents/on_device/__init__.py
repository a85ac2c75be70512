"""What travels to a device: Python 3.9, no package of the farm."""
