"""The checks of `audit`, in the order of its table: each is a function from a `Case` to one `Finding`.

They measure; names decide nothing. The exceptions, where nothing can be measured, say so: which weights should decay,
and which layers are dropout.
"""

from vattn_utils.audit.checks import derivatives, images, leaks, loss, optimisation, weights

CHECKS = (
    images.input_range, images.resolution, weights.shared_weights, weights.gradients, derivatives.layer_gradients,
    weights.frozen_weights, weights.dropout, optimisation.decay_groups, optimisation.decay_strength,
    optimisation.schedule, loss.labels_and_loss, leaks.test_images, weights.head_width,
)  # fmt: skip
