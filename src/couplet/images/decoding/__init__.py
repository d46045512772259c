"""From a file of any maker to a picture of the store: decoders, DICOM rendering, the pool that runs them."""
