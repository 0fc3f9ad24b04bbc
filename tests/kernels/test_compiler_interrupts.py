"""Ctrl-C while numba makes or loads machine code: it takes effect between passes, and the kernel can be used later."""

import signal
import threading

import numpy as np
import pytest
from numba import njit

from qpsim.execution import stopping
from qpsim.execution.pool import threads
from qpsim.kernels import compiler_interrupts
from qpsim.kernels.diagonal import excess_loss
from qpsim.kernels.jit import jit
from qpsim.kernels.numba_interface import compiler, event


class AtPass(event.Listener):
    """Does something within the pass of this number, and counts the passes that begin."""

    def __init__(self, number, action):
        self.begun = 0
        self.number, self.action = number, action

    def on_start(self, event):
        self.begun += 1
        if self.begun == self.number:
            self.action()

    def on_end(self, event):
        pass


def press():
    signal.raise_signal(signal.SIGINT)


def new_kernel():
    @njit
    def kernel(x):
        return 2.0 * x

    return kernel


def test_control_c_takes_effect_before_the_next_pass_and_the_kernel_can_be_compiled_again():
    kernel = new_kernel()
    listener = AtPass(3, press)
    with event.install_listener("numba:run_pass", listener), pytest.raises(KeyboardInterrupt):
        kernel(1.0)
    assert listener.begun == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert kernel(1.5) == 3.0


def test_a_program_that_does_something_else_on_control_c_is_told_once_and_compiles_on():
    told = []
    before = signal.signal(signal.SIGINT, lambda *arguments: told.append(arguments[0]))
    try:
        with event.install_listener("numba:run_pass", AtPass(3, press)):
            assert new_kernel()(1.5) == 3.0
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [signal.SIGINT]


def test_a_compilation_in_a_thread_ends_when_its_run_does():
    kernel = new_kernel()
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def wait():
        begun.set()
        assert go_on.wait(30.0)

    def work():
        try:
            kernel(1.0)
        except KeyboardInterrupt:
            ended.append(listener.begun)
            raise

    listener = AtPass(3, wait)
    runs = stopping.new_run()
    with event.install_listener("numba:run_pass", listener), threads(1) as pool:
        future = pool.submit(stopping.call, runs, None, work)
        assert begun.wait(30.0)
        stopping.stop(runs)
        go_on.set()
        with pytest.raises(KeyboardInterrupt):
            future.result(30.0)
        stopping.forget(runs)
        assert ended == [3]
        # The thread lives on, and so does the kernel.
        assert pool.submit(kernel, 1.5).result(30.0) == 3.0


def test_machine_code_is_loaded_to_its_end(monkeypatch):
    """Numba's loading has no passes."""
    eigenvalues, offset, out = np.ones(2), np.ones((2, 3)), np.empty(3)
    excess_loss(eigenvalues, offset, out)
    loaded = []
    rebuild = compiler.CompileResult._rebuild

    def pressed(*arguments):
        press()
        loaded.append(rebuild(*arguments))
        return loaded[-1]

    monkeypatch.setattr(compiler.CompileResult, "_rebuild", pressed)
    again = jit(excess_loss.py_func)
    with pytest.raises(KeyboardInterrupt):
        again(eigenvalues, offset, out)
    assert len(loaded) == 1 and again.overloads
    again(eigenvalues, offset, out)
    assert out.tolist() == [1.0] * 3 and len(loaded) == 1


def test_this_numba_tells_of_its_lock_and_its_passes():
    assert compiler_interrupts._example()
