"""Multi-head attention with parameters from outside."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call

from torchmeta.modules.linear import MetaLinear
from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["MetaMultiheadAttention"]


class MetaMultiheadAttention(nn.MultiheadAttention, MetaModule):
    """`torch.nn.MultiheadAttention`; its output projection is a `MetaLinear`.

    Inside an inner loop of second order, run it under
    ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``: fused attention cannot be differentiated twice.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, **kwargs: object
    ) -> None:
        super().__init__(embed_dim, num_heads, dropout, bias, **kwargs)  # type: ignore[arg-type]
        plain = self.out_proj
        self.out_proj = MetaLinear(plain.in_features, plain.out_features, bias=plain.bias is not None)  # type: ignore[assignment]
        # the parameters themselves: they are initialised already, and the random state must not notice
        self.out_proj.weight, self.out_proj.bias = plain.weight, plain.bias

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        params: Parameters | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; see `torch.nn.MultiheadAttention.forward`.

        Raises:
            KeyError: if ``params`` lacks one of the weights.
        """
        options = {
            "key_padding_mask": key_padding_mask,
            "need_weights": need_weights,
            "attn_mask": attn_mask,
            "average_attn_weights": average_attn_weights,
            "is_causal": is_causal,
        }
        if params is None:
            return super().forward(query, key, value, **options)  # type: ignore[arg-type]
        values = {name: params[name] for name, _ in self.named_parameters()}
        return functional_call(self, values, (query, key, value), options)
