"""What `trainer.sft` is made of."""
