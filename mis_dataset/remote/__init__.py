"""What `mis_dataset.client` is made of: settings, bodies of requests, replies, their cache and the budget."""
