"""Imported models are found again, whatever happened meanwhile."""

from __future__ import annotations

import pytest

from farm.core.errors import StoreError
from farm.core.values import DeviceFacts, Network
from farm.measurement.record import Block, Measurement, MeasureSpec
from farm.store import Plan, Store, StoredModels
from tests import database
from tests.onnx_models import cnn

CODE, OTHER = "0123456789abcdef", "fedcba9876543210"


def test_models_are_there_when_the_store_is_opened_again(tmp_path):
    with Store(tmp_path) as store:
        assert dict(store.models) == {}
        store.models.keep({OTHER: b"other", CODE: b"model"})
    with Store(tmp_path) as store:
        assert dict(store.models) == {CODE: b"model", OTHER: b"other"}
        assert list(store.models) == [CODE, OTHER]
        assert len(store.models) == 2


def test_importing_again_mends_what_was_damaged(tmp_path):
    models = StoredModels(tmp_path)
    models.keep({CODE: b"model"})
    (tmp_path / "onnx" / f"{CODE}.onnx").write_bytes(b"mo")
    assert models[CODE] == b"mo"
    models.keep({CODE: b"model"})
    assert models[CODE] == b"model"
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == [f"{CODE}.onnx"]


FACTS = DeviceFacts("cpu1", "box", (1,), {"kind": "llvm"}, {"cpu": "x"})


def measured(network, batch):
    blocks = (Block((0.001,) * 3, 1, {}),)
    spec = MeasureSpec(batch=batch)
    at = "2026-01-02T03:04:05.678+00:00"
    return Measurement(
        network, "cpu1", FACTS.fingerprint, "k", spec, blocks, ((0.1,),), False, 1, at
    )


def test_what_was_measured_at_another_batch_than_its_file_says_counts_no_more(tmp_path):
    eight, lost = Network("onnx", CODE), Network("onnx", OTHER)
    rows = [(eight, 1), (eight, 8), (lost, 1), (Network("nb201", "x"), 4)]
    with Store(tmp_path) as store:
        store.models.keep({CODE: cnn(input_shape=(8, 3, 12, 12)).SerializeToString()})
        store.see(FACTS)
        for network, batch in rows:
            plan = Plan(network.space, ("cpu1",), 1, 0, 0, (MeasureSpec(batch=batch),))
            name = store.add_campaign(plan)
            store.add_requests(name, [network], ["cpu1"], "learn")
            store.record(store.pending(name)[0], measured(network, batch))
        database.rows(store, "DELETE FROM _sqlite_migrations WHERE name LIKE 'm009%'")
    with Store(tmp_path) as store:
        reasons = database.column(store, "SELECT invalidated FROM measurements ORDER BY id")
        assert reasons == ["measured at batch size 1, but the ONNX file says 8", None, None, None]
        assert [r.network for r in store.pending("c1")] == [eight]
        assert store.campaign("c1").measured == 0


@pytest.mark.parametrize("code", ["", "..", "../farm", f"../onnx/{CODE}", "ABC", f"{CODE}\n"])
def test_what_is_no_code_is_no_path(tmp_path, code):
    models = StoredModels(tmp_path)
    models.keep({CODE: b"model"})
    (tmp_path / "farm.onnx").write_bytes(b"secret")
    assert code not in models
    with pytest.raises(KeyError):
        models[code]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_store(tmp_path):
    (tmp_path / "onnx").write_text("in the way")
    with pytest.raises(StoreError, match="onnx"):
        StoredModels(tmp_path).keep({CODE: b"model"})
