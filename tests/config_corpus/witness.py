"""What Python's own configparser makes of files: the witness against which our reader is compared.

Reads frames from standard input (a decimal length, a newline, that many bytes) and answers each with lines of words;
texts are UTF-8 in hexadecimal, so that nothing in them needs quoting:

    strict yes|no           whether Python accepts the file as it is, with every value read
    section NAME
    option NAME RAW VALUE   VALUE is "!" when it cannot be expanded
    end

With the argument "rewrite" it answers each frame with one line instead, the file as Python writes it again, or "!" when
it does not accept it; with "wrap", with the text as Python wraps it into a header, lines of 70 characters behind "# ".

Where Python refuses a file, the refusal is worked around as our reader promises to: the mark at the start and bytes that
are not UTF-8 are replaced, lines above the first section and bad lines are left out, repetitions are accepted. Runs on
python3-minimal; json is not in it.
"""

import configparser
import io
import re
import sys
import textwrap

# Up to Python 3.10 a header ended at the first bracket; since then it ends at the last one of the line.
FIRST_BRACKET = re.compile(r"\[(?P<header>[^]]+)\]")


def parser(strict):
    made = configparser.ConfigParser(strict=strict)
    made.SECTCRE = FIRST_BRACKET
    return made


def text_lines(text):
    # As open() in text mode reads: every ending is a newline.
    return io.StringIO(text, newline=None).read().split("\n")


def accepts(data):
    try:
        made = parser(True)
        made.read_file(line + "\n" for line in text_lines(data.decode("utf-8")))
        for section in made.sections():
            for option in made.options(section):
                made.get(section, option)
        return True
    except (configparser.Error, UnicodeDecodeError):
        return False


def leniently(data):
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    lines = text_lines(data.decode("utf-8", "replace"))
    while True:
        made = parser(False)
        try:
            made.read_file(line + "\n" for line in lines)
            return made
        except configparser.MissingSectionHeaderError as error:
            lines[error.lineno - 1] = "#"
        except configparser.ParsingError as error:
            number = error.errors[0][0]
            lines[number - 1] = reopened(lines, number)


def reopened(lines, number):
    """A header of the section that a bad line stands in: it ends the option above, and changes nothing else."""
    probe = "\0probe"
    before = parser(False)
    before.read_file(line + "\n" for line in [*lines[: number - 1], probe + " = 1"])
    name = next((n for n in before.sections() if probe in before._sections[n]), "DEFAULT")
    line = lines[number - 1]
    return line[: len(line) - len(line.lstrip())] + "[" + name + "]"


def word(text):
    return text.encode("utf-8", "surrogatepass").hex() or "-"


def section_lines(made, name, options):
    yield "section " + word(name)
    for option in options:
        raw = made.get(name, option, raw=True)
        try:
            value = word(made.get(name, option))
        except configparser.InterpolationError:
            value = "!"
        yield "option %s %s %s" % (word(option), word(raw), value)


def answer(data):
    yield "strict " + ("yes" if accepts(data) else "no")
    made = leniently(data)
    for name in made.sections():
        yield from section_lines(made, name, made.options(name))
    yield from section_lines(made, "DEFAULT", list(made.defaults()))
    yield "end"


def rewrite(data):
    if not accepts(data):
        yield "!"
        return
    made = parser(True)
    made.read_file(line + "\n" for line in text_lines(data.decode("utf-8")))
    written = io.StringIO()
    made.write(written)
    yield word(written.getvalue())


def wrap(data):
    lines = textwrap.wrap(data.decode("utf-8"), width=70, break_on_hyphens=False)
    yield word("".join("# " + line + "\n" for line in lines))


def main():
    source = sys.stdin.buffer
    mode = {"rewrite": rewrite, "wrap": wrap}.get(sys.argv[1] if sys.argv[1:] else "", answer)
    while True:
        length = source.readline()
        if not length:
            return
        for line in mode(source.read(int(length))):
            sys.stdout.write(line + "\n")


main()
