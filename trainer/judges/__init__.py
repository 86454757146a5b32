"""Judges: one file each, all with the one method of `trainer.judges.base.Judge`."""
