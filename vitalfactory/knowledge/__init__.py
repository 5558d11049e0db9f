"""Medical questions: files and knowledge graphs to questions with answers, checked. Knows no model."""
