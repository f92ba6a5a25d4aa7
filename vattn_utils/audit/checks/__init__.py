"""The checks of `audit`, in the order of its table: each is a function from a `Case` to one `Finding`.

They measure; names decide nothing. The exceptions, where nothing can be measured, say so: which weights should decay,
and which layers are dropout.
"""

from vattn_utils.audit.checks import images, optimisation, weights

CHECKS = (
    images.input_range, images.resolution, weights.shared_weights, weights.gradients, weights.frozen_weights,
    weights.dropout, optimisation.decay_groups, optimisation.decay_strength, optimisation.schedule,
    optimisation.labels_and_loss, images.test_images, weights.head_width,
)  # fmt: skip
