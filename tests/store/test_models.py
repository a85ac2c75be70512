"""Imported models are found again, whatever happened meanwhile."""

from __future__ import annotations

import pytest

from farm.core.errors import StoreError
from farm.store import Store, StoredModels

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
