"""MIS as a task of other evaluation frameworks: their models and logs, our rows, rubric and rates."""
