"""What a training step on CUDA launches, copies and waits for: gradcore beside the same step by hand in CuPy.

    python bench/cuda_step.py [--json PATH]

Counts of the simulated device, which needs no GPU.  They say nothing about time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cuda_steps import NETWORKS, ByHand, Ledger, Network, agree, gradcore_step, noted
from timing import machine, table

LAUNCHES, PRODUCTS = 14, 8
COUNTERS = {
    "launches besides GEMMs": "kernel_launches",
    "GEMMs": "gemm_calls",
    "copies to the host": "d2h",
    "copies to the device": "h2d",
    "copies on the device": "d2d",
    "synchronisations": "syncs",
    "cudaMalloc": "mallocs",
}


def measure(network: Network) -> dict[str, Any]:
    """Counters, kernels and bytes of one step in steady state, after checking that both train alike."""
    losses = agree(network)
    ours, by_hand = Ledger(), Ledger()
    with noted(ours):
        counted = {"gradcore": _counted(gradcore_step(network), ours)}
    counted["by hand"] = _counted(ByHand(network, by_hand), by_hand)
    return {"losses after 3 steps without dropout": losses, **counted}


def _counted(step: Callable[[], Any], ledger: Ledger) -> dict[str, Any]:
    import cusim

    for _ in range(3):
        step()
    ledger.clear()
    cusim.reset()
    step()
    stats = cusim.stats()
    found = {name: stats[key] for name, key in COUNTERS.items()}
    found["bytes read"], found["bytes written"] = sum(c.read for c in ledger), sum(c.written for c in ledger)
    launches = sum(stats["kernels"].values()) + stats["gemm_calls"]
    assert launches - len(ledger) == stats["kernels"].get("by_hand_norm_pass2", 0), "a launch is not in the ledger"
    return {"counters": found, "kernels": stats["kernels"], "calls": [c._asdict() for c in ledger]}


# --- showing ----------------------------------------------------------------------------------------------------------


def report(results: dict[str, Any]) -> Iterator[str]:
    """The figures as Markdown."""
    yield f"# {results['date']}, launches of a training step on simulated CUDA\n"
    yield "Counts, not times: no GPU was used, and nothing here says how fast anything is. Batch 128, float32, cross"
    yield "entropy, clipping by the common norm, AdamW; one step after three others. By hand: kernels in plain CuPy for"
    yield "the same steps, bias and ReLU in one launch where gradcore has two, parameters and gradients in one long"
    yield "array each. Bytes are those of the arrays that each launch reads and writes; scratch memory is left out."
    for key, found in results["networks"].items():
        yield from _section(NETWORKS[key].name, found)


def _section(name: str, found: dict[str, Any]) -> Iterator[str]:
    ours, by_hand = found["gradcore"], found["by hand"]
    yield f"\n## {name}\n"
    loss, other = found["losses after 3 steps without dropout"]
    yield f"Losses after 3 steps without dropout: {loss:.7g} and {other:.7g}.\n"
    rows = [(counter, f"{value:,}", f"{by_hand['counters'][counter]:,}") for counter, value in ours["counters"].items()]
    yield table(("", "gradcore", "by hand"), rows)
    launches, products = ours["counters"]["launches besides GEMMs"], ours["counters"]["GEMMs"]
    if name == NETWORKS["mlp"].name:
        good = launches <= LAUNCHES and products <= PRODUCTS
        yield f"\nBudget: at most {LAUNCHES} launches besides {PRODUCTS} GEMMs: {'pass' if good else 'OVER'}."
    for who, side in (("gradcore", ours), ("by hand", by_hand)):
        yield f"\n{who}: " + ", ".join(f"{count} `{kernel}`" for kernel, count in side["kernels"].items()) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    networks = {key: measure(network) for key, network in NETWORKS.items()}
    results = {"date": machine()["date"], "networks": networks}
    print("\n".join(report(results)))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
