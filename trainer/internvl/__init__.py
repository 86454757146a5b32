"""What `trainer.convert_internvl` is made of."""
