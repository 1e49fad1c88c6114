"""Values of inputs and outputs: the schemas that declare their types, and checks against them."""
