"""What `trainer.doctor` is made of."""
