"""From labelled pictures to a calibrated prompt."""
