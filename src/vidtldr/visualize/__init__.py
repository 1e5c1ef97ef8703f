"""Pictures of what was merged: a report, a contact sheet, a video."""
