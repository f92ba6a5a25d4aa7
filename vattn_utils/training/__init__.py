"""How a model is trained, and what is kept of it.

`recipe` and `fit` are enough to train; `train.train` also builds, evaluates and records, and `records.load` reads.
"""

from vattn_utils.training.callbacks import History, KeepBest, Repeatable
from vattn_utils.training.loop import Batches, Run, compile_model, evaluate, fit, undecayed
from vattn_utils.training.recipes import RECIPES, Recipe, recipe

__all__ = [
    "RECIPES",
    "Batches",
    "History",
    "KeepBest",
    "Recipe",
    "Repeatable",
    "Run",
    "compile_model",
    "evaluate",
    "fit",
    "recipe",
    "undecayed",
]
