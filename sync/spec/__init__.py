"""What a sync is: the shape of ``config.meta.statsig`` and the rules that it must keep."""
