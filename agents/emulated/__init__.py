"""Devices that are computed: nobody needs the hardware, and every host gets the same numbers."""
