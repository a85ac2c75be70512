"""Imported models are found again, whatever happened meanwhile."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict

import pytest

from farm.core.errors import StoreError
from farm.core.values import Network
from farm.measurement.spec import MeasureSpec
from farm.store import Plan, Store, StoredModels
from farm.store.migrations import migrations
from farm.store.sqlite import Database
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


def before_batches(path):
    """A store of before `m009`, with a measurement each of an ONNX file at two batch sizes, of one
    that is lost, and of a cell."""
    rows = [(f"onnx/{CODE}", 1), (f"onnx/{CODE}", 8), (f"onnx/{OTHER}", 1), ("nb201/x", 4)]
    with closing(sqlite3.connect(path)) as db, db:
        migrations.apply(Database(db), stop_before="m009_batch_of_files")
        db.execute("INSERT INTO facts VALUES ('f', 'cpu1', '{}', '2026', '2026')")
        for id, (network, batch) in enumerate(rows, 1):
            plan = Plan("onnx", ("cpu1",), 1, 0, 0, (MeasureSpec(batch=batch),))
            db.execute(
                "INSERT INTO campaigns VALUES (?, ?, '2026')", [f"c{id}", json.dumps(asdict(plan))]
            )
            values = [id, f"c{id}", network]
            db.execute("INSERT INTO requests VALUES (?, ?, ?, 'cpu1', 'learn', '2026')", values)
            values = [id, id, network, json.dumps({"batch": batch})]
            db.execute(
                """INSERT INTO measurements (id, request, network, device, fingerprint, spec,
                   device_s, measured_at) VALUES (?, ?, ?, 'cpu1', 'f', ?, 1.0, '2026')""",
                values,
            )


def test_what_was_measured_at_another_batch_than_its_file_says_counts_no_more(tmp_path):
    model = cnn(input_shape=(8, 3, 12, 12)).SerializeToString()
    StoredModels(tmp_path).keep({CODE: model})
    before_batches(tmp_path / "farm.db")
    with Store(tmp_path) as store:
        reasons = database.column(store, "SELECT invalidated FROM measurements ORDER BY id")
        assert reasons == ["measured at batch size 1, but the ONNX file says 8", None, None, None]
        assert [r.network for r in store.pending("c1")] == [Network("onnx", CODE)]
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
