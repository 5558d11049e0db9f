"""Clinical notes: files to notes, their sections, personal details in them, and synthetic cases. Knows no model."""
