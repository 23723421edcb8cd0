"""The forms of sound that ElevenLabs sends (`output_format`: codec_rate_kilobits), in pieces."""

from load_tests.sandbox.media import Form
from load_tests.sandbox.vendor import Event

PIECE = 4096  # bytes
RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)

FORMATS: dict[str, Form] = {
    "ulaw_8000": Form("mulaw", "pcm_mulaw", 8000, 0, "audio/basic"),
    "alaw_8000": Form("alaw", "pcm_alaw", 8000, 0, "audio/x-alaw-basic"),
    **{f"pcm_{rate}": Form("s16le", "pcm_s16le", rate, 0, "audio/pcm") for rate in RATES},
    **{f"wav_{rate}": Form("wav", "pcm_s16le", rate, 0, "audio/wav") for rate in RATES},
    **{
        f"mp3_{rate}_{kilobits}": Form("mp3", "libmp3lame", rate, kilobits * 1000, "audio/mpeg")
        for rate, kilobits in (
            (22050, 32),
            (24000, 48),
            *((44100, each) for each in (32, 64, 96, 128, 192)),
        )
    },
    **{
        f"opus_48000_{kilobits}": Form("ogg", "libopus", 48000, kilobits * 1000, "audio/ogg")
        for kilobits in (32, 64, 96, 128, 192)
    },
}


def events(audio: bytes) -> list[Event]:
    """The sound in pieces."""
    return [Event(audio[at : at + PIECE], 0) for at in range(0, len(audio), PIECE)]
