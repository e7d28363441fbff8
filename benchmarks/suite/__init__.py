"""The suite: steps that measure, the lines that they give, and the report that is made of the lines."""
