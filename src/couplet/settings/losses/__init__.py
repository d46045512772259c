"""Settings of each loss, one module per loss, named as `loss.name` names it (`couplet.settings.schema.plugins`)."""
