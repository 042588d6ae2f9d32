"""Trains the built-in recognizer, from rendered plates and photographs; see ``README.md`` here.

Not part of the installed package; needs the extra ``training`` (torch, onnx, Pillow).

::

    typefaces   font files -> masks of characters
    texts       patterns of regions -> texts of plates
    inks        grey on grey: what the next ones draw with
    marks       landmarks, badges, emblems: what is no text
    flat        text -> a plate seen from the front, with all that distracts
    scenery     backgrounds, cars, signs
    camera      perspective, light, blur, noise, compression
    photographs labelled pictures of roads -> cuts of them, plates with their surroundings
    samples     what a network is shown: scenes with corners, crops with texts
    networks    detector and reader
    learn       the loop, the losses, the export to ONNX
    quantise    weights of 8 bits
    blocks      the detector's first layers in the shape that is fastest
"""
