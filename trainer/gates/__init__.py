"""What a gate on a training is made of; the verb is `trainer.gate`."""
