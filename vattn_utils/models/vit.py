r"""ViT: an image is worth 16x16 words (Dosovitskiy et al. 2021, arXiv 2010.11929).

The image is cut into patches, each patch becomes a token, a transformer encoder lets every token look at every
other (equations 1 to 4), and one vector read from the tokens is classified:

$$z_0 = [x_{class};\, x_p^1 E; \dots; x_p^N E] + E_{pos}, \quad
  z'_l = \mathrm{MSA}(\mathrm{LN}(z_{l-1})) + z_{l-1}, \quad
  z_l = \mathrm{MLP}(\mathrm{LN}(z'_l)) + z'_l$$

The layers are shared with EANet and stand in `vattn_utils.layers`; the model's forward pass is
`TokenClassifier.call` in `vattn_utils.classifier`.
"""

from vattn_utils.models.classifier import TokenClassifier
from vattn_utils.models.layers import SelfAttention, register

VARIANTS = {
    # keras.io's example: 32 pixels resized to 72, 144 patches, and a head on all tokens flattened that holds
    # 97 % of the parameters.
    "keras-io": dict(
        resize_to=72, patch_size=6, dim=64, depth=8, heads=4, head_dim=64, mlp_dim=128, dropout=0.1,
        attention_dropout=0.1, pooling="flatten", head_units=(2048, 1024), head_dropout=0.5,
    ),
    # The paper's block, class token and learned positions, at the size of DeiT-Tiny's width and CIFAR's images.
    "paper": dict(
        patch_size=4, dim=192, depth=12, heads=3, mlp_dim=768, dropout=0.1, pooling="class",
    ),
    # Ours: convolutional tokens, narrow blocks, a learned weighting of tokens in place of the class token.
    "book": dict(
        tokenizer="convolutional", convolutions=2, patch_size=4, dim=128, depth=4, heads=4, mlp_dim=384, drop_path=0.05,
        pooling="sequence",
    ),
}  # fmt: skip


@register
class ViT(TokenClassifier):
    """A token model whose blocks mix through self-attention.

    Args:
        head_dim: width of a head; None means dim / heads.
        attention_dropout: rate at which attention weights are dropped in training.
        kwargs: the arguments of `TokenClassifier`.
    """

    VARIANTS = VARIANTS

    def __init__(self, num_classes, heads=4, head_dim=None, attention_dropout=0.0, name="vit", **kwargs):
        def make_attention():
            return SelfAttention(heads, head_dim, attention_dropout, name="attention")

        super().__init__("self", make_attention, num_classes, heads=heads, name=name, **kwargs)
        self.remember(head_dim=head_dim, attention_dropout=attention_dropout)
