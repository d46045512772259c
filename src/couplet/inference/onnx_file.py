"""The ensemble's graph as an ONNX file, freed of what names the machine that wrote it; the same bytes twice."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from couplet.inference.graph import EnsembleGraph
from couplet.project.files import write_bytes
from couplet.results.bundle import ONNX

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18  # of the oldest that fits; newer ones gave the same nodes, and fewer runtimes read them
MOST_IMAGES = 4096
PARTS_FROM_BYTES = 1_900_000_000  # protobuf's limit of one message is 2 GiB


def write_onnx(folder: Path, graph: EnsembleGraph, channels: int, stored: int, about: dict[str, Any]) -> None:
    """Write model.onnx; of weights above 1.9 GB they stand in model.onnx.data beside it.

    Input `images` uint8 (n, C, S, S), n free; outputs `probabilities` (n, L) and `by_fold` (n, K, L), float32, and of
    couplings fitted after training `unrefined` (n, K, L).

    Args:
        folder: the bundle.
        graph: on the CPU, in evaluation mode.
        channels, stored: C and S.
        about: what the file's metadata says under "couplet", as JSON.

    Raises:
        RuntimeError: the exporter fixed the number of images.
    """
    model = _exported(graph, channels, stored)
    _refuse_fixed_number(model)
    _clean(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = "couplet", json.dumps(about, ensure_ascii=False)
    if model.ByteSize() > PARTS_FROM_BYTES:
        from onnx.external_data_helper import convert_model_to_external_data, write_external_data_tensors

        convert_model_to_external_data(model, location=f"{ONNX}.data", size_threshold=1024)
        write_external_data_tensors(model, str(folder))
    write_bytes(folder / ONNX, model.SerializeToString(deterministic=True))


def _exported(graph: EnsembleGraph, channels: int, stored: int) -> ModelProto:
    example = torch.zeros(2, channels, stored, stored, dtype=torch.uint8)
    dimension = torch.export.Dim("n", min=1, max=MOST_IMAGES)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, of operators that are not used
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={"images": {0: dimension}},
            input_names=["images"],
            output_names=list(graph.outputs),
            verbose=False,
        )
    assert program is not None  # it would be with dynamo=False
    model: ModelProto = program.model_proto
    return model


def _refuse_fixed_number(model: ModelProto) -> None:
    """Raise if the first dimension of an input or output is a number: exporters fix it without a word."""
    values = [*model.graph.input, *model.graph.output]
    fixed = [value.name for value in values if not value.type.tensor_type.shape.dim[0].dim_param]
    if fixed:
        raise RuntimeError(f"the exporter fixed the number of images of {', '.join(fixed)}")


def _clean(model: ModelProto) -> None:
    """Take out what the exporter says of its own source: paths of this machine, which differ between two exports."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in (model, graph, *graph.node, *values):
        part.doc_string = ""
        del part.metadata_props[:]
