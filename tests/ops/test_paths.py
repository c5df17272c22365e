"""The generated short cut of every op gives the bits of the general path."""

import importlib
import pkgutil

import pytest

import gradcore.ops
from gradcore.core.op import OPS
from gradcore.testing.cases import cases_of, public_functions
from gradcore.testing.paths import check_paths

NAMES = [found.name for found in pkgutil.iter_modules(gradcore.ops.__path__)]
PUBLIC = public_functions([importlib.import_module(f"gradcore.ops.{name}") for name in NAMES])
GENERAL_ONLY = {
    *("slogdet", "cofactor", "cast", "to_device", "global_norm", "clip_to_norm", "concatenate", "unslice"),
    *("next_key", "split_key", "uniform"),
    *("random_bits", "normal", "randint", "probability"),
    *("sgd", "sgd_decay", "sgd_momentum", "sgd_nesterov", "sgdw_momentum", "sgdw_nesterov", "adam", "adamw"),
    *("rmsprop", "rmsprop_momentum", "rmsprop_centered", "rmsprop_centered_momentum", "adagrad", "lion"),
}


@pytest.mark.parametrize("case", [case for case in cases_of() if case.op.name in PUBLIC], ids=str)
def test_short_cut_gives_the_bits_of_the_general_path(case):
    check_paths(case, PUBLIC[case.op.name])


def test_every_op_that_users_call_has_a_short_cut():
    backward = {name for name in OPS if name.endswith(("_vjp", "_gradient"))}
    assert set(OPS) - set(PUBLIC) - backward <= GENERAL_ONLY
