"""What one layer of attention costs: measured (`measure`), counted (`counts`), and what the numbers say (`curves`)."""
