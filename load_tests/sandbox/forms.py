"""Bodies of HTML forms: fields and files of multipart/form-data, fields of urlencoded ones."""

from io import BytesIO
from urllib.parse import parse_qs

from msgspec import Struct, field
from python_multipart import create_form_parser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File

from load_tests.sandbox.vendor import Request

IN_MEMORY = 64 * 1024 * 1024  # bytes: files never go to the disk


class Malformed(ValueError):
    """The body is not the form that its content type names."""


class Upload(Struct, frozen=True):
    """One file of a form."""

    name: str
    data: bytes


class Form(Struct):
    """Fields by their names, each with all its values in order, and files."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)

    def one(self, name: str) -> str | None:
        """The field's last value."""
        return self.fields[name][-1] if name in self.fields else None

    def all(self, name: str) -> list[str]:
        """The field's values, with or without `[]` after its name."""
        return [*self.fields.get(name, ()), *self.fields.get(f"{name}[]", ())]


def read_form(request: Request) -> Form:
    """The form of a request. Raises Malformed."""
    kind = request.header(b"content-type")
    if not kind.startswith("multipart/form-data"):
        try:
            return Form(parse_qs(request.body.decode(), keep_blank_values=True))
        except (UnicodeDecodeError, ValueError) as wrong:
            raise Malformed("The form is not UTF-8.") from wrong
    form = Form()

    def on_field(given: Field) -> None:
        name = (given.field_name or b"").decode("utf-8", "replace")
        form.fields.setdefault(name, []).append((given.value or b"").decode("utf-8", "replace"))

    def on_file(given: File) -> None:
        name = (given.field_name or b"").decode("utf-8", "replace")
        given.file_object.seek(0)
        file = (given.file_name or b"").decode("utf-8", "replace")
        form.files[name] = Upload(file, given.file_object.read())

    try:
        parser = create_form_parser(
            {"Content-Type": kind.encode()},
            on_field,
            on_file,
            config={"MAX_MEMORY_FILE_SIZE": IN_MEMORY},
        )
        body = BytesIO(request.body)
        while piece := body.read(1 << 20):
            parser.write(piece)
        parser.finalize()
    except (FormParserError, ValueError) as wrong:
        raise Malformed(f"The form cannot be read: {wrong}") from wrong
    return form
