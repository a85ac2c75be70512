"""How results of several runs are put together."""

from __future__ import annotations

from benchmarks.validity import merged


def test_other_devices_stay_and_measured_ones_are_renewed():
    before = [{"network": "a", "cpu1": 1.0, "npu": 2.0}, {"network": "b", "npu": 3.0}]
    now = [{"network": "a", "npu": 4.0}, {"network": "c", "npu": 5.0}]
    assert merged(before, now) == [
        {"network": "a", "cpu1": 1.0, "npu": 4.0},
        {"network": "c", "npu": 5.0},
    ]


def test_each_device_is_compared_over_its_own_networks(published):
    """A column against itself, on two devices that measured different networks."""
    from benchmarks.validity import compare

    table = published("nb201.npz")
    column = table["latency_ms"][list(table["devices"]).index("raspi4")]
    codes = [str(code) for code in table["arch_str"]]
    rows = [{"network": codes[i], "odd" if i % 2 else "even": float(column[i])} for i in range(80)]
    found = compare(rows)
    assert found["odd"]["raspi4"] == found["even"]["raspi4"] == 1
    assert found["odd"]["macs"] != found["even"]["macs"]
