"""A file in the place of a card."""

from __future__ import annotations

from pathlib import Path

from edge_wm.board import Board
from edge_wm.flash.card import write_card
from edge_wm.flash.card_image import card_image
from edge_wm.flash.first_boot import Answers
from edge_wm.flash.payload import Payload


def make_card_file(image: Path, output: Path, board: Board, payload: Payload, answers: Answers) -> None:
    """Write what a card would hold to the file ``output``."""
    with card_image(image, board, payload, answers) as made:
        write_card(output, made.chunks(), made.size, lambda count: None, lambda count: None)
