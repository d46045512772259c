"""Settings of each head, one module per head, named as `model.head` names it (`couplet.settings.schema.plugins`)."""
