"""A stand-in for a linear layer that shows whether the layer is called or read."""

from torch import Tensor, nn


class PlusOne(nn.Module):
    """A layer in place of a linear one, of which only its call is known."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.num_calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_calls += 1
        return self.linear(x) + 1
