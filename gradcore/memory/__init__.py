"""Memory: what is in use and who holds it, checkpointing, and schedules that fit a budget."""

from gradcore.autodiff.checkpoint import (
    RECOMPUTE,
    SAVE,
    Choice,
    Made,
    checkpoint,
    recompute_names,
    recompute_ops,
    save_names,
    save_ops,
)
from gradcore.memory.accounting import Account, account
from gradcore.memory.chain import Chain, checkpoint_chain
from gradcore.memory.costs import Costs, StageCosts
from gradcore.memory.measure import measured_costs
from gradcore.memory.owners import Holder, holders
from gradcore.memory.peak import peak_of, time_of
from gradcore.memory.plan import BudgetError, best_plan, front, plan_chain
from gradcore.memory.profiler import profile
from gradcore.memory.report import Profile
from gradcore.memory.revolve import revolve, revolve_plan
from gradcore.memory.schedule import Action, Plan, actions, extra_steps, saved_plan, sqrt_plan

__all__ = [
    "RECOMPUTE",
    "SAVE",
    "Account",
    "Action",
    "BudgetError",
    "Chain",
    "Choice",
    "Costs",
    "Holder",
    "Made",
    "Plan",
    "Profile",
    "StageCosts",
    "account",
    "actions",
    "best_plan",
    "checkpoint",
    "checkpoint_chain",
    "extra_steps",
    "front",
    "holders",
    "measured_costs",
    "peak_of",
    "plan_chain",
    "profile",
    "recompute_names",
    "recompute_ops",
    "revolve",
    "revolve_plan",
    "save_names",
    "save_ops",
    "saved_plan",
    "sqrt_plan",
    "time_of",
]
