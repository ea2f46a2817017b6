"""What is compared: generators that yield (images, bytes) for each batch, run in processes of their own."""
