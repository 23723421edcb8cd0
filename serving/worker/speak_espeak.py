"""A program of its own: text in, phonemes out, by the library of eSpeak NG.

eSpeak NG is under GPL-3.0-or-later. It is loaded in this process alone, which the worker starts and
speaks to over pipes; nothing of the worker is linked to it. This file imports nothing of ours.

    python speak_espeak.py en-us

One JSON list of texts per line on stdin, one JSON list per line on stdout: for each text its
clauses, as [phonemes, the text of the clause]. The first line says that it is ready, or what it
lacks: {"ready": "1.51"} or {"error": "..."}.

Source: speak_lib.h of eSpeak NG 1.51 (espeak_Initialize, espeak_TextToPhonemes).
"""

import contextlib
import ctypes
import ctypes.util
import importlib
import json
import sys

RETRIEVAL = 1  # AUDIO_OUTPUT_RETRIEVAL: no sound device is touched
UTF8 = 1  # espeakCHARS_UTF8
IPA = 2  # phonemes as IPA in UTF-8
NO_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
MISSING = (
    "Speaking needs eSpeak NG, which is not installed: `apt-get install espeak-ng`, "
    "`brew install espeak-ng`, or `pip install espeakng-loader`."
)


def load() -> tuple[ctypes.CDLL, bytes | None]:
    """The system's library, else the one of the package espeakng-loader with its data folder.

    Raises: OSError where there is neither.
    """
    for name in ("libespeak-ng.so.1", ctypes.util.find_library("espeak-ng")):
        if name:
            with contextlib.suppress(OSError):
                return ctypes.CDLL(name), None
    try:
        loader = importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise OSError(MISSING) from error
    return ctypes.CDLL(loader.get_library_path()), str(loader.get_data_path()).encode()


def clauses(library: ctypes.CDLL, text: str) -> list[tuple[str, str]]:
    """Phonemes of each clause, and the text that it took.

    The library reads one character ahead to find the end of a clause; that character is given to
    the clause that follows.
    """
    raw = text.replace("\0", " ").encode()
    buffer = ctypes.create_string_buffer(raw)
    base = ctypes.addressof(buffer)
    at = ctypes.c_void_p(base)
    found, start = [], 0
    while at.value:
        phonemes = library.espeak_TextToPhonemes(ctypes.byref(at), UTF8, IPA)
        end = _before(raw, at.value - base) if at.value else len(raw)
        found.append(((phonemes or b"").decode(), raw[start:end].decode(errors="replace")))
        start = max(start, end)
    return found


def _before(raw: bytes, at: int) -> int:
    """Where the character before `at` begins."""
    at -= 1
    while at > 0 and raw[at] & 0xC0 == 0x80:
        at -= 1
    return max(at, 0)


def main(voice: str) -> int:
    """Answer lines until stdin ends."""
    try:
        library, data = load()
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_TextToPhonemes.argtypes = [
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.c_int,
            ctypes.c_int,
        ]
        library.espeak_Info.restype = ctypes.c_char_p
        if library.espeak_Initialize(RETRIEVAL, 0, data, NO_EXIT) < 0:
            raise OSError("eSpeak NG finds no data of its own; install it again.")  # noqa: TRY301
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise OSError(f"eSpeak NG has no voice {voice!r}.")  # noqa: TRY301
    except OSError as error:
        print(json.dumps({"error": str(error)}), flush=True)  # noqa: T201
        return 1
    version = (library.espeak_Info(None) or b"").decode()
    print(json.dumps({"ready": version}), flush=True)  # noqa: T201
    for line in sys.stdin:
        answer = [clauses(library, text) for text in json.loads(line)]
        print(json.dumps(answer), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
