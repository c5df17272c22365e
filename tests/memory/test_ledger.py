"""What is noted, and added up later."""

from __future__ import annotations

import numpy as np

from gradcore.memory.accounting import new_account
from gradcore.memory.ledger import LATER, Held, Ledger
from gradcore.memory.owners import OTHER, Label


def test_blocks_come_and_go_in_order():
    ledger, block, other = Ledger(), Held(100, LATER), Held(50, Label("input"))
    ledger.events = []
    for held in (block, other, block):
        ledger.note(held)
    assert ledger.live == 0, "nothing is added up before somebody asks"
    assert (ledger.catch_up().live, ledger.peak) == (50, 150)
    assert [(held, there) for _, held, there in ledger.events] == [(block, True), (other, True), (block, False)]
    assert (block.label, other.label.kind) == (OTHER, "input")


def test_methods_are_called_with_what_follows_them():
    ledger, block, result = Ledger(), Held(100, LATER), Held(10, LATER)
    ledger.note(block)
    ledger.later((ledger.begin, ledger.at, 2.5, ledger.result, result, ledger.result, block, ledger.end, 7))
    ledger.note(block)
    ledger.catch_up()
    assert (ledger.live, ledger.peak, ledger.op_peak, ledger.now) == (10, 117, 17, 2.5)
    assert ledger.catch_up().live == 10, "it is added up once"


def test_what_dies_while_it_catches_up_comes_after():
    ledger, array = Ledger(), [np.ones(100)]
    account = new_account("cpu")
    account.ledger, account.note = ledger, ledger.note
    seen = []

    class Drop:
        def drop(self, value):
            array.clear()  # the account's block of it is noted now
            seen.append(value)

    account.meet(array[0])
    ledger.later((Drop().drop, 1, ledger.at, 1.0))
    assert (ledger.catch_up().live, seen) == (800, [1])
    assert ledger.catch_up().live == 0


def test_an_array_with_the_id_of_a_dead_one_is_another():
    account = new_account("cpu")
    known = account.meet(np.ones(10))
    again = [np.ones(10) for _ in range(3)]
    assert all(account.meet(array) is not known for array in again)
    assert account.live == 240
    view = again[0][2:]
    assert account.meet(view) is account.meet(again[0]) is account.find(view)
    assert account.live == 240
