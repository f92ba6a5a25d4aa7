r"""EANet: external attention, token to memory slot (Guo et al., *Beyond Self-attention*, arXiv 2105.02358).

Self-attention compares every token with every other. External attention compares every token with S learned
*memory slots*, shared by all images: its cost grows with N, not with N squared (section 3.2, equations 5 and 6):

$$A = \mathrm{Norm}(F M_k^\top), \qquad F_{out} = A M_v$$

`Norm` is the paper's double normalisation (section 3.3, equations 7 to 9): a softmax over the *tokens*, for each
slot, and then each token's row is divided by its sum over the *slots*. Tokens thus meet each other in one place
only: in the denominator of that softmax.
"""

from keras import layers, ops

from vattn_utils.models.classifier import TokenClassifier
from vattn_utils.models.layers import Configured, SelfAttention, check_choice, register

VARIANTS = {
    # keras.io's example: 2-pixel patches, 256 tokens, width 64, and attention four times as wide inside.
    # head_dim=64 belongs to its self-attention twin, whose heads are as wide as the whole model.
    "keras-io": dict(
        tokenizer="patch", patch_size=2, dim=64, depth=8, heads=4, head_dim=64, memory_slots=16, coefficient=4,
        mlp_dim=64, dropout=0.2, attention_dropout=0.2, pooling="mean", final_norm=False, epsilon=1e-5,
    ),
    # The paper's multi-head form with S = 64 and memories shared by the heads, at CIFAR's size.
    "paper": dict(
        tokenizer="patch", patch_size=4, dim=128, depth=8, heads=8, memory_slots=64, coefficient=4,
        mlp_dim=512, drop_path=0.1, pooling="mean",
    ),
    # Ours: a convolutional tokenizer to 64 tokens, four heads, 64 slots, a learned weighting of tokens at the end.
    "book": dict(
        tokenizer="convolutional", convolutions=2, patch_size=4, dim=128, depth=4, heads=4, memory_slots=64,
        coefficient=1, mlp_dim=160, drop_path=0.05, pooling="sequence",
    ),
}  # fmt: skip


@register
class ExternalAttention(Configured, layers.Layer):
    r"""Multi-head external attention with memories shared by all heads (section 3.4, algorithm 2).

    $$L = X W_q M_k, \quad
      \hat A_{ns} = \frac{e^{L_{ns}}}{\sum_m e^{L_{ms}}}, \quad
      A_{ns} = \frac{\hat A_{ns}}{\sum_t \hat A_{nt}}, \quad
      Y = A M_v W_o$$

    W_q and M_k are linear neighbours, and so are M_v and W_o: each pair is folded into one matrix where that saves
    work. Everything is token-major, `(B, N, heads, S)`, so that nothing is transposed.

    Args:
        heads: number of heads, before the coefficient.
        memory_slots: S, the number of slots in M_k and M_v.
        coefficient: how many times wider the attention is inside than dim; it multiplies the heads too.
        dropout: rate at which attention weights are dropped in training.
        mixing: False takes the softmax over the slots instead, so that no token meets another: the ablation. What is
            returned as slot maps is then A itself.

    Takes `(B, N, dim)`; returns the same shape and, with `return_attention=True`, also the *slot maps* of shape
    `(B, N, heads, S)`: for each head and slot a distribution over the tokens. `double_normalise` turns them into A.
    """

    def __init__(self, heads, memory_slots=64, coefficient=1, dropout=0.0, mixing=True, **kwargs):
        super().__init__(**kwargs)
        self.remember(heads=heads, memory_slots=memory_slots, coefficient=coefficient, dropout=dropout, mixing=mixing)
        self.attention_dropout = layers.Dropout(dropout, dtype=self.dtype_policy, name="attention_dropout")

    def build(self, input_shape):
        dim = input_shape[-1]
        self.inner_heads = self.heads * self.coefficient
        inner = dim * self.coefficient
        if inner % self.inner_heads:
            raise ValueError(f"dim={dim} is not divisible by heads={self.heads}; use a multiple of {self.heads}")
        self.width = inner // self.inner_heads  # d, of one head
        heads, width, slots = self.inner_heads, self.width, self.memory_slots
        self.query_kernel = self.add_weight(shape=(dim, inner), name="query_kernel")
        self.query_bias = self.add_weight(shape=(inner,), initializer="zeros", name="query_bias")
        self.memory_key = self.add_weight(shape=(width, slots), name="memory_key")
        self.memory_key_bias = self.add_weight(shape=(slots,), initializer="zeros", name="memory_key_bias")
        self.memory_value = self.add_weight(shape=(slots, width), name="memory_value")
        self.memory_value_bias = self.add_weight(shape=(width,), initializer="zeros", name="memory_value_bias")
        self.output_kernel = self.add_weight(shape=(inner, dim), name="output_kernel")
        self.output_bias = self.add_weight(shape=(dim,), initializer="zeros", name="output_bias")
        # Multiply-adds for each token and head: one matrix against two.
        self.folded = dim * slots < dim * width + width * slots
        self.inner_shape = (-1, input_shape[1], heads, width)

    def call(self, x, training=None, return_attention=False, perturbation=None):
        logits = self.logits(x)
        slot_maps = softmax_over_tokens(logits) if self.mixing else ops.softmax(logits)  # (B, N, heads, S)
        if perturbation is not None:
            slot_maps = slot_maps + perturbation
        attention = self.attention_dropout(double_normalise(slot_maps), training=training)
        x = self.read_memory(attention)
        return (x, slot_maps) if return_attention else x

    def logits(self, x):
        """Likeness of each token to each slot, `(B, N, heads, S)`: X W_q M_k and the biases."""
        key, key_bias = ops.cast(self.memory_key, x.dtype), ops.cast(self.memory_key_bias, x.dtype)
        kernel, bias = ops.cast(self.query_kernel, x.dtype), ops.cast(self.query_bias, x.dtype)
        if not self.folded:
            return ops.matmul(ops.reshape(ops.matmul(x, kernel) + bias, self.inner_shape), key) + key_bias
        dim, slots = kernel.shape[0], self.memory_slots
        kernel = ops.matmul(ops.reshape(kernel, (dim, self.inner_heads, self.width)), key)  # (dim, heads, S)
        bias = ops.matmul(ops.reshape(bias, (self.inner_heads, self.width)), key) + key_bias  # (heads, S)
        x = ops.matmul(x, ops.reshape(kernel, (dim, -1))) + ops.reshape(bias, (-1,))
        return ops.reshape(x, (-1, x.shape[1], self.inner_heads, slots))

    def read_memory(self, attention):
        """What the tokens read from the slots, `(B, N, dim)`: A M_v W_o and the biases."""
        dtype, tokens = attention.dtype, attention.shape[1]
        value, value_bias = ops.cast(self.memory_value, dtype), ops.cast(self.memory_value_bias, dtype)
        kernel, bias = ops.cast(self.output_kernel, dtype), ops.cast(self.output_bias, dtype)
        if not self.folded:
            x = ops.matmul(attention, value) + value_bias  # (B, N, heads, d)
            return ops.matmul(ops.reshape(x, (-1, tokens, kernel.shape[0])), kernel) + bias
        heads = ops.reshape(kernel, (self.inner_heads, self.width, -1))  # (heads, d, dim)
        bias = bias + ops.sum(ops.matmul(value_bias, heads), axis=0)
        folded = ops.reshape(ops.matmul(value, heads), (self.inner_heads * self.memory_slots, -1))
        return ops.matmul(ops.reshape(attention, (-1, tokens, folded.shape[0])), folded) + bias


def softmax_over_tokens(logits):
    """Slot maps from `(B, N, heads, S)`: each slot's sum to 1 over the tokens (equation 8).

    Written out, since TensorFlow's softmax over an inner axis transposes twice; a product with the reciprocal has a
    cheaper gradient than a division.
    """
    powers = ops.exp(logits - ops.stop_gradient(ops.max(logits, axis=1, keepdims=True)))
    return powers * (1 / ops.sum(powers, axis=1, keepdims=True))


def double_normalise(slot_maps):
    """Attention A from slot maps, both `(..., S)`: each token's row divided by its sum over the slots (equation 9)."""
    return slot_maps * (1 / (ops.sum(slot_maps, axis=-1, keepdims=True) + 1e-9))


@register
class EANet(TokenClassifier):
    """A token model whose blocks mix through external attention.

    Args:
        attention: "external", or "self" for the twin that differs in nothing else.
        memory_slots, coefficient, mixing: of `ExternalAttention`.
        head_dim: width of a head of self-attention; None means dim / heads.
        attention_dropout: rate at which attention weights are dropped in training.
        kwargs: the arguments of `TokenClassifier`.
    """

    VARIANTS = VARIANTS

    def __init__(
        self,
        num_classes,
        heads=4,
        attention="external",
        memory_slots=64,
        coefficient=1,
        head_dim=None,
        attention_dropout=0.0,
        mixing=True,
        name="eanet",
        **kwargs,
    ):
        check_choice("attention", attention, ("external", "self"))

        def make_attention():
            if attention == "self":
                return SelfAttention(heads, head_dim, attention_dropout, name="attention")
            return ExternalAttention(heads, memory_slots, coefficient, attention_dropout, mixing, name="attention")

        super().__init__(attention, make_attention, num_classes, heads=heads, name=name, **kwargs)
        self.remember(
            attention=attention,
            memory_slots=memory_slots,
            coefficient=coefficient,
            head_dim=head_dim,
            attention_dropout=attention_dropout,
            mixing=mixing,
        )


def freeze_denominators(model, images, batch_size=256):
    """What an EANet computes once its tokens no longer meet: the ablation of the one place where they do.

    The denominator of each softmax over the tokens is replaced, for each layer, head and slot, by its geometric mean
    over `images`. Each token is then treated by itself up to the pooling; nothing is trained again.

    Args:
        model: an `EANet` with external attention, mixing.
        images: `(B, H, W, 3)`, 0 to 255, from which the means are taken: training images.

    Returns a function from images to logits. Raises ValueError for a model with self-attention or without mixing.
    """
    if model.attention != "external":
        raise ValueError(f"attention={model.attention!r} has no slots; this needs a model with attention='external'")
    if not model.mixing:
        raise ValueError("mixing=False has no softmax over the tokens to freeze; this needs a model with mixing=True")

    def forward(images, frozen=None):
        x = model.drop(model.positions(model.tokens(model.preprocessing(images))), training=False)
        seen = []
        for index, block in enumerate(model.blocks):
            logits = block.attention.logits(block.norm_1(x))  # (B, N, heads, S)
            denominator = ops.logsumexp(logits, axis=1, keepdims=True)  # (B, 1, heads, S)
            seen.append(ops.mean(denominator, axis=0, keepdims=True))
            slot_maps = ops.exp(logits - (denominator if frozen is None else frozen[index]))
            x = x + block.attention.read_memory(double_normalise(slot_maps))
            x = x + block.mlp(block.norm_2(x))
        return model.classify(x), seen

    starts = range(0, len(images), batch_size)
    sizes = [len(images[start : start + batch_size]) for start in starts]
    batches = [forward(images[start : start + batch_size])[1] for start in starts]
    frozen = [
        sum(size * part for size, part in zip(sizes, layer, strict=True)) / len(images)
        for layer in zip(*batches, strict=True)
    ]
    return lambda images: forward(images, frozen)[0]
