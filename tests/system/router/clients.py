"""The vendors' own SDKs, unmodified, one function per task: what a user's code would do.

Each takes the address and the key alone, and gives back the content: a text, labels, audio.
"""

from __future__ import annotations

import io
from typing import Any

import deepl
from elevenlabs.client import ElevenLabs
from google.api_core.client_options import ClientOptions
from google.cloud import speech, vision
from googleapiclient.discovery import build
from openai import OpenAI


class Clients:
    """All of them at one address."""

    def __init__(self, url: str, key: str = "none") -> None:
        self.url, self.key = url, key
        self.openai = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        self.elevenlabs = ElevenLabs(base_url=url, api_key=key)
        self.deepl = deepl.DeepLClient(key, server_url=url)
        options = ClientOptions(api_endpoint=url, api_key=key)
        self.vision = vision.ImageAnnotatorClient(transport="rest", client_options=options)
        self.speech = speech.SpeechClient(transport="rest", client_options=options)

    # OpenAI's SDK reaches every task that its wire has.

    def chat(self, route: str, text: str, **more: Any) -> str:
        messages: Any = [{"role": "user", "content": text}]
        answer = self.openai.chat.completions.create(model=route, messages=messages, **more)
        return answer.choices[0].message.content or ""

    def chat_stream(self, route: str, text: str) -> str:
        messages: Any = [{"role": "user", "content": text}]
        chunks = self.openai.chat.completions.create(model=route, messages=messages, stream=True)
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    def respond(self, route: str, text: str) -> str:
        return self.openai.responses.create(model=route, input=text).output_text

    def complete(self, route: str, text: str) -> str:
        return (
            self.openai.completions.create(model=route, prompt=text, max_tokens=20).choices[0].text
        )

    def embed(self, route: str, text: str) -> list[float]:
        return self.openai.embeddings.create(model=route, input=text).data[0].embedding

    def say(self, route: str, text: str, form: Any = "wav", **more: Any) -> bytes:
        made = self.openai.audio.speech.create(
            model=route, voice="alloy", input=text, response_format=form, **more
        )
        return made.content

    def say_stream(self, route: str, text: str, form: Any = "pcm") -> bytes:
        with self.openai.audio.speech.with_streaming_response.create(
            model=route, voice="alloy", input=text, response_format=form, stream_format="audio"
        ) as answer:
            return b"".join(answer.iter_bytes())

    def write(self, route: str, audio: bytes, **more: Any) -> str:
        file = ("said.wav", io.BytesIO(audio), "audio/wav")
        return str(self.openai.audio.transcriptions.create(model=route, file=file, **more).text)

    # The others' SDKs.

    def speak(self, text: str, output_format: Any = "mp3_44100_128", **more: Any) -> bytes:
        pieces = self.elevenlabs.text_to_speech.convert(
            "JBFqnCBsd6RMkjVDRZzb", text=text, output_format=output_format, **more
        )
        return b"".join(pieces)

    def speak_stream(self, text: str, output_format: Any = "pcm_24000") -> bytes:
        pieces = self.elevenlabs.text_to_speech.stream(
            "JBFqnCBsd6RMkjVDRZzb", text=text, output_format=output_format
        )
        return b"".join(pieces)

    def translate(self, text: str, target: str = "DE") -> str:
        found = self.deepl.translate_text(text, source_lang="EN", target_lang=target)
        assert isinstance(found, deepl.TextResult)
        return found.text

    def look(self, image: bytes, *features: str) -> Any:
        asked = vision.AnnotateImageRequest(
            image=vision.Image(content=image),
            features=[vision.Feature(type_=vision.Feature.Type[name]) for name in features],
        )
        return self.vision.batch_annotate_images(requests=[asked]).responses[0]

    def look_by_name(self, image: str, *features: str) -> Any:
        """Google's other client; the image is base64."""
        service = build(
            "vision",
            "v1",
            developerKey=self.key,
            client_options={"api_endpoint": self.url},
            static_discovery=True,
        )
        row = {"image": {"content": image}, "features": [{"type": name} for name in features]}
        answer = service.images().annotate(body={"requests": [row]}).execute()
        return answer["responses"][0]

    def recognize(self, audio: bytes, **config: Any) -> Any:
        given = {"language_code": "en-US"} | config
        return self.speech.recognize(
            config=speech.RecognitionConfig(**given), audio=speech.RecognitionAudio(content=audio)
        )


def transcript(found: Any) -> str:
    """The text of Google Speech's answer."""
    return " ".join(result.alternatives[0].transcript for result in found.results)
