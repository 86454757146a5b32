"""How a dataset like MIS is made: seeds -> ideas -> questions -> pictures -> filters -> labels -> a raw release.

A stage is a function from the lines of one JSONL file to those of the next. Models are asked through
`mis_dataset.client` alone, whose cache keeps every reply: a run that was killed is run again and pays for nothing
twice, and a run whose replies are all there needs no endpoint.
"""
