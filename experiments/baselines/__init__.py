"""Other memory networks on the same stories: same data, splits, batches, schedule and report."""
