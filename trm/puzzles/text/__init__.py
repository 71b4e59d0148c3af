"""What people write: files of any encoding and form, taken apart into texts of single puzzles"""
