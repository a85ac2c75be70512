"""Promises of SECURITY.md that are of no single part."""

from __future__ import annotations

import ast
import os
import re
import stat
from pathlib import Path

import onnx
import pytest

from agents.remote.device import SshOptions
from farm.core.errors import NetworkSyntaxError, StoreError
from farm.spaces.onnx.files import import_file
from farm.store import Store
from tests.onnx_models import cnn
from tests.store.test_store import PLAN

ROOT = Path(__file__).parents[1]
SOURCES = [p for name in ("farm", "agents", "predictors") for p in (ROOT / name).rglob("*.py")]

FORBIDDEN = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "torch.load"}
FORBIDDEN |= {"pickle.load", "pickle.loads", "pickle.Unpickler"}  # written they may be
UNPICKLING = {"cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}


def calls(path: Path):
    """Each call in a file, with the name of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_is_unpickled_or_given_to_a_shell():
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = {a.name.split(".")[0] for n in imports for a in n.names}
        names |= {
            n.module.split(".")[0] for n in imports if isinstance(n, ast.ImportFrom) and n.module
        }
        assert not names & UNPICKLING, path
        for name, call in calls(path):
            assert "pickle" not in {n.module for n in imports if isinstance(n, ast.ImportFrom)}
            assert name not in FORBIDDEN, (path, call.lineno)
            given = {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert given.get("shell", "False") == "False", (path, call.lineno)
            assert given.get("allow_pickle", "False") == "False", (path, call.lineno)


LOGIN = {"host": "pi@x", "key": "k", "host_key": "ssh-ed25519 SHA256:abc"}


@pytest.mark.parametrize(
    "python", ["python3; reboot", "$(reboot)", "a b", "`x`", "py'thon", "p\nq"]
)
def test_the_only_word_that_a_shell_on_a_device_is_given_is_plain(python):
    SshOptions.model_validate({**LOGIN, "python": "/usr/bin/python3.11"})
    with pytest.raises(ValueError, match="python"):
        SshOptions.model_validate({**LOGIN, "python": python})


def test_a_store_is_its_owners_alone(tmp_path):
    before = os.umask(0)
    try:
        with Store(tmp_path / "store") as store:
            store.add_campaign(PLAN)
            found = {
                p: stat.S_IMODE(p.stat().st_mode) for p in [store.folder, *store.folder.rglob("*")]
            }
    finally:
        os.umask(before)
    assert found.pop(tmp_path / "store") == 0o700
    assert found[tmp_path / "store" / "farm.db"] == 0o600
    assert {mode for path, mode in found.items() if path.name.startswith("farm.db")} == {0o600}


def test_a_store_is_no_link(tmp_path):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "farm.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"farm\.db must be a file, not a link"):
        Store(tmp_path / "store")
    assert (tmp_path / "elsewhere").read_bytes() == b""


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "link"])
def test_weights_beside_an_onnx_file_are_in_its_folder(tmp_path, location):
    (tmp_path / "secret").write_bytes(bytes(10_000))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    model = cnn()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(NetworkSyntaxError) as caught:
        import_file(folder / "model.onnx")
    assert "no valid ONNX model" in str(caught.value)


def test_every_promise_has_its_test():
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:::(\w+))?`", text)
    assert len(named) > 10
    for path, *names in named:
        source = (ROOT / path).read_text()
        for name in filter(None, names):
            assert re.search(rf"(def|class) {name}\b", source), (path, name)
