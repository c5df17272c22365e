"""Mistakes are refused with a message that says what happened, where, and what to do instead."""

import threading

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.bind import bind
from gradcore.core.errors import AssignedError, BatchError, GradcoreError, GraphFreedError, LeakedTensorError, RuleError
from gradcore.core.op import Family, Op, Saved
from gradcore.core.state import state, switch


def unsaved(needed, g, xs, ys, params):
    return (gc.mul(g, xs[0]),)


def failing(needed, g, xs, ys, params):
    raise KeyError("no such thing")


def broken_op(vjp, **fields):
    """A throw-away op whose vjp is wrong."""
    return Op(
        name="broken",
        family=Family.INDEXED,
        inputs=("x",),
        impl=lambda xp, out, x: x * 1,
        abstract=lambda x: x.update(shape=x.shape),
        vjp=vjp,
        internal=True,
        **fields,
    )


def leaf(*values):
    return gc.tensor(np.array(values), requires_grad=True)


def test_grad_of_what_is_not_a_scalar():
    with pytest.raises(TypeError, match=r"returns a scalar, not a tensor of shape \(2,\); reduce it, or use vjp"):
        gc.grad(gc.sin)(np.ones(2))
    with pytest.raises(TypeError, match="not tuple"):
        gc.grad(lambda x: (x, x))(np.ones(()))
    with pytest.raises(TypeError, match="floating result, not bool"):
        gc.grad(lambda x: x > 0)(np.ones(()))


def test_integers_are_not_differentiated():
    with pytest.raises(TypeError, match="differentiates floating tensors, not int64"):
        gc.grad(gc.sum)(np.arange(3))
    with pytest.raises(TypeError, match="jvp differentiates floating"):
        gc.jvp(gc.sum, (np.arange(3),), (np.arange(3),))
    with pytest.raises(TypeError, match="only floating tensors can require gradients, not int64"):
        gc.tensor([1, 2], requires_grad=True)


def test_arguments_that_are_missing_or_no_tensors():
    with pytest.raises(ValueError, match="asked for argument 2, but got 1"):
        gc.grad(gc.sum, argnums=2)(np.ones(2))
    with pytest.raises(TypeError, match="is str, which is not a tensor"):
        gc.grad(gc.sum)("text")


@pytest.mark.parametrize("use", [gc.sin, lambda x: x + 1, lambda x: gc.sum(x).backward(), gc.grad(gc.sum)])
def test_a_leaked_tensor_is_refused(use):
    kept = []
    gc.grad(lambda x: kept.append(x) or gc.sum(x))(np.ones(2))
    with pytest.raises(LeakedTensorError, match="return it from the function"):
        use(kept[0])


def test_a_tensor_of_another_thread_is_refused():
    errors = []

    def other(x):
        try:
            gc.sin(x)
        except LeakedTensorError as error:
            errors.append(error)

    def f(x):
        thread = threading.Thread(target=other, args=(x,))
        thread.start()
        thread.join()
        return gc.sum(x)

    gc.grad(f)(np.ones(2))
    assert "another thread's" in str(errors[0])


def test_backward_where_nothing_is_recorded():
    with pytest.raises(GradcoreError, match="requires_grad=True"):
        gc.sum(gc.tensor([1.0])).backward()
    x = leaf(1.0)
    with gc.no_grad():
        y = gc.sum(x)
    with pytest.raises(GradcoreError, match="no_grad"):
        y.backward()
    with pytest.raises(GradcoreError, match="detached"):
        gc.sum(x.detach()).backward()


def test_backward_inside_a_transform():
    with pytest.raises(GradcoreError, match="inside grad or vjp; return it"):
        gc.grad(lambda x: gc.sum(x).backward())(np.ones(2))


def test_backward_from_what_is_not_a_scalar():
    x = leaf(1.0, 2.0)
    with pytest.raises(GradcoreError, match=r"needs a scalar, and this tensor has shape \(2,\)"):
        gc.sin(x).backward()
    with pytest.raises(GradcoreError, match=r"gradient has shape \(3,\), the tensor \(2,\)"):
        gc.sin(x).backward(gc.tensor(np.ones(3)))
    gc.sin(x).backward(gc.tensor(np.array([1.0, 0.0])))
    assert x.grad.numpy()[1] == 0


def test_a_second_backward_names_the_op_and_the_line():
    x = leaf(1.0, 2.0)
    y = gc.sum(gc.sin(x))
    y.backward()
    with pytest.raises(GraphFreedError, match=r"reached 'sum' .*test_errors.py:\d+.*y = gc.sum\(gc.sin\(x\)\)"):
        y.backward()


def test_a_second_backward_through_a_shared_part():
    x = leaf(1.0, 2.0)
    shared = gc.square(x)
    gc.sum(shared).backward()
    with pytest.raises(GraphFreedError, match="reached 'square'"):
        gc.sum(shared * 2.0).backward()


@pytest.mark.parametrize("transform", [lambda f: gc.grad(f)(np.ones(2)), lambda f: f(leaf(1.0, 2.0)).backward()])
def test_an_error_in_a_rule_names_the_op_and_the_users_line(transform):
    op = broken_op(failing)
    with pytest.raises(RuleError) as caught:
        transform(lambda x: gc.sum(bind(op, (x,))))  # this line
    assert "the vjp of 'broken' failed: KeyError: 'no such thing'" in str(caught.value)
    assert "test_errors.py" in str(caught.value) and "# this line" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)
    assert (state.levels, switch.busy) == ([], 0)


def test_a_rule_that_reads_what_was_not_saved():
    with pytest.raises(RuleError, match="'broken' failed"):
        gc.grad(lambda x: gc.sum(bind(broken_op(unsaved), (x,))))(np.ones(2))
    with pytest.raises(RuleError, match="'broken' failed"):
        gc.sum(bind(broken_op(unsaved), (leaf(1.0),))).backward()
    declared = broken_op(unsaved, saves=lambda needed, params: Saved((0,)))
    assert np.asarray(gc.grad(lambda x: gc.sum(bind(declared, (x,))))(np.full(2, 3.0))).tolist() == [3, 3]


def test_running_out_of_memory_stays_a_memory_error():
    def vjp(needed, g, xs, ys, params):
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room") as caught:
        gc.sum(bind(broken_op(vjp), (leaf(1.0),))).backward()
    assert "in the vjp of 'broken', recorded at" in caught.value.__notes__[0]


def test_an_assignment_between_forward_and_backward_names_both_lines():
    weight = gc.Cell(gc.tensor(np.ones(2)), "weight", requires_grad=True)
    loss = gc.sum(gc.square(weight))  # the reading line
    weight.assign(gc.tensor(np.zeros(2)))  # the assigning line
    with pytest.raises(AssignedError) as caught:
        loss.backward()
    message = str(caught.value)
    assert "parameter weight was assigned" in message
    assert "read by 'square'" in message and "# the reading line" in message
    assert "# the assigning line" in message


def test_an_assignment_before_the_forward_pass_or_after_backward_is_fine():
    weight = gc.Cell(gc.tensor(np.ones(2)), "weight", requires_grad=True)
    for _ in range(2):
        gc.sum(gc.square(weight)).backward()
        weight.assign(gc.tensor(np.full(2, 2.0)))
    assert weight.leaf.grad.read().numpy().tolist() == [6, 6]


def test_vmap_messages():
    with pytest.raises(BatchError, match="at least one mapped argument"):
        gc.vmap(gc.sin, in_axes=None)(np.ones(2))
    with pytest.raises(BatchError, match="different sizes"):
        gc.vmap(gc.add)(np.ones(2), np.ones(3))
    with pytest.raises(BatchError, match="map axis 1 of an argument of shape"):
        gc.vmap(gc.sin, in_axes=1)(np.ones(2))
    with pytest.raises(BatchError, match="out_axes=None"):
        gc.vmap(gc.sin, out_axes=None)(np.ones(2))
    with pytest.raises(BatchError, match=r"out_axes=1 for a result of shape \(2,\)"):
        gc.vmap(gc.sin, out_axes=1)(np.ones(2))
    with pytest.raises(BatchError, match="'broken' has no batching rule"):
        gc.vmap(lambda x: bind(broken_op(failing), (x,)))(np.ones(2))


def test_a_cell_refuses_a_mapped_value():
    cell = gc.Cell(gc.tensor(np.zeros(())), "total")
    with pytest.raises(BatchError, match="reduce it over the examples first"):
        gc.vmap(lambda x: cell.assign(x))(np.ones(2))


def test_elements_are_not_there_inside_a_transform():
    for read in (float, lambda x: x.numpy(), lambda x: x.item(), bool):
        with pytest.raises(GradcoreError, match="inside grad or vjp"):
            gc.grad(lambda x, read=read: read(x) and x)(np.ones(()))


def test_vjp_refuses_cotangents_that_do_not_fit():
    _, pull = gc.vjp(gc.sin, np.ones(2))
    with pytest.raises(ValueError, match=r"cotangent has shape \(3,\), its output \(2,\)"):
        pull(np.ones(3))
    with pytest.raises(ValueError, match="the cotangent has the structure"):
        pull((np.ones(2), np.ones(2)))
    with pytest.raises(ValueError, match=r"tangent has shape \(3,\), its primal \(2,\)"):
        gc.jvp(gc.sin, (np.ones(2),), (np.ones(3),))


# --- the level stack --------------------------------------------------------------------------------------------------


class MistakeError(Exception):
    pass


def mistaken(x):
    raise MistakeError


def rule_error(x):
    op = broken_op(failing, batch=lambda size, mapped, xs, params: gc.square(xs[0]))
    return gc.sum(bind(op, (x,)))


FAILURES = [
    lambda: gc.grad(mistaken)(np.ones(2)),
    lambda: gc.grad(gc.grad(mistaken))(np.ones(())),
    lambda: gc.vmap(mistaken)(np.ones(2)),
    lambda: gc.jvp(mistaken, (np.ones(2),), (np.ones(2),)),
    lambda: gc.grad(lambda x: gc.sum(gc.vmap(gc.grad(mistaken))(x)))(np.ones(2)),
    lambda: gc.make_graph(mistaken)(np.ones(2)),
    lambda: gc.make_graph(gc.grad(mistaken))(np.ones(2)),
    lambda: gc.grad(rule_error)(np.ones(2)),
    lambda: gc.grad(lambda x: gc.sum(gc.vmap(gc.sin)(x)) + rule_error(x))(np.ones(2)),
    lambda: gc.vmap(gc.grad(rule_error))(np.ones((2, 2))),
    lambda: gc.make_graph(gc.grad(rule_error))(np.ones(2)),
    lambda: rule_error(leaf(1.0, 2.0)).backward(),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_an_exception_leaves_the_level_stack_clean(failure):
    with pytest.raises((MistakeError, RuleError)):
        failure()
    assert (state.levels, state.base, switch.busy) == ([], None, 0)
    assert float(np.asarray(gc.grad(gc.sin)(np.zeros(())))) == 1


def test_threads_differentiate_side_by_side():
    found, start = [], threading.Barrier(4)

    def work(seed):
        x = np.random.default_rng(seed).normal(size=5)
        start.wait()
        for _ in range(25):
            for failure in (FAILURES[0], FAILURES[2], FAILURES[7]):
                with pytest.raises((MistakeError, RuleError)):
                    failure()
            inner = gc.vmap(gc.grad(gc.sin))(x)
            y = gc.tensor(x, requires_grad=True)
            gc.sum(gc.sin(y)).backward()
            found.append(np.allclose(inner, np.cos(x)) and np.allclose(y.grad.numpy(), np.cos(x)) and not state.levels)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 100 and all(found) and switch.busy == 0
