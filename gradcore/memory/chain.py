"""checkpoint_chain: stages one after the other, in nested checkpoint regions that a plan prescribes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gradcore.autodiff.regions import Region, opened
from gradcore.backend.sizes import parse_size, size_text
from gradcore.core.tensor import Tensor
from gradcore.core.trees import flatten
from gradcore.memory.costs import Costs
from gradcore.memory.measure import Stage, advance, measured_costs
from gradcore.memory.peak import peak_of, time_of
from gradcore.memory.plan import best_plan
from gradcore.memory.revolve import revolve_plan
from gradcore.memory.schedule import Action, Plan, actions, extra_steps, saved_plan, text


class Chain:
    """Stages one after the other, as one function; made by `checkpoint_chain`.

    Attributes:
        stages: the functions.
        plan: which stages are saved and which lie in regions (see `gradcore.memory.Plan`).
        costs: what the stages cost; None where only a number of slots was given.
        budget: bytes that were allowed; None likewise.
        predicted_peak: most bytes requested during forward and backward beyond what was live at the call, the result
            and its cotangent included; None without costs.

    `predicted_peak` is exact where each stage computes new arrays, forward and backward, for an input of the size of
    the sample. It is an upper bound where a stage returns a view (counted with all of the array under it, and again
    where that is the input) or passes on the very cotangent that it got (`x + 1`), where nothing flows back to a stage
    (the first ones are frozen, say), where trees of tensors pass between the stages, and for smaller inputs. More may
    be needed where somebody holds gradients from before (`g = p.grad`: they cannot be added to in place), where a stage
    does not do the same each time, and under transforms.
    """

    def __init__(
        self, stages: Sequence[Stage], plan: Plan, costs: Costs | None, budget: int | None, sizes: tuple[int, ...]
    ) -> None:
        self.stages, self.plan, self.costs, self.budget = tuple(stages), plan, costs, budget
        self.predicted_peak = None if costs is None else peak_of(plan, costs)
        self._sizes = sizes
        self._moves = tuple(_moves(plan))

    @property
    def schedule(self) -> list[Action]:
        """What happens in forward and backward, in order."""
        return actions(self.plan)

    def __call__(self, x: Any) -> Any:
        """What the last stage returns.

        Raises:
            ValueError: `x` is larger than the sample that the plan was made for.
        """
        self._check(x)
        open_regions: list[Any] = []
        try:
            for move in self._moves:
                if move is OPEN:
                    open_regions.append(opened(Region()))
                    open_regions[-1].__enter__()
                elif move is CLOSE:
                    open_regions.pop().__exit__(None, None, None)
                else:
                    x = advance(self.stages[move], x)
        except BaseException as error:
            for region in reversed(open_regions):
                region.__exit__(type(error), error, error.__traceback__)
            raise
        return x

    def _check(self, x: Any) -> None:
        sizes = _sizes(x)
        if self._sizes and (len(sizes) != len(self._sizes) or any(map(int.__gt__, sizes, self._sizes))):
            raise ValueError(
                f"this chain was planned for an input of {', '.join(map(size_text, self._sizes))}, but got "
                f"{', '.join(map(size_text, sizes))}; plan another one with checkpoint_chain(stages, sample=…)"
            )

    def __str__(self) -> str:
        lines = [f"chain of {len(self.stages)} stages: {text(self.plan)}"]
        lines.append(f"forward steps beyond one each: {extra_steps(self.plan)}")
        if self.costs is not None:
            plain = saved_plan(len(self.stages))
            least = time_of(plain, self.costs)
            slower = time_of(self.plan, self.costs) / least - 1 if least else 0.0
            lines.append(
                f"peak: {size_text(self.predicted_peak or 0)} ({self.predicted_peak:,} bytes), "
                f"{size_text(peak_of(plain, self.costs))} with all saved"
            )
            lines.append(f"time: {slower:+.0%} by the measured stages")
        if self.budget is not None:
            lines.insert(1, f"budget: {size_text(self.budget)} ({self.budget:,} bytes)")
        return "\n".join(lines)


OPEN, CLOSE = "open", "close"


def _moves(plan: Plan) -> Iterator[Any]:
    """Stages to run, and regions to open and close, in order."""
    inside = [iter(plan)]
    while inside:
        part = next(inside[-1], None)
        if part is None:
            inside.pop()
            if inside:
                yield CLOSE
        elif isinstance(part, tuple):
            inside.append(iter(part))
            yield OPEN
        else:
            yield part


def _sizes(tree: Any) -> tuple[int, ...]:
    return tuple([leaf.aval.size * leaf.dtype.itemsize for leaf in flatten(tree)[0] if isinstance(leaf, Tensor)])


def checkpoint_chain(
    stages: Sequence[Callable[[Any], Any]],
    *,
    slots: int | None = None,
    budget: int | str | None = None,
    sample: Any = None,
    costs: Costs | None = None,
) -> Chain:
    """Stages one after the other as one function whose backward pass fits into little memory.

    The gradients have the bits of the plain chain, whatever the plan.  (Where an activation is used outside of its
    stage too, such as `x` in `x + chain(x)`, what flows back to it from the stage is summed first.  Then they have the
    same bits with all plans, but may differ from those of a plain loop in the last place.)  Give either a number of
    slots, or a budget.

    Args:
        stages: functions or modules; each takes what the one before returns, a tensor or a tree of them.
        slots: how many activations may be kept at once, the input of the chain included; the schedule is the optimal
            one for stages that cost the same (`gradcore.memory.revolve`).
        budget: bytes that forward and backward together may request beyond what is live at the call, the result and
            its cotangent included: a number, a size such as "200 MiB", or a share such as "50%" of what the chain needs
            when everything is saved.  The plan is the quickest that fits (`gradcore.memory.plan_chain`).
        sample: an input like those to come, on which the stages are measured once.
            With slots it is not needed, but tells the peak.
        costs: what was measured before (`chain.costs`), in place of a sample.

    Returns:
        A `Chain`: a function with `predicted_peak`, `schedule`, `costs`; printing it tells what it will do.

    Raises:
        BudgetError: the budget is too small; the message says the smallest that works and what needs it.
        ValueError: no stages; both or neither of slots and budget; a budget with neither sample nor costs.

    Example:
        >>> import gradcore as gc
        >>> stages = [lambda x: gc.tanh(x * 2)] * 10
        >>> chain = gc.checkpoint_chain(stages, slots=3)
        >>> x = gc.tensor([0.5], requires_grad=True)
        >>> chain(x).sum().backward()
        >>> print(chain)
        chain of 10 stages: ((0) (1) (2) 3) ((4) (5) 6) ((7) 8) 9
        forward steps beyond one each: 15
    """
    stages = list(stages)
    if not stages:
        raise ValueError("checkpoint_chain needs at least one stage")
    if (slots is None) == (budget is None):
        raise ValueError("checkpoint_chain takes either slots=3 (how many activations are kept) or budget='200 MiB'")
    if costs is None and sample is not None:
        costs = measured_costs(stages, sample)
    if costs is not None and len(costs.stages) != len(stages):
        raise ValueError(f"these are costs of {len(costs.stages)} stages, not of {len(stages)}")
    if slots is not None:
        return Chain(stages, revolve_plan(len(stages), slots), costs, None, _sizes(sample))
    if costs is None:
        raise ValueError("a budget needs a sample, on which the stages are measured, or their costs from before")
    allowed = _allowed(budget, costs)
    return Chain(stages, best_plan(costs, allowed), costs, allowed, _sizes(sample))


def _allowed(budget: Any, costs: Costs) -> int:
    share = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", budget) if isinstance(budget, str) else None
    if share is None:
        return parse_size(budget)
    return int(float(share[1]) / 100 * peak_of(saved_plan(len(costs.stages)), costs))
