"""The puzzle kinds: size, text, rules, symmetries and drawing of each."""
