r"""EANet: external attention, token to memory slot (Guo et al., *Beyond Self-attention*, arXiv 2105.02358).

Self-attention compares every token with every other. External attention compares every token with S learned
*memory slots*, shared by all images: its cost grows with N, not with N squared (section 3.2, equations 5 and 6):

$$A = \mathrm{Norm}(F M_k^\top), \qquad F_{out} = A M_v$$

`Norm` is the paper's double normalisation (section 3.3, equations 7 to 9): a softmax over the *tokens*, for each
slot, and then each token's row is divided by its sum over the *slots*. Tokens thus meet each other in one place
only: in the denominator of that softmax.
"""

from collections.abc import Callable
from typing import Any

from keras import layers, ops

from vattn_utils.data.checks import check_choice, check_divisible, check_whole
from vattn_utils.models.fast import Dropout, Tensor, register
from vattn_utils.models.layers import Attended, Configured
from vattn_utils.models.vit import ViT

VARIANTS = {
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

    def __init__(
        self, heads: int, memory_slots: int = 64, coefficient: int = 1, dropout: float = 0.0, mixing: bool = True,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.remember(heads=heads, memory_slots=memory_slots, coefficient=coefficient, dropout=dropout, mixing=mixing)
        self.attention_dropout = Dropout(dropout, dtype=self.dtype_policy, name="attention_dropout")

    def build(self, input_shape: tuple) -> None:
        dim = input_shape[-1]
        check_divisible("dim", dim, "heads", self.heads)
        self.head_dim = dim // self.heads  # d_h, of one head
        self.inner_heads, inner = self.heads * self.coefficient, dim * self.coefficient
        self.query_kernel = self.add_weight(shape=(dim, inner), name="query_kernel")
        self.query_bias = self.add_weight(shape=(inner,), initializer="zeros", name="query_bias")
        self.memory_key = self.add_weight(shape=(self.head_dim, self.memory_slots), name="memory_key")
        self.memory_key_bias = self.add_weight(shape=(self.memory_slots,), initializer="zeros", name="memory_key_bias")
        self.memory_value = self.add_weight(shape=(self.memory_slots, self.head_dim), name="memory_value")
        self.memory_value_bias = self.add_weight(shape=(self.head_dim,), initializer="zeros", name="memory_value_bias")
        self.output_kernel = self.add_weight(shape=(inner, dim), name="output_kernel")
        self.output_bias = self.add_weight(shape=(dim,), initializer="zeros", name="output_bias")

    def call(self, x: Tensor, return_attention: bool = False, perturbation: Tensor | None = None) -> Attended:
        logits = self.logits(x)  # X W_q M_k: likeness of each token to each slot, (B, N, heads, S)
        slot_maps = softmax_over_tokens(logits) if self.mixing else ops.softmax(logits)  # equation 8
        if perturbation is not None:
            slot_maps = slot_maps + perturbation
        attention = double_normalise(slot_maps)  # equation 9: each row sums to 1 over the slots
        x = self.read_memory(self.attention_dropout(attention))  # A M_v W_o: (B, N, dim)
        return (x, slot_maps) if return_attention else x

    def logits(self, x: Tensor) -> Tensor:
        """X W_q M_k and the biases, `(B, N, heads, S)`."""
        if self.folded:
            kernel, bias = self._folded_query()
            return ops.reshape(ops.matmul(x, kernel) + bias, (-1, x.shape[1], self.inner_heads, self.memory_slots))
        query = ops.matmul(x, self.query_kernel) + self.query_bias  # (B, N, heads * d_h)
        query = ops.reshape(query, (-1, x.shape[1], self.inner_heads, self.head_dim))  # (B, N, heads, d_h)
        return ops.matmul(query, self.memory_key) + self.memory_key_bias

    def read_memory(self, attention: Tensor) -> Tensor:
        """A M_v W_o and the biases, `(B, N, dim)`."""
        tokens = attention.shape[1]
        if self.folded:
            kernel, bias = self._folded_output()
            return ops.matmul(ops.reshape(attention, (-1, tokens, kernel.shape[0])), kernel) + bias
        x = ops.matmul(attention, self.memory_value) + self.memory_value_bias  # (B, N, heads, d_h)
        x = ops.reshape(x, (-1, tokens, self.inner_heads * self.head_dim))
        return ops.matmul(x, self.output_kernel) + self.output_bias

    @property
    def folded(self) -> bool:
        """Whether W_q M_k and M_v W_o are multiplied out first: where that saves multiply-adds per token and head."""
        dim, width, slots = self.output_bias.shape[0], self.head_dim, self.memory_slots
        return dim * slots < dim * width + width * slots

    def _folded_query(self) -> tuple[Tensor, Tensor]:
        """W_q M_k as one matrix `(dim, heads * S)`, and its bias."""
        kernel = ops.reshape(self.query_kernel, (-1, self.inner_heads, self.head_dim))
        kernel = ops.matmul(kernel, self.memory_key)  # (dim, heads, S)
        bias = ops.matmul(ops.reshape(self.query_bias, (self.inner_heads, -1)), self.memory_key) + self.memory_key_bias
        return ops.reshape(kernel, (kernel.shape[0], -1)), ops.reshape(bias, (-1,))

    def _folded_output(self) -> tuple[Tensor, Tensor]:
        """M_v W_o as one matrix `(heads * S, dim)`, and its bias."""
        heads = ops.reshape(self.output_kernel, (self.inner_heads, self.head_dim, -1))  # (heads, d_h, dim)
        kernel = ops.matmul(self.memory_value, heads)  # (heads, S, dim)
        bias = self.output_bias + ops.sum(ops.matmul(self.memory_value_bias, heads), axis=0)
        return ops.reshape(kernel, (self.inner_heads * self.memory_slots, -1)), bias


def softmax_over_tokens(logits: Tensor) -> Tensor:
    """Slot maps from `(B, N, heads, S)`: each slot's sum to 1 over the tokens (equation 8).

    Written out, since TensorFlow's softmax over an inner axis transposes twice; a product with the reciprocal has a
    cheaper gradient than a division.
    """
    powers = ops.exp(logits - ops.stop_gradient(ops.max(logits, axis=1, keepdims=True)))
    return powers * (1 / ops.sum(powers, axis=1, keepdims=True))


def double_normalise(slot_maps: Tensor) -> Tensor:
    """Attention A from slot maps, both `(..., S)`: each token's row divided by its sum over the slots (equation 9)."""
    return slot_maps * (1 / (ops.sum(slot_maps, axis=-1, keepdims=True) + 1e-9))


@register
class EANet(ViT):
    """A ViT whose blocks look into memories and not at one another.

    Args:
        attention: "external", or "self" for the twin that differs in nothing else.
        memory_slots, coefficient, mixing: of `ExternalAttention`.
        kwargs: of `ViT`; `head_dim` is of the twin alone.
    """

    VARIANTS = VARIANTS

    def __init__(
        self,
        num_classes: int,
        attention: str = "external",
        memory_slots: int = 64,
        coefficient: int = 1,
        mixing: bool = True,
        name: str = "eanet",
        **kwargs: Any,
    ) -> None:
        check_choice("attention", attention, ("external", "self"))
        self.remember(attention=attention, memory_slots=memory_slots, coefficient=coefficient, mixing=mixing)
        super().__init__(num_classes, name=name, **kwargs)

    @property
    def attention_kind(self) -> str:
        return self.attention

    def make_attention(self) -> layers.Layer:
        if self.attention == "self":
            return super().make_attention()
        return ExternalAttention(
            self.heads, self.memory_slots, self.coefficient, self.attention_dropout, self.mixing, name="attention"
        )


def freeze_denominators(model: EANet, images: Tensor, batch_size: int = 256) -> Callable[[Tensor], Tensor]:
    """What an EANet computes once its tokens no longer meet: the ablation of the one place where they do.

    The denominator of each softmax over the tokens is replaced, for each layer, head and slot, by its geometric mean
    over `images`. Each token is then treated by itself up to the pooling; nothing is trained again.

    Args:
        model: an `EANet` with external attention, mixing.
        images: `(B, H, W, 3)`, 0 to 255, from which the means are taken: training images.

    Returns a function from images to logits. Raises TypeError for another model, ValueError for one with self-attention
    or without mixing.
    """
    if not isinstance(model, EANet):
        raise TypeError(f"{type(model).__name__} has no slots; this needs an EANet with attention='external'")
    check_whole("batch_size", batch_size)
    if model.attention != "external":
        raise ValueError(f"attention={model.attention!r} has no slots; this needs a model with attention='external'")
    if not model.mixing:
        raise ValueError("mixing=False has no softmax over the tokens to freeze; this needs a model with mixing=True")

    def forward(images: Tensor, frozen: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        x, seen = model.embed(model.checked(images)), []
        for index, block in enumerate(model.blocks):
            logits = block.attention.logits(block.norm_1(x))  # (B, T, heads, S)
            denominator = ops.logsumexp(logits, axis=1, keepdims=True)  # (B, 1, heads, S)
            seen.append(ops.mean(denominator, axis=0, keepdims=True))
            slot_maps = ops.exp(logits - (denominator if frozen is None else frozen[index]))
            x = x + block.attention.read_memory(double_normalise(slot_maps))
            x = x + block.mlp(block.norm_2(x))
        logits, _ = model.classify(x)
        return logits, seen

    starts = range(0, len(images), batch_size)
    sizes = [len(images[start : start + batch_size]) for start in starts]
    batches = [forward(images[start : start + batch_size])[1] for start in starts]
    frozen = [
        sum(size * part for size, part in zip(sizes, layer, strict=True)) / len(images)
        for layer in zip(*batches, strict=True)
    ]
    return lambda images: forward(images, frozen)[0]
