"""The typed ONNX graph as one object from export to bundle: names, ranges, Q/DQ pairs, PReLU forms, proofs."""
