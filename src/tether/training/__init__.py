"""What every method shares: our subclass of TRL's trainer, the drift budget, the rewind, the certificate."""
