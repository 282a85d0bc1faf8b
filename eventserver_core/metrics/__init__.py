"""What is counted, and answering those who ask for it."""
