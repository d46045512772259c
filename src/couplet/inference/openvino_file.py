"""The ensemble's ONNX graph in OpenVINO's own form, in float32; the same bytes twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from couplet.results.bundle import ONNX, OPENVINO


def write_openvino(folder: Path) -> None:
    """Write openvino/model.xml and model.bin of the bundle's model.onnx."""
    import openvino

    # Read by the runtime itself: openvino.convert_model reports its use to a server.
    model = openvino.Core().read_model(folder / ONNX)
    _keep_reduced_dimensions(model)
    for number, node in enumerate(model.get_ordered_ops()):
        # Names that the reader makes up carry a counter of the whole process.
        if node.get_type_name() not in ("Parameter", "Result"):
            node.set_friendly_name(f"{node.get_type_name()}_{number}")
    (folder / OPENVINO).parent.mkdir()
    # Half precision, the default, would be 5e-4 off.
    openvino.save_model(model, folder / OPENVINO, compress_to_fp16=False)


def _keep_reduced_dimensions(model: Any) -> None:
    """Let sums, means and maxima keep their dimension, and squeeze it afterwards: the same numbers in two steps.

    OpenVINO 2026.4 on a CPU fuses a sum over the last of three dimensions with the bias that is added to it, and adds
    the bias along another dimension: db_dgcn's probabilities were 0.04 off. What is squeezed first is not fused.
    """
    from openvino import opset13

    reductions = {
        "ReduceSum": opset13.reduce_sum,
        "ReduceMean": opset13.reduce_mean,
        "ReduceMax": opset13.reduce_max,
    }
    for node in model.get_ordered_ops():
        reduce = reductions.get(node.get_type_name())
        if reduce is not None and not node.get_keep_dims():
            axes = node.input_value(1)
            squeezed = opset13.squeeze(reduce(node.input_value(0), axes, keep_dims=True), axes).output(0)
            # Outputs are found by these names.
            squeezed.get_tensor().set_names(node.output(0).get_names())
            node.output(0).replace(squeezed)
