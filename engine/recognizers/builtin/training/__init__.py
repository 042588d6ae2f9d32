"""Trains the built-in recognizer from nothing but rendered plates; see ``README.md`` beside this.

Not part of the installed package; needs the extra ``training`` (torch, onnx, Pillow).

::

    typefaces   font files -> masks of characters
    texts       patterns of regions -> texts of plates
    flat        text -> a plate seen from the front, with all that distracts
    scenery     backgrounds, cars, signs
    camera      perspective, light, blur, noise, compression
    samples     what a network is shown: scenes with corners, crops with texts
    networks    detector and reader
    learn       the loop, the losses, the export to ONNX
"""
