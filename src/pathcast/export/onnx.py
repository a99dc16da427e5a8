"""Keras networks as ONNX files that old and new runtimes load.

tf2onnx knows no LSTM of Keras 3: a loop, or 8 times 20 small nodes, is what it would write. Here every LSTM
layer is rebuilt around TensorFlow's block operator, which is then written as one ONNX `LSTM` node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from pathcast.core.errors import PathcastError

OPSET = 17
IR_VERSION = 8
"""The IR of opset 17; every onnxruntime since 1.12 reads it."""


def to_onnx(model: keras.Model, outputs: Sequence[str], *, batch: str = "batch") -> onnx.ModelProto:
    """A network with named inputs and a mapping of named outputs, as a checked ONNX model.

    The batch axis is symbolic, named `batch`; weights and arithmetic are float32 whatever the network was
    trained in. Raises PathcastError when the network has no output of a wanted name.
    """
    missing = sorted(set(outputs) - set(model.output if isinstance(model.output, Mapping) else ()))
    if missing:
        raise PathcastError(
            f"export of {model.name}: expected outputs {list(outputs)}, {missing} not among the model's"
        )
    plain = float32_rebuild(model)
    signature = [tf.TensorSpec((None, *each.shape[1:]), each.dtype, name=each.name) for each in model.inputs]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def serve(*values: Any) -> Any:
        results = plain(keras.tree.pack_sequence_as(plain.input, values), training=False)
        return tuple(results[name] for name in outputs)

    converted, _ = tf2onnx.convert.from_function(
        serve, input_signature=signature, opset=OPSET, custom_op_handlers={"BlockLSTMV2": (_write_lstm, [])}
    )
    _rename(converted.graph, dict(zip([value.name for value in converted.graph.output], outputs, strict=True)))
    _rename(converted.graph, {value.name: value.name.partition(":")[0] for value in converted.graph.input})
    for value in [*converted.graph.input, *converted.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = batch
    converted.graph.name = model.name
    converted.ir_version = IR_VERSION
    converted.producer_name, converted.producer_version = "pathcast", ""
    del converted.opset_import[:]
    converted.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    onnx.checker.check_model(converted, full_check=True)
    return converted


def float32_rebuild(model: keras.Model) -> keras.Model:
    """The same network with the same weights in float32 and with LSTM layers of one operator each."""

    def rebuild(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer
        kind = _EXPORTED_AS.get(type(layer), type(layer))
        return kind.from_config({**layer.get_config(), "dtype": "float32"})

    plain = keras.models.clone_model(model, clone_function=rebuild)
    plain.set_weights([np.asarray(values, np.float32) for values in model.get_weights()])
    return plain


class NearestUpSampling(keras.layers.UpSampling2D):  # type: ignore[misc]
    """Upsampling by one TensorFlow operator, which becomes one ONNX `Resize` node.

    Keras repeats rows and columns; in ONNX those repetitions take onnxruntime out of its blocked layout.
    """

    def call(self, inputs: Any) -> Any:
        size = [int(length * factor) for length, factor in zip(inputs.shape[1:3], self.size, strict=True)]
        return tf.raw_ops.ResizeNearestNeighbor(images=inputs, size=size)


class BlockLSTM(keras.layers.LSTM):  # type: ignore[misc]
    """An LSTM for inference whose whole sequence is one TensorFlow operator."""

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        # The weights become constants of the traced graph: the ONNX node keeps them in another order.
        with tf.init_scope():
            weights = np.concatenate([self.cell.kernel.numpy(), self.cell.recurrent_kernel.numpy()])
            bias = self.cell.bias.numpy()
        zeros = tf.zeros((tf.shape(sequences)[0], self.units), sequences.dtype)
        hidden, cell = initial_state if initial_state is not None else (zeros, zeros)
        peephole = tf.zeros((self.units,), sequences.dtype)
        _, cells, _, _, _, _, states = tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.constant(sequences.shape[1], tf.int64),
            x=tf.transpose(sequences, (1, 0, 2)),
            cs_prev=cell,
            h_prev=hidden,
            w=tf.constant(weights),
            wci=peephole,
            wcf=peephole,
            wco=peephole,
            b=tf.constant(bias),
            cell_clip=0.0,
            use_peephole=False,
        )
        result = tf.transpose(states, (1, 0, 2)) if self.return_sequences else states[-1]
        return [result, states[-1], cells[-1]] if self.return_state else result


_EXPORTED_AS: Mapping[Any, Any] = {keras.layers.LSTM: BlockLSTM, keras.layers.UpSampling2D: NearestUpSampling}


def _write_lstm(context: Any, node: Any, name: str, args: Any) -> None:
    """Replace a BlockLSTMV2 node by an ONNX LSTM node (gates i, f, c, o become i, o, f, c)."""
    _, sequences, cell, hidden, weights_name, _, _, _, bias_name = node.input
    weights, bias = node.inputs[4].get_tensor_value(as_list=False), node.inputs[8].get_tensor_value(as_list=False)
    units = len(bias) // 4

    def reorder(values: Any) -> Any:
        gate_input, forget, candidate, output = np.split(values, 4, axis=-1)
        return np.concatenate([gate_input, output, forget, candidate], axis=-1).T[None]

    def constant(suffix: str, values: Any) -> str:
        made: str = context.make_const(f"{name}_{suffix}", np.ascontiguousarray(values, np.float32)).output[0]
        return made

    first_axis = context.make_const(f"{name}_first", np.array([0], np.int64)).output[0]
    second_axis = context.make_const(f"{name}_second", np.array([1], np.int64)).output[0]
    inputs = [
        sequences,
        constant("input_weights", reorder(weights[:-units])),
        constant("recurrent_weights", reorder(weights[-units:])),
        constant("bias", np.concatenate([reorder(bias), np.zeros((1, 4 * units))], axis=-1)),
        "",
        context.make_node("Unsqueeze", [hidden, first_axis]).output[0],
        context.make_node("Unsqueeze", [cell, first_axis]).output[0],
    ]
    consumers = {index: context.find_output_consumers(node.output[index]) for index in range(len(node.output))}
    lstm = context.make_node("LSTM", inputs, output_count=3, attr={"hidden_size": units}, name=f"{name}_lstm")
    states = context.make_node("Squeeze", [lstm.output[0], second_axis], name=f"{name}_states").output[0]
    # ONNX gives the last cell state alone: a sequence of one, of which the graph takes the last.
    replacements = {1: lstm.output[2], 6: states}
    for index, users in consumers.items():
        if users and index not in replacements:
            raise PathcastError(f"export: output {index} of {name} has no counterpart in an ONNX LSTM")
        if users:
            context.replace_all_inputs(node.output[index], replacements[index])
    context.remove_node(node.name)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give values of the graph other names, wherever they are made and used."""
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for value in [*graph.input, *graph.output, *graph.value_info]:
        value.name = names.get(value.name, value.name)
