"""Files and order: the store, the configuration, the stages and what chains them."""
