"""What `trainer.compare` is made of."""
