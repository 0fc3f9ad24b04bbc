"""One training step of the paper's networks, side by side with PyTorch and JAX in one process.

    python -m tests.benchmarks.bench_nn mnist cifar10 cifar100 --jax-rounds 3 --memory --out bench.json

Steps of all contenders alternate, with as many threads each, so that whatever else the machine does meets
all of them; read the ratios, which are taken within a round. PyTorch has an allocator that keeps
its memory (the script starts itself again with the environment that this takes), without which it
loses up to a third of its speed. Peak memory is over what imports and a small step take, each
contender in a process of its own and with the allocator as it comes.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from qpsim.files.writing import write_json
from qpsim.provenance import environment
from tests.benchmarks.contenders import NETWORKS, Jax, Ours, PyTorch, make_batch, make_network

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
TURN_SECONDS = 0.05
THIS = [sys.executable, "-m", "tests.benchmarks.bench_nn"]


def measured(name, threads, rounds, jax_rounds):
    """One network's entry: milliseconds of each task, ratios of times within a round."""
    network = make_network(name, threads)
    x, y = make_batch(network, NETWORKS[name][2])
    ours = Ours(network, x, y)
    tasks = {
        "gradient": ours.gradient,
        "moments": ours.moments,
        "qpsim": ours.step,
        "torch": PyTorch(network, x, y, threads).step,
    }
    seconds = alternating(tasks, rounds)
    ratios = {
        "torch": spread(np.divide(seconds["qpsim"], seconds["torch"])),
        "moments": spread(np.divide(seconds["moments"], seconds["gradient"])),
    }
    if jax_rounds:
        # By itself, as its threads go on spinning.
        with few_cores(threads):
            jax = Jax(network, x, y)
            jax.step()
        again = alternating({"qpsim": ours.step, "jax": jax.step}, jax_rounds)
        ratios["jax"] = spread(np.divide(again["qpsim"], again["jax"]))
        seconds["jax"] = again["jax"]
    return {
        "network": name,
        "title": NETWORKS[name][0],
        "batch": len(x),
        "rounds": rounds,
        "jax_rounds": jax_rounds,
        "milliseconds": {task: spread(1e3 * np.array(taken)) for task, taken in seconds.items()},
        "ratios": ratios,
    }


def alternating(tasks, rounds):
    """Seconds of a step in each task's turns, all taking turns.

    A turn is a pause, a step, and then steps that are timed: one, or as many as it takes to fill
    `TURN_SECONDS`. Steps of a training follow upon each other, with their threads awake and their
    arrays in the caches, while the first one pays for what the contender before it left there. The
    rule is the same for all, and it does not favour threads that sleep at once (ours) over threads
    that spin for a while (OpenMP's): those are found spinning by the steps that are timed, and are
    at rest again after the pause.
    """
    for task in tasks.values():
        task()
    seconds = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            time.sleep(0.02)
            task()
            start, steps, taken = time.perf_counter(), 0, 0.0
            while taken < TURN_SECONDS:
                task()
                steps, taken = steps + 1, time.perf_counter() - start
            seconds[name].append(taken / steps)
    return seconds


@contextmanager
def few_cores(threads):
    """JAX has a thread on every core that it sees when it starts, and they stay where they are."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def spread(values):
    """Median, lowest and highest."""
    return {
        "median": float(np.median(values)),
        "low": float(min(values)),
        "high": float(max(values)),
    }


def peak_megabytes(name, contender, threads):
    """Peak over what imports and a small step take; run in a process of its own."""

    def status(key):
        # Not getrusage: a child process starts with its parent's.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

    small, network = (make_network(n, threads) for n in ("digits-cnn", name))
    x, y = make_batch(network, NETWORKS[name][2])

    def contending(network, x, y):
        torch = contender == "torch"
        return PyTorch(network, x, y, threads) if torch else Ours(network, x, y)

    contending(small, *make_batch(small, 2)).step()
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is used now
    before = status("VmRSS")
    if contender == "qpsim":
        before -= network.parameters.nbytes / 2**20  # PyTorch's are made below
    run = contending(network, x, y)
    for _ in range(2):
        run.step()
    return status("VmHWM") - before


def peaks(name, threads):
    """Both contenders' peak memory."""
    plain = {key: value for key, value in os.environ.items() if key not in ALLOCATOR}
    found = {}
    for contender in ("qpsim", "torch"):
        command = [*THIS, name, "--threads", str(threads), "--memory-of", contender]
        run = subprocess.run(command, env=plain, check=True, capture_output=True, text=True)
        found[contender] = float(run.stdout)
    return found


def about(threads, with_jax):
    """The environment of a report."""
    peers = ["torch", "jax"] if with_jax else ["torch"]
    versions = {peer: importlib.metadata.version(peer) for peer in peers}
    return {"environment": {**environment(), "peers": versions}, "threads": threads}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="+", choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--jax-rounds", type=int, default=0, help="rounds in which JAX takes part")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="also measure peak memory")
    parser.add_argument("--out", type=Path, help="report; entries of other networks are kept")
    parser.add_argument("--memory-of", choices=["qpsim", "torch"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(peak_megabytes(options.networks[0], options.memory_of, options.threads))
        return
    if any(os.environ.get(key) != value for key, value in ALLOCATOR.items()):
        os.environ.update(ALLOCATOR)
        os.execv(sys.executable, [*THIS, *sys.argv[1:]])
    kept = {}
    if options.out and options.out.exists():
        kept = {entry["network"]: entry for entry in json.loads(options.out.read_text())["results"]}
    for name in options.networks:
        entry = measured(name, options.threads, options.rounds, options.jax_rounds)
        if options.memory:
            entry["peak_megabytes"] = peaks(name, options.threads)
        print(json.dumps(entry, indent=2), flush=True)
        kept[name] = entry
    if options.out:
        results = [kept[name] for name in NETWORKS if name in kept]
        write_json(
            options.out, {**about(options.threads, options.jax_rounds > 0), "results": results}
        )


if __name__ == "__main__":
    main()
