"""Training: engines that advance jobs epoch by epoch behind one seam."""
