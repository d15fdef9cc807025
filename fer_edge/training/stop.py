"""Training that a signal has ended."""


class TrainingStopped(KeyboardInterrupt):
    """A run that a signal ended early.

    Attributes:
        signal: Number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
