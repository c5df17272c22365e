"""What the stages of a chain cost, in bytes and seconds: measured once, good for every budget."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import NamedTuple


class StageCosts(NamedTuple):
    """Bytes and seconds of one stage.

    "Beyond" means in addition to what was live when the step began. "Again" is a recomputation, inside a region.

    Attributes:
        input: bytes of the activation that the stage reads; of a view those of the array under it.
        output: bytes of the activation that it returns, likewise.
        captured: kept besides its input by a region that contains the stage, until it is done (keys, constants).
        inner_first: kept beyond input and output by a saved stage after the first forward.
        inner_again: the same after it was saved in a recomputation.
        inner_last: the same where it is the last stage of its plan; its output too, if it keeps that.
        keeps_output: does the saved stage keep its own output until its backward is done?
        time_forward: seconds of one run.
        time_backward: seconds of its backward.
        peak_forward: most bytes beyond, output included, while it runs in a region for the first time.
        peak_saved: the same while it runs saved for the first time.
        again_held: the same in a recomputation that keeps only the output, where its input is held anyway.
        again_dropped: the same where nobody else holds the input, so that it may go early.
        again_saved: the same in a recomputation where it is saved, unless it is the last stage of its plan.
        again_last: the same where it is the last; its output may be left out.
        peak_backward: most bytes beyond during its backward: cotangent of its input and new gradients included.
        peak_backward_again: the same after a recomputation, where what is captured stays to the end.
        gradients: bytes of the gradients of parameters that its backward leaves.
    """

    input: int
    output: int
    captured: int
    inner_first: int
    inner_again: int
    inner_last: int
    keeps_output: bool
    time_forward: float
    time_backward: float
    peak_forward: int
    peak_saved: int
    again_held: int
    again_dropped: int
    again_saved: int
    again_last: int
    peak_backward: int
    peak_backward_again: int
    gradients: int


FLAGS = ("keeps_output",)
TIMES = ("time_forward", "time_backward")
BYTES = tuple(name for name in StageCosts._fields if name not in FLAGS + TIMES)


class Costs(NamedTuple):
    """The costs of all stages of a chain, in order.

    Example:
        >>> zero = StageCosts(*[0] * len(StageCosts._fields))
        >>> costs = Costs((zero._replace(input=8, output=4), zero._replace(input=4, output=2)))
        >>> Costs.from_json(costs.to_json()) == costs
        True
    """

    stages: tuple[StageCosts, ...]

    def to_json(self) -> str:
        """The costs as text."""
        return json.dumps({"stages": [stage._asdict() for stage in self.stages]}, indent=1)

    @staticmethod
    def from_json(text: str) -> Costs:
        """The costs that `to_json` wrote.

        Raises:
            ValueError: the text is no JSON of costs, or the costs make no sense.
        """
        try:
            costs = Costs(tuple(StageCosts(**stage) for stage in json.loads(text)["stages"]))
        except (TypeError, KeyError) as error:
            raise ValueError(f"Costs.from_json: this is not what to_json wrote: {error}") from error
        check_costs(costs)
        return costs


def check_costs(costs: Costs) -> None:
    """Raise ValueError where costs make no sense: no stages, negative figures, sizes that do not meet."""
    if not costs.stages:
        raise ValueError("costs: a chain needs at least one stage")
    for number, stage in enumerate(costs.stages):
        for name in BYTES:
            value = getattr(stage, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"costs: {name} of stage {number} must be a whole number of bytes, got {value!r}")
        for name in TIMES:
            value = getattr(stage, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"costs: {name} of stage {number} must be a number of seconds, got {value!r}")
    for number, (stage, following) in enumerate(pairwise(costs.stages)):
        if stage.output != following.input:
            sizes = f"{stage.output} bytes, but stage {number + 1} reads {following.input}"
            raise ValueError(f"costs: stage {number} returns {sizes}")
