"""How ops come to their kernels: the plan of a call, the device of its operands, and calls that have no kernel."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.bind import bind
from gradcore.ops.clipping import clip_to_norm_op, global_norm
from gradcore.ops.optimizers import adamw_op

pytestmark = pytest.mark.cuda


def test_a_plan_belongs_to_the_shapes_of_its_outputs_too():
    """`scatter_add` finds positions in flat memory, `take` under `vmap` those of the same indices as they are."""
    indices = gc.tensor([[0, 2], [1, 1]], device="cuda")
    gc.scatter_add(gc.zeros(13, device="cuda"), indices, gc.ones((2, 2), device="cuda"))
    x = gc.tensor(np.arange(104.0).reshape(2, 13, 4), device="cuda")
    rows = gc.vmap(lambda row, index: gc.take(row, index, 0))(x, indices)
    assert np.array_equal(rows.numpy(), [x.numpy()[0, [0, 2]], x.numpy()[1, [1, 1]]])


def test_plans_that_are_kept_are_no_more_than_so_many(monkeypatch):
    from gradcore.backend.cuda import plans, reduction

    monkeypatch.setattr(plans, "MOST_PREPARED", 4)
    monkeypatch.setattr(reduction, "MOST_PREPARED", 4)
    for size in range(1, 12):
        x = gc.ones((2, size), device="cuda")
        assert np.allclose(gc.softmax(x).numpy(), 1 / size)
        assert gc.mean(x).numpy() == 1
        assert len(plans._prepared) <= 4
        assert len(reduction._checked) <= 4


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_gradient_of_a_rate_is_where_the_rate_is(device):
    p, g, m, v = [gc.tensor([value, 2.0], device="cuda") for value in (1.0, 0.5, 0.1, 0.2)]
    others = [gc.tensor(value, device=device) for value in (0.9, 0.99, 1e-3, 0.1, 2.0)]
    both = gc.grad(lambda lr, p: bind(adamw_op, (lr, *others, p, g, m, v))[0].sum(), (0, 1))
    for_rate, for_parameter = both(gc.tensor(0.1, device=device), p)
    assert (for_rate.device, for_parameter.device) == (device if device == "cpu" else "cuda:0", "cuda:0")
    on_cpu = gc.grad(lambda lr: bind(adamw_op, (lr, *[x.to("cpu") for x in (*others, p, g, m, v)]))[0].sum())
    assert np.isclose(for_rate.numpy(), on_cpu(gc.tensor(0.1)).numpy(), rtol=1e-5)


def test_clipping_to_a_norm_on_the_cpu_has_a_derivative():
    g = gc.tensor([3.0, 4.0], device="cuda")
    clipped = gc.grad(lambda limit: bind(clip_to_norm_op, (global_norm([g], 2.0), limit, g))[0].sum())
    slope = clipped(gc.tensor(1.0))
    assert slope.device == "cpu"
    assert np.isclose(slope.numpy(), 7 / 5)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_scaled_loss_keeps_small_gradients(dtype):
    """A gradient of 1e-7 is nothing in float16; times the scale it is a number."""

    def gradient(device):
        scores = gc.tensor(np.zeros((10_000, 1000)), dtype, device, requires_grad=True)
        (gc.cross_entropy(scores, gc.zeros(10_000, dtype="int64", device=device)) * 1024.0).backward()
        return scores.grad.numpy()[0]

    assert np.allclose(gradient("cuda"), gradient("cpu"), rtol=2e-3, atol=0)


@pytest.mark.parametrize("shape", [(3, 0), (0, 0)])
@pytest.mark.parametrize("function", [lambda x: gc.max(x, 1), gc.softmax, gc.logsumexp])
def test_an_extreme_of_nothing(function, shape):
    """An error on every device."""
    for device in ("cpu", "cuda"):
        with pytest.raises(ValueError, match="no identity"):
            function(gc.zeros(shape, device=device))
