"""What `trainer.plan` is made of."""
