"""How one step of a network is divided among threads, and its memory.

A network has two parts. The *trunk*, up to the first dense layer, is computed block by block: a few
images pass through all its layers while they are in the cache. The *head*, from that dense layer
on, is faster with many examples at once. A step has at most four rounds of tasks:

1. trunk forward, one task for each chunk of examples;
2. head forward, loss, and head backward, one task for some rows of the batch;
3. trunk backward, one task for each chunk, with its own gradient sum; and the dense layers' weight
   gradients, one task for some rows of a matrix;
4. the sums of the chunks are added, in the order of the chunks.

Without a head, rounds 1 to 3 are one: each block goes forward and then backward, so that only
blocks and not the whole batch need memory. The division depends only on the network and the batch,
not on the number of workers, so that the bits of the result do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from qpsim.execution.threads import for_each
from qpsim.nn.assembly import Stage
from qpsim.nn.layers import Context, Dense, Field, Layer
from qpsim.nn.workspace import Request, Workspace, equal_bounds, zeros_for

_MAX_CHUNKS = 16
_CHUNK_WORK = 5e6  # multiplications below which another thread costs more than it saves
# Bytes of the activations and gradients of a block: many images for fast matrix products, few enough for the cache.
_BLOCK_BYTES = 56e6
_HEAD_ROWS = 64  # so many that each weight fetched from memory is used often enough
_SLAB_WORK = 1.6e7
_COMPILED_SUM = 10_000  # numbers from which a compiled sum is faster; small networks need none


class Plan:
    """The division of the work, and all memory, for batches of up to ``capacity`` examples.

    Parameters
    ----------
    stages : list of Stage
    fields : list of Field
        Between the stages, the input first and the outputs last.
    dtype
    capacity : int
    training : bool
        False is for the forward pass only, which stores nothing but the outputs.
    workers : int
    loss : callable
        With the signature of `qpsim.nn.losses.softmax_cross_entropy`.
    decaying : sequence of (slice, array)
        Places and views of the parameters that the L2 term includes.
    """

    def __init__(
        self,
        stages: list[Stage],
        fields: list[Field],
        dtype: Any,
        capacity: int,
        training: bool,
        workers: int,
        loss: Callable[..., np.ndarray],
        decaying: Sequence[tuple[slice, np.ndarray]] = (),
    ) -> None:
        cut = _first_of_head(stages, fields)
        self.trunk, self.head = stages[:cut], stages[cut:]
        self.fields, self.dtype, self.capacity = fields, dtype, capacity
        self.training, self.workers = training, workers
        self._loss_of, self._decaying = loss, decaying
        self.has_head = bool(self.head)
        self._boundary = self.head[0].source if self.head else self.trunk[-1].target
        self._first_trained = next(n for n, stage in enumerate(stages) if stage.slices)
        self._trunk_work = max(sum(stage.layer.work() for stage in self.trunk), 1)
        per_example = sum(2 * prod(f.buffer_shape) for f in fields[: self._boundary + 1])
        fitting = max(int(_BLOCK_BYTES / (per_example * np.dtype(dtype).itemsize)), 1)
        # No chunk of a batch of up to ``capacity`` examples is longer than this.
        longest = max(-(-capacity // _MAX_CHUNKS), int(_CHUNK_WORK / self._trunk_work) + 1)
        self.block = min(fitting, longest)
        self.trunk_parameters = max(
            (s.stop for stage in self.trunk for s in stage.slices), default=0
        )
        self._whole = {n: self._zeros(n) for n in self._kept_fields()}
        self._whole_memory = {
            n: np.empty((capacity, *memory[0]), memory[1])
            for n, stage in enumerate(self.trunk)
            if training and self.has_head and (memory := stage.layer.memory())
        }
        self._head_gradients = {
            n: self._zeros(n)
            for n in range(self._boundary, len(fields))
            if training and self.has_head
        }
        self.outputs = np.empty((capacity, *fields[-1].shape), dtype)
        if self.has_head:
            self.outputs = self._whole[len(fields) - 1]
        self.losses = np.empty(capacity)
        self._chunk_d: np.ndarray | None = None
        self._chunk_q: np.ndarray | None = None
        self._idle: list[Workspace] = []

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The outputs of at most ``capacity`` examples, in memory that the next call overwrites."""
        self._prepare()
        request = Request(x, None, None)
        self._trunk_round(request, self._run_trunk_forward)
        if self.has_head:
            bounds = self._head_bounds(len(x))
            self._each(lambda r: self._run_head(request, bounds[r], bounds[r + 1]), len(bounds) - 1)
        return self.outputs[: len(x)]

    def backward(self, request: Request) -> tuple[float, float]:
        """Fill the request's gradient and squares; return the mean loss and the L2 term."""
        self._prepare()
        n = len(request.x)
        chunks = self._chunk_bounds(n)
        if self.trunk_parameters:
            self._chunk_d = self._chunk_sums(self._chunk_d, len(chunks) - 1)
            if request.squares is not None:
                self._chunk_q = self._chunk_sums(self._chunk_q, len(chunks) - 1)
        if self.has_head:
            self._trunk_round(request, self._run_trunk_forward)
            rows = self._head_bounds(n)
            self._each(lambda r: self._run_head(request, rows[r], rows[r + 1]), len(rows) - 1)
            slabs = self._weight_slabs(n)
            n_chunks = len(chunks) - 1 if self.trunk_parameters else 0

            def third_round(number: int) -> None:
                if number < n_chunks:
                    self._run_chunk(request, number, chunks, self._run_trunk_backward)
                else:
                    self._run_slab(request, *slabs[number - n_chunks])

            self._each(third_round, n_chunks + len(slabs))
        else:
            self._trunk_round(request, self._run_trunk_both)
        if self.trunk_parameters:
            self._add_chunks(request, len(chunks) - 1)
        # In the order of parameters, not of threads, so that rounding is always the same.
        penalty = sum(request.penalties[start] for start in sorted(request.penalties))
        return float(self.losses[:n].sum()) / n, 0.5 * request.weight_decay * penalty

    def _prepare(self) -> None:
        self._each(lambda n: self.trunk[n].layer.prepare(self.training), len(self.trunk))

    # How the work is cut.

    def _chunk_bounds(self, n: int) -> list[int]:
        return equal_bounds(n, min(int(n * self._trunk_work / _CHUNK_WORK) + 1, _MAX_CHUNKS))

    def _head_bounds(self, n: int) -> list[int]:
        work = sum(stage.layer.work() for stage in self.head)
        return equal_bounds(n, min(int(n * work / _CHUNK_WORK) + 1, -(-n // _HEAD_ROWS)))

    def _weight_slabs(self, n: int) -> list[tuple[Stage, int, int]]:
        """(stage, first row, last row) for each dense layer, the large ones in several slabs."""
        slabs = []
        for stage in self.head:
            if stage.slices:
                inputs, units = stage.shapes[0]
                pieces = min(int(n * inputs * units / _SLAB_WORK) + 1, inputs)
                bounds = equal_bounds(inputs, pieces)
                slabs += [(stage, bounds[p], bounds[p + 1]) for p in range(pieces)]
        return slabs

    # Memory.

    def _kept_fields(self) -> list[int]:
        """Fields stored for the whole batch, since the head or a backward pass reads them later."""
        if not self.has_head:
            return []
        kept = set(range(self._boundary, len(self.fields)))
        if self.training:
            kept |= {stage.source for stage in self.trunk if stage.layer.reads_input}
            kept |= {stage.target for stage in self.trunk if stage.layer.reads_output}
        return sorted(kept)

    def _zeros(self, field: int) -> np.ndarray:
        return zeros_for(self.fields[field], self.capacity, self.dtype)

    def _chunk_sums(self, held: np.ndarray | None, chunks: int) -> np.ndarray:
        if held is None or len(held) < chunks:
            held = np.empty((chunks, self.trunk_parameters), self.dtype)
        return held

    def _each(self, task: Any, n_tasks: int) -> None:
        for_each(task, n_tasks, self.workers)

    def _workspace(self) -> Workspace:
        """An idle workspace, or a new one; list.pop is safe between threads."""
        try:
            return self._idle.pop()
        except IndexError:
            return Workspace(
                self.trunk,
                self.fields[: self._boundary + 1],
                self.dtype,
                self.block,
                self._whole,
                self._whole_memory,
                self.training,
            )

    # Round 1, and the trunk's part of round 3.

    def _trunk_round(self, request: Request, run: Any) -> None:
        if not self.trunk:
            first = self._whole[0]
            first[: len(request.x)] = request.x
            return
        chunks = self._chunk_bounds(len(request.x))
        self._each(lambda c: self._run_chunk(request, c, chunks, run), len(chunks) - 1)

    def _run_chunk(self, request: Request, chunk: int, bounds: list[int], run: Any) -> None:
        space = self._workspace()
        context = Context(dropout_key=request.dropout_key, scale=len(request.x))
        if run != self._run_trunk_forward:
            space.collect_into(
                None if self._chunk_d is None else self._chunk_d[chunk],
                None if request.squares is None or self._chunk_q is None else self._chunk_q[chunk],
            )
        for start in range(bounds[chunk], bounds[chunk + 1], self.block):
            stop = min(start + self.block, bounds[chunk + 1])
            run(request, space, replace(context, first=start), start, stop)
        self._idle.append(space)

    def _activation(self, space: Workspace, field: int, start: int, stop: int) -> np.ndarray:
        if field in self._whole:
            return self._whole[field][start:stop]
        return space.activations[field][: stop - start]

    def _memory(self, space: Workspace, stage: int, start: int, stop: int) -> np.ndarray | None:
        if stage in self._whole_memory:
            return self._whole_memory[stage][start:stop]
        memory = space.memories[stage]
        return None if memory is None else memory[: stop - start]

    def _before(self, stage: Stage, values: np.ndarray) -> np.ndarray:
        """The array of the field before a stage, in the shape that its layer expects."""
        return _seen(stage.layer, self.fields[stage.source], stage.input_shape, values)

    def _behind(self, stage: Stage, values: np.ndarray) -> np.ndarray:
        """The array of the field after a stage, in the shape that its layer expects."""
        return _seen(stage.layer, self.fields[stage.target], stage.output_shape, values)

    def _run_trunk_forward(
        self, request: Request, space: Workspace, context: Context, start: int, stop: int
    ) -> None:
        x = self._activation(space, 0, start, stop)
        self.fields[0].image(x)[:] = request.x[start:stop]
        for n, stage in enumerate(self.trunk):
            context.memory = self._memory(space, n, start, stop)
            context.scratch = space.scratches[n]
            x = self._activation(space, stage.source, start, stop)
            y = self._activation(space, stage.target, start, stop)
            stage.layer.forward(self._before(stage, x), self._behind(stage, y), context)
        if not self.has_head:
            last = self._activation(space, self._boundary, start, stop)
            self.outputs[start:stop] = last.reshape(stop - start, -1)

    def _run_trunk_backward(
        self, request: Request, space: Workspace, context: Context, start: int, stop: int
    ) -> None:
        if self.has_head:
            source = self._head_gradients[self._boundary][start:stop]
            space.gradients[self._boundary][: stop - start] = source
        for n in range(len(self.trunk) - 1, self._first_trained - 1, -1):
            stage = self.trunk[n]
            context.memory = self._memory(space, n, start, stop)
            context.scratch = space.scratches[n]
            context.d, context.q = space.d[n], space.q[n]
            x = self._activation(space, stage.source, start, stop)
            y = self._activation(space, stage.target, start, stop)
            dx = space.gradients[stage.source][: stop - start]
            dy = space.gradients[stage.target][: stop - start]
            stage.layer.backward(
                self._before(stage, x),
                self._behind(stage, y),
                None if n == self._first_trained else self._before(stage, dx),
                self._behind(stage, dy),
                context,
            )

    def _run_trunk_both(
        self, request: Request, space: Workspace, context: Context, start: int, stop: int
    ) -> None:
        self._run_trunk_forward(request, space, context, start, stop)
        self._loss(request, space.gradients[self._boundary][: stop - start], start, stop)
        self._run_trunk_backward(request, space, context, start, stop)

    def _loss(self, request: Request, d_outputs: np.ndarray, start: int, stop: int) -> None:
        assert request.targets is not None
        self.losses[start:stop] = self._loss_of(
            self.outputs[start:stop],
            request.targets[start:stop],
            d_outputs.reshape(stop - start, -1),
            1 / len(request.x),
        )

    # Rounds 2 to 4.

    def _run_head(self, request: Request, start: int, stop: int) -> None:
        context = Context(first=start, dropout_key=request.dropout_key)
        for stage in self.head:
            x, y = self._whole[stage.source][start:stop], self._whole[stage.target][start:stop]
            stage.layer.forward(x.reshape(stop - start, -1), y.reshape(stop - start, -1), context)
        if request.gradient is None:
            return
        gradients = self._head_gradients
        self._loss(request, gradients[len(self.fields) - 1][start:stop], start, stop)
        first = self._first_trained - len(self.trunk)
        for n in range(len(self.head) - 1, max(first, 0) - 1, -1):
            stage = self.head[n]
            x, y = self._whole[stage.source][start:stop], self._whole[stage.target][start:stop]
            dx, dy = gradients[stage.source][start:stop], gradients[stage.target][start:stop]
            stage.layer.backward(
                x, y, None if n == first else dx.reshape(stop - start, -1), dy, context
            )

    def _run_slab(self, request: Request, stage: Stage, first: int, last: int) -> None:
        assert request.gradient is not None and isinstance(stage.layer, Dense)
        n = len(request.x)
        x = self._whole[stage.source][:n].reshape(n, -1)
        dy = self._head_gradients[stage.target][:n]
        weight, bias = stage.slices
        rows = request.gradient[weight].reshape(stage.shapes[0])[first:last]
        stage.layer.weight_gradient(x, dy, first, last, rows)
        if first == 0:
            dy.sum(axis=0, out=request.gradient[bias])
        units = stage.shapes[0][1]
        self._decay(request, weight.start + first * units, weight.start + last * units)
        if request.squares is not None:
            squared_x = np.square(x[:, first:last])
            squared_dy = np.square(dy * dy.dtype.type(n))
            rows = request.squares[weight].reshape(stage.shapes[0])[first:last]
            stage.layer.weight_gradient(squared_x, squared_dy, 0, last - first, rows)
            if first == 0:
                squared_dy.sum(axis=0, out=request.squares[bias])

    def _decay(self, request: Request, start: int, stop: int) -> None:
        """Add the L2 term of the parameters start:stop."""
        if request.weight_decay == 0:
            return
        assert request.gradient is not None
        for part, values in self._decaying:
            low, high = max(part.start, start), min(part.stop, stop)
            if low < high:
                weight = values[low - part.start : high - part.start]
                factor = weight.dtype.type(request.weight_decay)
                if high - low < _COMPILED_SUM:
                    request.gradient[low:high] += weight * factor
                else:
                    from qpsim.nn.kernels.dense import add_scaled

                    add_scaled(request.gradient[low:high], weight, factor)
                request.penalties[low] = float(np.dot(weight, weight))

    def _add_chunks(self, request: Request, chunks: int) -> None:
        pieces = int(self.trunk_parameters * chunks / 1e6) + 1
        bounds = equal_bounds(self.trunk_parameters, pieces)

        def add(piece: int) -> None:
            part = slice(bounds[piece], bounds[piece + 1])
            for sums, total in (
                (self._chunk_d, request.gradient),
                (self._chunk_q, request.squares),
            ):
                if total is not None and sums is not None:
                    np.add.reduce(sums[:chunks, part], axis=0, out=total[part])
            self._decay(request, part.start, part.stop)

        self._each(add, len(bounds) - 1)


def _seen(layer: Layer, field: Field, shape: tuple[int, ...], values: np.ndarray) -> np.ndarray:
    """A field's array, with or without its margin, in the shape that the layer expects."""
    if not layer.whole_fields:
        values = field.image(values)
    return values if field.shape == shape else values.reshape(len(values), *shape)


def _first_of_head(stages: list[Stage], fields: list[Field]) -> int:
    """Number of the stage from which on all layers may get the whole batch at once."""
    last_of_trunk = max((n for n, s in enumerate(stages) if _needs_trunk(s)), default=-1)
    if last_of_trunk < 0 and len(fields[0].shape) == 1:
        return 0
    denses = (n for n, s in enumerate(stages) if type(s.layer) is Dense and n > last_of_trunk)
    return next(denses, len(stages))


def _needs_trunk(stage: Stage) -> bool:
    """Whether a layer has parameters, memory or scratch that only the trunk supports."""
    kind = type(stage.layer)
    own = kind.memory is not Layer.memory or kind.scratch is not Layer.scratch
    return own or (bool(stage.slices) and kind is not Dense)
