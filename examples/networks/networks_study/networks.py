"""A recurrent network. The two others are named in the configuration, where they come from."""

from torch import Tensor, nn


class LastState(nn.Module):
    """Scores of ten digits from the last state of an LSTM that reads the rows of an image."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])
