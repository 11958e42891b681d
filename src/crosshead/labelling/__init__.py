"""Reading paragraphs one after the other and keeping what people say of them."""
