"""From the store to what the network sees: shards, order, augmented views, batches."""
