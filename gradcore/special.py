"""Special functions, with the names of `scipy.special`; its own `erf`, `erfc`, `expit` and `xlogy` take tensors too.

`scipy.special.logsumexp` is no universal function and makes arrays of its arguments, so it refuses tensors with a
gradient; use `gradcore.special.logsumexp`.
"""

from gradcore.ops.activations import log_sigmoid as log_expit
from gradcore.ops.activations import sigmoid as expit
from gradcore.ops.elementary import erf, erfc
from gradcore.ops.softmax import log_softmax, logsumexp, softmax
from gradcore.ops.special import xlogy

__all__ = ["erf", "erfc", "expit", "log_expit", "log_softmax", "logsumexp", "softmax", "xlogy"]
