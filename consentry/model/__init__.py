"""What passes between the parts: ids, values and sealed batches."""
