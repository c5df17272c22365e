"""An estimate of how long each launch of a training step takes at least, from the bytes that it moves and its products.

    python bench/roofline.py [--card NAME] [--json PATH]

Nothing is timed.  A launch cannot be faster than its bytes over the card's bandwidth, nor than its floating operations
over the card's rate; whichever is longer is the bound.  Real kernels reach a part of it, and arrays of a few megabytes
may stay in the cache, which is faster than the memory.  Bandwidths and rates are NVIDIA's published ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cuda_steps import NETWORKS, Ledger, Network, gradcore_step, noted
from timing import machine, table


class Card(NamedTuple):
    """Published figures: bytes per second, and float32 operations per second without tensor cores."""

    bandwidth: float
    flops: float


CARDS = {
    "H100 SXM": Card(3.35e12, 67e12),
    "A100 40GB": Card(1.555e12, 19.5e12),
    "RTX 4090": Card(1.008e12, 82.6e12),
    "T4": Card(0.32e12, 8.1e12),
}


def calls_of(network: Network) -> Ledger:
    """Every launch of one step in gradcore."""
    step, ledger = gradcore_step(network), Ledger()
    step()
    with noted(ledger):
        step()
    return ledger


def bound(call: dict[str, Any], card: Card) -> float:
    """Microseconds that a launch takes at least."""
    return 1e6 * max((call["read"] + call["written"]) / card.bandwidth, call["flops"] / card.flops)


def report(results: dict[str, Any], name: str) -> Iterator[str]:
    """The estimates as Markdown."""
    card = CARDS[name]
    yield f"# {results['date']}, estimated lower bounds of a training step on an {name}\n"
    yield "**An estimate, not a measurement: no GPU was used.** Bytes over the published bandwidth"
    yield f"({card.bandwidth / 1e12:g} TB/s), or the operations of matrix products over the published float32 rate"
    yield f"({card.flops / 1e12:g} TFLOP/s), whichever takes longer. A launch costs some microseconds besides, which"
    yield "the estimate leaves out; for arrays as small as these that is most of the time."
    for key, calls in results["networks"].items():
        yield f"\n## {NETWORKS[key].name}, batch {NETWORKS[key].batch}: estimate for one step\n"
        yield table(
            ("launch", "read", "written", "product flop/byte", "estimate: at least, µs", "limited by"),
            [*_rows(calls, card)],
        )
        yield f"\nAll launches, estimated, in µs: {_totals(calls)}."


def _rows(calls: list[dict[str, Any]], card: Card) -> Iterator[tuple[str, ...]]:
    for call in calls:
        moved = call["read"] + call["written"]
        limit = "products" if call["flops"] / card.flops > moved / card.bandwidth else "memory"
        intensity = f"{call['flops'] / moved:.1f}" if call["flops"] else "–"
        yield call["name"], f"{call['read']:,}", f"{call['written']:,}", intensity, f"{bound(call, card):.2f}", limit


def _totals(calls: list[dict[str, Any]]) -> str:
    return ", ".join(f"{name} {sum(bound(call, card) for call in calls):.1f}" for name, card in CARDS.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", choices=CARDS, default="H100 SXM", help="whose bounds to show launch by launch")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    networks = {key: [call._asdict() for call in calls_of(network)] for key, network in NETWORKS.items()}
    results = {"date": machine()["date"], "estimate": True, "cards": CARDS, "networks": networks}
    print("\n".join(report(results, arguments.card)))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
