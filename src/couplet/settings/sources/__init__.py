"""Settings of each data set, one module per adapter, named as `data.source` names it."""
