"""What is read of an ONNX file, and what is refused in words for whoever exported it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from farm.compile import oracle
from farm.core.errors import NetworkSyntaxError, UsageError
from farm.spaces.batch import given_inputs, has_open_batch
from farm.spaces.onnx.files import import_file
from tests.onnx_models import REFUSED, cnn, info, inputs, model, of_opset


def test_external_data_is_read(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(cnn(), path)
    expected = import_file(path)
    onnx.save(cnn(), path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").exists()
    assert import_file(path) == expected


@pytest.mark.parametrize(
    ("declared", "wanted", "shape"),
    [
        (("n", 3, 12, 12), None, (1, 3, 12, 12)),
        (("n", 3, 12, 12), "4,3,12,12", (4, 3, 12, 12)),
        (("n", 3, "h", "w"), "1,3,20,24", (1, 3, 20, 24)),
        (("n", 3, "h", "w"), "x=1x3x20x24", (1, 3, 20, 24)),
        (("n", 3, "h", "w"), "w=24,h=20", (1, 3, 20, 24)),
        (("n", 3, "h", "w"), "n=2,w=24,h=20", (2, 3, 20, 24)),
        ((None, 3, None, None), " 2, 3, 8, 8 ", (2, 3, 8, 8)),
        ((1, 3, 12, 12), "1x3x12x12", (1, 3, 12, 12)),
    ],
)
def test_open_sizes_are_fixed(normal, declared, wanted, shape) -> None:
    assert inputs(normal(cnn(input_shape=declared), wanted))["input"] == shape


def test_an_input_without_a_shape_takes_any(normal) -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], input_shape=None)
    assert inputs(normal(made, "2,5,7"))["input"] == (2, 5, 7)


def tokens(first: str = "n", second: str = "n") -> onnx.ModelProto:
    """Two inputs, (first, seq) and (second, seq), and their sum."""
    given = [info("ids", shape=(first, "seq")), info("mask", shape=(second, "seq"))]
    return model(
        [helper.make_node("Add", ["ids", "mask"], ["y"])],
        inputs=given,
        outputs=[info("y", shape=None)],
    )


@pytest.mark.parametrize(
    ("shape", "batch", "expected", "is_open"),
    [
        ("seq=6", None, (1, 6), True),
        ("ids=1x6", None, (1, 6), False),
        ("n=3,seq=6", None, (3, 6), False),
        ("seq=6", 5, (5, 6), False),
    ],
)
def test_axes_of_one_name_have_one_size(normal, shape, batch, expected, is_open) -> None:
    made = normal(tokens(), shape, batch)
    assert inputs(made) == {"input": expected, "input1": expected}
    assert has_open_batch(made) == is_open
    assert [given.name for given in given_inputs(made, 1)] == ["ids", "mask"]


def test_a_batch_size_is_of_open_first_axes(normal) -> None:
    assert inputs(normal(cnn(input_shape=("n", 3, 12, 12)), batch=2))["input"] == (2, 3, 12, 12)
    with pytest.raises(NetworkSyntaxError, match="--batch 2 does not fit: the file fixes"):
        normal(cnn(), batch=2)
    with pytest.raises(UsageError, match="--batch must be at least 1, got 0"):
        normal(cnn(), batch=0)


def test_first_axes_of_two_names_are_not_one_batch(normal) -> None:
    with pytest.raises(NetworkSyntaxError, match=r"'mask' is m,seq, .* such as m=128"):
        normal(tokens(second="m"), "seq=6")


@pytest.mark.parametrize(("made", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_measured_is_refused_in_one_line(tmp_path, made, message) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    with pytest.raises(NetworkSyntaxError) as caught:
        import_file(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("1,3,224", "--shape 1,3,224 does not fit input 'x', which is n,3,h,w"),
        ("1,4,8,8", "--shape 1,4,8,8 does not fit input 'x', which is n,3,h,w"),
        (
            "z=1,3,8,8",
            "--shape names 'z', but the inputs are x (n,3,h,w); name an input",
        ),
        ("1,3,0,8", "--shape is such as 1,3,224,224 or x=1x3x224x224, got '1,3,0,8'"),
        ("big", "--shape is such as"),
        (
            "h=8",
            "which leaves sizes open; fix them with --shape, such as w=128",
        ),
        ("h=8,h=9", "--shape names 'h'"),
        ("h=8x8,w=8", "--shape names 'h'"),
        ("x=1x3x8x8,h=9", "--shape makes the axis 'h' 8 and 9; axes of one name have one size"),
        ("", "--shape is such as"),
    ],
)
def test_an_input_shape_that_does_not_fit_is_refused(normal, wanted, message) -> None:
    with pytest.raises(NetworkSyntaxError) as caught:
        normal(cnn(input_shape=("n", 3, "h", "w")), wanted)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it cannot be read: No such file or directory"),
        (b"", "it is no valid ONNX model"),
        (b"not a model at all", "it is no valid ONNX model"),
        (cnn().SerializeToString()[:-300], "it is no valid ONNX model"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 232589\n",
            "it is a Git LFS pointer, not the file itself; run `git lfs pull`",
        ),
    ],
    ids=["missing", "empty", "text", "truncated", "LFS"],
)
def test_what_is_no_model_is_refused(tmp_path, content, message) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NetworkSyntaxError, match=message):
        import_file(path)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_external_data_that_is_not_there_is_refused(tmp_path, damage) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(cnn(), path, save_as_external_data=True, location="weights", size_threshold=0)
    damage(tmp_path / "weights")
    with pytest.raises(NetworkSyntaxError, match="it is no valid ONNX model"):
        import_file(path)


def test_a_file_of_2_gb_is_refused_unread(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)  # a hole: it takes no place
    with pytest.raises(
        NetworkSyntaxError, match="it has 2147483648 bytes, but a model with its weights"
    ):
        import_file(path)


def test_weights_of_2_gb_beside_the_file_are_refused_unread(tmp_path) -> None:
    path, made = tmp_path / "model.onnx", cnn()
    tensor = made.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "weights", length=1 << 31)
    tensor.dims[:] = [1 << 29]
    tensor.ClearField("raw_data")
    path.write_bytes(made.SerializeToString())
    with pytest.raises(NetworkSyntaxError, match="bytes, but a model with its weights has less"):
        import_file(path)


def test_a_constant_of_gigabytes_beside_the_file_is_refused_unread(tmp_path) -> None:
    path, made = tmp_path / "model.onnx", cnn()
    weight = made.graph.initializer[0]
    made.graph.node.insert(0, helper.make_node("Constant", [], [weight.name], value=weight))
    del made.graph.initializer[0]
    constant = made.graph.node[0].attribute[0].t
    onnx.external_data_helper.set_external_data(constant, "weights", length=1 << 40)
    constant.dims[:] = [1 << 38]
    constant.ClearField("raw_data")
    path.write_bytes(made.SerializeToString())
    with pytest.raises(NetworkSyntaxError, match="elements; a tensor has"):
        import_file(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1))
def test_a_damaged_file_is_a_network_or_refused_in_one_line(tmp_path, places) -> None:
    data = bytearray(cnn().SerializeToString())
    for place, value in places:
        data[place % len(data)] = value
    (tmp_path / "model.onnx").write_bytes(data)
    refusal = ""
    try:
        import_file(tmp_path / "model.onnx")
    except NetworkSyntaxError as error:
        refusal = str(error)
    assert "\n" not in refusal


def test_names_that_are_no_text_are_refused(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(cnn().SerializeToString().replace(b"conv.w", b"conv.\xe2"))
    with pytest.raises(NetworkSyntaxError, match="it is no valid ONNX model"):
        import_file(path)


def test_values_that_do_not_fill_their_shape_are_refused(normal) -> None:
    made = cnn()
    made.graph.initializer[0].raw_data = made.graph.initializer[0].raw_data[:-4]
    with pytest.raises(NetworkSyntaxError, match=r"conv\.w"):
        normal(made)


@pytest.mark.parametrize("place", ["weight", "constant"])
@pytest.mark.parametrize(
    "named", ["../weights", "{}/weights", "sub/../../weights", "link", "/dev/zero", ""]
)
def test_external_data_out_of_the_folder_is_refused(tmp_path, named, place) -> None:
    folder = tmp_path / "inner"
    (folder / "sub").mkdir(parents=True)
    path, made = folder / "model.onnx", cnn()
    weight = made.graph.initializer[0]
    (tmp_path / "weights").write_bytes(weight.raw_data)
    (folder / "link").symlink_to(tmp_path / "weights")
    if place == "constant":
        made.graph.node.insert(0, helper.make_node("Constant", [], [weight.name], value=weight))
        del made.graph.initializer[0]
        weight = made.graph.node[0].attribute[0].t
    external = {"location": named.format(tmp_path), "length": len(weight.raw_data)}
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in external.items():
        weight.external_data.add(key=key, value=str(value))
    path.write_bytes(made.SerializeToString())
    with pytest.raises(NetworkSyntaxError, match="it is no valid ONNX model") as caught:
        import_file(path)
    assert "\n" not in str(caught.value)


def test_weights_need_no_values(normal) -> None:
    made = cnn()
    expected = normal(cnn())
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.ClearField("raw_data")
    assert normal(made) == expected


@pytest.mark.parametrize(("opset", "converted"), [(6, 17), (28, 26)])
def test_an_opset_that_onnxruntime_does_not_know_is_converted(normal, opset, converted) -> None:
    made = normal(of_opset(opset, [helper.make_node("GlobalAveragePool", ["x"], ["y"])]))
    assert made.opset_import[0].version == converted
    assert oracle.program(made).expected
