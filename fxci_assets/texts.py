"""What others wrote, made fit to be shown: on a terminal, in a log, in an error.

Here belongs what makes a text harmless. Which text is shown where belongs to who shows it. It
imports nothing, so that everything can.
"""


def visible(text: str) -> str:
    """A text that does nothing but to be read: a control character in a tag must not move the
    reader's cursor, nor a line break begin a line that looks like ours."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def visible_lines(text: str) -> str:
    """The same of a text of several lines."""
    return "\n".join(visible(line) for line in text.split("\n"))


def one_line(text: object) -> str:
    """A message or an error of others in one line, with a blank for each run of white space."""
    return visible(" ".join(str(text).split()))
