"""Senses: text, images, sound and touch as spikes. One interface, one small file each."""

from spmn.senses.codes import CODES
from spmn.senses.image import Image, read_image
from spmn.senses.interface import Sense, Spikes
from spmn.senses.position import Position
from spmn.senses.sound import Sound, Waveform, read_sound
from spmn.senses.text import Analog, Tokens, Words
from spmn.senses.touch import Touch

__all__ = [
    "CODES",
    "Analog",
    "Image",
    "Position",
    "Sense",
    "Sound",
    "Spikes",
    "Tokens",
    "Touch",
    "Waveform",
    "Words",
    "read_image",
    "read_sound",
]
